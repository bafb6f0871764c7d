"""The service's API, as far as a plugin needs it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError

from .log import logger

END_S = 10.0  # by then a session that was told to end has ended
LONGEST_PAUSE_S = 30.0  # a longer Retry-After is not waited for in one piece

Place = tuple[str, str, str]  # LiveKit server, room, identity


class VoipAvatarException(Exception):
    """The plugin was not told what it needs, or was used in a wrong order."""


class AvatarTaken(VoipAvatarException):
    """Another agent that is in the room has the avatar of this identity."""


class Api:
    """Calls with retries: 4xx is raised at once, 5xx and network errors are tried again."""

    def __init__(self, url: str, key: str | None, options: APIConnectOptions) -> None:
        self._url = url.rstrip("/")
        self._headers = {"x-api-key": key} if key else {}
        self._options = options
        self._http: aiohttp.ClientSession | None = None

    async def create(
        self, body: dict[str, Any], agent: str, present: Callable[[str], Awaitable[bool]]
    ) -> str:
        """Ask for a session of an agent's avatar; its id.

        An earlier avatar of the same identity that is still in the room makes way if its agent is
        this one (a request whose answer was lost, a process before this) or not `present` there.
        Raises AvatarTaken for the avatar of somebody else, APIError.
        """
        try:
            return str((await self._call("POST", "/sessions", body))["id"])
        except APIStatusError as error:
            if _code(error) != "room_conflict":
                raise
        place = _place(body["livekit"]["url"], body["room"], body["identity"])
        for earlier in await self._holders(place):
            if earlier["state"] != "ending":
                await _check_may_end(earlier, agent, present)
            logger.warning("ending an earlier session", extra={"session": earlier["id"]})
            await self._end(earlier["id"])
        session = await self._call("POST", "/sessions", body)
        return str(session["id"])

    async def delete(self, session_id: str) -> None:
        """End a session; nothing happens if it has ended or was never there. Raises APIError."""
        try:
            await self._call("DELETE", f"/sessions/{session_id}")
        except APIStatusError as error:
            if error.status_code != 404:
                raise

    async def trouble(self, session_id: str) -> str:
        """What the service says of a session that did not do as it should."""
        try:
            session = await self._call("GET", f"/sessions/{session_id}")
        except APIError as error:
            return f"the service says nothing of it: {error.message}"
        error = session.get("error") or {}
        return str(error.get("detail") or session.get("end_reason") or session["state"])

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _holders(self, place: Place) -> list[dict[str, Any]]:
        return [
            session
            for state in ("starting", "ready", "ending")
            async for session in self._sessions(state)
            if _place(session["livekit_url"], session["room"], session["identity"]) == place
        ]

    async def _sessions(self, state: str) -> AsyncIterator[dict[str, Any]]:
        cursor = ""
        while True:
            query = f"/sessions?state={state}&limit=100&cursor={quote(cursor)}"
            page = await self._call("GET", query)
            for session in page["items"]:
                yield session
            if not (cursor := page.get("next_cursor") or ""):
                return

    async def _end(self, session_id: str) -> None:
        """End a session and wait until it has; DELETE answers with its state each time."""
        give_up = time.monotonic() + END_S
        while time.monotonic() < give_up:
            session = await self._call("DELETE", f"/sessions/{session_id}")
            if session["state"] in ("ended", "failed"):
                return
            await asyncio.sleep(0.2)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        for attempt in range(self._options.max_retry + 1):
            try:
                return await self._once(method, path, body)
            except APIError as error:
                if not error.retryable or attempt == self._options.max_retry:
                    raise
                pause = _retry_after(error) or self._options.retry_interval
                logger.warning(
                    "the avatar service did not answer as it should, trying again",
                    extra={"attempt": attempt + 1, "error": error.message, "pause_s": pause},
                )
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        if self._http is None:
            self._http = aiohttp.ClientSession(headers=self._headers)
        try:
            async with self._http.request(
                method,
                self._url + path,
                json=body,
                timeout=aiohttp.ClientTimeout(total=self._options.timeout),
            ) as response:
                text = await response.text()
                if not response.ok:
                    raise _refusal(response, text)
                return json.loads(text)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            message = f"{self._url} cannot be used: {error or type(error).__name__}"
            raise APIConnectionError(message) from error


async def _check_may_end(
    session: dict[str, Any], agent: str, present: Callable[[str], Awaitable[bool]]
) -> None:
    owner = (session.get("audio") or {}).get("agent")
    if owner == agent or (owner is not None and not await present(owner)):
        return
    whose = "somebody else" if owner is None else f"the agent {owner!r}, which is in the room"
    raise AvatarTaken(
        f"The avatar {session['identity']!r} in room {session['room']!r} is that of {whose}: give "
        "this agent's another name with avatar_participant_identity."
    )


def _refusal(response: aiohttp.ClientResponse, text: str) -> APIStatusError:
    try:
        problem = json.loads(text)
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, detail = {}, text[:200] or str(response.reason)
    return APIStatusError(
        detail,
        status_code=response.status,
        request_id=response.headers.get("X-Request-Id"),
        body={**problem, "retry_after": response.headers.get("Retry-After")},
    )


def _place(livekit_url: str, room: str, identity: str) -> Place:
    """What no two avatars share. An address has one form, as the service gives it."""
    parts = urlsplit(livekit_url)
    scheme = parts.scheme.lower().replace("http", "ws")
    return f"{scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}", room, identity


def _code(error: APIStatusError) -> str | None:
    return error.body.get("code") if isinstance(error.body, dict) else None


def _retry_after(error: APIError) -> float | None:
    given = error.body.get("retry_after") if isinstance(error.body, dict) else None
    return min(float(given), LONGEST_PAUSE_S) if given and given.isdecimal() else None
