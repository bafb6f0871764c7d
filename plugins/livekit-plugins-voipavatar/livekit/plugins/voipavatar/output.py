"""The agent's audio output without an avatar, and the switch between outputs."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from livekit import rtc
from livekit.agents.voice.io import AudioOutput, AudioOutputCapabilities, _AudioSinkProxy
from numpy.typing import NDArray

from .log import logger

SAMPLE_RATE = 24_000  # Hz, as most voices produce; the service accepts any rate
PIECE_S = 0.05


class VoiceOutput(AudioOutput):
    """The end of the agent's audio chain; its sink can be exchanged in mid-speech."""

    def __init__(self, sink: AudioOutput) -> None:
        super().__init__(
            label="VoipAvatar",
            capabilities=AudioOutputCapabilities(pause=False),
            next_in_chain=sink,  # the base class adds a proxy, whose sink can be exchanged
            sample_rate=SAMPLE_RATE,
        )

    def switch(self, sink: AudioOutput) -> None:
        """Use another sink. Speech that the old one has completely ends as interrupted; the rest
        of speech that is still arriving goes to the new one."""
        proxy = self.next_in_chain
        assert isinstance(proxy, _AudioSinkProxy)
        if proxy.next_in_chain is sink:
            return
        proxy.set_next_in_chain(sink)
        while proxy._pending_playback_count > proxy._capturing:  # it ends one; there may be more
            proxy.on_playback_finished(playback_position=0.0, interrupted=True)

    def is_part_of(self, output: AudioOutput | None) -> bool:
        """Whether an output's chain ends with this one."""
        while output is not None and output is not self:
            output = output.next_in_chain
        return output is self

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._pending_playback_count:
            return  # the avatar has reported this speech as ended, so nobody plays the rest
        assert self.next_in_chain is not None
        await self.next_in_chain.capture_frame(frame)

    def flush(self) -> None:
        super().flush()
        assert self.next_in_chain is not None
        self.next_in_chain.flush()

    def clear_buffer(self) -> None:
        assert self.next_in_chain is not None
        self.next_in_chain.clear_buffer()


class PlainOutput(AudioOutput):
    """The agent's own microphone track, published when first needed.

    Speech is taken no faster than it plays, so an interruption only discards what the source
    holds.
    """

    def __init__(self, room: rtc.Room) -> None:
        super().__init__(
            label="VoipAvatarPlain",
            capabilities=AudioOutputCapabilities(pause=False),
            sample_rate=SAMPLE_RATE,
        )
        self._room = room
        self._track: asyncio.Task[_Track] | None = None
        self._source: rtc.AudioSource | None = None  # of the published track
        self._unpublishing: asyncio.Task[None] | None = None
        self._sent_s = 0.0
        self._whole = 0  # how many of all segments so far have arrived completely
        self._ending: asyncio.Task[None] | None = None  # of those segments

    @property
    def idle(self) -> bool:
        return not self._pending_playback_count

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._ending is not None:
            await asyncio.wait([self._ending])  # one segment after another
        try:
            source = await self._published()
        except Exception as error:
            # Nobody can hear the agent, which must not wait for the end of its speech.
            logger.error("the agent's voice cannot be published", extra={"error": repr(error)})
            return
        if not self._sent_s:
            self.on_playback_started(created_at=time.time())
        step = round(frame.sample_rate * PIECE_S)
        mono = _mono(frame)
        for start in range(0, len(mono), step):
            piece = mono[start : start + step]
            await source.capture_frame(
                rtc.AudioFrame(piece.tobytes(), frame.sample_rate, 1, len(piece))
            )
            self._sent_s += len(piece) / frame.sample_rate

    def flush(self) -> None:
        super().flush()
        self._whole = self.captured_playout_segments
        if self._pending_playback_count and self._ending is None:
            self._ending = asyncio.create_task(self._finish())

    def clear_buffer(self) -> None:
        if not self._pending_playback_count:
            return
        if self._ending is not None:
            self._ending.cancel()
        waiting = 0.0
        if self._source is not None:
            waiting = self._source.queued_duration
            self._source.clear_queue()
        self._whole = self.captured_playout_segments
        self._end(max(0.0, self._sent_s - waiting), interrupted=True)

    async def aclose(self) -> None:
        """Unpublish the track, also one that is just being published.

        The work continues if this is cancelled.
        """
        if self._track is not None:
            publishing, self._track, self._source = self._track, None, None
            self._unpublishing = asyncio.create_task(_unpublish(self._room, publishing))
        if self._unpublishing is not None:
            await asyncio.shield(self._unpublishing)

    async def _published(self) -> rtc.AudioSource:
        """Publish the track if needed. An interruption does not cancel that: LiveKit would finish
        it anyway, and nobody could unpublish that track any more."""
        if self._track is None:
            self._track = asyncio.create_task(_publish(self._room))
        publishing = self._track
        try:
            source, _ = await asyncio.shield(publishing)
        except Exception:
            self._track = None  # the next speech tries again
            raise
        self._source = source
        return source

    async def _finish(self) -> None:
        if self._source is not None:
            await self._source.wait_for_playout()
        self._end(self._sent_s, interrupted=self._source is None)

    def _end(self, position: float, *, interrupted: bool) -> None:
        self._sent_s, self._ending = 0.0, None
        while waiting := self._pending_playback_count:
            if self.captured_playout_segments - waiting >= self._whole:
                break  # the rest is still arriving
            self.on_playback_finished(playback_position=position, interrupted=interrupted)


_Track = tuple[rtc.AudioSource, rtc.LocalTrackPublication]


async def _publish(room: rtc.Room) -> _Track:
    source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=200)
    track = rtc.LocalAudioTrack.create_audio_track("agent-audio", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    return source, await room.local_participant.publish_track(track, options)


async def _unpublish(room: rtc.Room, publishing: asyncio.Task[_Track]) -> None:
    try:
        source, publication = await publishing
        try:
            if room.isconnected():
                await room.local_participant.unpublish_track(publication.sid)
        finally:
            await source.aclose()
    except Exception as error:  # the avatar must not fail because of it
        logger.warning("could not unpublish the agent's own track: %r", error)


def _mono(frame: rtc.AudioFrame) -> NDArray[np.int16]:
    """(n,) the mean of the channels: the source is mono and drops other frames."""
    channels = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
    mean: NDArray[np.int16] = channels.mean(axis=1).astype(np.int16)
    return mean
