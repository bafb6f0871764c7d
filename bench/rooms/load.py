"""`voipavatar bench load`: streams on this machine's engine in real time, without rooms."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from app.cli.output_files import write_json
from app.config import settings
from app.shipped import SAMPLE
from bench.devstack import prepare_persona
from bench.engine import load as bench_load
from engine.core.types import SAMPLE_RATE
from engine.engine_config import EngineConfig
from engine.media.video import read_audio
from engine.serving.pool import EnginePool

SIDES = (512, 448, 384, 320)
"""Of the personas that the streams have in turn: different boxes, masks and arrays."""


@dataclass(frozen=True, slots=True)
class Options:
    streams: int
    seconds: float
    persona: str
    config: EngineConfig
    json_file: Path | None
    reopen: int = 0


async def run(options: Options) -> int:
    """0 if every check passed (`bench_load.Report.checks`). Raises EngineError."""
    console = Console()
    places = options.streams + (bench_load.PLACES if options.reopen else 0)
    pool = EnginePool(replace(options.config, max_streams=places))
    try:
        with console.status("Starting the engine …"):
            await asyncio.to_thread(pool.start)
            speech = await asyncio.to_thread(read_audio, SAMPLE, SAMPLE_RATE)
            personas = []
            for side in SIDES[: options.streams]:
                size = (side, side)
                personas.append(await prepare_persona(settings().data_dir, options.persona, size))
                await asyncio.to_thread(pool.admit, personas[-1])
        gc.collect()
        gc.freeze()  # as the service does
        with console.status(f"{options.streams} streams for {options.seconds:g} s …"):
            report = await bench_load.bench(
                pool, personas, speech, options.streams, options.seconds, options.reopen
            )
    finally:
        gc.unfreeze()
        await pool.aclose()
    console.print(bench_load.table(report), highlight=False)
    if options.json_file is not None:
        write_json(options.json_file, asdict(report), "voipavatar bench load")
    return 0 if all(report.checks.values()) else 1


async def suffer(config: EngineConfig, persona: str, streams: int) -> int:
    """`voipavatar bench faults`: 0 if no fault did more harm than it must."""
    from bench.engine.faults import bench, table

    console = Console()
    speech = await asyncio.to_thread(read_audio, SAMPLE, SAMPLE_RATE)
    personas = [await prepare_persona(settings().data_dir, persona, (side, side)) for side in SIDES]
    passed = True
    async for outcome in bench(config, personas[:streams], speech, streams):
        console.print(table(outcome, streams), highlight=False)
        passed = passed and outcome.passed
    return 0 if passed else 1
