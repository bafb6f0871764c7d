"""Sessions and turns as OpenTelemetry's spans, over OTLP/HTTP. Needs the extra `otel`."""

from __future__ import annotations

import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from app.session_types import Outcome, SessionSpec, State
from app.telemetry.turns import Turn

SEND_S = 5.0  # longest for one attempt to send


class SpanTracing:
    """A provider of our own, not the process's global one: nothing else is traced by it."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: a collector's base URL; spans go to its /v1/traces."""
        resource = Resource.create()  # of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "voipavatar"}))
        # The session ends its spans itself; an exit in the midst of one has nothing to add.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("voipavatar")

    def session(self, spec: SessionSpec) -> SpanTrace:
        return SpanTrace(self._tracer, spec)

    def close(self) -> None:
        """Send what is left. Blocks, for some seconds where nobody takes it."""
        self._provider.shutdown()


class SpanTrace:
    """A span `session`; within it `join`, and a `turn` for each time of speaking."""

    def __init__(self, tracer: trace.Tracer, spec: SessionSpec) -> None:
        self._tracer = tracer
        self._spec = spec
        # Looked up once: two looks differ, and what happens in a session is in its order.
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._span = tracer.start_span(
            "session",
            start_time=self._wall_ns(spec.requested_at),
            attributes={
                "voipavatar.session.id": spec.id,
                "voipavatar.persona": spec.persona,
                "voipavatar.audio.source": spec.audio.source,
            },
        )
        self._within = trace.set_span_in_context(self._span)

    def ready(self, now: float) -> None:
        self._child("join", self._spec.requested_at).end(self._wall_ns(now))

    def turn(self, turn: Turn) -> None:
        span = self._child("turn", turn.began)
        span.set_attribute("voipavatar.turn.segment", turn.segment)
        span.set_attribute("voipavatar.turn.queued", turn.queued)
        span.set_attribute("voipavatar.turn.position_s", round(turn.position_s, 4))
        span.set_attribute(
            "voipavatar.turn.outcome", "interrupted" if turn.interrupted else "finished"
        )
        if turn.started is not None:
            span.set_attribute("voipavatar.turn.start_s", round(turn.started - turn.began, 4))
            span.add_event("started", timestamp=self._wall_ns(turn.started))
        span.end(self._wall_ns(turn.began if turn.ended is None else turn.ended))

    def end(self, now: float, outcome: Outcome) -> None:
        self._span.set_attribute("voipavatar.session.end_reason", str(outcome.reason))
        if outcome.state is State.FAILED:
            self._span.set_status(trace.StatusCode.ERROR, outcome.detail)
        self._span.end(self._wall_ns(now))

    def _child(self, name: str, began: float) -> trace.Span:
        return self._tracer.start_span(
            name,
            context=self._within,
            start_time=self._wall_ns(began),
            attributes={"voipavatar.session.id": self._spec.id},
        )

    def _wall_ns(self, moment: float) -> int:
        """A moment of time.monotonic() as nanoseconds since 1970."""
        return self._epoch_ns + int(moment * 1e9)
