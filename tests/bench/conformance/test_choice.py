"""Which cases are measured, and which are left out for what kind of worker."""

from __future__ import annotations

import pytest

from bench.conformance.choice import Unfit, choose

USUAL = ("segments", "retries", "tokens", "restarts", "bey", "voipavatar", "loss", "soak")
CALL_AN_API = {"retries", "bey", "voipavatar", "loss"}


def test_a_command_is_measured_in_nothing_that_calls_an_api() -> None:
    choice = choose(None, USUAL, api=False, process=True)
    assert choice.names == ("segments", "tokens", "restarts", "soak")
    assert set(choice.left_out) == {*CALL_AN_API, "restarts, with our plugin"}
    assert all(choice.left_out.values())


def test_a_service_is_measured_in_everything() -> None:
    choice = choose(None, USUAL, api=True, process=True)
    assert (choice.names, choice.left_out) == (USUAL, {})


def test_an_unknown_process_is_not_looked_at() -> None:
    choice = choose(None, USUAL, api=True, process=False)
    assert "soak" not in choice.names and "--service-pid" in choice.left_out["soak"]


@pytest.mark.parametrize("case", sorted(CALL_AN_API))
def test_asked_of_a_command_in_vain(case: str) -> None:
    with pytest.raises(Unfit, match=f"^{case} cannot be measured here: .*--api-url"):
        choose(["segments", case], USUAL, api=False, process=False)


def test_asked_of_an_unknown_process_in_vain() -> None:
    with pytest.raises(Unfit, match=r"^soak cannot .*--service-pid names it\.$"):
        choose(["soak"], USUAL, api=True, process=False)


def test_only_what_is_asked_for_once_each() -> None:
    choice = choose(["tokens", "segments", "tokens"], USUAL, api=False, process=False)
    assert (choice.names, choice.left_out) == (("tokens", "segments"), {})
