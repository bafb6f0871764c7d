"""The legal state moves of a session, forward only. Pure."""

from __future__ import annotations

from app.session_types import State

MOVES: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.ENDING, State.ENDED, State.FAILED}),
    State.READY: frozenset({State.ENDING, State.ENDED, State.FAILED}),
    State.ENDING: frozenset({State.ENDED, State.FAILED}),
    State.ENDED: frozenset(),
    State.FAILED: frozenset(),
}

LIVE = tuple(state for state in State if not state.terminal)


def sources(target: State) -> tuple[State, ...]:
    """The states from which `target` can be reached."""
    return tuple(state for state, targets in MOVES.items() if target in targets)
