"""The engine process: one device for the sessions of several workers."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from engine.backends.backend import Backend
from engine.core.backoff import Backoff
from engine.core.persona import Persona
from engine.core.persona import load as load_persona
from engine.core.shortage import shortage_of
from engine.core.types import EngineStats, Rendered
from engine.engine_config import EngineConfig
from engine.remote.client_connection import ClientConnection
from engine.remote.link import HEAD, Link
from engine.remote.wire_format import Kind, pack_json
from engine.serving.choice import load_backend
from engine.serving.device_thread import DeviceThread

log = logging.getLogger(__name__)

BEAT_S = 0.25
RECENT = 16  # personas kept for later streams; those in use are kept alive by their streams
PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0  # after a connection could not be accepted


class EngineServer:
    """Constructed idle; `start` warms the engine up and listens, `wait` blocks until the end.

    A fault that restarting the backend does not cure, such as a CUDA context broken by an illegal
    access, is sent to every client and ends the server: only a new process recovers from it.

    Args:
        path: socket to listen on, in a folder that only this user can enter.
        backend: replaces the one that `config` names.
    """

    def __init__(self, config: EngineConfig, path: Path, backend: Backend | None = None) -> None:
        self._runner = DeviceThread(backend or load_backend(config), config, self._hand_out)
        self._path = path
        self.realtime = config.realtime
        self._listening: socket.socket | None = None
        self._clients: set[ClientConnection] = set()
        self._owners: dict[
            int, tuple[ClientConnection, int]
        ] = {}  # device thread's stream -> client, client's stream
        self._numbers = itertools.count()
        self._personas: WeakValueDictionary[str, Persona] = WeakValueDictionary()
        self._recent: deque[Persona] = deque(maxlen=RECENT)
        self._admission = ThreadPoolExecutor(1, "admit")
        self._over = threading.Event()
        self._crowded = 0  # by clients that have disconnected
        self._hello: dict[str, Any] = {}

    @property
    def fault(self) -> str | None:
        return self._runner.fault

    def start(self) -> None:
        """Blocks; raises BackendUnavailable, and OSError if the socket cannot be opened."""
        measured = self._runner.start()
        self._hello = {
            "name": self._runner.name,
            "left_context": self._runner.left_context,
            "lookahead": self._runner.lookahead,
            "measured": asdict(measured),
        }
        self._path.unlink(missing_ok=True)
        self._listening = listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self._path))
        listening.listen()
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def wait(self) -> None:
        """Blocks until `stop`, or until a fault that no restart cures."""
        self._over.wait()

    def stop(self) -> None:
        """Disconnects every client and releases the device. Blocks; idempotent."""
        self._over.set()
        if self._listening is not None:
            self._path.unlink(missing_ok=True)
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listening.close()
        for client in list(self._clients):
            client.close()
        self._admission.shutdown(cancel_futures=True)
        self._runner.stop()

    def _accept(self, listening: socket.socket) -> None:
        backoff = Backoff(PAUSE_S, LONGEST_PAUSE_S)
        while not self._over.is_set():
            try:
                connection, _ = listening.accept()
                self._connect(connection)
            except Exception as error:  # no file descriptor, memory or thread is left for another
                if not self._over.wait(backoff.next_s()):
                    log.error("cannot accept a worker's connection: %r", error)
            else:
                backoff.reset()

    def _connect(self, connection: socket.socket) -> None:
        try:
            client = ClientConnection(self)
            try:
                hello = pack_json({**self._hello, "arena": client.arena.size})
                head = HEAD.pack(Kind.HELLO, len(hello))
                socket.send_fds(connection, [head], [client.arena.file])
                connection.sendall(hello)
                self._clients.add(client)
                client.attach(Link(connection, realtime=self.realtime))
            except Exception:
                self._clients.discard(client)
                client.close()
                client.arena.close()
                raise
        except Exception:
            connection.close()
            raise

    def stats(self) -> EngineStats:
        stats = self._runner.stats()
        stats.crowded = self._crowded + sum(client.crowded for client in list(self._clients))
        return stats

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                told = {
                    "stats": asdict(self.stats()),
                    "age_s": self._runner.beat_age_s(),
                    "fault": self._runner.fault,
                }
                for client in list(self._clients):
                    client.send(Kind.BEAT, pack_json(told))
            except Exception:
                log.exception("heartbeat not sent")

    def _hand_out(self, results: list[Rendered] | str) -> None:
        """Called on the device's thread."""
        if isinstance(results, str):
            for client in list(self._clients):
                client.send(Kind.FAULT, results.encode())
            self._over.set()
            return
        by_client: dict[ClientConnection, list[Rendered]] = {}
        for result in results:
            owner = self._owners.get(result.stream)
            if owner is not None:
                client, stream = owner
                by_client.setdefault(client, []).append(replace(result, stream=stream))
        for client, own in by_client.items():
            client.send_pictures(own)

    # Requests of clients, each on its client's thread.

    def admit(self, client: ClientConnection, number: int, folder: str) -> None:
        """Answers once the persona can be painted; the client's other requests do not wait."""

        def work() -> None:
            problem = kind = ""
            try:
                self._runner.admit(self._persona(folder))
            except Exception as error:
                log.warning("persona refused: %s", error)
                shortage = shortage_of(error)
                problem, kind = str(shortage or error), type(shortage or error).__name__
            body = {"number": number, "problem": problem, "kind": kind}
            client.send(Kind.ADMITTED, pack_json(body))

        with suppress(RuntimeError):  # it is closing
            self._admission.submit(work)

    def open(self, client: ClientConnection, stream: int, folder: str) -> tuple[int, Persona]:
        """The device thread's number for a client's stream, and its persona."""
        number, persona = next(self._numbers), self._persona(folder)
        self._owners[number] = (client, stream)
        self._runner.open(number, persona)
        return number, persona

    def close(self, number: int) -> None:
        if self._owners.pop(number, None) is not None:
            self._runner.close(number)

    def disconnect(self, client: ClientConnection) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._crowded += client.crowded

    @property
    def runner(self) -> DeviceThread:
        return self._runner

    def _persona(self, folder: str) -> Persona:
        persona = self._personas.get(folder)
        if persona is None:
            persona = self._personas[folder] = load_persona(Path(folder))
        self._recent.append(persona)
        return persona
