"""A run of sessions as one HTML file that needs nothing beside it: no script, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.report import page_plots
from bench.report.page_tables import Table, limits, processes, sessions
from bench.report.show import counted, holding, limit, notes, title, verdict
from bench.rooms.rooms import Quantiles
from bench.rooms.sessions import Run

GROWTH_AFTER_S = 300.0  # a shorter run shows warming up, not growth
FOLDER = Path(__file__).parent
RECEIVERS = {
    "count": "A receiver in each room stamps every packet of the avatar's tracks as it arrives "
    "and decodes nothing. A picture has arrived with its last packet. The A/V offset is how "
    "much longer pictures were on their way than the sound of the same moment (by the "
    "tracks' RTCP sender reports), medians of a second each, without jitter buffers.",
    "sdk": "A receiver in each room is LiveKit's SDK, whose counters are read twice a second; "
    "the longest gap is an upper bound from their sums.",
    "decode": "A receiver in each room is LiveKit's SDK; each decoded picture is stamped.",
}
SOURCES = {
    "microphone": "A person in each room speaks into a microphone.",
    "agent": "An agent in each room sends utterances as byte streams, five times as fast as "
    "they are spoken, and hears the result through the SDK's jitter buffer. Turn start: from its "
    "first sample handed over to the first audible 5 ms. Interrupt: from its request to the last "
    "5 ms above −40 dB of the level before.",
}


def page(
    runs: Sequence[Run],
    facts: Mapping[str, str],
    began: datetime,
    held: int | None = None,
    *,
    complete: bool = True,
) -> str:
    """The report.

    Args:
        held: what a search among the runs found; None if all are of one number of sessions.
        complete: False if something stopped it.
    """
    best = [run for run in runs if not run.failed and run.load.sessions == held]
    run = (best or list(runs))[-1]
    outcome = _outcome(runs, run, held, complete)
    folder = FileSystemLoader(FOLDER)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        style=(FOLDER / "page.css").read_text("utf-8"),
        counted=counted(run.load.sessions),
        headline=_headline(run, held, outcome),
        title=title(run),
        began=began,
        outcome=outcome,
        cards=_cards(run),
        search=None if held is None else _search(runs),
        limits=limits(run),
        over_time=page_plots.over_time(run),
        sessions=sessions(run),
        processes=processes(run, with_growth=run.load.seconds >= GROWTH_AFTER_S),
        bottleneck=limit(run),
        method=_method(run),
        facts=facts,
    )


def _outcome(runs: Sequence[Run], run: Run, held: int | None, complete: bool) -> str:
    if not complete:
        return "stopped"
    failed = run.failed if held is not None else any(each.failed for each in runs)
    return "fail" if failed else "pass"


def _headline(run: Run, held: int | None, outcome: str) -> str:
    if held is None:
        return counted(run.load.sessions)
    return ("at least " if outcome == "stopped" else "") + holding(held)


def _cards(run: Run) -> list[tuple[str, str]]:
    service = sum(cost.cores for name, cost in run.costs.of.items() if _ours(name))
    skews = [room.av_p95_ms for room in run.rooms if room.av_p95_ms is not None]
    cards = [
        (f"{min(room.received_fps for room in run.rooms):.2f}", "fps, the slowest session"),
        (_ms(max(room.longest_gap_ms for room in run.rooms)), "longest gap between pictures"),
        _p95_card(run.turns, "turn start p95"),
        _p95_card(run.interrupts, "interrupt to silence p95"),
        (_ms(max(skews)), "A/V offset p95, worst session") if skews else None,
        (f"{service / run.load.sessions:.3f}", "cores a session, service and LiveKit server"),
    ]
    return [card for card in cards if card is not None]


def _p95_card(found: Quantiles, name: str) -> tuple[str, str] | None:
    return (_ms(found.p95), name) if found.count else None


def _search(runs: Sequence[Run]) -> dict[str, Any]:
    tried = sorted(runs, key=lambda run: run.load.sessions)
    names = [_run_name(tried, place) for place in range(len(tried))]
    table = Table(
        ["sessions", "verdict", ""],
        [[name, verdict(run)] for name, run in zip(names, tried, strict=True)],
        [(not run.failed, "") for run in tried],
        "verdicts",
    )
    return {"plots": page_plots.search(names, tried), "table": table}


def _run_name(tried: Sequence[Run], place: int) -> str:
    """The number of sessions; with the run's index from the second run of that number on."""
    number = tried[place].load.sessions
    before = sum(run.load.sessions == number for run in tried[:place])
    return f"{number} ({before + 1})" if before else str(number)


def _method(run: Run) -> list[str]:
    load = run.load
    growth = (
        f"Memory growth is a linear fit over the last three quarters of runs of "
        f"{GROWTH_AFTER_S:g} s and more."
    )
    return [SOURCES[load.source], RECEIVERS[load.receiver], *map(_sentence, notes(run)), growth]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _ours(name: str) -> bool:
    return not name.startswith(("people", "agents"))


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} ms" if math.isfinite(value) else "never"
