"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`note` is worth knowing, `missing` keeps the service from running; `remedy` is a command."""

    what: str
    state: State
    detail: str
    remedy: str = ""
