"""Whether somebody speaks, told by loudness. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engine import SilenceGate

CLOSE_SHARE = 0.5  # of the threshold: what is quieter counts as quiet, in between nothing changes
ABOVE_NOISE = 4.0  # 12 dB: an interruption by noise is worse than one that comes a syllable later


@dataclass(frozen=True, slots=True)
class GateConfig:
    rms: float = 0.02  # loudness, of full scale, that is always enough for speech
    begin_s: float = 0.16  # speech has begun once it lasted so long
    end_s: float = 0.5  # and ended after so much quiet


USUAL = GateConfig()


class SpeechGate:
    """Opens when speech has lasted for a while, closes when quiet has.

    Loud pieces add up and quiet ones take away: the gaps between syllables delay it a little, a
    door or a cough does not open it. A quiet caller's speech counts too, where it stands out from
    the line's noise: `SilenceGate`.
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._threshold = SilenceGate(config.rms, above_floor=ABOVE_NOISE).threshold
        self._lasted_s = 0.0  # of speech while closed, of quiet while open
        self.open = False

    def hear(self, rms: float, seconds: float) -> bool:
        """A piece of sound and its length. True for the one piece at which speech has begun."""
        loud = self._threshold(rms)
        quiet = rms < loud * CLOSE_SHARE
        if self.open:
            self._lasted_s = self._lasted_s + seconds if quiet else 0.0
            if _reached(self._lasted_s, self._config.end_s):
                self.open, self._lasted_s = False, 0.0
            return False
        if quiet:
            self._lasted_s = max(0.0, self._lasted_s - seconds)
        elif rms >= loud or self._lasted_s > 0.0:
            self._lasted_s += seconds
        if not _reached(self._lasted_s, self._config.begin_s):
            return False
        self.open, self._lasted_s = True, 0.0
        return True


def _reached(lasted_s: float, wanted_s: float) -> bool:
    return lasted_s >= wanted_s - 1e-9  # pieces of 40 ms do not add up exactly
