"""The service against its own OpenAPI page, as schemathesis finds requests for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from app.db import api_keys
from app.db.database import Database
from app.db.migrate import migrate
from tests.app import quiet_service

pytestmark = pytest.mark.slow

EXAMPLES = 8  # a route and phase: half a minute in all
NOT_ASKED = (
    # A session stays readable after its end, rules between fields are not in the page, and one
    # valid key among two is enough.
    *("use_after_free", "positive_data_acceptance", "ignored_auth"),
)


def examined(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    options = (
        *("--seed", "1", "--generation-database", "none", "--no-shrink", "--no-color"),
        *("--max-examples", str(EXAMPLES), "--request-timeout", "60", "--continue-on-failure"),
        *("--suppress-health-check", "all", "--warnings", "off"),
    )
    return subprocess.run(
        [*command, *options, *arguments], capture_output=True, text=True, cwd=folder, check=False
    )


@pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with a key"])
async def test_no_fault_and_no_answer_that_is_not_documented(
    service_settings: Settings, keyed: bool
) -> None:
    """No 5xx, no status, media type or body but those of the page, `Allow` as it is."""
    arguments = ["--exclude-checks", ",".join(NOT_ASKED)]
    if keyed:
        database = Database(service_settings.database)
        await migrate(database)
        key = await api_keys.create_key(database, "first")
        await database.aclose()
        arguments += ["--header", f"x-api-key: {key}"]
    child = await asyncio.to_thread(quiet_service.start, service_settings)
    try:
        found = await asyncio.to_thread(examined, service_settings.data_dir, child.url, *arguments)
    finally:
        child.process.terminate()
        await asyncio.to_thread(child.process.communicate)
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2000:]
