"""Fixtures by theme, each made only for tests that ask for it; and how logs look under pytest."""

import logging
import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from app.rtc.exit import at_exit
from app.telemetry.logging import Handler

# Dozens of processes start here: what one of them has compiled, the others need not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = [
    "tests.fixtures.parts",
    "tests.fixtures.livekit",
    "tests.fixtures.livekit_api",
    "tests.fixtures.database",
    "tests.fixtures.outage",
    "tests.fixtures.api",
    "tests.fixtures.refusals",
    "tests.fixtures.models",
    "tests.fixtures.measured",
]


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


def _log_plainly() -> None:
    # Its default prints the variables of every frame, which takes half a minute for one of ours.
    structlog.reset_defaults()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )


_log_plainly()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that has been in rooms ends as our other processes do: with its own exit code."""
    at_exit(lambda: int(session.exitstatus))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that ran in this process has set up logging for itself, to streams now closed."""
    yield
    for handler in [each for each in logging.root.handlers if isinstance(each, Handler)]:
        logging.root.removeHandler(handler)
        logging.captureWarnings(False)
        _log_plainly()
