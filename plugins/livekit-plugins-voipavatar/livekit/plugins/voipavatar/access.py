"""Access to the LiveKit server that agent and avatar meet on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import aiohttp
from livekit import api
from livekit.agents import APIConnectionError, NotGivenOr
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF

from .api import VoipAvatarException
from .presence import MARK


@dataclass(frozen=True, slots=True)
class Access:
    """The LiveKit server that agent and avatar meet on, and the key that signs tokens for it."""

    url: str
    key: str
    secret: str = field(repr=False)

    @classmethod
    def given(cls, url: NotGivenOr[str], key: NotGivenOr[str], secret: NotGivenOr[str]) -> Access:
        """From the arguments or the environment. Raises VoipAvatarException."""
        found = (
            url or os.getenv("LIVEKIT_URL"),
            key or os.getenv("LIVEKIT_API_KEY"),
            secret or os.getenv("LIVEKIT_API_SECRET"),
        )
        if not all(found):
            raise VoipAvatarException(
                "Set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or pass livekit_url, "
                "livekit_api_key and livekit_api_secret to start()."
            )
        return cls(*map(str, found))

    def token(self, room: str, identity: str, name: str, agent: str, mark: str) -> str:
        """A token with which an avatar can speak in one room for an agent, and nothing else."""
        grants = api.VideoGrants(
            room_join=True, room=room, can_publish_sources=["camera", "microphone"]
        )
        return (
            api.AccessToken(self.key, self.secret)
            .with_kind("agent")
            .with_identity(identity)
            .with_name(name)
            .with_grants(grants)
            .with_attributes({ATTRIBUTE_PUBLISH_ON_BEHALF: agent, MARK: mark})
            .to_jwt()
        )

    async def is_in(self, room: str, identity: str) -> bool:
        """Whether a participant is in a room, which the agent need not have joined yet.

        Raises APIConnectionError if the LiveKit server does not tell.
        """
        who = api.RoomParticipantIdentity(room=room, identity=identity)
        try:
            async with api.LiveKitAPI(self.url, self.key, self.secret) as server:
                await server.room.get_participant(who)
        except api.TwirpError as error:
            if error.code == api.TwirpErrorCode.NOT_FOUND:
                return False
            raise APIConnectionError(
                f"LiveKit did not say who is in the room: {error.message}"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"{self.url} cannot be used: {str(error) or type(error).__name__}"
            raise APIConnectionError(message) from error
        return True
