"""Which token each attempt to join is made with."""

from __future__ import annotations

from itertools import count

from livekit import rtc

from app.rtc.sdk.join_tokens import JoinTokens


async def refreshed(tokens: JoinTokens, token: str) -> None:
    room = rtc.Room()
    tokens.watch(room)
    room._token = token
    room.emit("token_refreshed")


async def test_the_callers_token_until_livekit_sends_another() -> None:
    tokens = JoinTokens(lambda: "theirs", renewable=False)
    assert tokens.next() == "theirs"
    await refreshed(tokens, "refreshed")
    await refreshed(tokens, "again")
    assert tokens.next() == "again"


async def test_a_refreshed_token_that_is_refused_leaves_the_callers() -> None:
    tokens = JoinTokens(lambda: "theirs", renewable=False)
    await refreshed(tokens, "refreshed")
    assert tokens.another()
    assert tokens.next() == "theirs"
    assert not tokens.another()


async def test_ours_is_new_each_time() -> None:
    numbers = count()
    tokens = JoinTokens(lambda: f"ours {next(numbers)}", renewable=True)
    await refreshed(tokens, "refreshed")
    assert [tokens.next(), tokens.next()] == ["ours 0", "ours 1"]
    assert tokens.another()
