"""Fixtures by theme; each is made only for tests that ask for it."""

pytest_plugins = [
    "tests.fixtures.livekit",
    "tests.fixtures.database",
    "tests.fixtures.api",
]
