"""The messages between workers and the engine process, as bytes."""

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
    """Kinds of message: first from a worker to the engine, then back."""

    ADMIT = 1  # JSON: number, folder
    OPEN = 2  # JSON: stream, folder
    CLOSE = 3  # STREAM
    JOB = 4
    CLEAR = 5  # STREAM_AND_GENERATION
    STALL = 6  # stream, moment, seconds
    RELEASE = 7  # OFFSET of a picture that is no longer used

    # From the engine to a worker.
    HELLO = 16  # JSON, with the arena's file
    ADMITTED = 17  # JSON: number, problem, and the type of the error
    PICTURES = 18
    FAULT = 19  # a sentence
    BEAT = 20  # JSON: stats, age_s


@dataclass(frozen=True, slots=True)
class Order:
    """A job as sent: without the persona, which belongs to the stream, and with new audio only."""

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
    """A picture that has been placed in the arena."""

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
