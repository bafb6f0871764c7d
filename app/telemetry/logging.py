"""Logs: for people on a terminal, as JSON lines elsewhere; always on standard error."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from app.telemetry.log_lines import LONGEST, Repeats, escaped, json_line, plain_lines, shortened
from app.telemetry.redact import without_answers, without_tokens

LOOKED_AT = 65_536  # characters of what is to be logged

Style = Literal["auto", "console", "json"]

# They would write whole addresses, and an address may carry a token.
_QUIET = ("httpx", "httpcore", "uvicorn.access", "livekit", "aiosqlite", "alembic", "asyncio")


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """The second line of defence, over a line as it is written: tracebacks, libraries' words."""

    def format(self, record: logging.LogRecord) -> str:
        return without_tokens(super().format(record))


class Handler(logging.StreamHandler[TextIO]):
    """Writes short lines, and the same not too often."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for logger, count, message in self._repeats.summaries():
                super().emit(_summary(logger, count, message))
            if not self._repeats.allows(record.name, _message(record)):
                return
        except Exception:
            self.handleError(record)
            return
        super().emit(record)

    def close(self) -> None:
        for logger, count, message in self._repeats.summaries(now=True):
            super().emit(_summary(logger, count, message))
        super().close()


def configure_logging(style: Style, level: str, stream: TextIO | None = None) -> None:
    """Send structlog's, the standard library's and Python's warnings the same way. Idempotent.

    No line holds a token or a control character, whoever wrote it, or is longer than 2 KB.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = Handler(stream or sys.stderr)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(chosen_style(style)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def chosen_style(style: Style) -> Literal["console", "json"]:
    """What `auto` amounts to."""
    if style != "auto":
        return style
    return "console" if sys.stderr.isatty() else "json"


def _rendering(style: Literal["console", "json"]) -> list[Processor]:
    if style == "console":
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_traceback
        )

        def plain(logger: WrappedLogger, name: str, event: EventDict) -> str:
            shown = {
                key: escaped(shortened(value, LONGEST // 2))
                if isinstance(value, str) and key != "stack"
                else value
                for key, value in event.items()
            }
            return plain_lines(console(logger, name, shown))

        return [_cleaned, plain]

    def line(_: WrappedLogger, __: str, event: EventDict) -> str:
        return json_line(dict(event), _json)

    return [structlog.processors.format_exc_info, _cleaned, line]


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, default=repr).replace("\x7f", "\\u007f")


def _traceback(sio: TextIO, exc_info: ExcInfo) -> None:
    """The default prints the local variables of every frame, and a token may be among them."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    sio.write(escaped(plain.getvalue(), but_newlines=True))


def _cleaned(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Before anything is cut: a part of a token cannot be told from other words. LiveKit's library
    repeats what servers answer."""
    library = str(event.get("logger", "")).startswith("livekit")
    for name, value in event.items():
        if isinstance(value, str):
            text = shortened(value, LOOKED_AT, keep_end=name in ("exception", "stack"))
            event[name] = without_tokens(without_answers(text) if library else text)
    return event


def _message(record: logging.LogRecord) -> str:
    """What a record says, without what belongs to the case."""
    if isinstance(record.msg, dict):
        return str(record.msg.get("event", ""))[:200]
    return record.getMessage()[:200]


def _summary(logger: str, count: int, message: str) -> logging.LogRecord:
    text = f"{count} more lines like this were left out: {message}"
    return logging.LogRecord(logger, logging.WARNING, "", 0, text, None, None)
