"""What counts as silence: a gate that follows how quiet a source is, and how loud its voice.

A fixed loudness alone keeps the lips still under a quiet caller whose voice everybody hears
(telephony at -47 dBFS). The fixed loudness stays the ceiling: what is louder is never silence.
"""

from __future__ import annotations

BLOCK = 12  # pieces of 40 ms: half a second
BLOCKS = 4  # of which the floor is the quietest piece: two seconds of speech have a pause in them
UNKNOWN = 2.0  # a floor louder than any sound
NOTHING = 1e-4  # -80 dBFS: a muted microphone, or a codec's silence; says nothing of the line
BELOW_VOICE = 0.1  # 20 dB below a loud vowel: breath, hum, the room's echo
VOICE_KEPT = 0.5 ** (0.04 / 12.0)  # a piece later: half of it is left after twelve seconds


class SilenceGate:
    """Tells of each 40 ms of one source, in order, whether it is silence.

    The threshold lies above the source's own noise and well below its own voice, never above
    `ceiling_rms` and never more than 24 dB below it. A voice of usual loudness puts it at the
    ceiling, so nothing changes for it. Noise that begins and stays counts as floor two seconds
    later.
    """

    def __init__(self, ceiling_rms: float, *, above_floor: float = 2.5) -> None:
        """Args:
        ceiling_rms: loudness, of full scale, from which sound is never silence. 0: none is.
        above_floor: how many times louder than the noise a voice is.
        """
        self._ceiling = ceiling_rms
        self._least = ceiling_rms / 16  # 24 dB
        self._above_floor = above_floor
        self.forget()

    def forget(self) -> None:
        """Another source follows."""
        self._passed: list[float] = []  # the quietest piece of each of the last whole blocks
        self._quietest = UNKNOWN  # piece of the block under way
        self._pieces = 0  # in the block under way
        self._voice = 0.0  # loudness of the source's voice, forgotten slowly

    def threshold(self, rms: float) -> float:
        """Hear one more piece; the loudness under which it, and what is like it, is silence."""
        self._voice = max(rms, self._voice * VOICE_KEPT)
        if rms >= NOTHING:
            self._hear(rms)
        floor = min(self._quietest, *self._passed) if self._passed else self._quietest
        wanted = max(self._least, floor * self._above_floor, self._voice * BELOW_VOICE)
        return min(self._ceiling, wanted)

    def silent(self, rms: float) -> bool:
        """Hear one more piece: whether it is silence."""
        return rms < self.threshold(rms)

    def _hear(self, rms: float) -> None:
        if self._pieces == BLOCK:
            self._passed = [*self._passed[1 - BLOCKS :], self._quietest]
            self._quietest, self._pieces = UNKNOWN, 0
        self._quietest = min(rms, self._quietest)
        self._pieces += 1
