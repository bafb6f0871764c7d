"""A process that only wakes every 20 ms, and reports when it was late.

`python -m bench.demo.wakeups`. It shares no lock and no loop with what is measured, so what it
misses is the machine's doing. Ends when its standard input
closes, and then writes one line of JSON.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path

STEP_S = 0.02
LATE_S = 0.03  # from here on, a wake-up is worth telling of
MOST = 2000  # of them


def main() -> None:
    late: list[tuple[float, float, float]] = []
    expected, queued = time.monotonic() + STEP_S, _queued_s()
    while not select.select([sys.stdin], [], [], max(0.0, expected - time.monotonic()))[0]:
        now = time.monotonic()
        if now - expected > LATE_S and len(late) < MOST:
            before, queued = queued, _queued_s()
            late.append((round(now, 3), round(now - expected, 4), round(queued - before, 4)))
        else:
            queued = _queued_s()
        expected = now + STEP_S
    sys.stdout.write(json.dumps(late) + "\n")


def _queued_s() -> float:
    """How long this process could have run and had no core; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


if __name__ == "__main__":
    main()
