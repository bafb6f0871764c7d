"""`voipavatar bench rooms`: memory kept for each room, and by whom."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from app.cli.output_files import write_json
from app.config import settings
from bench.clients.kept import Kind, kept
from bench.devstack import LocalError, local_livekit, prepare_persona
from engine.core.engine_errors import EngineError


async def bench_rooms(kind: Kind, rooms: int, *, trace: bool, json_file: Path | None) -> int:
    """0 if it could be measured."""
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="voipavatar-") as folder:
            async with local_livekit(Path(folder) / "livekit") as livekit:
                known = settings().model_copy(
                    update={
                        "livekit_url": livekit.url,
                        "livekit_api_key": livekit.key,
                        "livekit_api_secret": SecretStr(livekit.secret),
                        "data_dir": Path(folder) / "data",
                        "engine": "warp",
                    }
                )
                if kind == "session":
                    await prepare_persona(known.data_dir, "default")
                found = await kept(kind, rooms, known, known.personas_dir, trace=trace)
    except (EngineError, LocalError) as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    last = found.looks[-1][1] / 1024
    console.print(f"{kind}: {found.kb_a_room:+.0f} kB a room, {last:.0f} MB after {rooms}")
    if trace:
        console.print(f"of that, Python's own: {found.python_kb:+.2f} kB a room; most of it in")
        console.print("\n".join(found.lines), highlight=False)
    if json_file is not None:
        body = {**asdict(found), "kb_a_room": found.kb_a_room}
        await asyncio.to_thread(write_json, json_file, body, "voipavatar bench rooms")
    return 0
