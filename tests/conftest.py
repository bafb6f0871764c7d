"""Fixtures by theme, each made only for tests that ask for it; and how logs look under pytest."""

import structlog

pytest_plugins = [
    "tests.fixtures.livekit",
    "tests.fixtures.database",
    "tests.fixtures.api",
    "tests.fixtures.models",
]

# Its default prints the variables of every frame, which takes half a minute for one of ours.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)
