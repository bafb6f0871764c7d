"""Point 6: the LiveKit server is gone in mid-speech, and comes back with nothing in its memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from livekit import api

from bench.conformance.cases.plugins import HANGS_S, on_stage, our_plugin
from bench.conformance.meeting import AGENT, Meeting, meet
from bench.conformance.plan import Plan
from bench.conformance.report import Check, failed, must
from bench.conformance.server import NoServer, Server, own_server
from bench.conformance.sounds import tone
from bench.conformance.target import Target

RATE = 24_000
AWAY_S = (0.5, 5.0)  # a restart, and a server that takes its time
BACK_WITHIN_S = 35.0  # an avatar tries to join again for 30 s (docs/reference/contract.md)
SAYS_WITHIN_S = 45.0  # the agent's own connection may take as long
SETTLE_S = 0.8
PART_S = 240.0  # longer than all that may be waited for in one part


async def restarts(target: Target, plan: Plan) -> list[Check]:
    """Killed in mid-segment, for two lengths of absence; and under a real AgentSession."""
    checks: list[Check] = []
    try:
        async with own_server() as server:
            elsewhere = replace(target, livekit=server.livekit)
            for away_s in AWAY_S[: plan.restarts]:
                name = f"LiveKit away for {away_s:g} s"
                checks += await _whole(name, _restarted(elsewhere, server, away_s, name))
            if target.command is None:  # choice.py: which has no API for a plugin
                checks += await _whole("LiveKit restarted: ours", _plugin(elsewhere, server))
    except NoServer as error:
        return [failed("life cycle", "LiveKit restarted", str(error))]
    return checks


async def _whole(name: str, part: Coroutine[Any, Any, list[Check]]) -> list[Check]:
    """One part; that it broke off or took for ever says nothing against the others."""
    try:
        async with asyncio.timeout(PART_S):
            return await part
    except Exception as error:
        return [failed("life cycle", name, f"broke off: {type(error).__name__} {error}".rstrip())]


async def _restarted(target: Target, server: Server, away_s: float, name: str) -> list[Check]:
    async with meet(target) as meeting:
        talker = meeting.talker
        begun = time.monotonic()
        await talker.say(tone(6.0, RATE), RATE)
        await talker.until_started(1)
        await asyncio.sleep(1.0)
        await _bounce(server, away_s)
        ended = await _ends(meeting, 1)
        took = time.monotonic() - begun
        back = await _is_back(meeting)
        heard = await _heard_again(meeting) if back < BACK_WITHIN_S else 0.0
    return [
        must("life cycle", f"{name}: the speech ends", ended, f"after {took:.1f} s"),
        Check("life cycle", f"{name}: the avatar is back after", back, BACK_WITHIN_S, "s"),
        Check("life cycle", f"{name}: the next is heard", abs(heard - 1.0), 0.3, "s"),
    ]


async def _plugin(target: Target, server: Server) -> list[Check]:
    """say() of a real session through our plugin; afterwards some avatar must speak."""
    plugin = our_plugin(target)
    async with on_stage(target, plugin) as scene:
        await scene.say(0.5)
        handle = scene.session.say("la la la", audio=scene.frames(6.0))
        await asyncio.sleep(1.5)
        await _bounce(server, AWAY_S[0])
        begun = time.monotonic()
        ended = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAYS_WITHIN_S):
                await handle
                ended = True
        took = time.monotonic() - begun
        again = False
        with contextlib.suppress(TimeoutError):
            await scene.say(1.0)
            again = True
    return [
        must("life cycle", "LiveKit restarted: ours: say() ends", ended, f"after {took:.1f} s"),
        must("life cycle", "LiveKit restarted: ours: the next ends", again, f"{HANGS_S:g} s"),
    ]


async def _bounce(server: Server, away_s: float) -> None:
    await server.kill()
    await asyncio.sleep(away_s)
    await server.start()


async def _ends(meeting: Meeting, count: int) -> bool:
    try:
        await meeting.talker.until_finished(count, SAYS_WITHIN_S)
    except TimeoutError:
        return False
    return True


async def _is_back(meeting: Meeting) -> float:
    """Seconds until all three are in the room again, as the server sees it; or inf.

    The agent's own view is still of the room before, until it has connected anew.
    """
    begun = time.monotonic()
    wanted = {meeting.avatar: 2, AGENT: 0, "user": 0}  # tracks
    async with meeting.target.livekit.admin() as admin:
        while time.monotonic() - begun < BACK_WITHIN_S:
            request = api.ListParticipantsRequest(room=meeting.name)
            with contextlib.suppress(api.TwirpError, OSError):
                there = (await admin.room.list_participants(request)).participants
                tracks = {someone.identity: len(someone.tracks) for someone in there}
                if all(tracks.get(who, -1) >= count for who, count in wanted.items()):
                    return time.monotonic() - begun
            await asyncio.sleep(0.1)
    return float("inf")


async def _heard_again(meeting: Meeting) -> float:
    """Seconds heard of a second of speech."""
    talker = meeting.talker
    await asyncio.sleep(SETTLE_S)
    since, count = time.monotonic(), len(talker.finished)
    with contextlib.suppress(TimeoutError):
        await meeting.present(BACK_WITHIN_S)
        await meeting.ears.listening(BACK_WITHIN_S, since)
        since = await talker.say(tone(1.0, RATE), RATE)
        await talker.until_finished(count + 1, SAYS_WITHIN_S)
    await asyncio.sleep(SETTLE_S)
    return meeting.ears.heard(since).seconds()
