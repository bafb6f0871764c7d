"""The avatar worker under test: how to ask it to join a room, and the LiveKit server."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from livekit import api
from livekit.agents.types import ATTRIBUTE_PUBLISH_ON_BEHALF

from bench.conformance.choice import Unfit
from bench.conformance.worker import Worker

REACH_S = 10.0


class Refused(Exception):
    """The worker's API did not take a request."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"the worker's API answers {status}: {_detail(body)[:300]}")
        self.status = status


class Unreachable(Unfit):
    """Nothing answers at the worker's address; the message says which."""


@dataclass(frozen=True, slots=True)
class LiveKit:
    """A server and the key to make tokens for it."""

    url: str
    key: str
    secret: str = field(repr=False)

    def token(self, room: str, identity: str, *, kind: str = "standard", **extra: str) -> str:
        return self.minted(room, identity, kind, extra, timedelta(hours=1))

    def avatar_token(
        self, room: str, identity: str, agent: str, ttl: timedelta = timedelta(hours=1)
    ) -> str:
        """What plugins send: kind agent, on behalf of the agent (livekit.md §1.7)."""
        return self.minted(room, identity, "agent", {ATTRIBUTE_PUBLISH_ON_BEHALF: agent}, ttl)

    def minted(
        self, room: str, identity: str, kind: Any, attributes: dict[str, str], ttl: timedelta
    ) -> str:
        return (
            api.AccessToken(self.key, self.secret)
            .with_kind(kind)
            .with_identity(identity)
            .with_name(identity)
            .with_ttl(ttl)
            .with_attributes(attributes)
            .with_grants(api.VideoGrants(room_join=True, room=room))
            .to_jwt()
        )

    def admin(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(self.url, self.key, self.secret)


@dataclass(frozen=True, slots=True)
class Target:
    """A worker behind the API that the published `bey` plugin calls, or else a command to run.

    Attributes:
        api_url: with or without a slash at its end.
    """

    livekit: LiveKit
    api_url: str | None
    api_key: str | None
    avatar_id: str
    command: str | None = None
    service_pid: int | None = None  # of the worker's process, for the soak

    @property
    def api(self) -> str:
        """The base URL for plugins. Raises Unfit for a worker that is a command."""
        if self.api_url is None:
            raise Unfit("A command has no API: name a service with --api-url.")
        return self.api_url.rstrip("/")

    async def launch(self, token: str) -> Worker | None:
        """Ask for an avatar that joins with this token; the process that was started, if one was.

        Raises Refused, Unreachable and Unfit.
        """
        if self.command is not None:
            env = {"AVATAR_LIVEKIT_URL": self.livekit.url, "AVATAR_TOKEN": token}
            return await Worker.start(self.command, env)
        body = {
            "transport": "livekit",
            "avatar_id": self.avatar_id,
            "url": self.livekit.url,
            "token": token,
        }
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as http,
                http.post(f"{self.api}/v1/sessions", json=body) as answer,
            ):
                if not answer.ok:
                    raise Refused(answer.status, await answer.text())
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise Unreachable(f"{self.api_url} cannot be reached: look at --api-url.") from error
        return None

    async def reach(self) -> None:
        """Whatever it answers. Raises Unreachable."""
        if self.api_url is None:
            return
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REACH_S)) as http,
                http.get(self.api_url),
            ):
                return
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unreachable(f"{self.api_url} cannot be reached: look at --api-url.") from error


def _detail(body: str) -> str:
    """The detail of an RFC 9457 refusal; else the whole body."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.split())
