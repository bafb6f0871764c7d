"""The benchmark of sessions, short and real: a service, rooms, people and agents in processes."""

from datetime import UTC, datetime

import pytest

from bench.report.machine import facts
from bench.report.page import page
from bench.report.show import as_json
from bench.rooms import sessions
from bench.rooms.plan import Load, Rig, Source

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("source", ["microphone", "agent"])
async def test_two_sessions_are_measured(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SETTLE_S", 1.0)  # how good they are is no test's business
    load = Load(2, 6, source=source, interrupts=1.0)
    rig = Rig({"VOIPAVATAR_ENGINE": "warp"})
    run = await sessions.run(await sessions.able(load, rig), rig)
    assert len(run.rooms) == 2
    assert all(room.received_fps > 1 and room.sent_fps > 1 for room in run.rooms)
    assert {"service", "livekit-server"} < set(run.costs.of)
    assert run.costs.of["service"].cores > 0
    assert run.pulses["service"].lag.count > 10
    assert (run.turns.count > 0) == (source == "agent")
    assert ("turn" in run.unmeasured) == (source == "microphone")
    assert as_json(run)["passed"] == (not run.failed)
    assert "2 sessions" in page([run], facts(rig), datetime.now(UTC))
