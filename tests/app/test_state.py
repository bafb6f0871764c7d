"""States go forward only, in the rules and in the database."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest
from sqlalchemy import select

from app.db.columns import now
from app.db.database import Database
from app.db.tables import InstanceRow, SessionEventRow, SessionRow
from app.session_types import State
from app.sessions.repository import SessionRepository
from app.sessions.state import LIVE, MOVES, sources
from tests.fixtures.database import session_row

ORDER = [State.STARTING, State.READY, State.ENDING, State.ENDED, State.FAILED]


def test_moves_go_forward_and_end() -> None:
    for state, targets in MOVES.items():
        assert all(ORDER.index(target) > ORDER.index(state) for target in targets)
        assert state.terminal == (not targets)
        assert state.terminal or {State.ENDED, State.FAILED} <= targets
    assert set(LIVE) == {State.STARTING, State.READY, State.ENDING}
    assert State.STARTING not in {target for targets in MOVES.values() for target in targets}


@pytest.fixture
async def rows(database: Database) -> Database:
    """One session in each state for each target, named after both."""
    async with database.write() as session:
        session.add(
            InstanceRow(
                id="ins_1",
                host="h",
                pid=1,
                process_started=0.0,
                started_at=now(),
                heartbeat_at=now(),
            )
        )
        await session.flush()
        for state, target in product(State, State):
            name = f"{state}-{target}"
            session.add(session_row(name, "ins_1", state, room=name))
    return database


async def test_only_legal_moves_change_a_row(rows: Database) -> None:
    async with rows.write() as session:
        for state, target in product(State, State):
            moved = await SessionRepository(session).move(f"{state}-{target}", target)
            assert moved == (state in sources(target)), (state, target)
    async with rows.read() as session:
        found = {row.id: row.state for row in await session.scalars(select(SessionRow))}
        events = (await session.scalars(select(SessionEventRow))).all()
    for state, target in product(State, State):
        assert found[f"{state}-{target}"] == (target if target in MOVES[state] else state)
    assert sorted((event.from_state, event.to_state) for event in events) == sorted(
        (state, target) for state, targets in MOVES.items() for target in targets
    )


async def test_of_many_ends_at_once_one_counts(rows: Database) -> None:
    async def end(target: State) -> bool:
        async with rows.write() as session:
            return await SessionRepository(session).move("ready-ready", target)

    ends = [State.ENDED, State.FAILED, State.ENDING, State.ENDED]
    moved = await asyncio.gather(*map(end, ends))
    last = [target for target, done in zip(ends, moved, strict=True) if done and target.terminal]
    assert len(last) == 1
    async with rows.read() as session:
        row = await session.get_one(SessionRow, "ready-ready")
        events = (await session.scalars(select(SessionEventRow))).all()
    assert row.state == last[0]
    assert len(events) == sum(moved)
