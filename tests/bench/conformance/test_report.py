"""What is published says what was left out, and stays a table whatever a worker answers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from bench.conformance.report import Check, as_json, failed, markdown, must, summary, table

CHECKS = [must("segments", "one started", True), failed("bey", "the case itself", "401 |\nno key")]
LEFT_OUT = {"bey": "a command has no API"}


@dataclass(frozen=True)
class Around:
    """As circumstances.py finds them, which only the suite's own environment can."""

    begun: str = "2026-11-26T12:00:00+00:00"
    worker: str = "the command x"
    server: str = "LiveKit server"
    packages: dict[str, str] = field(default_factory=dict)
    suite: str = "abc"
    machine: str = "m"
    load_before: float = 0.0
    load_after: float = 0.0


AROUND: Any = Around()


def test_what_was_left_out_is_said_everywhere() -> None:
    assert summary(CHECKS, LEFT_OUT) == "1 of 2 hold; left out: bey."
    assert "bey: left out; a command has no API" in table(CHECKS, LEFT_OUT)
    paper = markdown(AROUND, CHECKS, LEFT_OUT)
    assert "**1 of 2 hold; left out: bey.**" in paper
    assert "\n## Left out\n\n- bey: a command has no API.\n" in paper
    # By which the command knows its own report, which it may replace.
    assert paper.endswith("\n<!-- voipavatar conformance -->\n")
    assert json.loads(as_json(AROUND, CHECKS, LEFT_OUT))["left_out"] == LEFT_OUT


def test_where_nothing_was_left_out_nothing_is_said() -> None:
    assert summary(CHECKS, {}) == "1 of 2 hold."
    assert "eft out" not in table(CHECKS, {}) + markdown(AROUND, CHECKS, {})
    assert json.loads(as_json(AROUND, CHECKS, {}))["left_out"] == {}


def test_an_answer_of_many_lines_is_one_cell() -> None:
    paper = markdown(AROUND, CHECKS, {})
    assert "| **fails** | the case itself | not measured | yes | 401 / no key |" in paper


def test_what_never_came_to_pass_is_no_number_in_json() -> None:
    never = Check("interruption", "closed after", math.inf, 400, "ms")
    body = json.loads(as_json(AROUND, [never], {}))
    assert body["checks"][0]["value"] is None
    assert body["checks"][0]["ok"] is False
