"""Turns of speech: when they came in, were heard with their picture, and ended."""

from __future__ import annotations

import numpy as np
import pytest

from app.rtc.output.accounts import Accounts
from app.rtc.output.playback_ledger import Finished, Started
from app.telemetry.turns import PAUSE_TICKS, Turn
from engine.core.types import FRAME_S
from tests.about import about

PCM = np.zeros(1920, np.int16)
TRIM = 0.035


class Played:
    """Accounts whose every chunk is handed out and shown as it comes, one a tick."""

    def __init__(self, *, live: bool) -> None:
        self.told: list[Started | Finished] = []
        self.turns: list[Turn] = []
        self.accounts = Accounts(live=live, on_playback=self.told.append)
        self.accounts.on_turn = self.turns.append
        self.tick = 0

    def segment(self, now: float, ticks: int) -> None:
        self.accounts.begin()
        self.accounts.came_in(now)
        self.accounts.pushed(ticks * FRAME_S)

    def hear(self, now: float, *, silent: bool = False, fresh: bool = True) -> None:
        """40 ms that came in now leave 100 ms later."""
        chunk = self.accounts.chunk(self.tick, PCM, now, silent=silent)
        leaves = now + 0.1
        self.accounts.handed(self.tick, chunk, leaves)
        due = leaves + TRIM
        self.accounts.shown(self.tick, due, due, TRIM, fresh=fresh)
        self.tick += 1

    def stats(self, now: float = 100.0) -> dict[str, dict[str, float]]:
        return self.accounts.timing.body(now)


def test_a_turn_starts_with_the_first_sound_that_leaves_with_its_picture() -> None:
    played = Played(live=False)
    played.segment(1.0, 4)
    for n in range(4):
        played.hear(1.02 + n * FRAME_S, fresh=n >= 2)
    played.accounts.end(lost=False)
    played.accounts.due(2.0)
    assert played.stats()["turn_start_ms"] == {"p50": 200.0, "p95": 200.0, "count": 1}
    [turn] = played.turns
    assert turn.leaves == pytest.approx(1.12)
    assert turn.started == pytest.approx(1.2)
    assert (turn.position_s, turn.interrupted) == (about(0.16), False)
    assert played.told == [Started(1), Finished(1, about(0.16), interrupted=False)]
    assert played.stats()["segments"] == {"started": 1, "finished": 1, "interrupted": 0}


def test_a_segment_that_waits_behind_another_tells_nothing_of_a_start() -> None:
    played = Played(live=False)
    played.segment(1.0, 1)
    played.hear(1.0)
    played.accounts.end(lost=False)
    played.segment(1.01, 1)
    played.hear(1.04)
    played.accounts.end(lost=False)
    played.accounts.due(3.0)
    assert played.stats()["turn_start_ms"]["count"] == 1
    assert [turn.queued for turn in played.turns] == [False, True]


def test_a_picture_that_never_came_is_found_at_the_next() -> None:
    played = Played(live=False)
    played.segment(1.0, 1)
    played.hear(1.0, fresh=False)
    played.accounts.end(lost=False)
    played.accounts.due(1.2)
    assert played.stats()["turn_start_ms"]["count"] == 0
    played.accounts.shown(9, 1.5 + TRIM, 1.5 + TRIM, TRIM, fresh=True)
    assert played.stats()["turn_start_ms"]["p50"] == 500.0


def test_a_cleared_turn_is_told_with_what_was_heard_and_the_silence_is_timed() -> None:
    played = Played(live=False)
    played.segment(1.0, 25)
    for n in range(10):
        played.hear(1.0 + n * FRAME_S)
    played.accounts.cleared(1.3, waiting=True)
    assert played.stats()["interrupt_ms"]["count"] == 0  # until nothing is left to be sent
    played.accounts.silenced(1.304)
    assert played.stats()["interrupt_ms"] == {"p50": 4.0, "p95": 4.0, "count": 1}
    [turn] = played.turns
    assert (turn.position_s, turn.interrupted) == (about(0.2), True)


def test_a_session_that_leaves_slowly_ends_its_speech_where_it_was_heard_to_its_end() -> None:
    played = Played(live=False)
    played.segment(1.0, 100)
    for n in range(8):
        played.hear(1.0 + n * FRAME_S)
    played.accounts.due(1.3)
    played.accounts.timing.end(1.3)
    for n in range(8, 20):  # while it leaves, on a clock that slipped by a second
        played.hear(2.0 + n * FRAME_S)
        played.accounts.due(2.0 + n * FRAME_S)
    played.accounts.close(4.0)
    assert played.told == [Started(1), Finished(1, about(0.2), interrupted=True)]
    [turn] = played.turns
    assert (turn.position_s, turn.ended) == (about(0.2), about(1.3))
    assert played.stats()["interrupt_ms"]["count"] == 0


def test_to_silence_the_silent_is_no_interruption() -> None:
    played = Played(live=False)
    played.accounts.cleared(1.0, waiting=False)
    played.accounts.silenced(1.0)
    assert played.stats()["interrupt_ms"]["count"] == 0


def test_a_microphone_is_cut_at_its_pauses() -> None:
    played = Played(live=True)
    played.segment(0.0, 200)
    said = [False] * 20 + [True] * 10 + [False] * 5 + [True] * 10 + [False] * 20 + [True] * 5
    for n, loud in enumerate(said):
        played.hear(n * FRAME_S, silent=not loud)
    first, *rest = played.turns
    assert not rest  # the second goes on
    assert first.began == pytest.approx(20 * FRAME_S)
    assert first.position_s == pytest.approx(25 * FRAME_S)  # its short pause is part of it
    assert played.stats()["turn_start_ms"] == {"p50": 100.0, "p95": 100.0, "count": 2}
    played.accounts.cleared(70 * FRAME_S + 0.1, waiting=False)
    assert (played.turns[1].interrupted, played.turns[1].position_s) == (
        True,
        about(5 * FRAME_S),
    )


def test_silence_between_pieces_ends_a_turn_too() -> None:
    played = Played(live=True)
    played.segment(0.0, 200)
    played.hear(0.0)
    for n in range(1, PAUSE_TICKS + 1):
        played.accounts.handed(n, None, 0.1 + n * FRAME_S)
    [turn] = played.turns
    assert turn.position_s == pytest.approx(FRAME_S)


def test_a_hold_up_counts_only_in_the_midst_of_sound() -> None:
    played = Played(live=True)
    played.segment(0.0, 200)
    played.hear(0.0)  # heard until 0.14
    played.accounts.ran_dry(0.0, 0.05)  # nothing has been handed out before
    played.accounts.ran_dry(0.14, 0.2)
    played.accounts.handed(1, None, 0.2)
    played.accounts.ran_dry(0.24, 0.5)
    tally = played.accounts.timing.observed.histogram("sound_gap")
    assert sum(tally.counts) == 1
    assert tally.total == pytest.approx(0.06)
