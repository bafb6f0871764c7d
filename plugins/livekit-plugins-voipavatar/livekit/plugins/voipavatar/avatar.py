"""An agent's avatar session, with the interface of LiveKit's avatar plugins."""

from __future__ import annotations

import asyncio
import os
import time

from livekit import rtc
from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    AgentSession,
    APIConnectOptions,
    NotGivenOr,
    utils,
)
from livekit.agents.metrics.base import AvatarMetrics, Metadata
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession

from .access import Access
from .api import Api, VoipAvatarException
from .keeper import Keeper, Wish
from .log import logger
from .route import Route

DEFAULT_API_URL = "http://127.0.0.1:8080"
IDENTITY = "voipavatar-agent"
JOIN_TIMEOUT_S = 10.0


class AvatarSession(BaseAvatarSession):
    """A voipavatar avatar for an agent. Start it before the agent's session."""

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
            persona: the face, by its name in the service
            api_url: the service; by default VOIPAVATAR_API_URL, or http://127.0.0.1:8080
            api_key: by default VOIPAVATAR_API_KEY; a service on loopback without keys needs none
            avatar_participant_identity: the avatar's identity in the room; agents in the same room
                need different ones
            barge_in: whether the avatar stops by itself when a person starts to speak; by default
                as the service is configured (VOIPAVATAR_BARGE_IN there)
            join_timeout: seconds after which an agent speaks without its avatar, if that was not
                granted or has not joined
            conn_options: retries of calls to the service

        Raises VoipAvatarException for an invalid address or key.
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
        self._starting: asyncio.Task[None] | None = None  # kept, even when done, until aclose()
        self._closing = asyncio.Lock()
        self._keeper: Keeper | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._route: Route | None = None  # outlives the keeper, since the agent continues to speak

    @property
    def avatar_identity(self) -> str:
        return self._identity

    @property
    def provider(self) -> str:
        return "voipavatar"

    @property
    def session_id(self) -> str | None:
        """The service's id of the session in use or being awaited."""
        return None if self._keeper is None else self._keeper.session_id

    async def start(
        self,
        agent_session: AgentSession,
        room: rtc.Room,
        *,
        livekit_url: NotGivenOr[str] = NOT_GIVEN,
        livekit_api_key: NotGivenOr[str] = NOT_GIVEN,
        livekit_api_secret: NotGivenOr[str] = NOT_GIVEN,
    ) -> None:
        """Request an avatar and speak through it from now on.

        The agent speaks without an avatar, and keeps requesting one, while the service is
        unreachable or full, and while another agent in the room has an avatar of this identity:
        that agent may have been killed, and LiveKit keeps it for a while.

        Raises VoipAvatarException if settings are missing, if the avatar was already started, and
        if it is closed meanwhile; APIStatusError if the service refuses for good, for example
        because of a wrong key or an unknown persona. The agent's output is then untouched.
        """
        if self._starting is not None:
            raise VoipAvatarException(
                "The avatar has been started already: call aclose() before you start it again."
            )
        access = Access.given(livekit_url, livekit_api_key, livekit_api_secret)
        starting = self._starting = asyncio.create_task(self._start(agent_session, room, access))
        try:
            await starting
        except BaseException as error:
            cancelled = _caller_cancelled()
            async with self._closing:
                if self._starting is starting:  # otherwise aclose() has done it
                    await self._close()
            if isinstance(error, asyncio.CancelledError) and not cancelled:
                message = "The avatar was closed while it was starting."
                raise VoipAvatarException(message) from None
            raise

    async def aclose(self) -> None:
        """End the avatar's session; the agent continues in plain audio. Idempotent.

        A start in progress raises VoipAvatarException.
        """
        async with self._closing:
            await self._close()

    async def _close(self) -> None:
        for task in (self._starting, self._keeping):
            if task is not None:
                await utils.aio.cancel_and_wait(task)
        keeper = self._keeper
        if keeper is not None:
            keeper.speak_plainly(deaf=not keeper.presence.has_joined())
            await keeper.discard()
        await self._api.aclose()
        if self._room is not None and not (keeper and keeper.presence.has_joined()):
            # The base class would remove whatever participant has the identity.
            self._room.off("connection_state_changed", self._on_connection_state_changed)
            self._room = None
        await super().aclose()
        if keeper is not None:
            keeper.presence.close()
        self._starting = self._keeping = self._keeper = None

    async def wait_for_join(self, *, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Wait until an avatar has joined; returns at once if none is wanted.

        Raises TimeoutError, and VoipAvatarException if the avatar is closed meanwhile.
        """
        if self._wait_avatar_join_task is None or self._wait_avatar_join_task.done():
            self._wait_avatar_join_task = asyncio.create_task(self._wait_avatar_join())
        try:
            await super().wait_for_join(timeout=timeout)
        except asyncio.CancelledError:
            if _caller_cancelled():
                raise
            message = "The avatar was closed while a caller waited for it."
            raise VoipAvatarException(message) from None

    async def _start(self, agent_session: AgentSession, room: rtc.Room, access: Access) -> None:
        wish = Wish(
            room=room,
            access=access,
            persona=self._persona,
            identity=self._identity,
            name=self._name,
            audio=self._audio,
            join_timeout=self._join_timeout,
        )
        keeper = self._keeper = Keeper(self._api, wish, self._report_join)
        await super().start(agent_session, room)
        trouble = await keeper.begin()
        before, output = self._route, agent_session.output
        known = before is not None and before.voice.is_part_of(output.audio)
        self._route = keeper.speak(before.voice if before is not None and known else None)
        if not known:
            output.replace_audio_tail(self._route.voice)
        self._keeping = asyncio.create_task(keeper.run(trouble))
        if before is not None:
            await before.retire()

    async def _wait_avatar_join(self) -> None:
        if self._keeper is not None:
            await self._keeper.joined.wait()

    def _report_join(self, asked_at: float) -> None:
        joined_at = time.time()
        self._emit_metrics(
            AvatarMetrics(
                timestamp=joined_at,
                session_started_time=asked_at,
                avatar_joined_time=joined_at,
                metadata=Metadata(model_provider=self.provider),
            )
        )

    def _emit_metrics(self, metrics: AvatarMetrics) -> None:
        """A failing listener must not stop the agent's speech."""
        try:
            super()._emit_metrics(metrics)
        except Exception:
            logger.exception("a listener of metrics_collected failed")


def _caller_cancelled() -> bool:
    """Whether the caller itself was cancelled, and not only the task it waits for."""
    caller = asyncio.current_task()
    return caller is not None and caller.cancelling() > 0
