"""Runs the cases against a worker: `python -m bench.conformance --api-url …`; 0 when all hold."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from app.rtc.exit import ended_by
from bench.conformance.before import look_first
from bench.conformance.cases import (
    interruption,
    lips,
    plugins,
    restarts,
    rooms,
    segments,
    soak,
    sync,
)
from bench.conformance.choice import Unfit, choose
from bench.conformance.circumstances import Circumstances, load, look_around
from bench.conformance.plan import SHORT, Plan
from bench.conformance.report import Check, as_json, failed, markdown, summary, table
from bench.conformance.target import LiveKit, Refused, Target
from bench.conformance.telling import redacted, tell
from bench.conformance.worker import Gone, InVain

Result = TypeVar("Result")
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
LIVEKIT = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")


def main() -> int:
    options = _options()
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("livekit.agents").setLevel(logging.ERROR)
    try:
        target = _target(options)
        choice = choose(
            options.only,
            IN_SHORT if options.short else tuple(CASES),
            api=target.command is None,
            process=target.service_pid is not None,
        )
        plan = SHORT if options.short else Plan()
        around, checks = asyncio.run(_until_stopped(run(target, plan, choice.names)))
    except Unfit as error:
        tell(str(error))
        return 2
    except asyncio.CancelledError:
        return 130
    tell(table(checks, choice.left_out), sys.stdout)
    tell(summary(checks, choice.left_out), sys.stdout)
    written = [
        _write(options.json, as_json(around, checks, choice.left_out)),
        _write(options.report, markdown(around, checks, choice.left_out)),
    ]
    return 0 if all(written) and all(check.ok for check in checks) else 1


async def run(
    target: Target, plan: Plan, names: tuple[str, ...]
) -> tuple[Circumstances, list[Check]]:
    """Raises Unfit when nothing can be measured at all."""
    await look_first(target)
    around = await look_around(target)
    checks: list[Check] = []
    for name in names:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(CASE_S):
                found = await CASES[name](target, plan)
        except (Unfit, Refused, Gone, InVain) as error:
            found = [failed(name, "the case itself", str(error))]
        except Exception as error:
            tell(traceback.format_exc())
            found = [failed(name, "the case itself", f"{type(error).__name__}: {error}")]
        good = sum(check.ok for check in found)
        took = time.monotonic() - begun
        tell(f"{name}: {good} of {len(found)} hold ({took:.0f} s)")
        checks += found
    return replace(around, load_after=load()), checks


async def _until_stopped(work: Coroutine[Any, Any, Result]) -> Result:
    """Ctrl-C and SIGTERM end it through its `finally` blocks: no worker outlives us."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Both may come, one after the other: the second must not disturb what the first began.
        asyncio.get_running_loop().add_signal_handler(
            number, lambda: None if task.cancelling() else task.cancel()
        )
    return await task


def _write(path: Path | None, text: str) -> bool:
    """Write a file if one was asked for; False if that failed."""
    if path is None:
        return True
    try:
        new = path.resolve().with_name(f".{path.name[:200]}.{os.getpid()}")
        new.write_text(redacted(text))
        new.replace(path.resolve())
    except OSError as error:
        tell(f"{path} could not be written: {error.strerror}.")
        return False
    return True


def _target(options: argparse.Namespace) -> Target:
    """Raises Unfit."""
    livekit = [os.environ.get(name, "") for name in LIVEKIT]
    if not all(livekit):
        raise Unfit(f"Set {', '.join(LIVEKIT)}: the LiveKit server where the worker meets us.")
    return Target(
        livekit=LiveKit(*livekit),
        api_url=options.api_url,
        api_key=os.environ.get("VOIPAVATAR_API_KEY"),
        avatar_id=options.avatar_id,
        command=options.command,
        service_pid=options.service_pid,
    )


def _options() -> argparse.Namespace:
    """Of those that `voipavatar conformance` passes on; the keys are in the environment."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__)
    worker = parser.add_mutually_exclusive_group(required=True)
    worker.add_argument("--api-url", help="a service that answers POST /v1/sessions")
    worker.add_argument("--command", help="a worker; joins AVATAR_LIVEKIT_URL by AVATAR_TOKEN")
    parser.add_argument("--avatar-id", default="default")
    parser.add_argument("--service-pid", type=int, help="of the worker, to see what it leaks")
    parser.add_argument("--short", action="store_true", help="about a minute instead of twenty")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="Markdown, for publication")
    return parser.parse_args()


if __name__ == "__main__":
    ended_by(lambda: sys.exit(main()))
