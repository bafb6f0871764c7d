"""A session's output: one clock, an audio loop that leads it, a video loop that follows it.

Audio is the clock (livekit.md §2.6): the 40 ms of tick n are given to LiveKit's audio source a
little before they are due and leave it at `clock.time_of(n)`; the picture of tick n is captured at
that moment, whatever picture there is then. Two loops on one schedule, since a loop that does both
adds the wait of one to the lateness of the other (livekit.md, head).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from livekit import rtc

from app.rtc.output.accounts import Accounts
from app.rtc.output.audio_source import DirectAudioSource
from app.rtc.output.clock import OutputClock
from app.rtc.output.playback_ledger import Finished, Started
from app.rtc.output.playout import Chunk, Playout
from app.rtc.output.speech_in import OUT_RATE, OUT_SAMPLES, Converter, Cutter, Pcm, loudness
from app.rtc.sdk.names import AUDIO_TRACK, VIDEO_TRACK
from engine import FRAME_S, EnginePool, Picture, SilenceGate, Stream

QUEUE_MS = 200  # the source's room; a multiple of 10, or its Rust side aborts (livekit.md §2.4)
SILENCE = np.zeros(OUT_SAMPLES, np.int16)


@dataclass(frozen=True, slots=True)
class OutputConfig:
    # Audio handed over ahead of time: the longest hold-up that isn't heard. An utterance made
    # faster than it is spoken begins that much later; live speech waits longer anyhow.
    lead_s: float = 0.06
    live_lead_s: float = 0.1
    # How unevenly live speech may arrive without a gap; also the slack of its pictures: at 40 ms
    # six sessions on two busy cores repeated a tenth of theirs (docs/benchmarks.md).
    jitter_s: float = 0.06
    run_ahead_s: float = 0.32  # pictures are asked for at most so early: an interruption is cheap
    # How much later than its audio a picture leaves: on its way the audio is held longer (Opus
    # frames, jitter buffer). Without it a viewer sees the picture some 35 ms early, as
    # `voipavatar demo` measures it.
    video_trim_s: float = 0.035
    silence_rms: float = 0.01


class AvOut:
    """Owns the audio and video sources and the clock; plays one stream of the engine."""

    def __init__(
        self, pool: EnginePool, stream: Stream, config: OutputConfig, *, live: bool = True
    ) -> None:
        """`live`: speech comes in as it is spoken. Else whole utterances come as fast as made."""
        self._pool = pool
        self._stream = stream
        self._config = config
        self._width, self._height = stream.persona.width, stream.persona.height
        self._picture: Picture = stream.idle(0)
        self._video = rtc.VideoSource(self._width, self._height)
        self._audio = DirectAudioSource(OUT_RATE, 1, QUEUE_MS)
        self._lead_s = config.live_lead_s if live else config.lead_s
        self._clock = OutputClock(time.monotonic() + self._lead_s)
        self._filled_until = 0.0  # the audio source has something to play until then
        self._playout = Playout(
            self._clock,
            lead_s=self._lead_s,
            # Live speech arrives unevenly, and the look-ahead of a frame 40 ms at a time.
            start_delay_s=pool.start_latency_s
            + (pool.lookahead_s + config.jitter_s if live else 0.0),
            live=live,
        )
        self._converter: Converter | None = None
        self._cutter = Cutter(OUT_SAMPLES)
        self._gate = SilenceGate(config.silence_rms)
        self._next_frame = stream.frames  # the engine's frame that the next chunk belongs to
        self.on_playback: Callable[[Started | Finished], None] = lambda _: None
        self.accounts = Accounts(live=live, on_playback=lambda event: self.on_playback(event))
        self.timing = self.accounts.timing
        self._captured = asyncio.Event()
        self._cleared = asyncio.Event()
        self._started = False

    def tracks(self) -> tuple[rtc.LocalVideoTrack, rtc.LocalAudioTrack]:
        """New tracks of the same sources: a session keeps its sources when it rejoins a room."""
        return (
            rtc.LocalVideoTrack.create_video_track(VIDEO_TRACK, self._video),
            rtc.LocalAudioTrack.create_audio_track(AUDIO_TRACK, self._audio),
        )

    async def run(self) -> None:
        """Speak and show until cancelled."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._speak())
            loops.create_task(self._show())

    async def next_picture(self) -> None:
        """Wait until another picture has been captured."""
        self._captured.clear()
        await self._captured.wait()
        if not self._started:
            self._started = True
            self._stream.started(time.monotonic())

    async def aclose(self) -> None:
        self.accounts.close(time.monotonic())
        await self._audio.aclose()
        await self._video.aclose()

    def begin_segment(self, rate: int, channels: int) -> int:
        """Speech of a rate and channel count follows; the number its playback is told under."""
        self.end_segment()
        self._converter = Converter(rate, channels)
        self._gate.forget()
        return self.accounts.begin()

    def push(self, pcm: Pcm) -> None:
        """Add speech to the segment: (n * channels,) interleaved int16."""
        if self._converter is None or not len(pcm):
            return
        self.accounts.came_in(time.monotonic())
        self._take_in(*self._converter.feed(pcm))

    @property
    def speaking(self) -> bool:
        """A segment is open, or waits to be heard to its end."""
        return self.accounts.open > 0

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that have come in and have not gone out."""
        return self.accounts.waiting_s

    def end_segment(self, *, lost: bool = False) -> None:
        """The speech pushed so far is all of it: its last pictures wait for nothing more.

        When its proper end was `lost`, what came in is played and then told as interrupted.
        """
        if self._converter is None:
            return
        out, heard = self._converter.feed(np.zeros(0, np.int16), last=True)
        self._converter = None
        if len(heard):
            self._stream.push(heard)
        self._stream.end_segment()
        self.accounts.pushed(len(out) / OUT_RATE)
        self.accounts.end(lost=lost)
        chunks = self._cutter.feed(out) + self._cutter.flush()
        # The filters may round the end apart by a sample: a chunk of nothing else is left out.
        self._queue(chunks[: self._stream.frames - self._next_frame])
        self._next_frame = self._stream.frames
        self._ask(time.monotonic())

    def clear(self) -> None:
        """Fall silent now: queued speech, pictures and samples on their way out are dropped."""
        now = time.monotonic()
        waiting = self._playout.loud
        self._converter = None
        self._cutter = Cutter(OUT_SAMPLES)
        self._playout.clear()
        self._stream.clear()
        self._next_frame = self._stream.frames
        self._audio.clear_queue()
        self._cleared.set()
        self._filled_until = 0.0
        # Ticks whose audio was handed out and is dropped now show the mouth closing, too.
        for tick in range(self._clock.tick_at(now) + 1, self._playout.next_tick):
            self._stream.request_idle(tick, self._due(tick))
        self.accounts.cleared(now, waiting=waiting)

    def _take_in(self, out: Pcm, heard: Pcm) -> None:
        if len(heard):
            self._stream.push(heard)
        self.accounts.pushed(len(out) / OUT_RATE)
        self._queue(self._cutter.feed(out))
        self._ask(time.monotonic())

    def _queue(self, chunks: list[Pcm]) -> None:
        now = time.monotonic()
        for pcm in chunks:
            silent = self._gate.silent(loudness(pcm))
            self._playout.add(self.accounts.chunk(self._next_frame, pcm, now, silent=silent), now)
            self._next_frame += 1

    def _due(self, tick: int) -> float:
        return self._clock.time_of(tick) + self._config.video_trim_s

    def _ask(self, now: float) -> None:
        """Ask for the pictures of all speech that has its place on the clock by now."""
        # This is called once a tick at least: what can't wait for another tick is asked for now.
        urgent = now + self._pool.start_latency_s + FRAME_S
        until = max(now + self._config.run_ahead_s, urgent)
        for tick, chunk in self._playout.plan(self._stream.complete, urgent, until):
            self._stream.request(chunk.frame, tick, self._due(tick))

    async def _speak(self) -> None:
        """Hand each tick's audio to the source, `lead_s` before it is due."""
        while True:
            due = self._clock.time_of(self._playout.next_tick) - self._lead_s
            if await self._cleared_before(due):
                # A piece on its way while the source was emptied got there after. And without
                # sound in the source nothing is sent, which hearers fill up with the last of it.
                self._audio.clear_queue()
                self.accounts.silenced(time.monotonic())
                await self._fill_gap(time.monotonic())
                continue
            now = time.monotonic()
            self._ask(now)
            await self._fill_gap(now)
            chunk = self._take(self._playout.next_tick)
            self.accounts.due(now)
            self._filled_until = self._clock.time_of(self._playout.next_tick)
            await self._audio.capture(SILENCE if chunk is None else chunk.pcm)

    def _take(self, tick: int) -> Chunk | None:
        """The next tick's speech, entered into every account; None: silence."""
        chunk, leaves = self._playout.take(), self._clock.time_of(tick)
        if chunk is None:
            for passed, spoken in self._playout.overdue():
                self._stream.request(spoken.frame, passed, self._due(passed))
            self._stream.request_idle(tick, self._due(tick))
        self.accounts.handed(tick, chunk, leaves)
        return chunk

    async def _fill_gap(self, now: float) -> None:
        """Keep the clock true when the source ran dry: at the start, after a clear or a hold-up."""
        if self._filled_until >= now:
            return
        wait = self._clock.time_of(self._playout.next_tick) - now
        if wait < 0:
            self.accounts.ran_dry(self._filled_until, now)
            self._clock.slip(-wait)
        else:
            self._filled_until = now + wait
            await self._audio.capture(np.zeros(round(wait * OUT_RATE), np.int16))

    async def _cleared_before(self, moment: float) -> bool:
        """Wait for a moment; True at once if speech was cleared since the last time."""
        try:
            async with asyncio.timeout(max(0.0, moment - time.monotonic())):
                await self._cleared.wait()
        except TimeoutError:
            return False
        self._cleared.clear()
        return True

    async def _show(self) -> None:
        """Capture the picture of each tick when its audio leaves the source."""
        tick = 0
        while True:
            while time.monotonic() < (due := self._due(tick)):
                await _sleep_until(due)  # again if the clock slipped meanwhile
            now = time.monotonic()
            current = self._clock.tick_at(now - self._config.video_trim_s)
            if current > tick:
                self.timing.dropped(now, current - tick)
                tick, due = current, self._due(current)
            self._capture(tick, due)
            tick += 1

    def _capture(self, tick: int, due: float) -> None:
        picture = self._stream.picture(tick)
        self._picture = self._picture if picture is None else picture
        self._video.capture_frame(
            rtc.VideoFrame(
                self._width,
                self._height,
                rtc.VideoBufferType.I420,
                self._picture.data,
            )
        )
        trim = self._config.video_trim_s
        self.accounts.shown(tick, time.monotonic(), due, trim, fresh=picture is not None)
        self._captured.set()


async def _sleep_until(moment: float) -> None:
    delay = moment - time.monotonic()
    await asyncio.sleep(max(0.0, delay))
