"""A worker that is a command: how it ended and what it said last is told, but no tokens."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.conformance.choice import Unfit
from bench.conformance.telling import redacted
from bench.conformance.worker import Worker, words_of

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhdmF0YXIifQ.c2lnbmF0dXJlLW9mLWl0"
ENV = {"AVATAR_TOKEN": TOKEN}
SOON_S = 30.0


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("no-such-worker --now", "There is no program no-such-worker"),
        ("worker 'of", "--command cannot be read"),
        (" ", "--command names no program"),
    ],
)
def test_a_command_that_nothing_can_start(command: str, sentence: str) -> None:
    with pytest.raises(Unfit, match=f"^{sentence}"):
        words_of(command)


async def test_its_end_is_told_with_its_last_words() -> None:
    worker = await Worker.start("sh -c 'echo first; echo with $AVATAR_TOKEN >&2; exit 3'", ENV)
    assert await worker.wait(SOON_S)
    assert worker.failed
    assert worker.state() == ("the worker exited with code 3; its last lines: first / with <token>")
    await worker.stop()


async def test_an_end_without_a_word() -> None:
    worker = await Worker.start("true", ENV)
    assert await worker.wait(SOON_S)
    assert not worker.failed
    assert worker.state() == "the worker exited with code 0; it has printed nothing"
    await worker.stop()


async def test_whatever_it_started_ends_with_it(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    worker = await Worker.start(f"sh -c 'sleep 600 & echo $! >{told}; wait'", ENV)
    await _until(lambda: told.exists() and told.read_text().endswith("\n"))
    for _ in range(2):
        await worker.stop()
    assert worker.code == -signal.SIGTERM
    await _until(lambda: not _runs(int(told.read_text())))


def test_secrets_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_SECRET", "a-secret-of-some-length")
    monkeypatch.setenv("VOIPAVATAR_API_KEY", "secret")  # a word of its own
    told = redacted(
        f"401 for ?access_token={TOKEN}&x, a-secret-of-some-length, {TOKEN[:40]}… secret"
    )
    assert told == "401 for ?access_token=<token>&x, <LIVEKIT_API_SECRET>, <token>… secret"


async def _until(held: Callable[[], bool]) -> None:
    for _ in range(round(SOON_S / 0.01)):
        if held():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"not within {SOON_S:g} s")


def _runs(pid: int) -> bool:
    """One that has ended may wait for whoever inherits it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
