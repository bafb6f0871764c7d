"""Answers to speech that is not taken: from an agent that is not the session's own.

Such an agent counts the segments that it sends, and would wait for the end of each for ever.
"""

from __future__ import annotations

import asyncio

import structlog
from livekit import rtc

from app.rtc.output.playback_ledger import Finished
from app.rtc.output.playback_reporter import FINISHED, RESPONSE_TIMEOUT_S, payload

log = structlog.get_logger(__name__)

MOST_SENDERS = 8  # that are answered at once; others are left without
MOST_UNTOLD = 32  # segments of one sender
MOST_LOGGED = 32  # senders, each once: a stranger may send without end
NOTHING_PLAYED = payload(Finished(0, 0.0, interrupted=True))


class Rejections:
    """Tells senders that a segment of theirs is over and nothing of it was heard."""

    def __init__(self) -> None:
        self._room: rtc.Room | None = None
        self._untold: dict[str, int] = {}  # segments, by sender
        self._telling: set[asyncio.Task[None]] = set()
        self._logged: set[str] = set()

    def attach(self, room: rtc.Room) -> None:
        """Answer in a room just joined."""
        self._room = room

    def reject(self, sender: str) -> None:
        """One more segment. Whoever sends more than can be answered gets fewer answers."""
        if sender not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(sender)
            log.warning("speech or a clear of somebody else is refused", sender=sender)
        waiting = self._untold.get(sender)
        if waiting is not None:
            self._untold[sender] = min(waiting + 1, MOST_UNTOLD)
        elif sender and len(self._untold) < MOST_SENDERS:
            self._untold[sender] = 1
            task = asyncio.create_task(self._tell(sender))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    def close(self) -> None:
        """Answer nobody any more in the room that was left."""
        self._room = None
        for task in self._telling:
            task.cancel()

    async def _tell(self, sender: str) -> None:
        try:
            while self._untold[sender] and self._room is not None:
                self._untold[sender] -= 1
                await self._room.local_participant.perform_rpc(
                    destination_identity=sender,
                    method=FINISHED,
                    payload=NOTHING_PLAYED,
                    response_timeout=RESPONSE_TIMEOUT_S,
                )
        except rtc.RpcError as error:  # not an agent, or gone
            log.debug("a rejected sender was not told", sender=sender, code=error.code)
        finally:
            del self._untold[sender]
