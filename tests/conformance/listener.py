"""Somebody who listens to an avatar, in a process of its own, so that speech sent by the agent's
process cannot hold up what is heard. Writes each 10 ms and its arrival to standard output.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time

from livekit import rtc

RATE = 48_000  # Hz: Opus's own, nothing is resampled on the way
SAMPLES = RATE // 100
HEAD = struct.Struct("<d")  # seconds of the system's monotonic clock
PIECE_BYTES = HEAD.size + 2 * SAMPLES


async def main(avatar: str) -> None:
    room = rtc.Room()
    listening: dict[str, asyncio.Task[None]] = {}  # by track

    def published(publication: rtc.RemoteTrackPublication, who: rtc.RemoteParticipant) -> None:
        if who.identity == avatar and publication.kind == rtc.TrackKind.KIND_AUDIO:
            publication.set_subscribed(True)

    def subscribed(track: rtc.Track, *_: object) -> None:
        listening[track.sid] = asyncio.create_task(listen(track))

    def unsubscribed(track: rtc.Track, *_: object) -> None:
        listening.pop(track.sid).cancel()  # else it goes on as silence

    room.on("track_published", published)
    room.on("track_subscribed", subscribed)
    room.on("track_unsubscribed", unsubscribed)
    options = rtc.RoomOptions(auto_subscribe=False)
    await room.connect(os.environ["LISTENER_URL"], os.environ["LISTENER_TOKEN"], options)
    for who in room.remote_participants.values():
        for publication in who.track_publications.values():
            published(publication, who)
    # Until whoever started us closes our standard input.
    await asyncio.to_thread(sys.stdin.buffer.read)
    await room.disconnect()


async def listen(track: rtc.Track) -> None:
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
    out = sys.stdout.buffer
    async for event in stream:
        out.write(HEAD.pack(time.monotonic()) + bytes(event.frame.data))
        out.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
