"""Keeps an agent supplied with an avatar, replacing a lost one; the agent stays audible."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livekit import rtc
from livekit.agents import (
    APIConnectionError,
    APIError,
    APIStatusError,
    get_job_context,
    utils,
)

from .access import Access
from .api import Api, AvatarTaken, VoipAvatarException
from .log import logger
from .output import VoiceOutput
from .presence import Presence, connected
from .route import Route

CHECK_S = 0.2
ASK_S = 2.0  # between questions to the service about the avatar, while the agent speaks
AGAIN_S, UNANSWERED = 1.0, 3  # after this many unanswered questions the avatar counts as lost
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between requests for a new session
SETTLED_S = 30.0  # an avatar that stayed this long resets the pause


@dataclass(frozen=True, slots=True)
class Wish:
    """The requested avatar and its room."""

    room: rtc.Room
    access: Access
    persona: str
    identity: str
    name: str
    audio: dict[str, str | bool]
    join_timeout: float  # seconds


class Keeper:
    """One agent's avatars in one room, from the first request until `discard`."""

    def __init__(self, api: Api, wish: Wish, on_joined: Callable[[float], None]) -> None:
        """Calls `on_joined` for each avatar that joins, with the time of its request."""
        self._api, self._wish, self._on_joined = api, wish, on_joined
        self.presence = Presence(
            wish.room, wish.identity, on_away=self._hold_speech, on_back=self._resume_speech
        )
        self.route: Route | None = None
        self.session_id: str | None = None
        self._not_ended: set[str] = set()  # sessions not known to have ended
        self.joined = asyncio.Event()  # set while an avatar is there
        self._asked_at = 0.0

    async def begin(self) -> str:
        """Request the first avatar; returns why there is none yet, or "".

        Raises APIStatusError or VoipAvatarException if another request cannot help.
        """
        try:
            async with asyncio.timeout(self._wish.join_timeout):
                await self._request()
        except TimeoutError:
            trouble = "the service did not grant one in time"
        except AvatarTaken as error:
            trouble = str(error)
        except APIError as error:
            if not error.retryable:
                raise
            trouble = error.message
        else:
            return ""
        logger.warning("no avatar yet: %s", trouble)
        return trouble

    def speak(self, voice: VoiceOutput | None) -> Route:
        """The route for the agent's speech once `run` is in progress."""
        self.route = Route(self._wish.room, self._wish.identity, voice)
        return self.route

    @utils.log_exceptions(logger=logger)
    async def run(self, trouble: str) -> None:
        """Keep the agent audible, through an avatar if there is one. Never returns.

        `trouble`: why there is none at the beginning.
        """
        assert self.route is not None
        await connected(self._wish.room)
        pause = FIRST_PAUSE_S
        while True:
            since = time.monotonic()
            what = trouble or await self._one_avatar()
            self.speak_plainly(deaf=True)
            if not trouble:
                what += f" ({await self._end_reason()})"
            logger.warning("speaking without an avatar: %s", what)
            if time.monotonic() - since > SETTLED_S:
                pause = FIRST_PAUSE_S
            await self.discard()
            pause = await self._request_again(pause)
            trouble = ""

    def speak_plainly(self, *, deaf: bool) -> None:
        """Speak without the avatar, which is told to stop unless it is `deaf`."""
        self.joined.clear()
        if self.route is not None:
            try:
                self.route.plainly(deaf=deaf)
            except Exception:  # in a listener to the agent's output
                logger.exception("a listener failed while the speech was rerouted")

    async def discard(self) -> None:
        """End the session in use, and those that could not be ended earlier."""
        if self.session_id is not None:
            self._not_ended.add(self.session_id)
            self.session_id = None
        await asyncio.gather(*map(self._end, tuple(self._not_ended)))

    async def _end(self, session: str) -> None:
        try:
            await self._api.delete(session)
        except Exception as error:
            logger.warning(
                "the avatar's session could not be ended",
                extra={"session": session, "error": _message(error)},
            )
        else:
            self._not_ended.discard(session)

    async def _request(self) -> None:
        wish = self._wish
        name, agent = _room_and_identity(wish.room)
        self._asked_at = time.time()
        token = wish.access.token(name, wish.identity, wish.name, agent, self.presence.expect())
        body: dict[str, Any] = {
            "room": name,
            "persona": wish.persona,
            "identity": wish.identity,
            "audio": wish.audio,
            "livekit": {"url": wish.access.url, "token": token},
        }
        self.session_id = await self._api.create(
            body, agent, lambda identity: wish.access.is_in(name, identity)
        )
        logger.debug("requested an avatar session", extra={"session": self.session_id})

    async def _request_again(self, pause: float) -> float:
        """Request sessions until one is granted; returns the pause for the next time."""
        assert self.route is not None
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, LONGEST_PAUSE_S)
            await connected(self._wish.room)
            try:
                await self._request()
                await self.route.prepare_next()
            except (APIError, VoipAvatarException) as error:
                logger.warning("no new avatar yet: %s", _message(error), extra={"pause_s": pause})
            except Exception:
                logger.exception("no new avatar yet", extra={"pause_s": pause})
            else:
                return pause

    async def _one_avatar(self) -> str:
        """Speak through an avatar while that works; returns how it ended."""
        try:
            if not await self._has_joined():
                return "it did not join"
            assert self.route is not None
            return await self._until_lost()
        except Exception as error:
            logger.exception("giving the avatar up")
            return f"{type(error).__name__}: {error}"

    async def _has_joined(self) -> bool:
        assert self.route is not None
        try:
            async with asyncio.timeout(self._wish.join_timeout):
                await self.presence.joined()
                await self.route.sink.ready()
        except (TimeoutError, RuntimeError):
            return False
        self.joined.set()
        self._on_joined(self._asked_at)
        return True

    async def _until_lost(self) -> str:
        """The avatar may be lost before the agent pauses and starts to speak through it."""
        watches = [
            asyncio.create_task(self._watch_room()),
            asyncio.create_task(self._turn_and_watch_service()),
        ]
        try:
            ended, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            return ended.pop().result()
        finally:
            await utils.aio.cancel_and_wait(*watches)

    async def _watch_room(self) -> str:
        assert self.route is not None
        while not self.presence.lost:
            if self.route.sink.silent:
                return "it does not report its playback"
            await asyncio.sleep(CHECK_S)
        return "it left"

    async def _turn_and_watch_service(self) -> str:
        assert self.route is not None
        await self.route.through_avatar(self.presence)
        return await self._watch_service()

    async def _watch_service(self) -> str:
        """Wait for the session's end. LiveKit shows a killed avatar for 20 s more."""
        assert self.route is not None
        unanswered = 0
        while True:
            await asyncio.sleep(AGAIN_S if unanswered else ASK_S)
            try:
                if self.route.sink.busy:
                    session = await self._api.look(str(self.session_id))
                    if session["state"] in ("ended", "failed"):
                        return "its session has ended"
            except APIConnectionError:
                unanswered += 1
                if unanswered == UNANSWERED:
                    return "its service does not answer"
                continue
            except APIStatusError as error:
                if error.status_code == 404:
                    return "the service does not know it"
            unanswered = 0

    async def _end_reason(self) -> str:
        """The service's account of the session's end."""
        try:
            session = await self._api.look(str(self.session_id))
        except Exception as error:  # whatever it is, the agent needs another avatar
            return f"the service does not say why: {_message(error)}"
        fault = session.get("error")
        if isinstance(fault, dict):
            fault = fault.get("detail")
        return str(fault or session.get("end_reason") or session["state"])

    def _hold_speech(self) -> None:
        if self.route is not None:
            self.route.sink.hold()

    def _resume_speech(self) -> None:
        if self.route is not None:
            self.route.sink.open()


def _message(error: Exception) -> str:
    """An error's message for people."""
    return error.message if isinstance(error, APIError) else str(error) or type(error).__name__


def _room_and_identity(room: rtc.Room) -> tuple[str, str]:
    """The room's name and the agent's identity in it. Raises VoipAvatarException."""
    if room.isconnected():
        return room.name, room.local_participant.identity
    job = get_job_context(required=False)
    if job is None:
        raise VoipAvatarException("Connect the room first, or start the avatar inside a job.")
    return job.job.room.name, str(job.local_participant_identity)
