"""How many processor cores this process may use: affinity, cpusets and container quotas.

A container's limit (`docker --cpus`, Kubernetes' `limits.cpu`, systemd's `CPUQuota=`) is a quota of
time that neither `os.cpu_count` nor the affinity mask shows. A process that relies on those two
takes on too much work and is throttled for part of every 100 ms.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

LIBRARIES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Read by OpenMP, torch, numpy's BLAS and OpenCV when they are imported."""

_ESCAPED = re.compile(r"\\([0-7]{3})")  # how mountinfo writes spaces in paths


@dataclass(frozen=True, slots=True)
class _Group:
    """A cgroup directory that limits this process: its own or a parent."""

    version: int
    directory: Path


def usable_cores(
    root: Path = Path("/"), affinity: set[int] | None = None, *, tick_s: float = 0.0
) -> float:
    """Usable processor time in cores, possibly a fraction; never 0.

    Args:
        root: holds `/proc` and the cgroup mounts; tests pass their own.
        affinity: processors that this process may run on; None asks the system.
        tick_s: if set, counts only what work at this interval can rely on. A quota applies to a
            period of usually 100 ms, and the process stops until the next one when it is used up:
            with ticks of 40 ms some periods hold three, though the average is 2.5.
    """
    allowed = _affinity() if affinity is None else affinity
    cores = float(len(allowed))
    for group in _groups(root):
        if set_aside := _cpuset(group) & allowed:
            cores = min(cores, len(set_aside))
        if (quota := _quota(group)) is not None:
            cores = min(cores, quota.cores * quota.steady(tick_s))
    return max(cores, 0.01)


@dataclass(frozen=True, slots=True)
class _Quota:
    cores: float
    period_s: float

    def steady(self, tick_s: float) -> float:
        """The share usable on average if the fullest period is to stay within the quota."""
        if not 0 < tick_s < self.period_s:
            return 1.0
        ticks = self.period_s / tick_s
        return ticks / math.ceil(ticks - 1e-9)


def usable_threads() -> int:
    """Number of threads that can compute at the same time; at least one."""
    return max(1, math.floor(usable_cores()))


def throttled_s(root: Path = Path("/")) -> float:
    """Total seconds of throttling by a quota so far; the largest of our cgroups."""
    most = 0.0
    for group in _groups(root):
        with suppress(OSError, ValueError, IndexError):
            told = dict(line.split() for line in _lines(group.directory / "cpu.stat"))
            most = max(
                most,
                int(told.get("throttled_usec", 0)) / 1e6,
                int(told.get("throttled_time", 0)) / 1e9,
            )
    return most


def described() -> str:
    """The usable cores as text, with the machine's total if it is larger."""
    usable, present = usable_cores(), os.cpu_count() or 1
    if usable >= present:
        return f"{present} cores" if present != 1 else "1 core"
    return f"{usable:g} of {present} cores (affinity, or a container's CPU limit)"


def thread_limit() -> int:
    """Maximum number of threads for a library; 0 means no limit.

    Unless the usable cores are fewer than the machine's, a library knows best how many hardware
    threads are worth using.
    """
    return usable_threads() if usable_cores() < (os.cpu_count() or 1) else 0


def limit_libraries() -> None:
    """Limits the libraries' threads to the usable cores.

    Call it before they are imported. Values already set in the environment are kept.
    """
    if limit := thread_limit():
        for name in LIBRARIES:
            os.environ.setdefault(name, str(limit))


def waiting_threads(name: str) -> ThreadPoolExecutor:
    """Executor for an event loop's `to_thread`: like asyncio's, but sized by the usable cores."""
    return ThreadPoolExecutor(min(32, usable_threads() + 4), name)


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _groups(root: Path) -> Iterator[_Group]:
    """Every cgroup whose limits apply to this process, in each hierarchy that limits CPUs."""
    try:
        lines = _lines(root / "proc/self/cgroup")
        mounts = list(_mounts(root))
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        wanted = set(controllers.split(","))
        for version, kinds, top, inside in mounts:
            if version == (2 if number == "0" and not controllers else 1) and (
                version == 2 or wanted & kinds & {"cpu", "cpuset"}
            ):
                for directory in _upwards(top, _below(path, inside)):
                    yield _Group(version, directory)


def _mounts(root: Path) -> Iterator[tuple[int, set[str], Path, str]]:
    """Version, controllers, mount point and mounted group of each cgroup mount."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        inside, where = (_unescaped(field) for field in fields[3:5])
        version = 2 if kind[0] == "cgroup2" else 1
        yield version, set(kind[2].split(",")), root / where.lstrip("/"), inside


def _below(path: str, inside: str) -> PurePosixPath:
    """Our group's path relative to the mounted group.

    A container without a cgroup namespace sees the host's path and mounts its own group, so both
    share a prefix. A path that leads elsewhere, such as `/../x`, is not visible to us.
    """
    try:
        relative = PurePosixPath(path).relative_to(inside)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative


def _upwards(top: Path, relative: PurePosixPath) -> Iterator[Path]:
    """The directories from the mounted group down to ours, as far as they exist."""
    directory = top
    yield directory
    for part in relative.parts:
        directory = directory / part
        if not directory.is_dir():
            return
        yield directory


def _quota(group: _Group) -> _Quota | None:
    """The group's limit; None if it has none."""
    with suppress(OSError, ValueError):
        if group.version == 2:
            quota, period = [*_lines(group.directory / "cpu.max")[0].split(), "100000"][:2]
        else:
            quota = _lines(group.directory / "cpu.cfs_quota_us")[0]
            period = _lines(group.directory / "cpu.cfs_period_us")[0]
        if quota not in ("max", "-1") and int(quota) > 0 and int(period) > 0:
            return _Quota(int(quota) / int(period), int(period) / 1e6)
    return None


def _cpuset(group: _Group) -> set[int]:
    """The processors that the group may use; empty if it sets no limit."""
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
        with suppress(OSError, ValueError, IndexError):
            if found := _numbers(_lines(group.directory / name)[0]):
                return found
    return set()


def _numbers(listed: str) -> set[int]:
    """Parses the kernel's list format, such as `0-3,8`."""
    found: set[int] = set()
    for part in filter(None, listed.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines() or [""]


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
