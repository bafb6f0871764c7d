"""`voipavatar bench load`: streams on this machine's engine in real time, without rooms."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from app.config import settings
from app.local import prepare_persona
from app.measure.speech import SAMPLE
from engine import bench_load
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.media import read_audio
from engine.pool import EnginePool
from engine.types import SAMPLE_RATE

SIDES = (512, 448, 384, 320)
"""Of the personas that the streams have in turn: different boxes, masks and arrays."""


@dataclass(frozen=True, slots=True)
class Options:
    streams: int
    seconds: float
    persona: str
    config: EngineConfig
    json_file: Path | None


async def run(options: Options) -> int:
    """0 when every picture was there when it was due, and each stream's own."""
    console = Console()
    pool = EnginePool(replace(options.config, max_streams=options.streams))
    try:
        with console.status("Starting the engine …"):
            await asyncio.to_thread(pool.start)
            speech = await asyncio.to_thread(read_audio, SAMPLE, SAMPLE_RATE)
            personas = []
            for side in SIDES[: options.streams]:
                size = (side, side)
                personas.append(await prepare_persona(settings().data_dir, options.persona, size))
                await asyncio.to_thread(pool.admit, personas[-1])
        with console.status(f"{options.streams} streams for {options.seconds:g} s …"):
            report = await bench_load.bench(
                pool, personas, speech, options.streams, options.seconds
            )
    except EngineError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    finally:
        await pool.aclose()
    console.print(bench_load.table(report), highlight=False)
    if options.json_file is not None:
        options.json_file.write_text(json.dumps(asdict(report), indent=2) + "\n", "utf-8")
    return 0 if report.missed == report.crossed == 0 else 1
