"""A service in a process of its own, to be killed: settings come in on a line, its URL goes out."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from pydantic import SecretStr

from app.config import Settings
from tests.fixtures.api import QuietStage, running


async def main() -> None:
    fields = json.loads(sys.stdin.readline())
    fields |= {"data_dir": Path(fields["data_dir"]), "personas_dir": Path(fields["personas_dir"])}
    fields["livekit_api_secret"] = SecretStr(fields["livekit_api_secret"])
    settings = Settings(_env_file=None).model_copy(update=fields)
    async with running(settings, QuietStage()) as api:
        sys.stdout.write(f"{api.http.base_url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
