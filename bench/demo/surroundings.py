"""What else went on on the machine while something was measured, and how to end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.rooms.sampler import Sampler
from engine.core.cores import throttled_s
from engine.core.priority import going_first

# From here on, each may be why numbers are not good.
STOLEN_CORES = 0.02
THROTTLED_S = 0.02
OTHERS_CORES = 0.5
STANDSTILL_S = 0.05

ROOT = Path(__file__).parents[2]
REALTIME = (
    'echo "$USER - rtprio 10" | sudo tee /etc/security/limits.d/voipavatar.conf  # then log in '
    "again"
)


@dataclass(frozen=True, slots=True)
class Late:
    """A moment in which even a process with nothing to do was not woken in time."""

    at: float  # seconds of the monotonic clock
    seconds: float
    queued_s: float  # of it, those in which another program had the core


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of the time that was watched."""

    cores: int
    others: float  # cores that programs used which are no part of the demo
    stolen: float  # cores that the host of a virtual machine took away
    throttled_s: float  # in which a container's limit let nothing run
    late: list[Late]
    realtime: bool  # whether our threads could go before ordinary work

    @property
    def longest(self) -> Late | None:
        return max(self.late, key=lambda late: late.seconds, default=None)

    def causes(self) -> list[str]:
        """What kept this machine from keeping time, each with what mends it; most telling first."""
        found = []
        if self.throttled_s > THROTTLED_S:
            found.append(
                f"A CPU limit stopped everything for {self.throttled_s:.1f} s in all. Raise it: "
                "docker run --cpus 2, or CPUQuota= of the systemd unit."
            )
        if self.stolen > STOLEN_CORES:
            found.append(
                f"The host of this virtual machine took {self.stolen:.2f} of its {self.cores} "
                "cores for others. Give it cores of its own, or run the demo where it has them."
            )
        if self.others > OTHERS_CORES:
            found.append(
                f"Other programs used {self.others:.1f} of {self.cores} cores. "
                "Close them: ps -eo pcpu,pid,comm --sort=-pcpu | head"
            )
        longest = self.longest
        if longest is not None and longest.seconds > STANDSTILL_S:
            queued = longest.queued_s > longest.seconds / 2
            why = "other programs had the core" if queued else "the machine itself stood still"
            found.append(
                f"A process that only waits was woken up to {longest.seconds * 1000:.0f} ms late "
                f"({len(self.late)} times over 30 ms): {why}."
            )
        if found and not self.realtime:
            found.append(
                "The avatar's threads may not go before other work here. Permit it, and most of "
                f"this does no harm: {REALTIME}"
            )
        return found


class Watch:
    """Fills in while the block of `watched()` runs; complete after it."""

    def __init__(self) -> None:
        self.found: Surroundings | None = None


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch the machine beside this process and its children."""
    watch = Watch()
    waker = subprocess.Popen(
        [sys.executable, "-m", "bench.demo.wakeups"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends us, and we end it
    )
    try:
        sampler, throttled = Sampler({"demo": os.getpid()}), throttled_s()
        yield watch
        costs = sampler.costs()
        told, _ = waker.communicate(timeout=5)
        watch.found = Surroundings(
            costs.cores,
            costs.others,
            costs.stolen,
            throttled_s() - throttled,
            [Late(*each) for each in json.loads(told or "[]")],
            may_go_first(),
        )
    finally:
        waker.kill()
        waker.wait()


def may_go_first() -> bool:
    """Whether this user's threads may enter the real-time class."""
    with going_first(1) as first:
        return first
