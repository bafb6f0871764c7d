"""Silence detection by a gate that follows a source's noise floor and the level of its voice.

A fixed threshold alone would keep the lips still for a quiet but audible caller (telephony at
-47 dBFS). The fixed threshold remains the ceiling: anything louder is never silence.
"""

from __future__ import annotations

BLOCK = 12  # pieces of 40 ms: half a second
BLOCKS = 4  # the floor is their quietest piece: two seconds of speech contain a pause
UNKNOWN = 2.0  # louder than any sound: no floor is known
NOTHING = (
    1e-4  # -80 dBFS: a muted microphone or a codec's silence, which tells nothing about the line
)
BELOW_VOICE = 0.1  # 20 dB below a loud vowel: breath, hum, room echo
VOICE_KEPT = 0.5 ** (0.04 / 12.0)  # decay per piece: half remains after twelve seconds


class SilenceGate:
    """Decides for each 40 ms of one source, in order, whether it is silence.

    The threshold lies above the source's noise and well below its voice, never above
    `ceiling_rms` and never more than 24 dB below it. A voice of normal level puts it at the
    ceiling, so nothing changes for it. New steady noise becomes the floor after two seconds.
    """

    def __init__(self, ceiling_rms: float, *, above_floor: float = 2.5) -> None:
        """Args:
        ceiling_rms: RMS, of full scale, from which sound is never silence; 0: nothing is silence.
        above_floor: how many times louder than the noise a voice has to be.
        """
        self._ceiling = ceiling_rms
        self._least = ceiling_rms / 16  # 24 dB
        self._above_floor = above_floor
        self.forget()

    def forget(self) -> None:
        """Resets the gate for another source."""
        self._passed: list[float] = []  # the quietest piece of each of the last complete blocks
        self._quietest = UNKNOWN  # piece of the current block
        self._pieces = 0  # in the current block
        self._voice = 0.0  # level of the source's voice; decays slowly

    def threshold(self, rms: float) -> float:
        """Adds a piece; returns the RMS below which it counts as silence."""
        self._voice = max(rms, self._voice * VOICE_KEPT)
        if rms >= NOTHING:
            self._hear(rms)
        floor = min(self._quietest, *self._passed) if self._passed else self._quietest
        wanted = max(self._least, floor * self._above_floor, self._voice * BELOW_VOICE)
        return min(self._ceiling, wanted)

    def silent(self, rms: float) -> bool:
        """Adds a piece; returns whether it is silence."""
        return rms < self.threshold(rms)

    def _hear(self, rms: float) -> None:
        if self._pieces == BLOCK:
            self._passed = [*self._passed[1 - BLOCKS :], self._quietest]
            self._quietest, self._pieces = UNKNOWN, 0
        self._quietest = min(rms, self._quietest)
        self._pieces += 1
