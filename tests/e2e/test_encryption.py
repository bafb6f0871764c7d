"""Rooms with end-to-end encryption: with the key all works, without it nothing is decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from livekit import rtc

from app.session_types import AudioSpec, FailureCode
from bench.clients.participant import LiveKitAccess
from tests.e2e.conftest import Live
from tests.e2e.scripted import Agent, tone
from tests.e2e.waiting import PATIENCE_S, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
KEY = "a shared key \N{KEY}"
STREAM = AudioSpec("data_stream", agent="agent")
RATE = 48_000


def encrypted(key: str | None) -> rtc.E2EEOptions | None:
    if key is None:
        return None
    shared = rtc.KeyProviderOptions(shared_key=key.encode())
    return rtc.E2EEOptions(key_provider_options=shared)


class Person:
    """Speaks a tone without end, and hears how loud the avatar is."""

    def __init__(self, access: LiveKitAccess, room: str, identity: str, key: str | None) -> None:
        self._access = access
        self._name, self._identity, self._key = room, identity, key
        self._tasks: list[asyncio.Task[None]] = []
        self.room = rtc.Room()
        self.levels: list[float] = []  # RMS of 50 ms
        self.tones: list[float] = []  # Hz, of the loud ones

    @asynccontextmanager
    async def inside(self, *, speaks: bool) -> AsyncIterator[Person]:
        self.room.on("track_subscribed", self._subscribed)
        options = rtc.RoomOptions(encryption=encrypted(self._key), connect_timeout=PATIENCE_S)
        token = self._access.token(self._name, self._identity)
        await self.room.connect(self._access.url, token, options)
        source = rtc.AudioSource(RATE, 1, 200)
        if speaks:
            track = rtc.LocalAudioTrack.create_audio_track("mic", source)
            await self.room.local_participant.publish_track(
                track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            )
            self._tasks.append(asyncio.create_task(self._speak(source)))
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.room.disconnect()

    @staticmethod
    async def _speak(source: rtc.AudioSource) -> None:
        pcm = tone(1.0, RATE)
        while True:
            for part in np.split(pcm, 50):
                await source.capture_frame(rtc.AudioFrame(part.tobytes(), RATE, 1, len(part)))

    def _subscribed(
        self, track: rtc.Track, _: rtc.RemoteTrackPublication, who: rtc.RemoteParticipant
    ) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO and who.identity == "avatar":
            self._tasks.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=16_000, num_channels=1, frame_size_ms=50)
        async for event in stream:
            heard = np.frombuffer(event.frame.data, np.int16) / 32768
            self.levels.append(float(np.sqrt(np.square(heard).mean())))
            if self.levels[-1] > 0.05:
                self.tones.append(float(np.abs(np.fft.rfft(heard)).argmax() * 20))


async def test_with_the_key_an_encrypted_microphone_is_followed(
    perform: Perform, livekit: LiveKitAccess
) -> None:
    room = "sealed-track"
    async with (
        Person(livekit, room, "speaker", KEY).inside(speaks=True),
        Person(livekit, room, "listener", KEY).inside(speaks=False) as listener,
    ):
        live = await perform(room, e2ee_key=KEY)
        await until(lambda: len(listener.tones) >= 40)
        assert np.mean(np.abs(np.array(listener.tones[20:]) - 220) <= 20) > 0.9, "the tone of it"
        assert not live.task.done()
        tracks = listener.room.remote_participants["avatar"].track_publications.values()
        assert {t.encryption_type for t in tracks} == {rtc.EncryptionType.GCM}


async def test_with_the_key_an_agent_is_heard_cleared_and_told(
    perform: Perform, agent: Agent
) -> None:
    agent.encryption = encrypted(KEY)
    await agent.join("sealed-stream")
    await perform("sealed-stream", audio=STREAM, e2ee_key=KEY)
    await asyncio.sleep(0.5)
    await agent.say(tone(0.5))
    await agent.until_finished(1)
    assert agent.finished[0]["playback_position"] == pytest.approx(0.5, abs=0.005)
    assert not agent.finished[0]["interrupted"]
    await agent.say(tone(8.0))
    await agent.until_started(2)
    assert await agent.clear() == "ok"
    await agent.until_finished(2)
    assert agent.finished[1]["interrupted"]


@pytest.mark.parametrize("audio", [AudioSpec(), AudioSpec(participant="speaker"), STREAM])
async def test_without_the_key_the_session_fails_with_a_code(
    perform: Perform, livekit: LiveKitAccess, audio: AudioSpec
) -> None:
    room = f"no-key-{audio.source}-{audio.participant}"
    async with (
        Person(livekit, room, "speaker", KEY).inside(speaks=True),
        Person(livekit, room, "plain", None).inside(speaks=False) as plain,
    ):
        live = await perform(room, audio=audio)
        outcome = await live.outcome()
        assert outcome.reason == FailureCode.E2EE_UNSUPPORTED
        assert "`e2ee`" in outcome.detail
        assert max(plain.levels, default=0.0) < 0.003


async def test_who_encrypts_is_ignored_beside_others_who_do_not(
    perform: Perform, livekit: LiveKitAccess
) -> None:
    room = "mixed"
    async with (
        Person(livekit, room, "open", None).inside(speaks=True) as plain,
        Person(livekit, room, "sealed", KEY).inside(speaks=True),
    ):
        live = await perform(room)
        await until(lambda: len(plain.tones) >= 40)
        assert np.mean(np.abs(np.array(plain.tones[20:]) - 220) <= 20) > 0.9
        await asyncio.sleep(1.0)
        assert not live.task.done()


@pytest.mark.parametrize("wanted", ["sealed", None])
async def test_with_another_key_nothing_is_heard(
    perform: Perform, livekit: LiveKitAccess, wanted: str | None
) -> None:
    room = f"wrong-key-{wanted}"
    async with (
        Person(livekit, room, "sealed", "another key").inside(speaks=True),
        Person(livekit, room, "listener", KEY).inside(speaks=False) as listener,
    ):
        live = await perform(room, audio=AudioSpec(participant=wanted), e2ee_key=KEY)
        await until(lambda: len(listener.levels) >= 60)
        # The first of what the listener hears is noise of its own decoder's.
        assert max(listener.levels[20:]) < 0.003
        assert (await live.session.stats())["segments"]["started"] == 0
