"""The avatar session of an agent: asks the service for one, and for another when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time

from livekit import rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    AgentSession,
    APIConnectOptions,
    APIError,
    NotGivenOr,
    get_job_context,
    utils,
)
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession

from .access import Access
from .api import Api, VoipAvatarException
from .log import logger
from .output import AvatarOutput, PlainOutput, VoiceOutput

DEFAULT_API_URL = "http://127.0.0.1:8080"
IDENTITY = "voipavatar-agent"
JOIN_TIMEOUT_S = 10.0
LOOK_S = 0.2
# An avatar that reconnects is back by then; one that was told to leave does not come back.
BACK_WITHIN_S = 4.0
FOR_GOOD = frozenset(
    {
        rtc.DisconnectReason.CLIENT_INITIATED,
        rtc.DisconnectReason.PARTICIPANT_REMOVED,
        rtc.DisconnectReason.ROOM_DELETED,
    }
)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between requests for a new session
SETTLED_S = 30.0  # an avatar that stayed so long was not the trouble


class AvatarSession(BaseAvatarSession):
    """A voipavatar face for an agent. Start it before the agent's session."""

    def __init__(
        self,
        *,
        persona: str = "default",
        api_url: NotGivenOr[str] = NOT_GIVEN,
        api_key: NotGivenOr[str] = NOT_GIVEN,
        avatar_participant_identity: NotGivenOr[str] = NOT_GIVEN,
        avatar_participant_name: NotGivenOr[str] = NOT_GIVEN,
        barge_in: NotGivenOr[bool] = NOT_GIVEN,
        join_timeout: float = JOIN_TIMEOUT_S,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> None:
        """
        Args:
            persona: whose face, by its name in the service
            api_url: the service; else VOIPAVATAR_API_URL, else http://127.0.0.1:8080
            api_key: else VOIPAVATAR_API_KEY; a service on loopback without keys needs none
            barge_in: whether the avatar falls silent by itself when a person begins to speak;
                else as the service is set (VOIPAVATAR_BARGE_IN there)
            join_timeout: seconds until an agent whose avatar has not joined speaks without one
            conn_options: retries of calls to the service
        """
        super().__init__()
        self._persona = persona
        self._identity = avatar_participant_identity or IDENTITY
        self._name = avatar_participant_name or self._identity
        self._audio: dict[str, str | bool] = {"source": "data_stream"}
        if utils.is_given(barge_in):
            self._audio["barge_in"] = barge_in
        self._join_timeout = join_timeout
        self._api = Api(
            api_url or os.getenv("VOIPAVATAR_API_URL") or DEFAULT_API_URL,
            api_key or os.getenv("VOIPAVATAR_API_KEY"),
            conn_options,
        )
        self._access: Access | None = None
        self._session_id: str | None = None
        self._voice: VoiceOutput | None = None
        self._sink: AvatarOutput | None = None
        self._plain: PlainOutput | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._gone: tuple[float, int | None] | None = None  # since when away, and why

    @property
    def avatar_identity(self) -> str:
        return self._identity

    @property
    def provider(self) -> str:
        return "voipavatar"

    @property
    def session_id(self) -> str | None:
        """The service's id of the session that is in use or being waited for."""
        return self._session_id

    async def start(
        self,
        agent_session: AgentSession,
        room: rtc.Room,
        *,
        livekit_url: NotGivenOr[str] = NOT_GIVEN,
        livekit_api_key: NotGivenOr[str] = NOT_GIVEN,
        livekit_api_secret: NotGivenOr[str] = NOT_GIVEN,
    ) -> None:
        """Ask for an avatar and speak through it from now on.

        Raises VoipAvatarException for missing settings, APIStatusError when the service refuses,
        APIConnectionError when it cannot be reached; the agent's output is untouched then.
        """
        self._access = Access.given(livekit_url, livekit_api_key, livekit_api_secret)
        await super().start(agent_session, room)
        try:
            await self._request(room)
        except BaseException:
            await self.aclose()
            raise
        room.on("participant_disconnected", self._on_gone)
        room.on("participant_active", self._on_back)
        self._sink = AvatarOutput(room, self._identity)
        self._voice = VoiceOutput(self._sink)
        agent_session.output.replace_audio_tail(self._voice)
        self._keeper = asyncio.create_task(self._keep(room))

    async def aclose(self) -> None:
        """End the avatar's session. The agent can speak on, in plain audio. Idempotent."""
        room = self._room
        if self._keeper is not None:
            await utils.aio.cancel_and_wait(self._keeper)
            self._keeper = None
        if room is not None:
            room.off("participant_disconnected", self._on_gone)
            room.off("participant_active", self._on_back)
            self._fall_back(room)
        await self._discard()
        await self._api.aclose()
        await super().aclose()

    async def _request(self, room: rtc.Room) -> None:
        assert self._access is not None
        job = get_job_context(required=False)
        if not room.isconnected() and job is None:
            raise VoipAvatarException("Connect the room first, or start the avatar inside a job.")
        name = room.name if room.isconnected() else job.job.room.name
        agent = room.local_participant.identity if room.isconnected() else _identity_of(job)
        token = self._access.token(name, self._identity, self._name, agent)
        self._session_id = await self._api.create(
            {
                "room": name,
                "persona": self._persona,
                "identity": self._identity,
                "audio": self._audio,
                "livekit": {"url": self._access.url, "token": token},
            }
        )
        logger.debug("avatar session asked for", extra={"session": self._session_id})

    @utils.log_exceptions(logger=logger)
    async def _keep(self, room: rtc.Room) -> None:
        """See to it that the agent can be heard, by an avatar if there is one."""
        await _connected(room)
        pause = FIRST_PAUSE_S
        while True:
            since = time.monotonic()
            trouble = await self._through_avatar(room)
            logger.warning("speaking without an avatar", extra={"reason": trouble})
            self._fall_back(room)
            if time.monotonic() - since > SETTLED_S:
                pause = FIRST_PAUSE_S
            await self._discard()
            pause = await self._request_again(room, pause)
            self._sink = AvatarOutput(room, self._identity)
            self._wait_avatar_join_task = asyncio.create_task(self._wait_avatar_join())

    async def _through_avatar(self, room: rtc.Room) -> str:
        """Wait for the avatar and speak through it; why that came to an end."""
        assert self._sink is not None and self._voice is not None and self._session_id is not None
        self._gone = None
        try:
            async with asyncio.timeout(self._join_timeout):
                await self.wait_for_join(timeout=None)
                await self._sink.ready()
        except (TimeoutError, RuntimeError):
            return f"it did not join: {await self._api.trouble(self._session_id)}"
        if self._plain is not None:
            while not self._plain.idle:
                await self._plain.wait_for_playout()  # not in mid-sentence
            self._voice.switch(self._sink)
            await self._plain.aclose()
            self._plain = None
        if self._gone is None:
            self._sink.open()
        while True:
            await asyncio.sleep(LOOK_S)
            if self._gone is not None and self._is_gone_for_good(*self._gone):
                return f"it left: {await self._api.trouble(self._session_id)}"
            if self._sink.overdue():
                return "it does not report what was heard"

    def _fall_back(self, room: rtc.Room) -> None:
        """Speak into the room from now on; whatever waits for the avatar goes there, too."""
        if self._voice is None or self._sink is None:
            return
        if self._plain is None:
            self._plain = PlainOutput(room)
            self._voice.switch(self._plain)
        self._sink.hand_over(self._plain)

    async def _discard(self) -> None:
        """End the session that was in use, if the service still has it."""
        session, self._session_id = self._session_id, None
        if session is not None:
            try:
                await self._api.delete(session)
            except APIError as error:
                logger.warning(
                    "the avatar's session could not be ended",
                    extra={"session": session, "error": error.message},
                )

    async def _request_again(self, room: rtc.Room, pause: float) -> float:
        """Ask until there is a session; the pause to begin with next time."""
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, LONGEST_PAUSE_S)
            with contextlib.suppress(APIError):
                await self._request(room)
                return pause

    def _on_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._identity and self._sink is not None:
            self._gone = (time.monotonic(), participant.disconnect_reason)
            self._sink.hold()

    def _on_back(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._identity and self._gone is not None:
            self._gone = None
            if self._sink is not None:
                self._sink.open()

    @staticmethod
    def _is_gone_for_good(since: float, reason: int | None) -> bool:
        return reason in FOR_GOOD or time.monotonic() - since > BACK_WITHIN_S


async def _connected(room: rtc.Room) -> None:
    connected = asyncio.Event()

    def look(_: object = None) -> None:
        if room.isconnected():
            connected.set()

    room.on("connection_state_changed", look)
    look()
    try:
        await connected.wait()
    finally:
        room.off("connection_state_changed", look)


def _identity_of(job: object) -> str:
    return str(job.local_participant_identity)  # type: ignore[attr-defined]
