"""Runs the cases against a worker: `python -m tests.conformance --api-url …`; 0 when all hold."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from .cases import interruption, lips, plugins, restarts, rooms, segments, soak, sync
from .circumstances import Circumstances, load, look_around
from .plan import SHORT, Plan
from .report import Check, failed, markdown, summary, table, write_json
from .target import LiveKit, Target, Unreachable

Case = Callable[[Target, Plan], Awaitable[list[Check]]]

CASES: dict[str, Case] = {
    "segments": segments.accounting,
    "interruption": interruption.interruption,
    "turn-start": segments.turn_start,
    "lips": lips.lips,
    "storm": interruption.storm,
    "trailers": interruption.lost_trailers,
    "rates": segments.rates,
    "rooms": rooms.same_identities,
    "retries": rooms.retries,
    "users": rooms.users,
    "removals": rooms.removals,
    "tokens": rooms.tokens,
    "reconnects": rooms.reconnects,
    "agents": rooms.agents,
    "restarts": restarts.restarts,
    "bey": plugins.published,
    "voipavatar": plugins.ours,
    "loss": plugins.loss,
    "sync": sync.offsets,
    "soak": soak.soak,
}
IN_SHORT = (
    *("segments", "interruption", "lips", "storm", "rooms", "retries", "tokens"),
    *("bey", "voipavatar"),
)
CASE_S = 1800.0


def main() -> int:
    options = _options()
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("livekit.agents").setLevel(logging.ERROR)
    plan = SHORT if options.short else Plan()
    names = options.only or (IN_SHORT if options.short else tuple(CASES))
    target = _target(options)
    try:
        asyncio.run(target.reach())
    except Unreachable as error:
        _tell(str(error), sys.stderr)
        return 2
    around, checks = asyncio.run(run(target, plan, names))
    _tell(table(checks), sys.stdout)
    _tell(summary(checks), sys.stdout)
    if options.json is not None:
        write_json(options.json, around, checks)
    if options.report is not None:
        options.report.write_text(markdown(around, checks))
    return 0 if all(check.ok for check in checks) else 1


async def run(
    target: Target, plan: Plan, names: tuple[str, ...]
) -> tuple[Circumstances, list[Check]]:
    around = await look_around(target)
    checks: list[Check] = []
    for name in names:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(CASE_S):
                found = await CASES[name](target, plan)
        except Unreachable as error:
            found = [failed(name, "the case itself", str(error))]
        except Exception as error:
            _tell(traceback.format_exc(), sys.stderr)
            found = [failed(name, "the case itself", f"{type(error).__name__}: {error}")]
        good = sum(check.ok for check in found)
        took = time.monotonic() - begun
        _tell(f"{name}: {good} of {len(found)} hold ({took:.0f} s)", sys.stderr)
        checks += found
    return replace(around, load_after=load()), checks


def _tell(line: str, where: TextIO) -> None:
    where.write(line + "\n")
    where.flush()


def _target(options: argparse.Namespace) -> Target:
    livekit = LiveKit(options.livekit_url, options.livekit_key, options.livekit_secret)
    return Target(
        livekit=livekit,
        api_url=options.api_url,
        api_key=options.api_key,
        avatar_id=options.avatar_id,
        command=options.command,
        service_pid=options.service_pid,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    worker = parser.add_mutually_exclusive_group(required=True)
    worker.add_argument("--api-url", help="a service that answers POST /v1/sessions")
    worker.add_argument("--command", help="a worker; joins AVATAR_LIVEKIT_URL by AVATAR_TOKEN")
    parser.add_argument("--api-key", default=os.environ.get("VOIPAVATAR_API_KEY"))
    parser.add_argument("--avatar-id", default="default")
    parser.add_argument("--livekit-url", default=os.environ.get("LIVEKIT_URL"))
    parser.add_argument("--livekit-key", default=os.environ.get("LIVEKIT_API_KEY"))
    parser.add_argument("--livekit-secret", default=os.environ.get("LIVEKIT_API_SECRET"))
    parser.add_argument("--service-pid", type=int, help="of the worker, to see what it leaks")
    parser.add_argument("--short", action="store_true", help="about a minute instead of twenty")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="Markdown, for publication")
    options = parser.parse_args()
    if not (options.livekit_url and options.livekit_key and options.livekit_secret):
        parser.error("set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or the options")
    return options


if __name__ == "__main__":
    sys.exit(main())
