"""Preparations: who waits for them, who has the next turn, and what ends them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.personas.catalogue import Catalogue
from app.personas.preparation import Preparation
from app.personas.preparation_queue import MOST_EACH
from engine.core.engine_errors import PersonaError, PoolFull, ResourceShortage
from tests.app.test_personas_service import catalogue, folder
from tests.e2e.waiting import until
from tests.limits import no_more_files

__all__ = ["catalogue", "folder"]  # fixtures


async def test_a_preparation_that_nobody_waits_for_ends_and_leaves_nothing(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    waiting = [asyncio.create_task(catalogue.load("ada")) for _ in range(2)]
    await until(lambda: len(_preparing()) == 1)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert len(_preparing()) == 1, "somebody waits still"
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    await until(lambda: not _preparing())
    await until(lambda: not list((tmp_path / "cache").glob(".unfinished-*")))
    assert (await catalogue.load("ada")).name == "ada", "who asks again begins anew"


async def test_sizes_that_were_given_up_delay_nobody(catalogue: Catalogue) -> None:
    given_up = [asyncio.create_task(catalogue.load("ada", 128 + 2 * n, 128)) for n in range(8)]
    await until(lambda: len(catalogue._turns) == 7)
    for each in given_up:
        each.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    await catalogue.load("ada", 64, 64)
    assert catalogue.preparations == 2, "one had begun, the others had not"


@pytest.mark.slow
async def test_callers_take_turns(catalogue: Catalogue) -> None:
    ready: list[int] = []

    async def load(side: int, caller: str) -> None:
        await catalogue.load("ada", side, side, caller=caller)
        ready.append(side)

    greedy = [asyncio.create_task(load(128 + 2 * n, "greedy")) for n in range(4)]
    await until(lambda: len(catalogue._turns) == 3)
    await load(64, "honest")
    await asyncio.gather(*greedy)
    assert ready.index(64) == 1, "after the one that had begun"


@pytest.mark.slow
async def test_too_many_of_one_caller_are_refused(catalogue: Catalogue) -> None:
    waiting = [asyncio.create_task(catalogue.load("ada", 64 + 2 * n, 64)) for n in range(9)]
    await until(lambda: len(catalogue._turns) == MOST_EACH)
    with pytest.raises(PoolFull, match="Too many personas and sizes"):
        await catalogue.load("ada", 128, 128)
    assert (await catalogue.load("ada", 126, 126, caller="another")).width == 126
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_reader_that_crashes_is_the_videos_fault(catalogue: Catalogue) -> None:
    loading = asyncio.create_task(catalogue.load("ada"))
    await until(lambda: len(_preparing()) == 1)
    _preparing()[0].send_signal(signal.SIGSEGV)
    with pytest.raises(PersonaError, match=r"ada\.mp4 cannot be prepared: its decoder crashed"):
        await loading


async def test_without_a_process_the_persona_is_not_to_blame(catalogue: Catalogue) -> None:
    await (await asyncio.create_subprocess_exec("true")).wait()
    size, content = catalogue._content(
        *(catalogue._dir / "ada/ada.mp4", catalogue.settings("ada"), None, None)
    )
    work = Preparation(
        *("ada", catalogue.settings("ada"), catalogue._dir / "ada/ada.mp4"),
        *(catalogue._cache, size, catalogue._tools),
    )
    with no_more_files(os.getpid()), pytest.raises(ResourceShortage, match="file descriptor"):
        await work.run()
    assert not (catalogue._cache / content).exists()


async def test_what_prepares_is_told_no_secret(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_API_SECRET", "hidden")
    monkeypatch.setenv("VOIPAVATAR_DATABASE_URL", "postgresql://u:hidden@h/n")
    loading = asyncio.create_task(catalogue.load("ada"))
    await until(lambda: len(_preparing()) == 1)
    assert "hidden" not in _preparing()[0].environ().values()
    await loading


def _preparing() -> list[psutil.Process]:
    """Processes that prepare a persona for this one."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if child.cmdline()[1:3] == ["-m", "engine.prepare"]:
                found.append(child)
    return found
