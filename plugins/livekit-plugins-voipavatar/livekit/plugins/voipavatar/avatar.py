"""The avatar session of an agent, as LiveKit's plugins have it."""

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
            join_timeout: seconds until an agent whose avatar was not given, or has not joined,
                speaks without one
            conn_options: retries of calls to the service

        Raises VoipAvatarException for an address or a key that can be none.
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
        self._starting: asyncio.Task[None] | None = None  # done, too, until aclose()
        self._closing = asyncio.Lock()
        self._keeper: Keeper | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._route: Route | None = None  # outlives the keeper: the agent speaks on

    @property
    def avatar_identity(self) -> str:
        return self._identity

    @property
    def provider(self) -> str:
        return "voipavatar"

    @property
    def session_id(self) -> str | None:
        """The service's id of the session that is in use or being waited for."""
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
        """Ask for an avatar and speak through it from now on.

        The agent speaks without one, and asks again, while the service cannot be reached or has
        no place, and while another agent that is in the room has an avatar of this identity: the
        other may have been killed, and LiveKit keeps it a while.

        Raises VoipAvatarException for missing settings, when it was started before, and when it
        is closed meanwhile; APIStatusError when the service refuses the request for good, as for a
        wrong key or an unknown persona. The agent's output is untouched then.
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
            called_off = _called_off()
            async with self._closing:
                if self._starting is starting:  # else aclose() has seen to it
                    await self._close()
            if isinstance(error, asyncio.CancelledError) and not called_off:
                message = "The avatar was closed while it was starting."
                raise VoipAvatarException(message) from None
            raise

    async def aclose(self) -> None:
        """End the avatar's session. The agent can speak on, in plain audio. Idempotent.

        A start that is under way ends with VoipAvatarException.
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
            # The base class would put whoever has the identity out of the room.
            self._room.off("connection_state_changed", self._on_connection_state_changed)
            self._room = None
        await super().aclose()
        if keeper is not None:
            keeper.presence.close()
        self._starting = self._keeping = self._keeper = None

    async def wait_for_join(self, *, timeout: float | None = 30.0) -> None:  # noqa: ASYNC109
        """Wait until there is an avatar; return at once if none is wanted.

        Raises TimeoutError, and VoipAvatarException when the avatar is closed meanwhile.
        """
        if self._wait_avatar_join_task is None or self._wait_avatar_join_task.done():
            self._wait_avatar_join_task = asyncio.create_task(self._wait_avatar_join())
        try:
            await super().wait_for_join(timeout=timeout)
        except asyncio.CancelledError:
            if _called_off():
                raise
            message = "The avatar was closed while it was waited for."
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
        keeper = self._keeper = Keeper(self._api, wish, self._tell_of_join)
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

    def _tell_of_join(self, asked_at: float) -> None:
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
        """Whoever listens may fail; the agent speaks on."""
        try:
            super()._emit_metrics(metrics)
        except Exception:
            logger.exception("a listener of metrics_collected failed")


def _called_off() -> bool:
    """Whether it is the caller itself that is cancelled, and not what it waits for."""
    caller = asyncio.current_task()
    return caller is not None and caller.cancelling() > 0
