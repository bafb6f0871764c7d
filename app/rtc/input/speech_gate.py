"""Detects speech by loudness. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engine import SilenceGate

CLOSE_SHARE = 0.5  # of the threshold: less counts as quiet; in between, nothing changes
ABOVE_NOISE = 4.0  # 12 dB: a false interruption is worse than one that is a syllable late


@dataclass(frozen=True, slots=True)
class GateConfig:
    rms: float = 0.02  # this loudness, of full scale, always counts as speech
    begin_s: float = 0.16  # how long sound lasts before it counts as speech
    end_s: float = 0.5  # how long quiet lasts before speech counts as ended


USUAL = GateConfig()


class SpeechGate:
    """Opens after enough speech, closes after enough quiet.

    Loud pieces add up and quiet ones subtract: gaps between syllables delay opening a little, and a
    door or a cough does not open it. A quiet caller also counts if the voice stands out from the
    line's noise (`SilenceGate`).
    """

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._threshold = SilenceGate(config.rms, above_floor=ABOVE_NOISE).threshold
        self._lasted_s = 0.0  # of speech while closed, of quiet while open
        self.open = False

    def feed(self, rms: float, seconds: float) -> bool:
        """Take a piece of audio and its length. True for the one piece at which speech begins."""
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
