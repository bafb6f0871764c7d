"""Damaged media, and what becomes of each when a persona is made of it.

`python -m tests.engine.fuzzing [COUNT] [FIRST]` tries so many, all in one process, from the number
FIRST on, and writes a line of JSON for each. All 500:  python -m tests.engine.fuzzing 500
"""

from __future__ import annotations

import io
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from engine.core.engine_errors import PersonaError
from engine.prepare.build import prepare
from engine.prepare.settings import PersonaSettings
from tests.videos import persona_frames

KINDS = ("mp4", "webm", "png", "jpg", "gif")
SIDE = 96
BOX = (30, 30, 68, 72)
FRAMES = 26
LIMIT_S = 3.0  # of processor time, for one file
SETTINGS = PersonaSettings("x", face_box=BOX)


@cache
def sample(kind: str) -> bytes:
    """A small file that is whole."""
    pictures = [
        np.asarray(cv2.resize(each, (SIDE, SIDE)), np.uint8) for each in persona_frames(FRAMES)
    ]
    if kind in ("png", "jpg"):
        return bytes(cv2.imencode(f".{kind}", pictures[0])[1])
    codec, form, pixels = {
        "mp4": ("libx264", "mp4", "yuv420p"),
        "webm": ("libvpx", "webm", "yuv420p"),
        "gif": ("gif", "gif", "rgb8"),
    }[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = SIDE
        stream.pix_fmt = pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _flipped(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 4, 32))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _in_head(data: bytearray, chance: random.Random) -> None:
    """Headers hold sizes, counts and times: what they claim is what hurts."""
    for _ in range(chance.choice((1, 2, 8))):
        at = chance.randrange(min(len(data), 1024))
        data[at] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))


def _in_tail(data: bytearray, chance: random.Random) -> None:
    """An mp4 has its tables there."""
    for _ in range(chance.choice((1, 4, 16))):
        at = len(data) - 1 - chance.randrange(min(len(data), 1500))
        data[at] = chance.choice((0, 0x7F, 0xFF, chance.randrange(256)))


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(1, len(data)) :]


def _swapped(data: bytearray, chance: random.Random) -> None:
    size = chance.randrange(1, max(2, len(data) // 8))
    one, other = (chance.randrange(len(data) - size) for _ in range(2))
    first, second = data[one : one + size], data[other : other + size]
    data[one : one + size], data[other : other + size] = second, first


def _blanked(data: bytearray, chance: random.Random) -> None:
    at, size = chance.randrange(len(data)), chance.randrange(1, len(data) // 4)
    data[at : at + size] = bytes([chance.choice((0, 0xFF))]) * len(data[at : at + size])


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flipped, _in_head, _in_tail, _cut, _swapped, _blanked),
)


def mutant(number: int) -> tuple[str, bytes]:
    """Kind and bytes of a damaged file: always the same for a number."""
    kind = KINDS[number % len(KINDS)]
    chance = random.Random(number)
    data = bytearray(sample(kind))
    chance.choice(MUTATIONS)(data, chance)
    return kind, bytes(data)


def outcome(file: Path, cache_dir: Path) -> str:
    """`made`, or the sentence of the refusal. Whatever else is raised is a fault."""
    try:
        prepare("fuzzed", SETTINGS, file, cache_dir, least_box=8)
    except PersonaError as error:
        return str(error)
    return "made"


def main(count: int = 500, first: int = 0) -> None:
    # Past it, the process is ended by SIGXCPU's default: a hang is seen from outside.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        for number in range(first, first + count):
            kind, data = mutant(number)
            file = Path(name) / f"{number}.{kind}"
            file.write_bytes(data)
            _tell(begun=number, kind=kind)
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
            told = outcome(file, Path(name) / f"cache-{number}")
            signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, time.process_time() - began)
            _tell(number=number, outcome=told)
    _tell(slowest_s=round(slowest, 2), over=True)


def _tell(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    np.seterr(all="raise")
    main(*map(int, sys.argv[1:3]))
