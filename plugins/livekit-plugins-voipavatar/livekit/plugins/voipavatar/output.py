"""Where the agent's speech goes: to the avatar, or, without one, straight into the room."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import AudioOutput, AudioOutputCapabilities, _CaptureCancelledEvent
from numpy.typing import NDArray

from .log import logger

SAMPLE_RATE = 24_000  # Hz: what most voices are made at; the service takes any rate
PIECE_S = 0.05
OVERDUE_S = 8.0  # an avatar so late with its report will not report any more


class VoiceOutput(AudioOutput):
    """The end of the agent's audio chain; the sink below can be exchanged in mid-speech."""

    def __init__(self, sink: AudioOutput) -> None:
        super().__init__(
            label="VoipAvatar",
            capabilities=AudioOutputCapabilities(pause=False),
            next_in_chain=sink,  # the base class puts a proxy between, which can exchange it
            sample_rate=SAMPLE_RATE,
        )

    def switch(self, sink: AudioOutput) -> None:
        """Use another sink. Speech that the old one has whole ends as interrupted; of speech
        that is still coming in, the rest goes to the new one."""
        self.next_in_chain.set_next_in_chain(sink)  # type: ignore[union-attr]

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._pending_playback_count:
            return  # the avatar has told this speech as ended already, so nobody plays the rest
        assert self.next_in_chain is not None
        await self.next_in_chain.capture_frame(frame)

    def flush(self) -> None:
        super().flush()
        assert self.next_in_chain is not None
        self.next_in_chain.flush()

    def clear_buffer(self) -> None:
        assert self.next_in_chain is not None
        self.next_in_chain.clear_buffer()


class AvatarOutput(DataStreamAudioOutput):
    """Sends speech to the avatar while it is there; holds it back while it may yet come.

    The base class waits for an avatar without end, and the agent with it. Here the wait ends with
    `open`, or with `hand_over`, when the frame that waits goes to another sink.
    """

    def __init__(self, room: rtc.Room, identity: str) -> None:
        super().__init__(
            room,
            destination_identity=identity,
            sample_rate=SAMPLE_RATE,
            wait_playback_start=True,
        )
        self._passable = asyncio.Event()
        self._heir: AudioOutput | None = None
        self._deaf = False
        self._heard_until = 0.0  # when all that was sent should have been heard

    async def ready(self) -> None:
        """Wait until the base class has found somebody of this identity.

        Raises RuntimeError if the agent's own connection ends before that.
        """
        if self._start_atask is not None:
            await asyncio.shield(self._start_atask)

    def open(self) -> None:
        """The avatar is there."""
        self._passable.set()

    def hold(self) -> None:
        """The avatar is away, and may be back."""
        if self._heir is None:
            self._passable.clear()

    def hand_over(self, heir: AudioOutput, *, deaf: bool) -> None:
        """The avatar is of no use any more: what still comes in here is the heir's.

        One that is not `deaf` can be told to fall silent.
        """
        self._heir, self._deaf = heir, deaf
        self._passable.set()
        self._room.off("connection_state_changed", self._handle_connection_state_changed)
        if self._start_atask is not None:
            self._start_atask.cancel()  # else it waits for ever for an avatar to come

    def overdue(self) -> bool:
        """Speech should have been heard long ago, and no report of it came."""
        complete = self._pending_playback_count > 0 and self._stream_writer is None
        return complete and time.monotonic() > self._heard_until + OVERDUE_S

    def clear_buffer(self) -> None:
        if not self._deaf:
            super().clear_buffer()
        while self._deaf and self._pending_playback_count:
            self.on_playback_finished(playback_position=self._pushed_duration, interrupted=True)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        try:
            await self._passable.wait()
        except asyncio.CancelledError:
            if not self._pending_playback_count:
                # Whatever is above has counted a segment, of which nothing was sent.
                self._dispatch_playback_finished(
                    _CaptureCancelledEvent(playback_position=0, interrupted=True)
                )
            raise
        if self._heir is not None:
            await self._heir.capture_frame(frame)
            return
        begins = self._heard_until if self._pending_playback_count else 0.0
        await super().capture_frame(frame)
        self._heard_until = max(begins, time.monotonic()) + frame.duration


class PlainOutput(AudioOutput):
    """The agent's own microphone track, published when it is first needed.

    Speech is taken no faster than it is played, so an interruption has nothing to throw away but
    what the source holds.
    """

    def __init__(self, room: rtc.Room) -> None:
        super().__init__(
            label="VoipAvatarPlain",
            capabilities=AudioOutputCapabilities(pause=False),
            sample_rate=SAMPLE_RATE,
        )
        self._room = room
        self._source: rtc.AudioSource | None = None
        self._publication: rtc.LocalTrackPublication | None = None
        self._sent_s = 0.0
        self._ending: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return not self._pending_playback_count

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        try:
            source = await self._published()
        except rtc.participant.PublishTrackError as error:
            # Nobody can hear the agent: without this it would wait for the end of its speech.
            logger.error("the agent's voice cannot be published", extra={"error": error.message})
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
        self._end(max(0.0, self._sent_s - waiting), interrupted=True)

    async def aclose(self) -> None:
        """Take the track out of the room."""
        if self._publication is not None and self._room.isconnected():
            await self._room.local_participant.unpublish_track(self._publication.sid)
        if self._source is not None:
            await self._source.aclose()
        self._publication = self._source = None

    async def _published(self) -> rtc.AudioSource:
        if self._source is None or self._publication is None:
            source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=200)
            track = rtc.LocalAudioTrack.create_audio_track("agent-audio", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            self._publication = await self._room.local_participant.publish_track(track, options)
            self._source = source
        return self._source

    async def _finish(self) -> None:
        if self._source is not None:
            await self._source.wait_for_playout()
        self._end(self._sent_s, interrupted=self._source is None)

    def _end(self, position: float, *, interrupted: bool) -> None:
        self._sent_s, self._ending = 0.0, None
        while self._pending_playback_count:
            self.on_playback_finished(playback_position=position, interrupted=interrupted)


def _mono(frame: rtc.AudioFrame) -> NDArray[np.int16]:
    """(n,) the mean of the channels: the source is mono, and drops what is not."""
    channels = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
    return channels.mean(axis=1).astype(np.int16)
