"""The measured run times of a backend's rungs, kept between two starts."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = "run-times"
"""Of the models folder."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """Of one batch, in seconds."""

    run_s: float
    cpu_s: float  # of all cores together


RunTimes = dict[int, RunTime]  # by rung


def path_for(models: Path, identity: Mapping[str, str]) -> Path:
    """Where the run times of a backend are kept."""
    text = json.dumps(dict(identity), sort_keys=True)
    return models / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def read(models: Path, identity: Mapping[str, str], rungs: tuple[int, ...]) -> RunTimes | None:
    """What was kept; None where there is nothing, or nothing of use."""
    try:
        kept = json.loads(path_for(models, identity).read_text(encoding="utf-8"))
        times = {int(size): RunTime(**each) for size, each in kept["batches"].items()}
        good = all(isfinite(time.run_s) and time.run_s > 0 for time in times.values())
        good = good and all(time.cpu_s >= 0 for time in times.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return times if good and tuple(times) == rungs else None


def write(models: Path, identity: Mapping[str, str], times: RunTimes) -> None:
    """Keep run times, where the models folder can be written to."""
    path = path_for(models, identity)
    kept = {"of": dict(identity), "batches": {size: asdict(time) for size, time in times.items()}}
    partial = path.with_suffix(".partial")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
