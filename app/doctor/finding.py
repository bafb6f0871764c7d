"""What an examination says about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`note` is worth knowing, `missing` keeps the service from working; `remedy` is a command."""

    what: str
    state: State
    detail: str
    remedy: str = ""
