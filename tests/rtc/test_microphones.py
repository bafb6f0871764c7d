"""Whose microphone is followed, and when it changes hands; who may interrupt an agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.input.barge_in import BargeIn
from app.rtc.input.microphone import Microphone
from app.rtc.input.speech_gate import USUAL
from app.rtc.sdk.names import AVATAR_ATTRIBUTES, AVATAR_TRACKS
from tests.rtc.fake_output import FakeOutput
from tests.rtc.fake_room import KIND, SOURCE, FakeLiveKit, FakeRoom, Person, Publication
from tests.virtual_time import settle, virtual_time

PIECE = 1920  # samples of 40 ms at 48 kHz


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> FakeRoom:
    FakeLiveKit(monkeypatch)
    return FakeRoom()


class Listening:
    """An avatar that follows microphones in a room."""

    def __init__(self, room: FakeRoom, wanted: str | None = None) -> None:
        self.out = FakeOutput()
        self.absences: list[bool] = []
        self.microphone = Microphone(self.out, wanted, self.absences.append)
        self.microphone.attach(room.as_room)


def speaker(room: FakeRoom, name: str, **more: Any) -> tuple[Person, Publication]:
    kind = more.pop("kind", KIND.PARTICIPANT_KIND_STANDARD)
    person = room.comes(name, kind=kind)
    return person, room.publishes(person, **more)


@virtual_time
async def test_the_first_open_microphone_is_followed(room: FakeRoom) -> None:
    _, muted = speaker(room, "ann", muted=True)
    _, first = speaker(room, "bob")
    _, second = speaker(room, "cid")
    listening = Listening(room)
    await settle()
    assert [p.subscribed for p in (muted, first, second)] == [False, True, False]
    first.sound.speak(3)
    await settle()
    assert listening.out.heard == 3 * PIECE
    await listening.microphone.aclose()
    assert first.sound.readers == 0


@virtual_time
async def test_it_is_handed_over_when_it_is_muted_and_kept_when_it_opens(room: FakeRoom) -> None:
    _, first = speaker(room, "ann")
    listening = Listening(room)
    _, second = speaker(room, "bob")
    await settle()
    assert (first.subscribed, second.subscribed) == (True, False)
    first.mute()
    await settle()
    assert (first.subscribed, second.subscribed) == (False, True)
    first.mute(False)
    await settle()
    assert (first.subscribed, second.subscribed) == (False, True)
    second.sound.speak(2)
    first.sound.speak(5)
    await settle()
    assert listening.out.heard == 2 * PIECE
    assert (first.sound.readers, second.sound.readers) == (0, 1)
    await listening.microphone.aclose()


@virtual_time
async def test_with_everybody_muted_the_last_one_is_not_absent(room: FakeRoom) -> None:
    _, only = speaker(room, "ann")
    listening = Listening(room)
    only.mute()
    await settle()
    assert only.subscribed
    assert listening.absences == []
    await listening.microphone.aclose()


@virtual_time
async def test_an_agent_goes_before_people(room: FakeRoom) -> None:
    _, person = speaker(room, "ann")
    _, agent = speaker(room, "agent", kind=KIND.PARTICIPANT_KIND_AGENT)
    listening = Listening(room)
    await settle()
    assert (person.subscribed, agent.subscribed) == (False, True)
    await listening.microphone.aclose()


@virtual_time
async def test_only_the_wanted_one_counts_and_is_missed(room: FakeRoom) -> None:
    _, other = speaker(room, "ann")
    listening = Listening(room, wanted="bob")
    assert listening.absences == []  # one that has not come yet is not missed
    _, wanted = speaker(room, "bob")
    await settle()
    assert (other.subscribed, wanted.subscribed) == (False, True)
    room.goes("bob")
    room.comes("bob")
    assert listening.absences == [True, False]
    await listening.microphone.aclose()


@pytest.mark.parametrize("how", ["attribute", "track"])
@virtual_time
async def test_no_avatar_is_followed(room: FakeRoom, how: str) -> None:
    avatar = room.comes("avatar-2", kind=KIND.PARTICIPANT_KIND_AGENT)
    if how == "attribute":
        avatar.attributes = dict.fromkeys(AVATAR_ATTRIBUTES, "agent")
    name = next(iter(AVATAR_TRACKS)) if how == "track" else ""
    voice = room.publishes(avatar, name=name)
    listening = Listening(room)
    await settle()
    assert not voice.subscribed
    await listening.microphone.aclose()


@virtual_time
async def test_neither_shared_screens_nor_sealed_sound_are_heard(room: FakeRoom) -> None:
    person, screen = speaker(room, "ann", source=SOURCE.SOURCE_SCREENSHARE_AUDIO)
    sealed = room.publishes(person, encryption_type=rtc.EncryptionType.GCM)
    listening = Listening(room)
    await settle()
    assert not screen.subscribed
    assert not sealed.subscribed
    plain = room.publishes(person)
    await settle()
    assert plain.subscribed
    await listening.microphone.aclose()


@virtual_time
async def test_in_a_sealed_room_sound_counts_once_it_was_decrypted(room: FakeRoom) -> None:
    room.e2ee_manager.enabled = True
    person, sealed = speaker(room, "ann", encryption_type=rtc.EncryptionType.GCM)
    listening = Listening(room)
    await settle()
    assert sealed.subscribed
    assert sealed.sound.readers == 0
    room.emit("e2ee_state_changed", person, rtc.EncryptionState.OK)
    sealed.sound.speak(5)
    await settle()
    assert listening.out.heard == 2 * PIECE  # the first three are what the decoder fades out
    await listening.microphone.aclose()


@virtual_time
async def test_an_interruption_drops_what_was_heard_and_goes_on(room: FakeRoom) -> None:
    _, voice = speaker(room, "ann")
    listening = Listening(room)
    await settle()
    listening.microphone.interrupt()
    assert listening.out.done == [("begin", 48_000), ("clear",), ("begin", 48_000)]
    voice.sound.speak(1)
    await settle()
    assert listening.out.heard == PIECE
    await listening.microphone.aclose()


@virtual_time
async def test_a_room_that_was_left_changes_nothing(room: FakeRoom) -> None:
    listening = Listening(room)
    newer = FakeRoom("RM_2")
    listening.microphone.attach(newer.as_room)
    _, old = speaker(room, "ann")
    _, new = speaker(newer, "ann")
    await settle()
    assert (old.subscribed, new.subscribed) == (False, True)
    await listening.microphone.aclose()


class Interruptible:
    """An agent's avatar that people may interrupt."""

    def __init__(self, room: FakeRoom, wanted: str | None = None) -> None:
        self.room = room
        self.out = FakeOutput()
        room.comes("agent", kind=KIND.PARTICIPANT_KIND_AGENT)
        self.voice = AgentSpeech(self.out, "agent", lambda _: None)
        self.barge_in = BargeIn(self.voice, wanted, "agent", USUAL, self.out.timing)
        self.barge_in.attach(room.as_room)

    async def speaks(self, voice: Publication, pieces: int, level: float = 0.3) -> None:
        voice.sound.speak(pieces, level, rate=16_000)
        await settle()

    @property
    def interruptions(self) -> int:
        return self.out.done.count(("clear",))


@virtual_time
async def test_a_person_who_speaks_interrupts_once(room: FakeRoom) -> None:
    it = Interruptible(room)
    _, voice = speaker(room, "ann")
    it.out.begin_segment(24_000, 1)
    await settle()
    await it.speaks(voice, 3)  # 120 ms: a door, a cough
    assert it.interruptions == 0
    await it.speaks(voice, 30)
    assert it.interruptions == 1
    await it.barge_in.aclose()
    assert voice.sound.readers == 0


@virtual_time
async def test_a_person_who_speaks_into_silence_interrupts_nothing(room: FakeRoom) -> None:
    it = Interruptible(room)
    _, voice = speaker(room, "ann")
    await settle()
    await it.speaks(voice, 30)
    assert it.interruptions == 0
    await it.barge_in.aclose()


@virtual_time
async def test_people_on_the_telephone_count_and_agents_do_not(room: FakeRoom) -> None:
    it = Interruptible(room)
    _, phone = speaker(room, "+49", kind=KIND.PARTICIPANT_KIND_SIP)
    _, other = speaker(room, "agent-2", kind=KIND.PARTICIPANT_KIND_AGENT)
    own = room.publishes(room.remote_participants["agent"])
    await settle()
    assert [p.subscribed for p in (phone, other, own)] == [True, False, False]
    await it.barge_in.aclose()


@virtual_time
async def test_with_one_person_wanted_others_may_speak(room: FakeRoom) -> None:
    it = Interruptible(room, wanted="ann")
    _, wanted = speaker(room, "ann")
    _, other = speaker(room, "bob")
    await settle()
    assert (wanted.subscribed, other.subscribed) == (True, False)
    await it.barge_in.aclose()


@virtual_time
async def test_who_has_left_is_not_listened_to(room: FakeRoom) -> None:
    it = Interruptible(room)
    person, voice = speaker(room, "ann")
    await settle()
    assert voice.sound.readers == 1
    room.unpublishes(person, voice)
    await settle()
    assert voice.sound.readers == 0
    await asyncio.sleep(1)
    await it.barge_in.aclose()
