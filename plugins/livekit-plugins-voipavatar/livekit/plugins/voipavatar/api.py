"""A client for the part of the service's API that the plugin needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError

from .answers import AS_IT_IS, Answer, answer_of, code_of, read, refusal, retry_after
from .log import logger

END_S = 10.0  # by then, a session that was asked to end has ended
CLOSE_S = 3.0  # the longest wait for a service that does not answer
LOOK_S = 2.0
CONFLICTS = 3  # how often a place that was made free may be taken again

Place = tuple[str, str, str]  # LiveKit server, room, identity


@dataclass(frozen=True, slots=True, eq=False)
class UncertainRequest:
    """A request that may or may not have created a session."""

    agent: str  # the agent that the session would belong to


class VoipAvatarException(Exception):
    """The plugin lacks a setting, or its methods were called in the wrong order."""


class AvatarTaken(VoipAvatarException):
    """An avatar of another agent in the room has this identity."""


class Api:
    """Calls with retries: 4xx is raised at once, 5xx and network errors are retried.

    Leaves no session behind: a session that a cancelled request, or one whose answer was lost, may
    have created is ended, at the latest by `aclose`.
    """

    def __init__(self, url: str, key: str | None, options: APIConnectOptions) -> None:
        """Raises VoipAvatarException for an invalid address or key."""
        _check(url, key)
        self._url = url.rstrip("/")
        self._headers = AS_IT_IS | ({"x-api-key": key} if key else {})
        self._options = options
        self._http: aiohttp.ClientSession | None = None
        self._uncertain: dict[Place, UncertainRequest] = {}
        self._undoing: set[asyncio.Task[None]] = set()

    async def create(
        self, body: dict[str, Any], agent: str, present: Callable[[str], Awaitable[bool]]
    ) -> str:
        """Create a session for an agent's avatar; returns its id.

        An earlier avatar of the same identity is replaced if it belongs to this agent (from a
        request whose answer was lost, or an earlier process) or to an agent that is not `present`.
        Raises AvatarTaken if it belongs to another agent, and APIError.
        """
        place = _place(body["livekit"]["url"], body["room"], body["identity"])
        for _ in range(CONFLICTS):
            try:
                session = await self._retried(lambda: self._post(body, place, agent))
            except APIStatusError as error:
                if code_of(error) != "room_conflict":
                    raise
            else:
                self._uncertain.pop(place, None)
                return str(session["id"])
            for earlier in await self._holders(place):
                if earlier["state"] != "ending":
                    await _check_may_end(earlier, agent, present)
                logger.warning("ending an earlier session", extra={"session": earlier["id"]})
                await self._end(earlier["id"])
        raise AvatarTaken(f"Others keep taking the avatar {place[2]!r} in room {place[1]!r}.")

    async def delete(self, session_id: str) -> None:
        """End a session; no effect if it has ended or never existed. Raises APIError."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._call("DELETE", f"/sessions/{session_id}")
        except APIStatusError as error:
            if error.status_code != 404:
                raise
        except TimeoutError as error:
            raise APIConnectionError(f"{self._url} did not answer in time") from error

    async def look(self, session_id: str) -> dict[str, Any]:
        """A session's current state, from one short attempt. Raises APIError."""
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._once("GET", f"/sessions/{session_id}", None, "state")
        except TimeoutError as error:
            raise APIConnectionError(f"{self._url} did not answer in time") from error

    async def aclose(self) -> None:
        """End sessions whose ids are unknown, and close the connections."""
        undoing = [*self._undoing, asyncio.create_task(self._end_unowned())]
        _, late = await asyncio.wait(undoing, timeout=CLOSE_S)
        for task in late:
            task.cancel()
            logger.warning("the service did not say whether a session of ours is left behind")
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _post(self, body: dict[str, Any], place: Place, agent: str) -> Answer:
        """Request a session once. If this is cancelled, the session is ended."""
        before = self._uncertain.get(place)
        request = self._uncertain[place] = UncertainRequest(agent)
        asked = asyncio.create_task(self._once("POST", "/sessions", body, "id"))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            undoing = asyncio.create_task(self._undo(asked, place, request))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            raise
        except APIStatusError as error:
            if error.status_code < 500:
                self._settle(place, request, before)  # a refusal creates none
            raise

    def _settle(
        self, place: Place, request: UncertainRequest, before: UncertainRequest | None = None
    ) -> None:
        """A request's result is known now; that of the one `before` it is not."""
        if self._uncertain.get(place) is request:
            del self._uncertain[place]
            if before is not None:
                self._uncertain[place] = before

    async def _undo(
        self, asked: asyncio.Task[Answer], place: Place, request: UncertainRequest
    ) -> None:
        try:
            await self.delete((await asked)["id"])
        except APIError as error:
            logger.warning("a cancelled request may leave a session: %s", error.message)
        else:
            self._settle(place, request)

    async def _end_unowned(self) -> None:
        """End sessions that may have been created although their ids never arrived."""
        await asyncio.gather(*self._undoing, return_exceptions=True)
        for place, request in tuple(self._uncertain.items()):
            try:
                for session in await self._holders(place):
                    if (session.get("audio") or {}).get("agent") == request.agent:
                        await self.delete(session["id"])
            except APIError as error:
                logger.warning("a session of ours may be left behind: %s", error.message)
            else:
                self._settle(place, request)

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
            page = await self._call("GET", query, "items")
            for session in page["items"]:
                yield session
            if not (cursor := page.get("next_cursor") or ""):
                return

    async def _end(self, session_id: str) -> None:
        """End a session and wait for its end; each DELETE answers with the state."""
        give_up = time.monotonic() + END_S
        while time.monotonic() < give_up:
            try:
                session = await self._call("DELETE", f"/sessions/{session_id}")
            except APIStatusError as error:
                if error.status_code != 404:
                    raise
                return
            if session.get("state") in ("ended", "failed"):
                return
            await asyncio.sleep(0.2)

    async def _call(self, method: str, path: str, *needs: str) -> Answer:
        return await self._retried(lambda: self._once(method, path, None, *needs))

    async def _retried(self, attempt: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        for tried in range(self._options.max_retry + 1):
            try:
                return await attempt()
            except APIError as error:
                if not error.retryable or tried == self._options.max_retry:
                    raise
                pause = retry_after(error) or self._options.retry_interval
                logger.warning(
                    "a request to the avatar service failed, trying again",
                    extra={"attempt": tried + 1, "error": error.message, "pause_s": pause},
                )
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, body: dict[str, Any] | None, *needs: str
    ) -> Answer:
        """Raises APIError, also if the answer lacks a field that the caller `needs`."""
        if self._http is None:
            self._http = aiohttp.ClientSession(headers=self._headers, auto_decompress=False)
        try:
            async with self._http.request(
                method,
                self._url + path,
                json=body,
                allow_redirects=False,  # the key is meant for this address only
                timeout=aiohttp.ClientTimeout(total=self._options.timeout),
            ) as response:
                text = await read(response)
                if not response.ok:
                    raise refusal(response, text)
                return answer_of(text, needs)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            message = f"{self._url} cannot be used: {str(error) or type(error).__name__}"
            raise APIConnectionError(message) from error


def _check(url: str, key: str | None) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        usable = False
    if not usable or not url.isprintable():
        raise VoipAvatarException(
            f"{url!r} is not a service's address: set VOIPAVATAR_API_URL (or api_url) to one like "
            "http://127.0.0.1:8080."
        )
    if key and not (key.isascii() and key.isprintable()):
        raise VoipAvatarException(
            "VOIPAVATAR_API_KEY (or api_key) contains a line break or another invalid character: "
            "copy it again."
        )


async def _check_may_end(
    session: dict[str, Any], agent: str, present: Callable[[str], Awaitable[bool]]
) -> None:
    owner = (session.get("audio") or {}).get("agent")
    if owner == agent or (owner is not None and not await present(owner)):
        return
    whose = "somebody else" if owner is None else f"the agent {owner!r}, which is in the room"
    raise AvatarTaken(
        f"The avatar {session['identity']!r} in room {session['room']!r} belongs to {whose}: give "
        "this agent's avatar another name with avatar_participant_identity."
    )


def _place(livekit_url: str, room: str, identity: str) -> Place:
    """An avatar's unique key, with the address in the service's form."""
    parts = urlsplit(livekit_url)
    scheme = parts.scheme.lower().replace("http", "ws")
    return f"{scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}", room, identity
