"""What sessions observe reaches `/metrics` once, wherever they run."""

from __future__ import annotations

import json

from app.telemetry.histograms import EDGES, Observed
from app.telemetry.prometheus import COUNTED, HISTOGRAMS
from tests.fixtures.api import Api


def test_every_histogram_is_shown() -> None:
    assert set(HISTOGRAMS) == set(EDGES)
    assert all(list(edges) == sorted(edges) for edges in EDGES.values())


def test_what_was_drained_is_told_once_and_adds_up() -> None:
    first, second, whole = Observed(), Observed(), Observed()
    first.observe("turn_start", 0.05)  # on an edge: of the bucket below it
    first.observe("turn_start", 99.0)
    first.count("segments_started", 2)
    second.observe("turn_start", 0.07)
    for source in (first, second, first):
        whole.merge(json.loads(json.dumps(source.drain())))
    whole.merge({})
    tally = whole.histogram("turn_start")
    assert tally.counts == [1, 1, *[0] * 10, 1]
    assert tally.total == 0.05 + 99.0 + 0.07
    assert whole.counters == {"segments_started": 2}


async def test_metrics_show_live_sessions_and_those_that_ended(api: Api) -> None:
    sessions = [await api.create(room) for room in ("a", "b")]
    for runner in api.stage.runners:
        runner.observed.observe("turn_start", 0.22)
        runner.observed.count("pictures_repeated", 3)
    for _ in range(2):  # a scrape takes nothing away
        await _shows(api, turns=2, repeated=6)
    api.stage.runners[0].observed.observe("turn_start", 0.22)
    await api.http.delete(f"/sessions/{sessions[0]['id']}")
    await api.ended(sessions[0]["id"])
    await _shows(api, turns=3, repeated=6)


async def _shows(api: Api, turns: int, repeated: int) -> None:
    text = (await api.http.get("/metrics")).text
    lines = text.splitlines()
    assert 'voipavatar_turn_start_seconds_bucket{le="0.2"} 0.0' in lines
    assert f'voipavatar_turn_start_seconds_bucket{{le="0.25"}} {turns}.0' in lines
    assert f'voipavatar_turn_start_seconds_bucket{{le="+Inf"}} {turns}.0' in lines
    assert f"voipavatar_turn_start_seconds_count {turns}.0" in lines
    assert f"voipavatar_pictures_repeated_total {repeated}.0" in lines
    for name in COUNTED:
        assert f"\nvoipavatar_{name}_total " in text
