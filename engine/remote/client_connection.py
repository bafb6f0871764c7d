"""One process of sessions, as the engine's process sees it."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.core.persona import Persona
from engine.core.priority import DEVICE, going_first
from engine.core.types import FrameJob, Rendered
from engine.remote import wire_format
from engine.remote.arena import Arena
from engine.remote.link import Link
from engine.remote.sound_transfer import SoundReceiver
from engine.remote.wire_format import Kind, Placed, pack_pictures, unpack_job

if TYPE_CHECKING:
    from engine.remote.engine_server import EngineServer

log = logging.getLogger(__name__)


@dataclass(slots=True)
class RemoteStream:
    """A stream of the guest."""

    number: int  # the runner's
    persona: Persona
    sound: SoundReceiver


class ClientConnection:
    """Obeys what comes over its link, on a thread of its own, and shows pictures in its arena.

    Attributes:
        crowded: pictures that found no place, since the guest keeps too many.
    """

    def __init__(self, server: EngineServer) -> None:
        self._server = server
        self._seats: dict[int, RemoteStream] = {}
        self._link: Link | None = None
        self.arena = Arena()
        self.crowded = 0

    def attach(self, link: Link) -> None:
        self._link = link
        threading.Thread(target=self._live, args=(link,), name="guest", daemon=True).start()

    def tell(self, kind: Kind, body: bytes) -> None:
        if self._link is not None:
            self._link.send(kind, body)

    def show(self, results: list[Rendered]) -> None:
        """Place pictures in the arena and say where they are."""
        placed = []
        for result in results:
            offset = self.arena.put(result.picture)
            if offset is None:
                self.crowded += 1
                continue
            place = (offset, result.picture.nbytes)
            placed.append(Placed(result.stream, result.generation, result.tick, *place))
        self.tell(Kind.PICTURES, pack_pictures(placed))

    def close(self) -> None:
        """Hang up. Idempotent, from any thread."""
        if self._link is not None:
            self._link.close()

    def _live(self, link: Link) -> None:
        try:
            with going_first(DEVICE) if self._server.realtime else nullcontext():
                for kind, body in link.messages():
                    self._obey(Kind(kind), body)
        except Exception:
            log.exception("a process of sessions is let go: it said what makes no sense")
        try:
            for seat in self._seats.values():
                self._server.close(seat.number)
        finally:
            self._seats.clear()
            self._server.leave(self)
            link.close()
            self.arena.close()

    def _obey(self, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.JOB:
                self._submit(unpack_job(body))
            case Kind.RELEASE:
                self.arena.give_back(*wire_format.OFFSET.unpack(body))
            case Kind.CLEAR:
                stream, generation = wire_format.STREAM_AND_GENERATION.unpack(body)
                if (seat := self._seats.get(stream)) is not None:
                    self._server.runner.clear(seat.number, generation)
            case Kind.OPEN:
                asked = json.loads(body)
                self._open(asked["stream"], asked["folder"])
            case Kind.CLOSE:
                (stream,) = wire_format.STREAM.unpack(body)
                if (seat := self._seats.pop(stream, None)) is not None:
                    self._server.close(seat.number)
            case Kind.ADMIT:
                self._server.admit(self, **json.loads(body))
            case Kind.STALL:
                stream, *stall = wire_format.STALL.unpack(body)
                if (seat := self._seats.get(stream)) is not None:
                    self._server.runner.stall(seat.number, *stall)
            case _:
                raise ValueError(f"a message of kind {kind}")

    def _open(self, stream: int, folder: str) -> None:
        number, persona = self._server.open(self, stream, folder)
        runner = self._server.runner
        sound = SoundReceiver(runner.left_context, runner.lookahead)
        self._seats[stream] = RemoteStream(number, persona, sound)

    def _submit(self, order: wire_format.Order) -> None:
        seat = self._seats.get(order.stream)
        if seat is None:
            return
        audio = None
        if order.inferred:
            name = (order.generation, order.segment)
            audio = seat.sound.window(name, order.frame, order.piece)
        self._server.runner.submit(
            FrameJob(
                stream=seat.number,
                generation=order.generation,
                tick=order.tick,
                due=order.due,
                persona=seat.persona,
                audio=audio,
                closing=order.closing,
                segment=order.segment,
                frame=order.frame,
                unheard=order.unheard,
            )
        )
