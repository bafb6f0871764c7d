"""Receivers that count pictures without decoding: tools/people, one process for all rooms.

The SDK's receivers decode whatever they subscribe to, a fourteenth of a core a room; these read
packets. Their speech is encoded once, beforehand, and sent as a browser would send it.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np

from app.shipped import SAMPLE, SCRIPTS
from bench.clients.participant import LiveKitAccess
from bench.devstack import LiveKit
from bench.measure.speech import read_wav, talk
from bench.rooms.load_clients import AVATAR, PERSON

ENV = {"GOGC": "400"}  # its own pauses would be measured as gaps: memory is cheaper
RATE = 48_000
PIECES = 25 * 120  # of 40 ms: two minutes of talk, then round again


class NoCrowd(Exception):
    """The program is missing and cannot be built."""


async def binary(given: Path | None) -> Path:
    """Path of tools/people, built if needed. Raises NoCrowd."""
    if given is not None:
        return given
    found = await asyncio.create_subprocess_exec(
        str(SCRIPTS / "people.sh"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await found.communicate()
    if found.returncode != 0:
        raise NoCrowd("tools/people cannot be built; the lines above say why.")
    return Path(out.decode().strip())


def write_talk(file: Path, duty: float) -> None:
    """The sample speech as Opus packets of 20 ms, each after two bytes of its length."""
    pcm, rate = read_wav(SAMPLE)
    sound = np.concatenate(list(itertools.islice(talk(pcm, rate, duty, 0), PIECES)))
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
    encoder.bit_rate = 32_000
    encoder.options = {"application": "voip", "frame_duration": "20"}
    resampler = av.AudioResampler("s16", "mono", RATE, frame_size=RATE // 50)
    frame = av.AudioFrame.from_ndarray(sound[None, :], "s16", "mono")
    frame.sample_rate = rate
    with file.open("wb") as out:
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in encoder.encode(piece):
                data = bytes(packet)
                out.write(struct.pack("<H", len(data)) + data)


def job(livekit: LiveKit, rooms: list[str], speech: Path | None) -> dict[str, Any]:
    """The job as main.go's `Job` reads it; without `speech` receivers only watch."""
    access = LiveKitAccess(livekit.url, livekit.key, livekit.secret)
    return {
        "url": livekit.url,
        "avatar": AVATAR,
        "tokens": {room: access.token(room, PERSON) for room in rooms},
        "speech": "" if speech is None else str(speech),
    }
