"""Numbers within others that are compared: `pytest.approx`, where a type is looked at."""

from __future__ import annotations

from typing import Any

import pytest


def about(number: float, abs: float | None = None) -> Any:
    """Equal to what is near it, at any place in tuples, lists and dataclasses."""
    return pytest.approx(number, abs=abs)
