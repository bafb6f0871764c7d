"""One session's side of the engine: speech in, pictures by tick out. Lives on the event loop."""

from __future__ import annotations

from collections.abc import Callable

from engine.audio.silence import SilenceGate
from engine.audio.speech import Speech
from engine.core.persona import Persona
from engine.core.types import FrameJob, Pcm, Picture, Rendered
from engine.engine_config import EngineConfig
from engine.serving.frame_renderer import FrameRenderer


class Stream:
    """Made by `EnginePool.open_stream`.

    Attributes:
        on_fault: called with a sentence when the engine can paint no more for this stream.
        on_picture: called when a picture came that `has` tells of.
        late: pictures that came after their tick had been shown.
        stale: pictures that came for speech that had been cleared.
    """

    def __init__(
        self,
        number: int,
        persona: Persona,
        speech: Speech,
        painter: FrameRenderer,
        config: EngineConfig,
        on_close: Callable[[int], None],
    ) -> None:
        self._number = number
        self._speech = speech
        self._painter = painter
        self._config = config
        self._on_close = on_close
        self._generation = 0
        self._quiet = config.close_frames  # ticks asked for since the last that spoke
        self._gate = SilenceGate(config.silence_rms)
        self._gated = 0  # the segment that the gate has heard last
        self._pictures: dict[int, Picture] = {}
        self._shown = -1  # the latest tick whose picture was taken
        self._closed = False
        self.persona = persona
        self.late = 0
        self.stale = 0
        self.on_fault: Callable[[str], None] = lambda _: None
        self.on_picture: Callable[[], None] = lambda: None

    @property
    def frames(self) -> int:
        """Frames that the sound pushed so far owns, across segments."""
        return self._speech.frames

    @property
    def complete(self) -> int:
        """Frames that can be painted now: they have their look-ahead, or their segment ended."""
        return self._speech.complete

    def push(self, pcm: Pcm) -> None:
        """Add speech: (n,) int16 mono at 16 kHz, any n."""
        self._speech.push(pcm)

    def end_segment(self) -> None:
        """The speech pushed so far is all of its segment."""
        self._speech.end_segment()

    def request(self, frame: int, tick: int, due: float) -> None:
        """Ask for the picture of a frame. Frames and ticks ascend.

        Args:
            tick: when it is shown, on the session's output clock; chooses the pose.
            due: seconds of time.monotonic() after which it is useless.
        """
        window = self._speech.window(frame)
        if window.segment != self._gated:  # it may be of another microphone
            self._gated = window.segment
            self._gate.forget()
        if self._gate.silent(window.rms):
            self.request_idle(tick, due)
            return
        self._quiet = 0
        self._submit(
            FrameJob(
                stream=self._number,
                generation=self._generation,
                tick=tick,
                due=due,
                persona=self.persona,
                audio=window.audio,
                segment=window.segment,
                frame=window.frame,
                unheard=window.unheard,
            )
        )

    def request_idle(self, tick: int, due: float) -> None:
        """Ask for a picture of silence: a mouth that closes, or is closed."""
        self._quiet += 1
        if self._quiet > self._config.close_frames:
            self._pictures[tick] = self.idle(tick)
            return
        job = FrameJob(
            self._number, self._generation, tick, due, self.persona, None, closing=self._quiet
        )
        self._submit(job)

    def has(self, tick: int) -> bool:
        """Its picture is there and waits to be taken."""
        return tick in self._pictures

    def picture(self, tick: int) -> Picture | None:
        """The picture of a tick that is due now; None if it is not there (yet)."""
        self._shown = tick
        found = self._pictures.pop(tick, None)
        for passed in [t for t in self._pictures if t < tick]:
            del self._pictures[passed]
        return found

    def idle(self, tick: int) -> Picture:
        """The persona at rest."""
        picture: Picture = self.persona.pictures[self.persona.source(tick)]
        return picture

    def clear(self) -> None:
        """Forget speech and pictures that have not been shown; an open segment ends here."""
        self._generation += 1
        self._speech.clear()
        self._pictures.clear()
        self._quiet = 0
        self._painter.clear(self._number, self._generation)

    def started(self, now: float) -> None:
        """The session showed its first picture: injected stalls count from here."""
        for stall in () if self._closed else self._config.stalls:
            self._painter.stall(self._number, now + stall.at_s, stall.duration_s)

    def close(self) -> None:
        """Leave the pool. Idempotent."""
        if not self._closed:
            self._closed = True
            self._on_close(self._number)

    def arrived(self, result: Rendered) -> None:
        """A picture came back from the device; only the pool calls this."""
        # A face may never reach another session: this would be a fault of ours, worse than none.
        if result.stream != self._number:
            raise AssertionError(f"picture of stream {result.stream} came to {self._number}")
        if result.generation != self._generation:
            self.stale += 1
        elif result.tick <= self._shown:
            self.late += 1
        else:
            self._pictures[result.tick] = result.picture
            self.on_picture()

    def _submit(self, job: FrameJob) -> None:
        if not self._closed:
            self._painter.submit(job)
