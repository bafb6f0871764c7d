"""Somebody who listens to an avatar, in a process of its own, so that speech sent by the agent's
process cannot hold up what is heard. It goes before ordinary work where it may: its jitter buffer
would answer its own waiting for a processor by delaying what it hears for many seconds. Writes each
10 ms, and with LISTENER_PICTURES each picture and what the jitter buffers held, with the moment of
arrival to standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import struct
import sys
import time
from collections.abc import Mapping

import numpy as np
from livekit import rtc

RATE = 48_000  # Hz: Opus's own, nothing is resampled on the way
SAMPLES = RATE // 100
HEAD = struct.Struct("<cd")  # what follows, and seconds of the system's monotonic clock
SOUND, PICTURE, HELD = b"s", b"p", b"h"
SIDE = 48  # pixels of a picture that is passed on: enough to see lips move
BUFFERS = struct.Struct("<dd")  # seconds that sound and pictures were held by our own buffers
BYTES = {SOUND: 2 * SAMPLES, PICTURE: SIDE * SIDE, HELD: BUFFERS.size}
HELD_EVERY_S = 2.0


async def main(avatar: str) -> None:
    room = rtc.Room()
    pictures = "LISTENER_PICTURES" in os.environ
    listening: dict[str, asyncio.Task[None]] = {}  # by track
    tracks: dict[rtc.TrackKind.ValueType, rtc.Track] = {}  # by kind

    def published(publication: rtc.RemoteTrackPublication, who: rtc.RemoteParticipant) -> None:
        wanted = publication.kind == rtc.TrackKind.KIND_AUDIO or pictures
        if who.identity == avatar and wanted:
            publication.set_subscribed(True)

    def subscribed(track: rtc.Track, *_: object) -> None:
        take = listen if track.kind == rtc.TrackKind.KIND_AUDIO else watch
        listening[track.sid] = asyncio.create_task(take(track))
        tracks[track.kind] = track

    def unsubscribed(track: rtc.Track, *_: object) -> None:
        listening.pop(track.sid).cancel()  # else it goes on as silence

    def look_around() -> None:
        """Participants that joined before us cause no event."""
        for who in room.remote_participants.values():
            for publication in who.track_publications.values():
                published(publication, who)

    room.on("track_published", published)
    room.on("track_subscribed", subscribed)
    room.on("track_unsubscribed", unsubscribed)
    room.on("reconnected", look_around)
    options = rtc.RoomOptions(auto_subscribe=False)
    await room.connect(os.environ["LISTENER_URL"], os.environ["LISTENER_TOKEN"], options)
    look_around()
    weighing = asyncio.create_task(weigh(tracks)) if pictures else None
    # Until the parent closes our standard input.
    await asyncio.to_thread(sys.stdin.buffer.read)
    if weighing is not None:
        weighing.cancel()
    await room.disconnect()


async def listen(track: rtc.Track) -> None:
    async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
        tell(SOUND, bytes(event.frame.data))


async def watch(track: rtc.Track) -> None:
    async for event in rtc.VideoStream(track):
        frame = event.frame
        luma = np.frombuffer(frame.data, np.uint8, frame.width * frame.height)
        rows, columns = (np.arange(SIDE) * size // SIDE for size in (frame.height, frame.width))
        small = luma.reshape(frame.height, frame.width)[np.ix_(rows, columns)]
        tell(PICTURE, small.tobytes())


async def weigh(tracks: Mapping[rtc.TrackKind.ValueType, rtc.Track]) -> None:
    """How long our own buffers hold what comes: what of an A/V offset is the listener's."""
    kinds = (rtc.TrackKind.KIND_AUDIO, rtc.TrackKind.KIND_VIDEO)
    sums: dict[str, tuple[float, int]] = {}  # by track: seconds of all samples, and how many
    while True:
        await asyncio.sleep(HELD_EVERY_S)
        found = [await held(tracks[kind], sums) for kind in kinds if kind in tracks]
        if len(found) == len(kinds):
            tell(HELD, BUFFERS.pack(*found))


async def held(track: rtc.Track, sums: dict[str, tuple[float, int]]) -> float:
    """Seconds a sample, or picture, waited since the last look, by W3C's jitterBufferDelay."""
    before = sums.get(track.sid, (0.0, 0))
    for entry in await track.get_stats():
        if entry.HasField("inbound_rtp"):
            inbound = entry.inbound_rtp.inbound
            sums[track.sid] = inbound.jitter_buffer_delay, inbound.jitter_buffer_emitted_count
    now = sums.get(track.sid, before)
    return (now[0] - before[0]) / (now[1] - before[1]) if now[1] > before[1] else math.nan


def tell(kind: bytes, data: bytes) -> None:
    sys.stdout.buffer.write(HEAD.pack(kind, time.monotonic()) + data)
    sys.stdout.buffer.flush()


def go_first() -> None:
    """Before LiveKit's library starts its threads, which inherit it."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the parent, which then closes our input
    go_first()
    asyncio.run(main(sys.argv[1]))
