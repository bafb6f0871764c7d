"""A run of sessions as one HTML file that needs nothing beside it: no script, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import numpy as np

from bench.report import svg
from bench.report.show import NOISE_CORES, counted, holding, limit, notes, title, verdict
from bench.rooms.limits import Limit
from bench.rooms.rooms import GAPS_MS, Quantiles, Room
from bench.rooms.sessions import Run

GROWTH_AFTER_S = 300.0  # a shorter run tells of warming up, not of growth
STYLE = Path(__file__).with_name("page.css")


def page(
    runs: Sequence[Run],
    facts: Mapping[str, str],
    began: datetime,
    held: int | None = None,
    *,
    complete: bool = True,
) -> str:
    """The report: `held` is what a search among the runs found, unless they are of one number;
    `complete` unless something stopped it.
    """
    best = [run for run in runs if not run.failed and run.load.sessions == held]
    run = (best or list(runs))[-1]
    shown = [
        _head(run, began, held, _outcome(runs, run, held, complete)),
        _cards(run),
        _search(runs) if held is not None else "",
        "<h2>Limits</h2>",
        _limits(run),
        "<h2>Over time</h2>",
        f'<div class="plots">{_plots(run)}</div>',
        "<h2>Sessions</h2>",
        _rooms(run),
        "<h2>Processes</h2>",
        _processes(run),
        f"<p class=note>{escape(limit(run))}</p>",
        "<h2>How it was measured</h2>",
        _method(run),
        _table(["", ""], [[escape(k), f"<code>{escape(v)}</code>"] for k, v in facts.items()]),
    ]
    style = STYLE.read_text("utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>voipavatar: {counted(run.load.sessions)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(shown)}</main></body></html>\n"
    )


def _outcome(runs: Sequence[Run], run: Run, held: int | None, complete: bool) -> str:
    if not complete:
        return "stopped"
    failed = run.failed if held is not None else any(each.failed for each in runs)
    return "fail" if failed else "pass"


def _head(run: Run, began: datetime, held: int | None, badge: str) -> str:
    least = "at least " if badge == "stopped" else ""
    word = counted(run.load.sessions) if held is None else least + holding(held)
    return (
        f'<header><div><p class="kicker">voipavatar · live sessions</p><h1>{word}</h1>'
        f"<p>{escape(title(run))}</p><p class=muted>{began:%d %B %Y, %H:%M} UTC</p></div>"
        f'<span class="badge {badge}">{badge}</span></header>'
    )


def _cards(run: Run) -> str:
    service = sum(cost.cores for name, cost in run.costs.of.items() if _ours(name))
    gaps = [room.longest_gap_ms for room in run.rooms]
    skews = [room.av_p95_ms for room in run.rooms if room.av_p95_ms is not None]
    cards = [
        (f"{min(room.received_fps for room in run.rooms):.2f}", "fps, the slowest session"),
        (_ms(max(gaps)), "longest gap between pictures"),
        (_ms(run.turns.p95), "turn start p95") if run.turns.count else None,
        (_ms(run.interrupts.p95), "interrupt to silence p95") if run.interrupts.count else None,
        (_ms(max(skews)), "A/V offset p95, worst session") if skews else None,
        (f"{service / run.load.sessions:.3f}", "cores a session, service and LiveKit server"),
    ]
    shown = (f"<div><b>{value}</b><span>{name}</span></div>" for value, name in filter(None, cards))
    return f'<section class="cards">{"".join(shown)}</section>'


def _search(runs: Sequence[Run]) -> str:
    tried = sorted(runs, key=lambda run: run.load.sessions)
    limits, fps, gaps, rows = tried[0].load.limits, [], [], []
    for place, run in enumerate(tried):
        name, held = _turn(tried, place), not run.failed
        fps.append((name, round(min(room.received_fps for room in run.rooms), 2), held))
        longest = max(room.longest_gap_ms for room in run.rooms)
        gaps.append((name, round(min(10 * limits["gap"].bound, longest)), held))
        rows.append([name, _mark(held), escape(verdict(run))])
    many = "at each number of sessions"
    plots = [
        svg.bars(f"Slowest session {many}", fps, unit="fps", bound=_bound(limits["fps"])),
        svg.bars(f"Longest gap {many}", gaps, unit="ms", bound=_bound(limits["gap"])),
    ]
    table = _table(["sessions", "", "verdict"], rows)
    return f'<h2>Search for the most that hold</h2><div class="plots">{"".join(plots)}</div>{table}'


def _turn(tried: Sequence[Run], place: int) -> str:
    """How many sessions, and the how manieth run of so many it was."""
    number = tried[place].load.sessions
    before = sum(run.load.sessions == number for run in tried[:place])
    return f"{number} ({before + 1})" if before else str(number)


def _limits(run: Run) -> str:
    together = run.together
    rows: list[list[str]] = []
    for name, bound in run.load.limits.items():
        worst, where = together.get(name), "all together"
        if name not in together:
            worst, where = _worst(run, bound)
        kept = None if name in run.unmeasured else name not in run.failed
        value = "not measured" if worst is None else f"{_number(worst)} {bound.unit}"
        sign = "≥" if bound.at_least else "≤"
        limit_text = f"{sign} {bound.bound:g} {bound.unit}"
        where = "" if worst is None else where
        rows.append([escape(bound.text), value, where, limit_text, _mark(kept)])
    return _table(["what", "worst", "where", "limit", ""], rows)


def _worst(run: Run, bound: Limit) -> tuple[float | None, str]:
    found: list[tuple[float, int]] = []
    for number, room in enumerate(run.rooms, 1):
        value = room.values(run.load.seconds)[bound.name]
        if value is not None:
            found.append((value, number))
    if not found:
        return None, ""
    value, number = (min if bound.at_least else max)(found)
    return value, f"session {number}"


def _plots(run: Run) -> str:
    bounds = run.load.limits
    plots: list[str] = []
    counts = _matrix([room.over for room in run.rooms])
    if counts.size:
        seconds = (np.arange(counts.shape[1]) + 1.0).tolist()
        fps = [
            svg.Line("slowest session", seconds, counts.min(axis=0).tolist()),
            svg.Line("mean", seconds, counts.mean(axis=0).tolist()),
        ]
        plots.append(svg.lines("Pictures received in each second", fps, unit="fps", least=0.0))
        gaps = _matrix([room.gap_over for room in run.rooms])
        worst = [
            svg.Line("longest of any session", seconds, gaps.max(axis=0).tolist()),
            svg.Line("median session", seconds, np.median(gaps, axis=0).tolist()),
        ]
        gap = _bound(bounds["gap"])
        plots.append(svg.lines("Longest gap in each second", worst, unit="ms", bound=gap))
    for name, values, text in (
        ("turn", [t for room in run.rooms for t in room.turns], "Turn start, as heard"),
        ("interrupt", [t for room in run.rooms for t in room.interrupts], "Interrupt to silence"),
    ):
        known = [value for value in values if value is not None]
        plots.append(svg.histogram(text, known, unit="ms", bound=_bound(bounds[name])))
    costs = run.costs.of.items()
    cores = [svg.Line(name, cost.times, cost.cores_over) for name, cost in costs]
    memory = [svg.Line(name, cost.times, cost.rss_over) for name, cost in costs]
    lag = [svg.Line(name, p.times, p.lag_p99) for name, p in run.pulses.items()]
    plots.append(svg.lines("CPU of each process", cores, unit="cores"))
    plots.append(svg.lines("Memory of each process (RSS)", memory, unit="MB"))
    plots.append(svg.lines("Event-loop lag p99, up to", lag, unit="ms"))
    return "".join(plots)


def _bound(limit: Limit) -> svg.Bound:
    return svg.Bound(limit.bound, f"limit {limit.bound:g} {limit.unit}".rstrip())


def _matrix(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """(rooms, seconds): those seconds that every room has; empty when there are none."""
    length = min((len(row) for row in rows), default=0)
    return np.array([row[:length] for row in rows], np.float64)


def _rooms(run: Run) -> str:
    seconds, bounds = run.load.seconds, run.load.limits
    names = ["", "fps", "longest gap", ">60", ">100", ">200 ms", "kbit/s", "late p50 / p99"]
    names += ["repeated", "dropped", "A/V p50 / p95", "lost"]
    agent = run.load.source == "agent"
    names += ["turn p50 / 95", "silence p50 / 95"] if agent else []
    rows: list[list[str]] = []
    for number, room in enumerate(run.rooms, 1):
        row = [str(number), *_row(room)]
        if agent:
            row += [_both(Quantiles.of(room.turns)), _both(Quantiles.of(room.interrupts))]
        missed = room.missed(seconds, bounds)
        rows.append([*row, _mark(not missed) + escape(" " + ", ".join(missed) if missed else "")])
    return _table([*names, ""], rows)


def _row(room: Room) -> list[str]:
    gaps = [""] * len(GAPS_MS) if room.gaps is None else map(str, room.gaps.values())
    av = "" if room.av_p50_ms is None else f"{room.av_p50_ms:.0f} / {room.av_p95_ms:.0f} ms"
    return [
        f"{room.received_fps:.2f}",
        _ms(room.longest_gap_ms),
        *gaps,
        "" if room.kbit_s is None else f"{room.kbit_s:.0f}",
        f"{room.lateness_p50_ms:.1f} / {room.lateness_p99_ms:.1f} ms",
        str(room.repeated),
        str(room.dropped),
        av,
        "" if room.sound_lost is None else f"{room.sound_lost:.2%}",
    ]


def _processes(run: Run) -> str:
    rows: list[list[str]] = []
    for name, cost in run.costs.of.items():
        threads = ", ".join(f"{t} {c:.2f}" for t, c in list(cost.by_thread.items())[:5])
        row = [escape(name), f"{cost.cores:.2f}", f"{cost.cores / run.load.sessions:.3f}"]
        row += [f"{cost.queued:.2f}", f"{cost.faults:.1f}"]
        slope = f"{cost.rss_mb_per_h:+.0f}" if run.load.seconds >= GROWTH_AFTER_S else "–"
        rows.append([*row, f"{cost.rss_mb:.0f}", slope, escape(threads)])
    costs, blank = run.costs, [""] * 5
    if costs.others > NOISE_CORES:
        rows.append(["others", f"{costs.others:.2f}", *blank, "no part of the measurement"])
    if costs.stolen > 0.01:
        rows.append(["stolen", f"{costs.stolen:.2f}", *blank, "by the virtual machine's host"])
    names = ["process", "cores", "a session", "queued", "faults/s", "RSS MB", "MB/h"]
    return _table([*names, "threads, by cores"], rows, "left-last")


def _method(run: Run) -> str:
    how = {
        "count": "A receiver in each room stamps every packet of the avatar's tracks as it arrives "
        "and decodes nothing. A picture has arrived with its last packet; the A/V offset is how "
        "much longer pictures were on their way than the sound of the same moment (by the "
        "tracks' RTCP sender reports), medians of a second each, without jitter buffers.",
        "sdk": "A receiver in each room is LiveKit's SDK, whose counters are read twice a second; "
        "the longest gap is an upper bound out of their sums.",
        "decode": "A receiver in each room is LiveKit's SDK; each decoded picture is stamped.",
    }
    words = {
        "microphone": "A person in each room speaks into a microphone.",
        "agent": "An agent in each room sends utterances as byte streams, five times as fast as "
        "they are spoken, and hears what comes of them through the SDK's jitter buffer. Turn "
        "start: its first sample handed over until the first audible 5 ms. Interrupt: its request "
        "until the last 5 ms above −40 dB of the level before.",
    }
    load = run.load
    items = [words[load.source], how[load.receiver], *map(_sentence, notes(run))]
    items.append(
        f"Memory growth is a linear fit over the last three quarters of runs of "
        f"{GROWTH_AFTER_S:g} s and more."
    )
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _ours(name: str) -> bool:
    return not name.startswith(("people", "agents"))


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    head = f"<thead><tr>{head}</tr></thead>" if any(names) else ""
    return f'<div class="scroll"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'


def _mark(kept: bool | None) -> str:
    names = {True: ("pass", "pass"), False: ("fail", "miss"), None: ("none", "–")}
    kind, word = names[kept]
    return f'<span class="mark {kind}">{word}</span>'


def _both(found: Quantiles) -> str:
    return "" if found.p50 is None else f"{found.p50:.0f} / {found.p95:.0f} ms"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} ms" if math.isfinite(value) else "never"


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "unknown"
