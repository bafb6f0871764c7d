"""The tables of a report on sessions, as text: the template marks and escapes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from bench.report.show import NOISE_CORES
from bench.rooms.limits import Limit
from bench.rooms.rooms import GAPS_MS, Quantiles, Room
from bench.rooms.sessions import Run


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; with `marked`, a last column says whether each row's limits were kept."""

    names: list[str]
    rows: list[list[str]]
    marked: list[tuple[bool | None, str]] = field(default_factory=list)
    kind: str = ""


def limits(run: Run) -> Table:
    """Each limit with the worst value that was measured."""
    rows: list[list[str]] = []
    marked: list[tuple[bool | None, str]] = []
    together = run.together
    for name, limit in run.load.limits.items():
        worst, where = together.get(name), "all together"
        if name not in together:
            worst, where = _worst(run, limit)
        sign = "≥" if limit.at_least else "≤"
        rows.append(
            [
                limit.text,
                "not measured" if worst is None else f"{_number(worst)} {limit.unit}",
                "" if worst is None else where,
                f"{sign} {limit.bound:g} {limit.unit}",
            ]
        )
        marked.append((None if name in run.unmeasured else name not in run.failed, ""))
    return Table(["what", "worst", "where", "limit", ""], rows, marked)


def sessions(run: Run) -> Table:
    """A row for each session."""
    names = ["", "fps", "longest gap ms", ">60", ">100", ">200 ms", "kbit/s", "late ms p50 / p99"]
    names += ["repeated / dropped", "A/V ms p50 / p95", "lost"]
    rows = [[str(number), *_session(room)] for number, room in enumerate(run.rooms, 1)]
    if run.load.source == "agent":
        names += ["turn ms p50 / p95", "silence ms p50 / p95"]
        for row, room in zip(rows, run.rooms, strict=True):
            row += [_both(Quantiles.of(room.turns)), _both(Quantiles.of(room.interrupts))]
    missed = [room.missed(run.load.seconds, run.load.limits) for room in run.rooms]
    marked: list[tuple[bool | None, str]] = [(not names, ", ".join(names)) for names in missed]
    return Table([*names, ""], rows, marked, "wide")


def processes(run: Run, *, with_growth: bool) -> Table:
    """What each process used, and what was used by others."""
    rows: list[list[str]] = []
    for name, cost in run.costs.of.items():
        rows.append(
            [
                name,
                f"{cost.cores:.2f}",
                f"{cost.cores / run.load.sessions:.3f}",
                f"{cost.queued:.2f}",
                f"{cost.faults:.1f}",
                f"{cost.rss_mb:.0f}",
                f"{cost.rss_mb_per_h:+.0f}" if with_growth else "–",
                ", ".join(f"{t} {c:.2f}" for t, c in list(cost.by_thread.items())[:5]),
            ]
        )
    costs, blank = run.costs, [""] * 5
    if costs.others > NOISE_CORES:
        rows.append(["others", f"{costs.others:.2f}", *blank, "no part of the measurement"])
    if costs.stolen > 0.01:
        rows.append(["stolen", f"{costs.stolen:.2f}", *blank, "by the virtual machine's host"])
    names = ["process", "cores", "a session", "queued", "faults/s", "RSS MB", "MB/h"]
    return Table([*names, "threads, by cores"], rows, kind="left-last")


def _worst(run: Run, limit: Limit) -> tuple[float | None, str]:
    found: list[tuple[float, int]] = []
    for number, room in enumerate(run.rooms, 1):
        value = room.values(run.load.seconds)[limit.name]
        if value is not None:
            found.append((value, number))
    if not found:
        return None, ""
    value, number = (min if limit.at_least else max)(found)
    return value, f"session {number}"


def _session(room: Room) -> list[str]:
    gaps = [""] * len(GAPS_MS) if room.gaps is None else map(str, room.gaps.values())
    av = "" if room.av_p50_ms is None else f"{room.av_p50_ms:.0f} / {room.av_p95_ms:.0f}"
    longest = room.longest_gap_ms
    return [
        f"{room.received_fps:.2f}",
        f"{longest:.0f}" if math.isfinite(longest) else "never",
        *gaps,
        "" if room.kbit_s is None else f"{room.kbit_s:.0f}",
        f"{room.lateness_p50_ms:.1f} / {room.lateness_p99_ms:.1f}",
        f"{room.repeated} / {room.dropped}",
        av,
        "" if room.sound_lost is None else f"{room.sound_lost:.2%}",
    ]


def _both(found: Quantiles) -> str:
    return "" if found.p50 is None else f"{found.p50:.0f} / {found.p95:.0f}"


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "unknown"
