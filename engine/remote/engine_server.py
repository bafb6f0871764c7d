"""The engine's process: one device for the sessions of several others."""

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
RECENT = 16  # personas kept for streams that will follow; those that are shown live by themselves
PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0  # before another connection is taken after one was refused


class EngineServer:
    """Constructed idle; `start` warms the engine and listens, `wait` lasts until it is over.

    A fault that a restart of the backend does not cure, such as a CUDA context that an illegal
    access has spoilt, is told to every guest and ends the server: its process is the only thing
    that can be started anew then.

    Args:
        path: of the socket to listen on, in a folder that only this user can enter.
        backend: in the place of what `config` names.
    """

    def __init__(self, config: EngineConfig, path: Path, backend: Backend | None = None) -> None:
        self._runner = DeviceThread(backend or load_backend(config), config, self._hand_out)
        self._path = path
        self.realtime = config.realtime
        self._listening: socket.socket | None = None
        self._guests: set[ClientConnection] = set()
        self._owners: dict[
            int, tuple[ClientConnection, int]
        ] = {}  # runner's stream -> guest, guest's stream
        self._numbers = itertools.count()
        self._personas: WeakValueDictionary[str, Persona] = WeakValueDictionary()
        self._recent: deque[Persona] = deque(maxlen=RECENT)
        self._admission = ThreadPoolExecutor(1, "admit")
        self._over = threading.Event()
        self._crowded = 0  # of guests that have left
        self._hello: dict[str, Any] = {}

    @property
    def fault(self) -> str | None:
        return self._runner.fault

    def start(self) -> None:
        """Blocks; raises BackendUnavailable, and OSError if the socket can't be had."""
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
        """Until `stop`, or a fault that is for good."""
        self._over.wait()

    def stop(self) -> None:
        """Let every guest go and give the device back. Blocks; idempotent."""
        self._over.set()
        if self._listening is not None:
            self._path.unlink(missing_ok=True)
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listening.close()
        for guest in list(self._guests):
            guest.close()
        self._admission.shutdown(cancel_futures=True)
        self._runner.stop()

    def _accept(self, listening: socket.socket) -> None:
        backoff = Backoff(PAUSE_S, LONGEST_PAUSE_S)
        while not self._over.is_set():
            try:
                connection, _ = listening.accept()
                self._welcome(connection)
            except Exception as error:  # no file, no memory or no thread is left for one more
                if not self._over.wait(backoff.next_s()):
                    log.error("a process of sessions could not be connected: %r", error)
            else:
                backoff.reset()

    def _welcome(self, connection: socket.socket) -> None:
        try:
            guest = ClientConnection(self)
            try:
                hello = pack_json({**self._hello, "arena": guest.arena.size})
                head = HEAD.pack(Kind.HELLO, len(hello))
                socket.send_fds(connection, [head], [guest.arena.file])
                connection.sendall(hello)
                self._guests.add(guest)
                guest.attach(Link(connection, realtime=self.realtime))
            except Exception:
                self._guests.discard(guest)
                guest.close()
                guest.arena.close()
                raise
        except Exception:
            connection.close()
            raise

    def stats(self) -> EngineStats:
        stats = self._runner.stats()
        stats.crowded = self._crowded + sum(guest.crowded for guest in list(self._guests))
        return stats

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                told = {
                    "stats": asdict(self.stats()),
                    "age_s": self._runner.beat_age_s(),
                    "fault": self._runner.fault,
                }
                for guest in list(self._guests):
                    guest.tell(Kind.BEAT, pack_json(told))
            except Exception:
                log.exception("a beat was not told")

    def _hand_out(self, results: list[Rendered] | str) -> None:
        """On the device's thread."""
        if isinstance(results, str):
            for guest in list(self._guests):
                guest.tell(Kind.FAULT, results.encode())
            self._over.set()
            return
        by_guest: dict[ClientConnection, list[Rendered]] = {}
        for result in results:
            owner = self._owners.get(result.stream)
            if owner is not None:
                guest, stream = owner
                by_guest.setdefault(guest, []).append(replace(result, stream=stream))
        for guest, own in by_guest.items():
            guest.show(own)

    # What guests ask for; each on its guest's thread.

    def admit(self, guest: ClientConnection, number: int, folder: str) -> None:
        """Answers when the persona can be painted; others of this guest need not wait for it."""

        def work() -> None:
            problem = kind = ""
            try:
                self._runner.admit(self._persona(folder))
            except Exception as error:
                log.warning("a persona was refused: %s", error)
                shortage = shortage_of(error)
                problem, kind = str(shortage or error), type(shortage or error).__name__
            body = {"number": number, "problem": problem, "kind": kind}
            guest.tell(Kind.ADMITTED, pack_json(body))

        with suppress(RuntimeError):  # it is closing
            self._admission.submit(work)

    def open(self, guest: ClientConnection, stream: int, folder: str) -> tuple[int, Persona]:
        """The runner's number of a guest's stream, and its persona."""
        number, persona = next(self._numbers), self._persona(folder)
        self._owners[number] = (guest, stream)
        self._runner.open(number, persona)
        return number, persona

    def close(self, number: int) -> None:
        if self._owners.pop(number, None) is not None:
            self._runner.close(number)

    def leave(self, guest: ClientConnection) -> None:
        if guest in self._guests:
            self._guests.discard(guest)
            self._crowded += guest.crowded

    @property
    def runner(self) -> DeviceThread:
        return self._runner

    def _persona(self, folder: str) -> Persona:
        persona = self._personas.get(folder)
        if persona is None:
            persona = self._personas[folder] = load_persona(Path(folder))
        self._recent.append(persona)
        return persona
