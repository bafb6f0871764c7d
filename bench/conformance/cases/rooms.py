"""Points 5 and 6: rooms that do not meet, and participants who come and go."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from datetime import timedelta

import numpy as np
from livekit import api, rtc

from bench.conformance.meeting import AGENT, Ears, Meeting, Talker, join_agent, meet
from bench.conformance.plan import Plan
from bench.conformance.report import Check, must
from bench.conformance.sounds import WINDOW_S, tone
from bench.conformance.target import Refused, Target
from bench.conformance.worker import Gone

RATE = 24_000
SETTLE_S = 0.6
OLD_HZ, NEW_HZ = 440.0, 660.0
AUDIBLE = 0.03  # strength of a tone
GIVES_UP_S = 20.0
LEFT_WITHIN_S = 40.0  # 30 s of patience for an agent that is gone, and time to leave


async def same_identities(target: Target, plan: Plan) -> list[Check]:
    """Two rooms of one worker, each with an agent called `agent`."""
    async with meet(target) as one, meet(target) as other:
        begun = time.monotonic()
        await asyncio.gather(
            one.talker.say(tone(2.0, RATE, hz=440), RATE),
            other.talker.say(tone(2.0, RATE, hz=660), RATE),
        )
        await one.talker.until_started(1)
        await asyncio.sleep(0.5)
        one.talker.out.clear_buffer()
        with contextlib.suppress(TimeoutError):
            await one.talker.until_finished(1, 2.0)
            await other.talker.until_finished(1, 4.0)
        await asyncio.sleep(SETTLE_S)
        heard = [meeting.ears.heard(begun) for meeting in (one, other)]
        ends = [meeting.talker.finished for meeting in (one, other)]
    pitches = [round(sound.pitch()) for sound in heard]
    return [
        must("rooms", "the cleared room ends, once", [e.interrupted for e in ends[0]] == [True]),
        must("rooms", "the other plays on", [e.interrupted for e in ends[1]] == [False]),
        Check("rooms", "the other is heard whole", abs(heard[1].seconds() - 2.0), 0.1, "s"),
        must("rooms", "each hears its own", _near(pitches, (440, 660)), f"{pitches} Hz"),
    ]


async def users(target: Target, plan: Plan) -> list[Check]:
    """Nobody listens for a while."""
    async with meet(target) as meeting:
        await meeting.talker.say(tone(2.0, RATE), RATE)
        await meeting.ears.leave()
        alone = await _finishes(meeting, 1, 4.0)
        meeting.ears = Ears(meeting.avatar)
        await meeting.ears.join(target.livekit, meeting.name)
        await meeting.ears.listening(5.0)
        begun = await meeting.talker.say(tone(1.0, RATE), RATE)
        again = await _finishes(meeting, 2, 4.0)
        await asyncio.sleep(SETTLE_S)
        heard = meeting.ears.heard(begun).seconds()
    return [
        must("life cycle", "the user leaves: speech still finishes", alone),
        must("life cycle", "the user returns: speech finishes", again),
        Check("life cycle", "the user returns: speech is heard", abs(heard - 1.0), 0.3, "s"),
    ]


async def agents(target: Target, plan: Plan) -> list[Check]:
    """The agent's process is replaced, at once and after a while; later it is gone for good."""
    checks: list[Check] = []
    async with meet(target) as meeting:
        for name, away_s in (("at once", 0.0), ("later", 4.0)):
            checks += await _another_process(meeting, name, away_s)
        await meeting.talker.room.disconnect()
        left = await _leaves(meeting)
    return [*checks, must("life cycle", "the agent stays away: the avatar leaves", left)]


async def _another_process(meeting: Meeting, name: str, away_s: float) -> list[Check]:
    """The agent gets reports on its own speech, and none of its predecessor's is heard then."""
    count = len(meeting.talker.started)
    for _ in range(2):
        await meeting.talker.say(tone(8.0, RATE, hz=OLD_HZ), RATE)
    await meeting.talker.until_started(count + 1)
    await asyncio.sleep(1.0)
    await meeting.talker.room.disconnect()
    await asyncio.sleep(away_s)
    talker = Talker(await join_agent(meeting.target.livekit, meeting.name), meeting.avatar)
    meeting.talker = talker
    begun = await talker.say(tone(1.0, RATE, hz=NEW_HZ), RATE)
    back = await _finishes(meeting, 1, 4.0)
    await asyncio.sleep(2.0)
    ends = [(round(end.position, 2), end.interrupted) for end in talker.finished]
    heard = meeting.ears.heard(begun)
    old, new = heard.strength(OLD_HZ), heard.strength(NEW_HZ)
    loud_s = WINDOW_S * np.count_nonzero((new > old) & (new > AUDIBLE))
    first = int(np.argmax(new > AUDIBLE))  # from then on
    stale_s = WINDOW_S * np.count_nonzero((old > new)[first:] & (old > AUDIBLE)[first:])
    whole = back and len(ends) == 1 and abs(ends[0][0] - 1.0) <= 0.04 and not ends[0][1]
    what = f"the agent returns {name}"
    return [
        must("life cycle", f"{what}: told of its own speech, once", whole, f"{ends}"),
        Check("life cycle", f"{what}: its speech is heard", abs(float(loud_s) - 1.0), 0.3, "s"),
        Check("life cycle", f"{what}: old speech among it", float(stale_s), 0.05, "s"),
    ]


async def reconnects(target: Target, plan: Plan) -> list[Check]:
    """The agent loses its connection in mid-segment."""
    kinds = rtc.SimulateScenarioKind
    checks: list[Check] = []
    for name, kind in (
        ("resumes", kinds.SIMULATE_SIGNAL_RECONNECT),
        ("reconnects", kinds.SIMULATE_FULL_RECONNECT),
    ):
        async with meet(target) as meeting:
            await meeting.talker.say(tone(3.0, RATE), RATE)
            await meeting.talker.until_started(1)
            await asyncio.sleep(0.5)
            await meeting.talker.room.simulate_scenario(kind)
            ended = await _finishes(meeting, 1, 15.0)
            await meeting.talker.say(tone(1.0, RATE), RATE)
            again = await _finishes(meeting, 2, 15.0)
        checks += [
            must("life cycle", f"the agent {name}: its speech finishes", ended),
            must("life cycle", f"the agent {name}: the next, too", again),
        ]
    return checks


async def removals(target: Target, plan: Plan) -> list[Check]:
    """The avatar is removed or its room deleted: it stays away until requested again."""
    async with meet(target) as meeting, target.livekit.admin() as admin:
        who = api.RoomParticipantIdentity(room=meeting.name, identity=meeting.avatar)
        await admin.room.remove_participant(who)
        await meeting.gone(5.0)
        await asyncio.sleep(3.0)
        stays_away = not meeting.is_present()
        again = await _comes_again(meeting)
        await admin.room.delete_room(api.DeleteRoomRequest(room=meeting.name))
        await asyncio.sleep(2.0)
        meeting.talker = Talker(await join_agent(target.livekit, meeting.name), meeting.avatar)
        empty = not meeting.is_present()
        anew = await _comes_again(meeting)
    return [
        must("life cycle", "removed: the avatar stays away", stays_away),
        must("life cycle", "removed: comes when asked again", not again, again),
        must("life cycle", "room deleted: the avatar stays away", empty),
        must("life cycle", "room deleted: comes when asked again", not anew, anew),
    ]


async def tokens(target: Target, plan: Plan) -> list[Check]:
    """An expired token is refused at once, so that the caller does not wait."""
    name = f"conformance-{secrets.token_hex(4)}"
    expired = target.livekit.avatar_token(name, "avatar", AGENT, timedelta(seconds=-300))
    try:
        worker = await target.launch(expired)
    except Refused as refusal:
        refused = 400 <= refusal.status < 500
        return [must("life cycle", "expired token: 4xx", refused, str(refusal.status))]
    if worker is None:
        return [must("life cycle", "expired token: 4xx", False, "was taken")]
    try:
        await worker.wait(GIVES_UP_S)
        gave_up = worker.failed
        note = worker.how if gave_up else worker.state()
    finally:
        await worker.stop()
    return [must("life cycle", "expired token: the command exits with an error", gave_up, note)]


async def retries(target: Target, plan: Plan) -> list[Check]:
    """Clients send the same request up to four times: one avatar comes of it, and stays."""
    async with meet(target) as meeting:
        sid = meeting.talker.room.remote_participants[meeting.avatar].sid
        for _ in range(3):
            await meeting.call()
        await asyncio.sleep(2.0)
        same = meeting.talker.room.remote_participants[meeting.avatar].sid == sid
        begun = await meeting.talker.say(tone(1.0, RATE), RATE)
        speaks = await _finishes(meeting, 1, 4.0)
        await asyncio.sleep(SETTLE_S)
        heard = meeting.ears.heard(begun).seconds()
    return [
        must("life cycle", "asked four times: the same avatar", same),
        must("life cycle", "asked four times: speaks", speaks and heard > 0.5),
    ]


async def _comes_again(meeting: Meeting) -> str:
    """Empty; else why it does not come, or does not speak."""
    try:
        await meeting.call()
        await meeting.present()
        count = len(meeting.talker.finished)
        await meeting.talker.say(tone(0.5, RATE), RATE)
        await meeting.talker.until_finished(count + 1, 4.0)
    except (Refused, Gone, TimeoutError) as error:
        return str(error) or type(error).__name__
    return ""


async def _finishes(meeting: Meeting, count: int, timeout_s: float) -> bool:
    try:
        await meeting.talker.until_finished(count, timeout_s)
    except TimeoutError:
        return False
    return True


async def _leaves(meeting: Meeting) -> bool:
    """Ask the server, as the agent is not in the room to see it."""
    give_up = time.monotonic() + LEFT_WITHIN_S
    async with meeting.target.livekit.admin() as admin:
        while time.monotonic() < give_up:
            request = api.ListParticipantsRequest(room=meeting.name)
            there = await admin.room.list_participants(request)
            if all(someone.identity != meeting.avatar for someone in there.participants):
                return True
            await asyncio.sleep(0.5)
    return False


def _near(pitches: list[int], wanted: tuple[int, int]) -> bool:
    return all(abs(pitch - want) < 15 for pitch, want in zip(pitches, wanted, strict=True))
