"""What the two processes tell each other, as bytes."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from engine.core.types import FrameJob
from engine.remote.sound_transfer import SILENCE, Piece

_JOB = struct.Struct("<IIqdBBIIIq")
_PICTURE = struct.Struct("<IIqQI")
STREAM = struct.Struct("<I")
STREAM_AND_GENERATION = struct.Struct("<II")
OFFSET = struct.Struct("<Q")
STALL = struct.Struct("<Idd")
NO_SOUND = Piece(0, SILENCE)


class Kind(IntEnum):
    """From a host of sessions to the engine …"""

    ADMIT = 1  # JSON: number, folder
    OPEN = 2  # JSON: stream, folder
    CLOSE = 3  # STREAM
    JOB = 4
    CLEAR = 5  # STREAM_AND_GENERATION
    STALL = 6  # stream, moment, seconds
    RELEASE = 7  # OFFSET of a picture that is no longer looked at

    # … and back.
    HELLO = 16  # JSON, with the arena's file
    ADMITTED = 17  # JSON: number, problem, the kind of error it was
    PICTURES = 18
    FAULT = 19  # a sentence
    BEAT = 20  # JSON: stats, age_s


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it travels: the persona is the stream's, the sound is news only."""

    stream: int
    generation: int
    tick: int
    due: float
    inferred: bool
    closing: int
    segment: int
    frame: int
    unheard: int
    piece: Piece


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture that lies in the arena."""

    stream: int
    generation: int
    tick: int
    offset: int
    size: int


def pack_json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def pack_job(job: FrameJob, piece: Piece) -> bytes:
    head = _JOB.pack(
        job.stream,
        job.generation,
        job.tick,
        job.due,
        job.inferred,
        job.closing,
        job.segment,
        job.frame,
        job.unheard,
        piece.at,
    )
    return head + piece.pcm.tobytes()


def unpack_job(body: bytes) -> Order:
    stream, generation, tick, due, inferred, *rest, at = _JOB.unpack_from(body)
    closing, segment, frame, unheard = rest
    piece = Piece(at, np.frombuffer(body, np.int16, offset=_JOB.size))
    return Order(
        stream, generation, tick, due, bool(inferred), closing, segment, frame, unheard, piece
    )


def pack_pictures(pictures: list[Placed]) -> bytes:
    return b"".join(
        _PICTURE.pack(each.stream, each.generation, each.tick, each.offset, each.size)
        for each in pictures
    )


def unpack_pictures(body: bytes) -> list[Placed]:
    return [Placed(*fields) for fields in _PICTURE.iter_unpack(body)]
