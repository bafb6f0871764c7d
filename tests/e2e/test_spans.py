"""Sessions and turns in a real room, as a real collector receives them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
import structlog

from app.rtc.input import agent_stream as agent_voice
from app.rtc.session import SessionResources
from app.session_types import AudioSpec, EndReason, SessionSpec
from app.telemetry.tracing import MISSING, NO_TRACING, WRONG, open_tracing
from tests.e2e.collector import Collector, values
from tests.e2e.conftest import Live
from tests.e2e.scripted import Agent, tone
from tests.e2e.waiting import PATIENCE_S, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
STREAM = AudioSpec("data_stream", agent="agent")


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.start()
    yield collector
    collector.stop()


@pytest.fixture
async def stage(
    stage: SessionResources, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SessionResources]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    async with open_tracing(collector.url + "/") as tracing:
        yield replace(stage, tracing=tracing)


async def test_a_session_its_join_and_its_turns_arrive(
    perform: Perform, agent: Agent, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "DRAIN_S", PATIENCE_S)
    began = time.time_ns()
    await agent.join("spans")
    live = await perform("spans", audio=STREAM)
    await agent.say(tone(0.6))
    await agent.until_finished(1)
    await agent.say(tone(15.0, 8_000), 8_000)
    await agent.until_started(2)
    await asyncio.sleep(0.3)
    await agent.clear()
    await agent.until_finished(2)
    await agent.say(tone(15.0, 8_000), 8_000)
    await agent.until_started(3)
    live.session.stop(EndReason.DELETED)
    await live.outcome()
    await agent.until_finished(3)
    await until(lambda: bool(collector.named("session")))
    [session], [join] = collector.named("session"), collector.named("join")
    turns = sorted(collector.named("turn"), key=lambda span: span.start_time_unix_nano)
    assert collector.paths == {"/v1/traces"}
    assert collector.resource["service.name"] == "voipavatar"
    assert values(session.attributes) == {
        "voipavatar.session.id": "ses_spans",
        "voipavatar.persona": "default",
        "voipavatar.audio.source": "data_stream",
        "voipavatar.session.end_reason": "deleted",
    }
    for span in (join, *turns):
        assert span.parent_span_id == session.span_id
        assert span.trace_id == session.trace_id
        assert session.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= session.end_time_unix_nano
    assert began <= join.start_time_unix_nano < join.end_time_unix_nano <= time.time_ns()
    said = [values(turn.attributes) for turn in turns]
    outcomes = [each["voipavatar.turn.outcome"] for each in said]
    assert outcomes == ["finished", "interrupted", "interrupted"]
    positions = [each["voipavatar.turn.position_s"] for each in said]
    assert positions[0] == pytest.approx(0.6, abs=0.005)
    for position, told in zip(positions[1:], agent.finished[1:], strict=True):
        assert position == pytest.approx(told["playback_position"], abs=0.001)
        assert 0.0 < position < 15.0
    assert len(agent.started) == 3
    # On a machine that is too busy a turn may be over before a picture of its own was there.
    assert {event.name for turn in turns for event in turn.events} == {"started"}
    for turn in turns:
        assert all(event.time_unix_nano > turn.start_time_unix_nano for event in turn.events)
    assert turns[0].end_time_unix_nano - turns[0].start_time_unix_nano >= 0.6e9


async def test_a_collector_that_is_away_disturbs_nobody(spec: SessionSpec) -> None:
    async with asyncio.timeout(30), open_tracing("http://127.0.0.1:9") as tracing:
        trace = tracing.session(spec)
        trace.ready(time.monotonic())


@pytest.fixture
def spec() -> SessionSpec:
    return SessionSpec("ses_1", "r", "default", "avatar", "ws://x", lambda: "", time.monotonic())


async def test_what_is_amiss_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)  # as if not installed
    for endpoint, sentence in (("http://127.0.0.1:9", MISSING), ("collector:4318", WRONG)):
        with structlog.testing.capture_logs() as logs:
            async with open_tracing(endpoint) as tracing:
                assert tracing is NO_TRACING
        assert [entry["event"] for entry in logs] == [sentence]


def test_without_a_collector_nothing_of_the_sdk_is_imported() -> None:
    program = (
        "import asyncio, sys, threading\n"
        "import app.main, app.rtc.resources\n"
        "from app.telemetry.tracing import open_tracing\n"
        "async def main():\n"
        "    async with open_tracing(''):\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "names = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(names)], "
        "[thread.name for thread in threading.enumerate() if 'Otel' in thread.name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[] []\n", done.stderr
