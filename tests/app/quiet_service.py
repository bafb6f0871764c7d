"""A service in a process of its own, to be signalled or killed.

Reads its settings as a line of JSON and answers with its URL; with the argument `stuck` its
sessions do not leave when they are asked to.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from app.config import Settings
from app.http.server import listen, serve
from app.main import create_app
from app.telemetry.logging import configure_logging
from tests.fixtures.api import QuietEngine, QuietRuntime


@dataclass
class Child:
    process: subprocess.Popen[str]
    url: str


def start(settings: Settings, *arguments: str) -> Child:
    """Blocks until it listens; the caller ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    secret = settings.livekit_api_secret.get_secret_value()
    fields = settings.model_dump(mode="json") | {"livekit_api_secret": secret}
    process.stdin.write(json.dumps(fields) + "\n")
    process.stdin.flush()
    return Child(process, process.stdout.readline().strip())


async def main() -> None:
    configure_logging("json", "warning")  # nobody reads our standard output any further
    fields = json.loads(sys.stdin.readline())
    fields |= {name: Path(fields[name]) for name in ("data_dir", "personas_dir", "models_dir")}
    fields["livekit_api_secret"] = SecretStr(fields["livekit_api_secret"])
    settings = Settings(_env_file=None).model_copy(update=fields | {"port": 0})
    listening = listen(settings)
    sys.stdout.write("http://{}:{}\n".format(*listening.getsockname()))
    sys.stdout.flush()
    stage = QuietRuntime(QuietEngine(capacity=100_000), stuck="stuck" in sys.argv)
    await serve(settings, listening, partial(create_app, runtime_factory=stage.open))


if __name__ == "__main__":
    asyncio.run(main())
