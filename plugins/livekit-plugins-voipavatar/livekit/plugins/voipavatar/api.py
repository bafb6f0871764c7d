"""The service's API, as far as a plugin needs it."""

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

END_S = 10.0  # by then a session that was told to end has ended
CLOSE_S = 3.0  # longer than this nobody waits for a service that does not answer
LOOK_S = 2.0
CONFLICTS = 3  # so often a place that was made free may be gone again

Place = tuple[str, str, str]  # LiveKit server, room, identity


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """A request of which it is not known whether it made a session."""

    agent: str  # whose session it would be


class VoipAvatarException(Exception):
    """The plugin was not told what it needs, or was used in a wrong order."""


class AvatarTaken(VoipAvatarException):
    """Another agent that is in the room has the avatar of this identity."""


class Api:
    """Calls with retries: 4xx is raised at once, 5xx and network errors are tried again.

    No session is left behind: one that may have been made by a request that was called off, or
    whose answer was lost, is ended, at the latest by `aclose`.
    """

    def __init__(self, url: str, key: str | None, options: APIConnectOptions) -> None:
        """Raises VoipAvatarException for what can be no address or no key."""
        _check(url, key)
        self._url = url.rstrip("/")
        self._headers = AS_IT_IS | ({"x-api-key": key} if key else {})
        self._options = options
        self._http: aiohttp.ClientSession | None = None
        self._unsure: dict[Place, Doubt] = {}  # where a session of ours may be
        self._undoing: set[asyncio.Task[None]] = set()

    async def create(
        self, body: dict[str, Any], agent: str, present: Callable[[str], Awaitable[bool]]
    ) -> str:
        """Ask for a session of an agent's avatar; its id.

        An earlier avatar of the same identity that is still in the room makes way if its agent is
        this one (a request whose answer was lost, a process before this) or not `present` there.
        Raises AvatarTaken for the avatar of somebody else, APIError.
        """
        place = _place(body["livekit"]["url"], body["room"], body["identity"])
        for _ in range(CONFLICTS):
            try:
                session = await self._retried(lambda: self._post(body, place, agent))
            except APIStatusError as error:
                if code_of(error) != "room_conflict":
                    raise
            else:
                self._unsure.pop(place, None)
                return str(session["id"])
            for earlier in await self._holders(place):
                if earlier["state"] != "ending":
                    await _check_may_end(earlier, agent, present)
                logger.warning("ending an earlier session", extra={"session": earlier["id"]})
                await self._end(earlier["id"])
        raise AvatarTaken(f"Others take the avatar {place[2]!r} in room {place[1]!r} all the time.")

    async def delete(self, session_id: str) -> None:
        """End a session; nothing happens if it has ended or was never there. Raises APIError."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._call("DELETE", f"/sessions/{session_id}")
        except APIStatusError as error:
            if error.status_code != 404:
                raise
        except TimeoutError as error:
            raise APIConnectionError(f"{self._url} has not answered in time") from error

    async def look(self, session_id: str) -> dict[str, Any]:
        """A session as it is now; asked once, and not for long. Raises APIError."""
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._once("GET", f"/sessions/{session_id}", None, "state")
        except TimeoutError as error:
            raise APIConnectionError(f"{self._url} has not answered in time") from error

    async def aclose(self) -> None:
        """End what nobody has the id of, and let go of the connections."""
        undoing = [*self._undoing, asyncio.create_task(self._end_unowned())]
        _, late = await asyncio.wait(undoing, timeout=CLOSE_S)
        for task in late:
            task.cancel()
            logger.warning("the service did not say whether a session of ours is left")
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _post(self, body: dict[str, Any], place: Place, agent: str) -> Answer:
        """Ask for a session once. When this is called off, the session is not wanted any more."""
        before = self._unsure.get(place)
        decay = self._unsure[place] = Doubt(agent)
        asked = asyncio.create_task(self._once("POST", "/sessions", body, "id"))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            undoing = asyncio.create_task(self._undo(asked, place, decay))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            raise
        except APIStatusError as error:
            if error.status_code < 500:
                self._settle(place, decay, before)  # refused, so none was made by this one
            raise

    def _settle(self, place: Place, decay: Doubt, before: Doubt | None = None) -> None:
        """What was in doubt is known now; what was `before` is not."""
        if self._unsure.get(place) is decay:
            del self._unsure[place]
            if before is not None:
                self._unsure[place] = before

    async def _undo(self, asked: asyncio.Task[Answer], place: Place, decay: Doubt) -> None:
        try:
            await self.delete((await asked)["id"])
        except APIError as error:
            logger.warning("a request that was called off: %s", error.message)
        else:
            self._settle(place, decay)

    async def _end_unowned(self) -> None:
        """End what may have been made without our having been told its id."""
        await asyncio.gather(*self._undoing, return_exceptions=True)
        for place, decay in tuple(self._unsure.items()):
            try:
                for session in await self._holders(place):
                    if (session.get("audio") or {}).get("agent") == decay.agent:
                        await self.delete(session["id"])
            except APIError as error:
                logger.warning("a session of ours may be left: %s", error.message)
            else:
                self._settle(place, decay)

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
        """End a session and wait until it has; DELETE answers with its state each time."""
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
                    "the avatar service did not answer as it should, trying again",
                    extra={"attempt": tried + 1, "error": error.message, "pause_s": pause},
                )
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, body: dict[str, Any] | None, *needs: str
    ) -> Answer:
        """Raises APIError, also where the answer is not one of ours: it lacks what it `needs`."""
        if self._http is None:
            self._http = aiohttp.ClientSession(headers=self._headers, auto_decompress=False)
        try:
            async with self._http.request(
                method,
                self._url + path,
                json=body,
                allow_redirects=False,  # the key is for this address alone
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
        _ = parts.port  # raises ValueError where it is none
    except ValueError:
        usable = False
    if not usable or not url.isprintable():
        raise VoipAvatarException(
            f"{url!r} is no address of a service: set VOIPAVATAR_API_URL (or api_url) to one like "
            "http://127.0.0.1:8080."
        )
    if key and not (key.isascii() and key.isprintable()):
        raise VoipAvatarException(
            "VOIPAVATAR_API_KEY (or api_key) has a line break or another character that no key "
            "has: copy it again."
        )


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


def _place(livekit_url: str, room: str, identity: str) -> Place:
    """What no two avatars share. An address has one form, as the service gives it."""
    parts = urlsplit(livekit_url)
    scheme = parts.scheme.lower().replace("http", "ws")
    return f"{scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}", room, identity
