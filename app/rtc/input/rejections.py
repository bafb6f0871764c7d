"""Answers senders whose speech is refused: agents other than the session's own.

Such an agent counts the segments it sends and would wait forever for the end of each.
"""

from __future__ import annotations

import asyncio

import structlog
from livekit import rtc

from app.rtc.output.playback_ledger import Finished
from app.rtc.output.playback_reporter import FINISHED, RESPONSE_TIMEOUT_S, payload

log = structlog.get_logger(__name__)

MOST_SENDERS = 8  # answered at the same time; further ones get no answer
MOST_PENDING = 32  # segments per sender
MOST_LOGGED = 32  # senders, each once, since a stranger may send without end
NOTHING_PLAYED = payload(Finished(0, 0.0, interrupted=True))


class Rejections:
    """Reports refused segments to their senders as finished and not played."""

    def __init__(self) -> None:
        self._room: rtc.Room | None = None
        self._pending: dict[str, int] = {}  # segments, by sender
        self._reporting: set[asyncio.Task[None]] = set()
        self._logged: set[str] = set()

    def attach(self, room: rtc.Room) -> None:
        """Answer in a room just joined."""
        self._room = room

    def reject(self, sender: str) -> None:
        """Count a refused segment. A sender that floods us gets fewer answers than segments."""
        if sender not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(sender)
            log.warning("refused speech or a clear from another sender", sender=sender)
        waiting = self._pending.get(sender)
        if waiting is not None:
            self._pending[sender] = min(waiting + 1, MOST_PENDING)
        elif sender and len(self._pending) < MOST_SENDERS:
            self._pending[sender] = 1
            task = asyncio.create_task(self._report(sender))
            self._reporting.add(task)
            task.add_done_callback(self._reporting.discard)

    def close(self) -> None:
        """Stop answering in the room that was left."""
        self._room = None
        for task in self._reporting:
            task.cancel()

    async def _report(self, sender: str) -> None:
        try:
            while self._pending[sender] and self._room is not None:
                self._pending[sender] -= 1
                await self._room.local_participant.perform_rpc(
                    destination_identity=sender,
                    method=FINISHED,
                    payload=NOTHING_PLAYED,
                    response_timeout=RESPONSE_TIMEOUT_S,
                )
        except rtc.RpcError as error:  # the sender is no agent, or has left
            log.debug("could not report to a rejected sender", sender=sender, code=error.code)
        finally:
            del self._pending[sender]
