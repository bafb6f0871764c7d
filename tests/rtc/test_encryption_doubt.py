"""A key that opens nothing is told of, though no session ends for it."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from livekit import rtc
from structlog.testing import capture_logs

from app.rtc.input import encryption
from app.rtc.input.encryption import DOUBT, Encryption
from tests.rtc.fake_room import FakeRoom


@pytest.mark.parametrize("opens", [True, False])
async def test_a_key_that_opens_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    monkeypatch.setattr(encryption, "DOUBT_S", 0.0)
    ended: list[str] = []
    room = FakeRoom()
    sealed = Encryption("a key", None, heard=lambda: False, on_unsupported=ended.append)
    sealed.before(lambda _: None)(room.as_room)
    with capture_logs() as lines:
        person = room.comes("person")
        voice = room.publishes(person, encryption_type=rtc.EncryptionType.GCM)
        voice.set_subscribed(True)
        await asyncio.sleep(0)
        if opens:
            who = cast(rtc.Participant, person)
            room.emit("e2ee_state_changed", who, rtc.EncryptionState.OK)
        for _ in range(3):
            voice.mute()
            voice.mute(muted=False)
            await asyncio.sleep(0.01)
    said = [line["identity"] for line in lines if line["event"] == DOUBT]
    assert said == ([] if opens else ["person"])
    assert ended == []
