"""Messages over a socket: a byte for the kind, the length, the body."""

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
    """One end. Sending never blocks: a thread writes; reading is for a thread of the caller.

    Args:
        realtime: the writing thread goes before ordinary work. Where the threads around it do, one
            that does not would hold Python's lock while it waits for a processor.
    """

    def __init__(self, connection: socket.socket, *, realtime: bool = False) -> None:
        self._realtime = realtime
        self._connection = connection
        self._incoming = connection.makefile("rb")
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="voipavatar-link", daemon=True)
        self._writer.start()

    def send(self, kind: int, body: bytes = b"") -> None:
        """Queue a message; it is lost without a word when the other end is gone."""
        self._outgoing.put(HEAD.pack(kind, len(body)) + body)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Kind and body of what comes in, until the other end is gone or this one is closed."""
        with self._incoming, contextlib.suppress(OSError, ValueError):
            while len(head := self._incoming.read(HEAD.size)) == HEAD.size:
                kind, size = HEAD.unpack(head)
                body = self._incoming.read(size)
                if len(body) < size:
                    return
                yield kind, body

    def close(self) -> None:
        """Write what is queued, then hang up. Idempotent, from any thread."""
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
            # Nothing is written any more: whoever reads, here or there, must know.
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
