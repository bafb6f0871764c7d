"""The choice of cases: a worker that is a command cannot do all that an API can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

PLUGIN = "a plugin asks the worker's API for an avatar, and a command has none"
WITHOUT_API = {
    "retries": "only a request can come twice: each start of a command is another worker",
    "bey": PLUGIN,
    "voipavatar": PLUGIN,
    "loss": PLUGIN,
}
PARTS_WITHOUT_API = {"restarts": ("restarts, with our plugin", PLUGIN)}
WITHOUT_PROCESS = {"soak": "the worker's process is unknown: --service-pid names it"}


class Unfit(Exception):
    """Nothing, or nothing of the kind, can be measured; the message says what mends it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Cases in their order, and what was left out of them, by name: why."""

    names: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def choose(
    asked: Sequence[str] | None, usual: Sequence[str], *, api: bool, process: bool
) -> Choice:
    """Those asked for by name, else the usual ones of which this worker is capable.

    `api`: it is behind one; `process`: its id is known. Raises Unfit for a case asked for in vain.
    """
    missing = {**({} if api else WITHOUT_API), **({} if process else WITHOUT_PROCESS)}
    if asked:
        if vain := next((name for name in asked if name in missing), None):
            mends = "" if vain in WITHOUT_PROCESS else " Name a service with --api-url."
            raise Unfit(f"{vain} cannot be measured here: {missing[vain]}.{mends}")
        names = tuple(dict.fromkeys(asked))
    else:
        names = tuple(name for name in usual if name not in missing)
    left_out = {name: why for name, why in missing.items() if name in usual and not asked}
    if not api:
        left_out |= dict(part for name, part in PARTS_WITHOUT_API.items() if name in names)
    return Choice(names, left_out)
