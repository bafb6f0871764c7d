"""Loudness that counts as speech, and what does not."""

from __future__ import annotations

from app.rtc.input.speech_gate import GateConfig, SpeechGate

PIECE_S = 0.04
LOUD, BETWEEN, QUIET = 0.05, 0.015, 0.001


def begins(levels: list[float], gate: SpeechGate | None = None) -> list[int]:
    """The pieces at which speech begins."""
    gate = gate or SpeechGate(GateConfig())
    return [n for n, level in enumerate(levels) if gate.feed(level, PIECE_S)]


def test_speech_begins_once_it_has_lasted() -> None:
    assert begins([QUIET] * 5 + [LOUD] * 20) == [8]  # 160 ms


def test_a_door_or_two_coughs_are_no_speech() -> None:
    assert begins([LOUD] * 3 + [QUIET] * 20) == []
    assert begins(([LOUD] * 2 + [QUIET] * 5) * 10) == []


def test_gaps_between_syllables_only_delay_it() -> None:
    assert begins([LOUD] * 3 + [QUIET] + [LOUD] * 10) == [5]


def test_between_the_levels_speech_goes_on_and_does_not_begin() -> None:
    assert begins([BETWEEN] * 50) == []
    assert begins([LOUD] + [BETWEEN] * 10) == [3]


def test_it_begins_anew_after_half_a_second_of_quiet() -> None:
    said = [LOUD] * 10
    assert begins(said + [QUIET] * 10 + said) == [3]
    assert begins(said + [QUIET] * 13 + said) == [3, 26]
    assert begins(said + [BETWEEN] * 50 + said) == [3]


def test_thresholds_are_those_of_the_settings() -> None:
    gate = SpeechGate(GateConfig(rms=0.1, begin_s=0.08, end_s=0.04))
    assert begins([LOUD] * 5 + [0.2] * 2 + [QUIET] + [0.2] * 2, gate) == [6, 9]


def test_a_quiet_caller_is_heard_over_the_line() -> None:
    line, voice = 0.0006, 0.006  # noise at -65 dBFS, a voice at -45
    assert begins([line] * 25 + [voice] * 10 + [line] * 20 + [voice] * 10) == [28, 58]


def test_steady_noise_does_not_begin_however_loud_below_the_threshold() -> None:
    for noise in (0.001, 0.004, 0.015):
        assert begins([0.0] * 25 + [noise, noise * 1.2] * 100) == []


def test_the_echo_of_a_usual_voice_does_not_begin() -> None:
    assert begins([0.001] * 10 + [LOUD] * 10 + [0.001] * 20 + [0.004] * 20) == [13]
