"""Messages over a socket: a byte for the kind, then the length and the body."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Iterator

from engine.core.priority import DEVICE, going_first

HEAD = struct.Struct("<BI")


class Link:
    """One end of a connection. Sending never blocks: a thread writes. The caller's thread reads.

    Args:
        realtime: runs the writing thread in the real-time class. Among real-time threads, an
            ordinary one would hold Python's lock while it waits for a processor.
    """

    def __init__(self, connection: socket.socket, *, realtime: bool = False) -> None:
        self._realtime = realtime
        self._connection = connection
        self._incoming = connection.makefile("rb")
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="voipavatar-link", daemon=True)
        self._writer.start()

    def send(self, kind: int, body: bytes = b"") -> None:
        """Queues a message; it is dropped silently if the other end has closed."""
        self._outgoing.put(HEAD.pack(kind, len(body)) + body)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Yields kind and body of incoming messages until either end is closed."""
        with self._incoming, contextlib.suppress(OSError, ValueError):
            while len(head := self._incoming.read(HEAD.size)) == HEAD.size:
                kind, size = HEAD.unpack(head)
                body = self._incoming.read(size)
                if len(body) < size:
                    return
                yield kind, body

    def close(self) -> None:
        """Writes what is queued, then closes. Idempotent and thread-safe."""
        self._outgoing.put(None)
        self._writer.join(timeout=1.0)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _write(self) -> None:
        first = going_first(DEVICE) if self._realtime else contextlib.nullcontext()
        try:
            with first, contextlib.suppress(OSError):
                while (message := self._outgoing.get()) is not None:
                    self._connection.sendall(message)
        finally:
            # Nothing is written any more: wake the readers at both ends.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
