"""The avatar session of an agent: asks the service for one, and for another when it is lost."""

from __future__ import annotations

import asyncio
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
from livekit.agents.metrics.base import AvatarMetrics, Metadata
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession

from .access import Access
from .api import Api, AvatarTaken, VoipAvatarException
from .log import logger
from .output import AvatarOutput, PlainOutput, VoiceOutput
from .presence import Presence, connected

DEFAULT_API_URL = "http://127.0.0.1:8080"
IDENTITY = "voipavatar-agent"
JOIN_TIMEOUT_S = 10.0
LOOK_S = 0.2
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
            avatar_participant_identity: as whom it joins; of several agents in a room, each needs
                its own
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
        self._presence: Presence | None = None
        self._session_id: str | None = None
        self._voice: VoiceOutput | None = None
        self._sink: AvatarOutput | None = None
        self._plain: PlainOutput | None = None
        self._keeper: asyncio.Task[None] | None = None

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

        While another agent that is in the room has an avatar of this identity, the agent speaks
        without one and asks again: the other may have been killed, and LiveKit keeps it a while.

        Raises VoipAvatarException for missing settings or when it was started before;
        APIStatusError when the service refuses, APIConnectionError when it cannot be reached. The
        agent's output is untouched then.
        """
        if self._presence is not None:
            raise VoipAvatarException(
                "The avatar has been started already: call aclose() before you start it again."
            )
        self._access = Access.given(livekit_url, livekit_api_key, livekit_api_secret)
        self._presence = Presence(
            room, self._identity, on_away=self._hold_back, on_back=self._go_on
        )
        trouble = ""
        try:
            await super().start(agent_session, room)
            await self._request(room)
        except AvatarTaken as error:
            trouble = str(error)
            logger.warning("no avatar yet: %s", trouble)
        except BaseException:
            await self.aclose()
            raise
        self._sink = AvatarOutput(room, self._identity)
        self._voice = VoiceOutput(self._sink)
        agent_session.output.replace_audio_tail(self._voice)
        if self._plain is not None:  # of before aclose()
            await self._plain.aclose()
            self._plain = None
        self._keeper = asyncio.create_task(self._keep(room, trouble))

    async def aclose(self) -> None:
        """End the avatar's session. The agent can speak on, in plain audio. Idempotent."""
        room = self._room
        if self._keeper is not None:
            await utils.aio.cancel_and_wait(self._keeper)
            self._keeper = None
        if room is not None:
            self._fall_back(room, deaf=not self._is_there())
        await self._discard()
        await self._api.aclose()
        if room is not None and not self._is_there():
            # The base class would put whoever has the identity out of the room.
            room.off("connection_state_changed", self._on_connection_state_changed)
            self._room = None
        await super().aclose()
        if self._presence is not None:
            self._presence.close()
            self._presence = None

    async def _request(self, room: rtc.Room) -> None:
        assert self._access is not None and self._presence is not None
        access = self._access
        job = get_job_context(required=False)
        if not room.isconnected() and job is None:
            raise VoipAvatarException("Connect the room first, or start the avatar inside a job.")
        name = room.name if room.isconnected() else job.job.room.name
        agent = room.local_participant.identity if room.isconnected() else _identity_of(job)
        mark = self._presence.expect()
        token = access.token(name, self._identity, self._name, agent, mark)
        self._session_id = await self._api.create(
            {
                "room": name,
                "persona": self._persona,
                "identity": self._identity,
                "audio": self._audio,
                "livekit": {"url": access.url, "token": token},
            },
            agent,
            lambda identity: access.is_in(name, identity),
        )
        logger.debug("avatar session asked for", extra={"session": self._session_id})

    @utils.log_exceptions(logger=logger)
    async def _keep(self, room: rtc.Room, trouble: str) -> None:
        """See to it that the agent can be heard, by an avatar if there is one.

        `trouble`: why there is none to begin with.
        """
        await connected(room)
        pause = FIRST_PAUSE_S
        while True:
            since = time.monotonic()
            what = trouble or await self._through_avatar()
            self._fall_back(room, deaf=True)
            if not trouble:
                what += f" ({await self._api.trouble(str(self._session_id))})"
            logger.warning("speaking without an avatar: %s", what)
            if time.monotonic() - since > SETTLED_S:
                pause = FIRST_PAUSE_S
            await self._discard()
            pause = await self._request_again(room, pause)
            trouble = ""
            self._sink = AvatarOutput(room, self._identity)
            if self._wait_avatar_join_task is not None:  # for one that never came
                await utils.aio.cancel_and_wait(self._wait_avatar_join_task)
            self._wait_avatar_join_task = asyncio.create_task(self._wait_avatar_join())

    async def _wait_avatar_join(self) -> None:
        assert self._presence is not None
        began = time.time()
        await self._presence.joined()
        joined = time.time()
        self._emit_metrics(
            AvatarMetrics(
                timestamp=joined,
                session_started_time=began,
                avatar_joined_time=joined,
                metadata=Metadata(model_provider=self.provider),
            )
        )

    async def _through_avatar(self) -> str:
        """Wait for the avatar and speak through it; how that came to an end."""
        assert self._sink is not None and self._voice is not None and self._presence is not None
        try:
            async with asyncio.timeout(self._join_timeout):
                await self.wait_for_join(timeout=None)
                await self._sink.ready()
        except (TimeoutError, RuntimeError):
            return "it did not join"
        if self._plain is not None:
            while not self._plain.idle:
                await self._plain.wait_for_playout()  # not in mid-sentence
            self._voice.switch(self._sink)
            await self._plain.aclose()
            self._plain = None
        if not self._presence.away:
            self._sink.open()
        while True:
            await asyncio.sleep(LOOK_S)
            if self._presence.lost:
                return "it left"
            if self._sink.overdue():
                return "it does not report what was heard"

    def _fall_back(self, room: rtc.Room, *, deaf: bool) -> None:
        """Speak into the room from now on; whatever waits for the avatar goes there, too."""
        if self._voice is None or self._sink is None:
            return
        if self._plain is None:
            self._plain = PlainOutput(room)
        self._sink.hand_over(self._plain, deaf=deaf)
        self._voice.switch(self._plain)

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
            await connected(room)
            try:
                await self._request(room)
            except (APIError, VoipAvatarException) as error:
                reason = error.message if isinstance(error, APIError) else error
                logger.warning("no other avatar yet: %s", reason, extra={"pause_s": pause})
            else:
                return pause

    def _is_there(self) -> bool:
        return self._presence is not None and self._presence.has_joined()

    def _hold_back(self) -> None:
        if self._sink is not None:
            self._sink.hold()

    def _go_on(self) -> None:
        if self._sink is not None:
            self._sink.open()


def _identity_of(job: object) -> str:
    return str(job.local_participant_identity)  # type: ignore[attr-defined]
