"""Point 7: somebody else's plugin, unmodified, and ours, under a real AgentSession."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from livekit import api, rtc
from livekit.agents import Agent, AgentSession, utils
from livekit.agents.metrics.base import AvatarMetrics
from livekit.agents.testing import fake_job_context
from livekit.agents.voice.avatar import AvatarSession
from livekit.plugins import bey, voipavatar

from bench.conformance.meeting import AGENT, JOIN_S, Ears, join_agent, put_away
from bench.conformance.plan import Plan
from bench.conformance.report import Check, must
from bench.conformance.sounds import tone
from bench.conformance.target import Target

RATE = 24_000
SAY_S = 1.5
SETTLE_S = 0.8
HANGS_S = 25.0  # later than every fallback of every party


@dataclass(slots=True)
class Scene:
    """An agent that speaks through a plugin, and a listener to its avatar."""

    room: rtc.Room
    session: AgentSession
    avatar: AvatarSession
    ears: Ears
    metrics: list[AvatarMetrics] = field(default_factory=list)

    @staticmethod
    def frames(seconds: float) -> AsyncIterator[rtc.AudioFrame]:
        """Of a tone."""
        return _frames(seconds)

    async def say(self, seconds: float = SAY_S) -> tuple[float, bool]:
        """When it began, and whether the speech came to an end uninterrupted.

        Raises TimeoutError when say() hangs.
        """
        begun = time.monotonic()
        handle = self.session.say("la la la", audio=_frames(seconds))
        async with asyncio.timeout(HANGS_S):
            await handle
        return begun, not handle.interrupted


async def published(target: Target, plan: Plan) -> list[Check]:
    """The unmodified `bey` plugin, pointed at this worker."""
    plugin = bey.AvatarSession(
        avatar_id=target.avatar_id,
        api_url=target.api,
        api_key=target.api_key or "none",
    )
    async with on_stage(target, plugin) as scene:
        begun, whole = await scene.say()
        await asyncio.sleep(SETTLE_S)
        heard = scene.ears.heard(begun)
        handle = scene.session.say("la la la", audio=_frames(10.0))
        await asyncio.sleep(1.5)
        cut = time.monotonic()
        handle.interrupt()
        async with asyncio.timeout(HANGS_S):
            await handle
        ended = time.monotonic() - cut
    return [
        must("plugins", "bey 1.8.9: say() ends", whole),
        Check("plugins", "bey 1.8.9: heard", abs(heard.seconds() - SAY_S), 0.1, "s"),
        Check("plugins", "bey 1.8.9: interrupted say() ends", ended, 1.0, "s"),
    ]


async def ours(target: Target, plan: Plan) -> list[Check]:
    """Our plugin speaks, and reports how quick the avatar is."""
    plugin = our_plugin(target)
    async with on_stage(target, plugin) as scene:
        begun, whole = await scene.say()
        await asyncio.sleep(SETTLE_S)
        heard = scene.ears.heard(begun)
        metrics = scene.metrics
    return [
        must("plugins", "ours: say() ends", whole),
        Check("plugins", "ours: heard", abs(heard.seconds() - SAY_S), 0.1, "s"),
        must("plugins", "ours: AvatarMetrics of joining", _joined(metrics)),
        must("plugins", "ours: AvatarMetrics of playback", _latency(metrics)),
    ]


async def loss(target: Target, plan: Plan) -> list[Check]:
    """Our plugin survives the loss of its avatar in mid-speech, and gets another."""
    plugin = our_plugin(target)
    async with on_stage(target, plugin) as scene:
        await scene.say(0.5)
        first = plugin.session_id
        # The next avatar may have joined before we look.
        own_voices: list[object] = []
        scene.room.on("local_track_published", lambda track, _: own_voices.append(track))
        removed, lost = await _lose(target, scene)
        _, whole = await scene.say(0.5)
        spoke_itself = bool(own_voices) and whole
        back = await _another(scene, plugin, first, removed)
        # Where it was quick, what came before was said by it, too, and still comes out of jitter
        # buffers: heard at the start of this, it looked like a fifth of a second too much.
        await asyncio.sleep(SETTLE_S)
        again, _ = await scene.say()
        await asyncio.sleep(SETTLE_S)
        heard = scene.ears.heard(again)
        silent_itself = not _own_voice(scene.room)
    return [
        Check("plugins", "ours, avatar lost in mid-speech: say() ends", lost, 6.0, "s"),
        must("plugins", "ours, avatar lost: goes on in plain audio", spoke_itself),
        Check("plugins", "ours, avatar lost: another after", back, 15.0, "s"),
        Check("plugins", "ours, avatar lost: heard by it", abs(heard.seconds() - SAY_S), 0.1, "s"),
        must("plugins", "ours, avatar lost: its own track is gone again", silent_itself),
    ]


def our_plugin(target: Target) -> voipavatar.AvatarSession:
    return voipavatar.AvatarSession(
        persona=target.avatar_id, api_url=target.api, api_key=target.api_key or ""
    )


@contextlib.asynccontextmanager
async def on_stage(target: Target, plugin: AvatarSession) -> AsyncIterator[Scene]:
    """A room, an agent's session that speaks through the plugin, and a listener."""
    livekit, name = target.livekit, f"conformance-{secrets.token_hex(4)}"
    room = await join_agent(livekit, name)
    ears = Ears(plugin.avatar_identity)
    await ears.join(livekit, name)
    session: AgentSession = AgentSession()
    with fake_job_context(room=room, agent_identity=AGENT) as job:
        job._info.token = livekit.token(name, AGENT, kind="agent")  # tells plugins who they are
        async with utils.http_context.open():
            scene = Scene(room, session, plugin, ears)
            plugin.on("metrics_collected", scene.metrics.append)
            try:
                await plugin.start(
                    session,
                    room,
                    livekit_url=livekit.url,
                    livekit_api_key=livekit.key,
                    livekit_api_secret=livekit.secret,
                )
                await session.start(Agent(instructions=""), room=room, record=False)
                await ears.listening(JOIN_S)
                yield scene
            finally:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HANGS_S):
                        await session.aclose()
                        await plugin.aclose()
                await put_away(livekit, name, ears, room)


async def _lose(target: Target, scene: Scene) -> tuple[float, float]:
    """Remove the avatar in mid-speech; return when, and how much later the speech ended."""
    handle = scene.session.say("la la la", audio=_frames(8.0))
    await asyncio.sleep(1.5)
    async with target.livekit.admin() as admin:
        who = api.RoomParticipantIdentity(
            room=scene.room.name, identity=scene.avatar.avatar_identity
        )
        await admin.room.remove_participant(who)
    begun = time.monotonic()
    async with asyncio.timeout(HANGS_S):
        await handle
    return begun, time.monotonic() - begun


async def _another(
    scene: Scene, plugin: voipavatar.AvatarSession, first: str | None, begun: float
) -> float:
    """Seconds from a moment until another avatar speaks for the agent; inf if none does."""
    while time.monotonic() - begun < HANGS_S:
        if plugin.session_id not in (None, first) and not _own_voice(scene.room):
            return time.monotonic() - begun
        await asyncio.sleep(0.1)
    return float("inf")


def _own_voice(room: rtc.Room) -> bool:
    return bool(room.local_participant.track_publications)


def _joined(metrics: list[AvatarMetrics]) -> bool:
    return any(found.avatar_joined_time for found in metrics)


def _latency(metrics: list[AvatarMetrics]) -> bool:
    return any(found.playback_latency > 0 for found in metrics)


async def _frames(seconds: float) -> AsyncIterator[rtc.AudioFrame]:
    pcm = tone(seconds, RATE)
    step = RATE // 20
    for start in range(0, len(pcm), step):
        piece = pcm[start : start + step]
        yield rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece))
