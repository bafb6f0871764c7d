"""What processes cost between two moments."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

Threads = dict[int, tuple[str, float]]  # id -> name, CPU seconds


MOST_THREADS = 12  # names that are told of; the rest hardly ran


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process, or of several together."""

    cores: float  # CPU seconds a second
    rss_mb: float  # at the end
    busiest: tuple[str, float]  # thread and its cores; "" where it is not known
    by_thread: dict[str, float]  # name -> cores of all threads of that name, the fullest first


@dataclass(frozen=True, slots=True)
class Costs:
    """Of everything that was watched, and of the machine."""

    of: dict[str, Cost]
    machine_cores: float  # used by everything that ran, ours or not
    cores: int  # that the machine has

    @property
    def others(self) -> float:
        """Cores used by processes that are no part of the measurement: noise."""
        return max(0.0, self.machine_cores - sum(cost.cores for cost in self.of.values()))


class Sampler:
    """Watches processes from its making to `costs()`. Names may stand for several processes."""

    def __init__(self, pids: dict[str, list[int]]) -> None:
        self._processes = {name: [psutil.Process(pid) for pid in of] for name, of in pids.items()}
        self._start = time.monotonic()
        self._cpu = {name: _cpu(of) for name, of in self._processes.items()}
        self._threads = {name: _threads(of) for name, of in self._processes.items()}
        self._machine = _machine_busy()

    def costs(self) -> Costs:
        """Raises psutil.NoSuchProcess when one has ended meanwhile."""
        seconds = time.monotonic() - self._start
        return Costs(
            {name: self._cost(name, of, seconds) for name, of in self._processes.items()},
            (_machine_busy() - self._machine) / seconds,
            psutil.cpu_count() or 1,
        )

    def _cost(self, name: str, processes: list[psutil.Process], seconds: float) -> Cost:
        before = self._threads[name]
        spent = {
            thread: (title, cpu - before.get(thread, (title, 0.0))[1])
            for thread, (title, cpu) in _threads(processes).items()
        }
        named: dict[str, float] = {}
        for title, cpu in spent.values():
            named[title] = named.get(title, 0.0) + cpu / seconds
        fullest = sorted(named.items(), key=lambda item: -item[1])
        title, cpu = max(spent.values(), key=lambda item: item[1], default=("", 0.0))
        rss = sum(process.memory_info().rss for process in processes) / 2**20
        cores = (_cpu(processes) - self._cpu[name]) / seconds
        return Cost(cores, rss, (title, cpu / seconds), dict(fullest[:MOST_THREADS]))


def _cpu(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(float(of.user + of.system) for of in times)


def _threads(processes: list[psutil.Process]) -> Threads:
    return {
        thread.id: (_thread_name(process.pid, thread.id), thread.user_time + thread.system_time)
        for process in processes
        for thread in process.threads()
    }


def _thread_name(pid: int, thread: int) -> str:
    if pid == thread:
        return "event loop"  # Python's main thread, where asyncio runs
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text("utf-8").strip()
    except OSError:  # gone, or a system without /proc
        return str(thread)


def _machine_busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))
