"""A pool's connection to the engine process."""

from __future__ import annotations

import itertools
import json
import logging
import socket
import threading
import time
import weakref
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.core.backoff import Backoff
from engine.core.engine_errors import (
    BackendUnavailable,
    EngineError,
    EngineFault,
    PersonaError,
    ResourceShortage,
    StorageFault,
)
from engine.core.persona import Persona
from engine.core.priority import DEVICE, going_first
from engine.core.types import EngineStats, FrameJob, Picture, Rendered
from engine.engine_config import EngineConfig
from engine.remote import wire_format
from engine.remote.arena import ArenaView
from engine.remote.link import HEAD, Link
from engine.remote.sound_transfer import SoundSender
from engine.remote.wire_format import Kind, pack_job, pack_json, unpack_pictures
from engine.serving.frame_renderer import Deliver
from engine.serving.pool import EnginePool
from engine.serving.warmup import Measured

log = logging.getLogger(__name__)

AGAIN_S, LONGEST_AGAIN_S = 0.25, 2.0  # between attempts to reach the engine
PATIENCE_S = 5.0  # while the engine is being restarted
GONE = "The engine process ended; the service is starting another."
SHORTAGES: dict[str, type[EngineError]] = {
    each.__name__: each for each in (StorageFault, ResourceShortage)
}
NOT_YET = "The engine has not been reached yet."


def remote_pool(config: EngineConfig, path: Path) -> EnginePool:
    """A pool whose pictures an `EngineServer` paints, at the socket `path`."""
    return EnginePool(
        config, painter=lambda deliver: RemoteRenderer(path, deliver, realtime=config.realtime)
    )


@dataclass(slots=True)
class _Connection:
    """State that belongs to one run of the engine process."""

    link: Link
    view: ArenaView
    senders: dict[int, SoundSender] = field(default_factory=dict)
    held: dict[int, weakref.ref[Picture]] = field(default_factory=dict)  # by offset


class RemoteRenderer:
    """A `FrameRenderer` whose jobs run in an `EngineServer`.

    When the server ends, every stream is told of a fault. Streams that are opened after the next
    server was reached run on that one.

    Args:
        path: the server's socket.
        deliver: called on this renderer's own thread.
        realtime: runs its threads in the real-time class, like the loop that waits for them.
    """

    def __init__(self, path: Path, deliver: Deliver, *, realtime: bool = False) -> None:
        self._realtime = realtime
        self._path = path
        self._deliver = deliver
        self._thread = threading.Thread(target=self._run, name="voipavatar-remote", daemon=True)
        self._reached = threading.Event()
        self._stopping = threading.Event()
        self._connection: _Connection | None = None
        self._hello: dict[str, Any] = {}
        self._numbers = itertools.count()
        self._answers: dict[int, tuple[threading.Event, list[str]]] = {}
        self._stats = EngineStats()
        self._beat = time.monotonic()
        self.fault: str | None = NOT_YET

    @property
    def name(self) -> str:
        return str(self._hello["name"])

    @property
    def left_context(self) -> int:
        return int(self._hello["left_context"])

    @property
    def lookahead(self) -> int:
        return int(self._hello["lookahead"])

    def start(self) -> Measured:
        """Connects to the server, which must be listening. Raises BackendUnavailable."""
        self._thread.start()
        if not self._reached.wait(timeout=10.0):
            self.stop()
            raise BackendUnavailable("The engine process does not answer.")
        return Measured(**self._hello["measured"])

    def stop(self) -> None:
        self._stopping.set()
        if (connection := self._connection) is not None:
            connection.link.close()
        self._thread.join()

    def admit(self, persona: Persona) -> None:
        """Blocks; raises EngineFault if there is no engine, or if it ends meanwhile.

        Waits a moment for an engine that is being restarted.
        """
        self._reached.wait(timeout=PATIENCE_S)
        if (connection := self._connection) is None:
            raise EngineFault(self.fault or GONE)
        number, answered, problem = next(self._numbers), threading.Event(), ["", ""]
        self._answers[number] = (answered, problem)
        body = {"number": number, "folder": str(persona.folder.resolve())}
        connection.link.send(Kind.ADMIT, pack_json(body))
        while self._connection is connection and not answered.wait(timeout=AGAIN_S):
            pass
        del self._answers[number]
        if not answered.is_set():
            raise EngineFault(GONE)
        if problem[0]:
            raise SHORTAGES.get(problem[1], PersonaError)(problem[0])

    def open(self, stream: int, persona: Persona) -> None:
        if (connection := self._connection) is not None:
            connection.senders[stream] = SoundSender(self.left_context)
        body = {"stream": stream, "folder": str(persona.folder.resolve())}
        self._send(Kind.OPEN, pack_json(body))

    def close(self, stream: int) -> None:
        if (connection := self._connection) is not None:
            connection.senders.pop(stream, None)
        self._send(Kind.CLOSE, wire_format.STREAM.pack(stream))

    def submit(self, job: FrameJob) -> None:
        connection = self._connection
        if connection is None or (sender := connection.senders.get(job.stream)) is None:
            return  # opened on an earlier engine process; it has been told of the fault
        piece = wire_format.NO_SOUND
        if job.audio is not None:
            name = (job.generation, job.segment)
            piece = sender.cut(name, job.frame, job.audio, job.unheard)
        connection.link.send(Kind.JOB, pack_job(job, piece))

    def clear(self, stream: int, generation: int) -> None:
        self._send(Kind.CLEAR, wire_format.STREAM_AND_GENERATION.pack(stream, generation))

    def stall(self, stream: int, moment: float, seconds: float) -> None:
        self._send(Kind.STALL, wire_format.STALL.pack(stream, moment, seconds))

    def beat_age_s(self) -> float:
        return time.monotonic() - self._beat

    def stats(self) -> EngineStats:
        return replace(self._stats, batch_sizes=dict(self._stats.batch_sizes))

    def _send(self, kind: Kind, body: bytes) -> None:
        if (connection := self._connection) is not None:
            connection.link.send(kind, body)

    def _run(self) -> None:
        with going_first(DEVICE) if self._realtime else nullcontext():
            self._stay_connected()

    def _stay_connected(self) -> None:
        backoff = Backoff(AGAIN_S, LONGEST_AGAIN_S)
        while not self._stopping.is_set():
            try:
                self._connection = connection = self._connect()
            except (FileNotFoundError, ConnectionError):  # the engine is starting
                self._stopping.wait(AGAIN_S)
                continue
            except Exception as error:
                log.warning("cannot connect to the engine process: %r", error)
                self._stopping.wait(backoff.next_s())
                continue
            backoff.reset()
            self.fault = None
            self._reached.set()
            self._listen(connection)
            self._connection = None
            self._reached.clear()
            connection.link.close()
            if not self._stopping.is_set():
                self._lost(self.fault or GONE)

    def _listen(self, connection: _Connection) -> None:
        """Handles messages until the other end closes, or sends an invalid one."""
        try:
            for kind, body in connection.link.messages():
                self._handle(connection, Kind(kind), body)
        except Exception:
            log.exception("connection to the engine process dropped")

    def _connect(self) -> _Connection:
        """Raises OSError while no server is listening."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(self._path))
            head, files, _, _ = socket.recv_fds(connection, HEAD.size, 1)
            if len(head) < HEAD.size or not files:
                raise ConnectionError("the engine process closed the connection")
            body = b""
            _, size = HEAD.unpack(head)
            while len(body) < size:
                if not (more := connection.recv(size - len(body))):
                    raise ConnectionError("the engine process closed the connection")
                body += more
        except OSError:
            connection.close()
            raise
        try:
            self._hello = json.loads(body)
            view = ArenaView(files[0], self._hello["arena"])
            self._beat = time.monotonic()
            return _Connection(Link(connection, realtime=self._realtime), view)
        except Exception:
            connection.close()
            raise

    def _handle(self, connection: _Connection, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.PICTURES:
                self._deliver([self._rendered(connection, p) for p in unpack_pictures(body)])
            case Kind.BEAT:
                told = json.loads(body)
                sizes = {int(size): n for size, n in told["stats"].pop("batch_sizes").items()}
                self._stats = EngineStats(**told["stats"], batch_sizes=sizes)
                self._beat = time.monotonic() - told["age_s"]
                self.fault = told["fault"]
            case Kind.ADMITTED:
                told = json.loads(body)
                if (waiting := self._answers.get(told["number"])) is not None:
                    waiting[1][:] = told["problem"], told["kind"]
                    waiting[0].set()
            case Kind.FAULT:
                self.fault = body.decode()
            case _:
                raise ValueError(f"the engine process sent an unexpected message of kind {kind}")

    def _rendered(self, connection: _Connection, placed: wire_format.Placed) -> Rendered:
        picture = connection.view.picture(placed.offset, placed.size)
        offset, link = placed.offset, connection.link

        def release(_: object) -> None:
            connection.held.pop(offset, None)
            link.send(Kind.RELEASE, wire_format.OFFSET.pack(offset))

        connection.held[offset] = weakref.ref(picture, release)
        return Rendered(placed.stream, placed.generation, placed.tick, picture)

    def _lost(self, reason: str) -> None:
        self.fault = reason
        log.error("engine process lost: %s", reason)
        try:
            self._deliver(reason)
        except Exception:
            log.exception("streams could not be told of the lost engine process")
