"""Logs: for people on a terminal, as JSON lines elsewhere; always on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

from app.redact import without_tokens

# They would write whole addresses, and an address may carry a token.
_QUIET = ("httpx", "httpcore", "uvicorn.access", "livekit", "aiosqlite", "alembic", "asyncio")


class _WithoutTokens(structlog.stdlib.ProcessorFormatter):
    """The second line of defence, over a line as it is written: tracebacks, libraries' words."""

    def format(self, record: logging.LogRecord) -> str:
        return without_tokens(super().format(record))


def configure_logging(style: Literal["auto", "console", "json"], level: str) -> None:
    """Send structlog's and the standard library's records the same way. Idempotent.

    No line holds a token, whoever wrote it.
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _WithoutTokens(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(style),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _rendering(style: Literal["auto", "console", "json"]) -> list[Processor]:
    if style == "console" or (style == "auto" and sys.stderr.isatty()):
        # The default prints the local variables of every frame, and a token may be among them.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
