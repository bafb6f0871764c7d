"""Whose speech it is, by what LiveKit has told of the agent's connections, and when."""

from __future__ import annotations

import pytest

from app.rtc.input.agent_process import AgentProcess


@pytest.mark.parametrize(
    ("before", "now", "untold", "another"),
    [
        ("PA_1", "PA_2", True, True),
        ("PA_1", "PA_2", False, False),  # connected anew, after it was told of all it had said
        ("PA_1", "PA_1", True, False),
        ("PA_1", None, True, False),  # LiveKit has not told who it is: nothing is dropped for that
    ],
)
def test_another_process_has_another_connection_and_does_not_wait(
    before: str, now: str | None, untold: bool, another: bool
) -> None:
    speaker = AgentProcess()
    assert not speaker.heard(before, unfinished=False)
    assert speaker.heard(now, unfinished=untold) is another


def test_who_spoke_before_livekit_told_of_it_is_known_from_then_on() -> None:
    speaker = AgentProcess()
    assert not speaker.heard(None, unfinished=False)
    speaker.announced("PA_1")
    speaker.announced("PA_2")  # came in its place, and has not spoken yet
    assert speaker.heard("PA_2", unfinished=True)
    assert not speaker.heard("PA_2", unfinished=True)


def test_who_comes_before_anybody_spoke_is_nobody_yet() -> None:
    speaker = AgentProcess()
    speaker.announced("PA_1")
    assert not speaker.heard("PA_2", unfinished=True)
    speaker.forget()
    speaker.announced("PA_3")
    assert not speaker.heard("PA_4", unfinished=True)


def test_what_clears_its_speech_is_the_same_process_however_connected() -> None:
    speaker = AgentProcess()
    assert not speaker.heard("PA_1", unfinished=False)
    speaker.same("PA_2")
    assert not speaker.heard("PA_2", unfinished=True)
    assert speaker.heard("PA_3", unfinished=True)
