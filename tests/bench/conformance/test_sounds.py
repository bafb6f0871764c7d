"""What the suite makes of what it hears, on sound made here."""

from __future__ import annotations

import numpy as np
import pytest

from bench.conformance.sounds import Heard, Pcm, cut_heard, tone, vowel
from engine.backends.warp_sound import LEFT_CONTEXT, LOOKAHEAD, shapes
from engine.core.types import SAMPLES_PER_FRAME

RATE = 48_000
OLD, NEW = 440.0, 880.0


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.int16)


def heard(*parts: Pcm) -> Heard:
    pcm = np.concatenate(parts)
    pieces = pcm[: len(pcm) // 480 * 480].reshape(-1, 480)
    return Heard.of([(100 + 0.01 * k, piece) for k, piece in enumerate(pieces)])


def test_the_moments_of_an_interruption_are_found() -> None:
    sound = heard(silence(0.2), tone(1.0, RATE), silence(0.15), tone(0.4, RATE, hz=NEW))
    found = cut_heard(sound, OLD, NEW)
    assert found is not None
    times = (found.began - 100, found.ended - 100, found.next_began - 100)
    assert times == pytest.approx((0.2, 1.2, 1.35), abs=0.006)
    assert not found.stale


def test_what_comes_again_is_stale() -> None:
    again = tone(0.04, RATE)
    after = heard(tone(1.0, RATE), silence(0.1), tone(0.4, RATE, hz=NEW), silence(0.1), again)
    within = heard(tone(1.0, RATE), silence(0.1), tone(0.2, RATE, hz=NEW), again, silence(0.2))
    for sound in (after, within):
        found = cut_heard(sound, OLD, NEW)
        assert found is not None
        assert found.stale
        assert found.ended - 100 == pytest.approx(1.0, abs=0.006)


def test_what_rings_on_after_a_tone_is_not_the_other_one_again() -> None:
    """As Opus leaves it: lower, and of no clear pitch."""
    ringing = tone(0.06, RATE, hz=330.0) // 20
    sound = heard(tone(1.0, RATE), silence(0.1), tone(0.4, RATE, hz=NEW), ringing, silence(0.2))
    found = cut_heard(sound, OLD, NEW)
    assert found is not None
    assert not found.stale
    assert found.ended - 100 == pytest.approx(1.0, abs=0.006)


def test_half_of_an_interruption_says_nothing() -> None:
    assert cut_heard(heard(tone(1.0, RATE), silence(0.5)), OLD, NEW) is None
    assert cut_heard(heard(silence(0.5), tone(1.0, RATE, hz=NEW)), OLD, NEW) is None


def test_a_vowel_opens_a_mouth() -> None:
    sound = vowel(2.0, 16_000)
    assert 0.1 < np.sqrt(np.mean(np.square(sound / 32768.0))) < 0.5
    assert np.abs(sound).max() < 32767
    window = sound[: LEFT_CONTEXT + SAMPLES_PER_FRAME + LOOKAHEAD]
    assert shapes([window])[0].opening > 0.8
