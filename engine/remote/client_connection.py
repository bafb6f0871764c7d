"""The engine process's side of a connection to one worker."""

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
    """A stream of this client."""

    number: int  # on the device thread
    persona: Persona
    sound: SoundReceiver


class ClientConnection:
    """Handles a client's messages on its own thread, and places pictures in the client's arena.

    Attributes:
        crowded: pictures dropped because the client held too many.
    """

    def __init__(self, server: EngineServer) -> None:
        self._server = server
        self._streams: dict[int, RemoteStream] = {}
        self._link: Link | None = None
        self.arena = Arena()
        self.crowded = 0

    def attach(self, link: Link) -> None:
        self._link = link
        threading.Thread(target=self._read, args=(link,), name="client", daemon=True).start()

    def send(self, kind: Kind, body: bytes) -> None:
        if self._link is not None:
            self._link.send(kind, body)

    def send_pictures(self, results: list[Rendered]) -> None:
        """Places pictures in the arena and sends their offsets."""
        placed = []
        for result in results:
            offset = self.arena.put(result.picture)
            if offset is None:
                self.crowded += 1
                continue
            place = (offset, result.picture.nbytes)
            placed.append(Placed(result.stream, result.generation, result.tick, *place))
        self.send(Kind.PICTURES, pack_pictures(placed))

    def close(self) -> None:
        """Closes the connection. Idempotent and thread-safe."""
        if self._link is not None:
            self._link.close()

    def _read(self, link: Link) -> None:
        try:
            with going_first(DEVICE) if self._server.realtime else nullcontext():
                for kind, body in link.messages():
                    self._handle(Kind(kind), body)
        except Exception:
            log.exception("worker disconnected after an invalid message")
        try:
            for remote in self._streams.values():
                self._server.close(remote.number)
        finally:
            self._streams.clear()
            self._server.disconnect(self)
            link.close()
            self.arena.close()

    def _handle(self, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.JOB:
                self._submit(unpack_job(body))
            case Kind.RELEASE:
                self.arena.give_back(*wire_format.OFFSET.unpack(body))
            case Kind.CLEAR:
                stream, generation = wire_format.STREAM_AND_GENERATION.unpack(body)
                if (remote := self._streams.get(stream)) is not None:
                    self._server.runner.clear(remote.number, generation)
            case Kind.OPEN:
                asked = json.loads(body)
                self._open(asked["stream"], asked["folder"])
            case Kind.CLOSE:
                (stream,) = wire_format.STREAM.unpack(body)
                if (remote := self._streams.pop(stream, None)) is not None:
                    self._server.close(remote.number)
            case Kind.ADMIT:
                self._server.admit(self, **json.loads(body))
            case Kind.STALL:
                stream, *stall = wire_format.STALL.unpack(body)
                if (remote := self._streams.get(stream)) is not None:
                    self._server.runner.stall(remote.number, *stall)
            case _:
                raise ValueError(f"unexpected message of kind {kind}")

    def _open(self, stream: int, folder: str) -> None:
        number, persona = self._server.open(self, stream, folder)
        runner = self._server.runner
        sound = SoundReceiver(runner.left_context, runner.lookahead)
        self._streams[stream] = RemoteStream(number, persona, sound)

    def _submit(self, order: wire_format.Order) -> None:
        remote = self._streams.get(order.stream)
        if remote is None:
            return
        audio = None
        if order.inferred:
            name = (order.generation, order.segment)
            audio = remote.sound.window(name, order.frame, order.piece)
        self._server.runner.submit(
            FrameJob(
                stream=remote.number,
                generation=order.generation,
                tick=order.tick,
                due=order.due,
                persona=remote.persona,
                audio=audio,
                closing=order.closing,
                segment=order.segment,
                frame=order.frame,
                unheard=order.unheard,
            )
        )
