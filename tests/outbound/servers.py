"""Servers on loopback that misbehave, and what they were asked."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Handler = Callable[[socket.socket, str], None]


@dataclass
class Server:
    port: int
    asked: list[str] = field(default_factory=list)  # first lines, without queries

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@contextmanager
def server(handler: Handler) -> Iterator[Server]:
    """Calls the handler, in a thread, with each connection and the first line it got."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Server(listening.getsockname()[1])

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                    head += more
                line = head.split(b"\r\n")[0].decode("latin-1")
                found.asked.append(" ".join(line.split("?")[0].split()[:2]))
                handler(connection, line)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield found
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def reply(connection: socket.socket, status: int, body: bytes = b"", *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def unsigned(room: str, identity: str = "theirs") -> str:
    """A token that only a server which checks nothing lets in."""
    parts = (
        {"alg": "HS256"},
        {
            "sub": identity,
            "exp": time.time() + 600,
            "iss": "x",
            "video": {"room": room, "roomJoin": True},
        },
    )
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(each.rstrip("=") for each in coded), "A" * 43])
