"""CPU and memory of processes, in total and second by second.

A service of several processes is followed as a tree; each child is named by its role.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil

Threads = dict[int, tuple[str, float, float]]  # id -> name, CPU seconds, seconds without a core

LEAST_S = 0.2  # between two samples
MOST_THREADS = 12  # threads that are named; the rest hardly ran
SETTLED = 0.25  # share of a run after which memory should grow no more
ROLE = re.compile(r"^--role(?:=(.*))?$")
IMPORTED = re.compile(r"^from ([\w.]+) import")
NO_ROLE = ("main", "__main__", "cli")  # parts of a module's name that do not identify it


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process."""

    root: str  # the process that was asked for, of which this is a descendant or itself
    cores: float  # CPU seconds a second
    rss_mb: float  # at the end
    rss_mb_per_h: float  # by linear fit over the last three quarters
    queued: float  # seconds a second that its threads could run and had no core, in all
    faults: float  # a second: code or data was fetched from disk before work went on
    busiest: tuple[str, float]  # thread and its cores; "" where it is not known
    by_thread: dict[str, float]  # name -> cores of all threads of that name, the fullest first
    times: list[float]  # seconds since the beginning, of what follows
    cores_over: list[float]
    rss_over: list[float]  # MB


@dataclass(frozen=True, slots=True)
class Costs:
    """Of everything that was watched, and of the machine."""

    of: dict[str, Cost]
    machine_cores: float  # used by everything that ran, ours or not
    cores: int  # that the machine has
    stolen: float  # cores that the host of a virtual machine took away

    def growth(self, root: str) -> float:
        """MB an hour of a process and its descendants, those that are still there."""
        return sum(cost.rss_mb_per_h for cost in self.of.values() if cost.root == root)

    @property
    def others(self) -> float:
        """Cores used by processes outside the measurement."""
        return max(0.0, self.machine_cores - sum(cost.cores for cost in self.of.values()))


@dataclass(slots=True)
class _Watched:
    process: psutil.Process
    root: str
    cpu: float  # when it was first seen
    threads: Threads
    faults: int
    times: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)  # CPU seconds since it was first seen
    rss: list[float] = field(default_factory=list)


class Sampler:
    """Watches processes and their children from its making to `costs()`."""

    def __init__(self, roots: dict[str, int]) -> None:
        """`roots`: what to call each process -> its pid."""
        self._roots = {name: psutil.Process(pid) for name, pid in roots.items()}
        self._watched: dict[str, _Watched] = {}
        self._names: dict[int, str] = {}  # pid -> name
        self._start = time.monotonic()
        self._machine, self._stolen = _machine()
        self._looked = 0.0
        self.sample()

    @property
    def names(self) -> list[str]:
        return list(self._watched)

    def sample(self) -> None:
        """Look at all of them now; call it once a second or so. Sooner, it does nothing: over a
        moment, the kernel's ticks of 10 ms would be taken for bursts."""
        now = time.monotonic() - self._start
        if self._watched and now < self._looked + LEAST_S:
            return
        self._looked = now
        for name, root in self._roots.items():
            for process in _tree(root):
                with suppress(psutil.NoSuchProcess):
                    self._look(name, root, process, now)

    def costs(self) -> Costs:
        """Of processes that still exist."""
        self.sample()
        seconds = time.monotonic() - self._start
        machine, stolen = _machine()
        found: dict[str, Cost] = {}
        for name, watched in self._watched.items():
            with suppress(psutil.NoSuchProcess):
                found[name] = _cost(watched, seconds)
        return Costs(
            found,
            (machine - self._machine) / seconds,
            psutil.cpu_count() or 1,
            (stolen - self._stolen) / seconds,
        )

    def _look(self, group: str, root: psutil.Process, process: psutil.Process, now: float) -> None:
        if process.pid not in self._names:
            words = process.cmdline()
            if not words and process != root:
                return  # not its program yet, or no more
            name = group if process == root else role(words) or process.name()
            same = sum(known.rpartition(" ")[0] == name for known in self._watched)
            if process != root:
                name = f"{name} {same + 1}"
            self._names[process.pid] = name
            self._watched[name] = _Watched(
                process, group, _cpu(process), _threads(process), _faults(process)
            )
        watched = self._watched[self._names[process.pid]]
        watched.times.append(now)
        watched.spent.append(_cpu(process) - watched.cpu)
        watched.rss.append(process.memory_info().rss / 2**20)


def role(command: Iterable[str]) -> str:
    """What a child is for, by its command line: `--role NAME`, the word after `-m MODULE`
    (as app/worker/process.py starts them), or else the module."""
    words = list(command)
    for at, word in enumerate(words):
        found = ROLE.match(word)
        if found is not None:
            return found[1] or next(iter(words[at + 1 : at + 2]), "")
    for at, (word, following) in enumerate(pairwise(words)):
        if word == "-m" and words[at + 2 : at + 3] and words[at + 2].isalpha():
            return words[at + 2]
        module = following if word == "-m" else ""
        imported = IMPORTED.match(following) if word == "-c" else None
        if imported is not None:
            module = imported[1]
        parts = [part for part in module.split(".") if part not in NO_ROLE]
        if parts and parts[-1]:
            return parts[-1]
    return ""


def _cost(watched: _Watched, seconds: float) -> Cost:
    total = _cpu(watched.process) - watched.cpu
    queued = 0.0
    spent: list[tuple[str, float]] = []
    for thread, (title, cpu, waited) in _threads(watched.process).items():
        _, cpu_before, waited_before = watched.threads.get(thread, (title, 0.0, 0.0))
        spent.append((title, cpu - cpu_before))
        queued += waited - waited_before
    named: dict[str, float] = {}
    for title, cpu in spent:
        named[title] = named.get(title, 0.0) + cpu / seconds
    fullest = sorted(named.items(), key=lambda item: -item[1])
    title, cpu = max(spent, key=lambda item: item[1], default=("", 0.0))
    times = np.array(watched.times)
    cores = np.diff(watched.spent) / np.maximum(np.diff(times), 1e-6)
    return Cost(
        watched.root,
        total / seconds,
        watched.rss[-1],
        _slope(times, np.array(watched.rss)),
        queued / seconds,
        (_faults(watched.process) - watched.faults) / seconds,
        (title, cpu / seconds),
        dict(fullest[:MOST_THREADS]),
        [round(float(at), 2) for at in times[1:]],
        [round(float(value), 4) for value in cores],
        [round(value, 2) for value in watched.rss[1:]],
    )


def _slope(times: np.ndarray, rss: np.ndarray) -> float:
    settled = times >= SETTLED * times[-1]
    if settled.sum() < 3:
        return 0.0
    return float(np.polyfit(times[settled], rss[settled], 1)[0]) * 3600


def _tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _threads(process: psutil.Process) -> Threads:
    return {
        thread.id: (
            _thread_name(process, thread.id),
            thread.user_time + thread.system_time,
            _queued(process, thread.id),
        )
        for thread in process.threads()
    }


def _queued(process: psutil.Process, thread: int) -> float:
    """Seconds in a run queue so far (the second number of schedstat, in nanoseconds)."""
    try:
        told = Path(f"/proc/{process.pid}/task/{thread}/schedstat").read_text("utf-8")
        return int(told.split()[1]) / 1e9
    except (OSError, IndexError):  # gone, or a system without it
        return 0.0


def _faults(process: psutil.Process) -> int:
    """Major page faults so far: the tenth field behind the name in proc(5)'s stat."""
    try:
        told = Path(f"/proc/{process.pid}/stat").read_text("utf-8")
        return int(told.rpartition(")")[2].split()[9])
    except (OSError, IndexError):
        return 0


def _thread_name(process: psutil.Process, thread: int) -> str:
    if process.pid == thread:  # of Python's, the one where asyncio runs
        return "event loop" if "python" in process.name() else "main thread"
    try:
        return Path(f"/proc/{process.pid}/task/{thread}/comm").read_text("utf-8").strip()
    except OSError:  # gone, or a system without /proc
        return str(thread)


def _machine() -> tuple[float, float]:
    """CPU seconds of everything so far, and those that the host took."""
    times = psutil.cpu_times()
    stolen = float(getattr(times, "steal", 0.0))
    # By what is left of the clock: idle time is measured, but busy time is sampled by ticks, and
    # misses threads that work less than a tick at a time, as ours do.
    passed = time.monotonic() * (psutil.cpu_count() or 1)
    return passed - times.idle - getattr(times, "iowait", 0.0) - stolen, stolen
