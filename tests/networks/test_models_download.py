"""Downloads, from a hub of our own on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.models.published import Published
from engine.prepare.download import Fetched, HubUnreachable, fetch
from engine.prepare.weights import BrokenWeights

CONTENT = b"weights " * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REPO = "openai/whisper-tiny"


class _Hub(BaseHTTPRequestHandler):
    """Serves one file under every name, as the hub does: with a commit and a hash."""

    protocol_version = "HTTP/1.1"
    asked: list[str]  # of GET requests, their ranges

    def do_HEAD(self) -> None:
        self._answer(CONTENT, 200, body=False)

    def do_GET(self) -> None:
        span = self.headers.get("Range", "")
        self.asked.append(span)
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        self._answer(CONTENT[start:], 206 if span else 200, body=True)

    def _answer(self, content: bytes, status: int, *, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub() -> Iterator[str]:
    _Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def published(sha256: str | None = SHA256, size: int | None = len(CONTENT)) -> Published:
    return Published(REPO, "pytorch_model.bin", "whisper/pytorch_model.bin", size, sha256)


def fetched(models: Path, file: Published, hub: str) -> list[Fetched]:
    seen: list[Fetched] = []
    fetch(models, [file], seen.append, hub)
    return seen


def test_a_file_lands_where_upstream_puts_it_and_is_not_fetched_twice(
    tmp_path: Path, hub: str
) -> None:
    for _ in range(2):
        (done,) = fetched(tmp_path, published(), hub)
        assert done.checked == "record"
    assert (tmp_path / "whisper" / "pytorch_model.bin").read_bytes() == CONTENT
    assert len(_Hub.asked) == 1


def test_without_a_record_the_hub_s_own_hash_counts(tmp_path: Path, hub: str) -> None:
    (done,) = fetched(tmp_path, published(None, None), hub)
    assert (done.checked, done.sha256) == ("hub", SHA256)


@pytest.mark.parametrize(
    ("sha256", "size", "reason"),
    [("0" * 64, len(CONTENT), "is not the published file"), (SHA256, 7, "bytes instead of 7")],
)
def test_another_file_is_refused(
    tmp_path: Path, hub: str, sha256: str, size: int, reason: str
) -> None:
    with pytest.raises(BrokenWeights, match=reason):
        fetched(tmp_path, published(sha256, size), hub)
    assert not (tmp_path / "whisper").exists()


def test_a_file_that_changed_since_is_refused(tmp_path: Path, hub: str) -> None:
    fetched(tmp_path, published(None, None), hub)
    path = tmp_path / "whisper" / "pytorch_model.bin"
    path.write_bytes(b"other" + CONTENT[5:])
    with pytest.raises(BrokenWeights, match="changed since it was downloaded"):
        fetched(tmp_path, published(None, None), hub)


def test_without_the_hub_it_says_what_goes_where(tmp_path: Path) -> None:
    with pytest.raises(HubUnreachable) as refused:
        fetched(tmp_path, published(), "http://127.0.0.1:9")
    sentence = str(refused.value)
    assert "The hub cannot be reached" in sentence
    assert str(tmp_path / "whisper" / "pytorch_model.bin") in sentence
    assert REPO in sentence
