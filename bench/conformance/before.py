"""Checks before anything is measured: each fault is one sentence, within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import aiohttp
import psutil
from livekit import api, rtc

from bench.conformance.choice import Unfit
from bench.conformance.meeting import meet
from bench.conformance.target import LiveKit, Refused, Target
from bench.conformance.worker import Gone, words_of

ANSWER_S = 10.0
PAIR = "LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
HINTS = {401: "--api-key", 403: "--api-key", 404: "--avatar-id and --api-url"}


async def look_first(target: Target) -> None:
    """The worker, its process, the LiveKit server, and one avatar in one room. Raises Unfit."""
    if target.service_pid is not None:
        _look_at(target.service_pid)
    if target.command is not None:
        words_of(target.command)
    await target.reach()
    await _ask(target.livekit)
    try:
        with _hushed("livekit.agents"):  # its sink reports a missing avatar as a traceback
            async with meet(target):
                return
    except Refused as refusal:
        hint = HINTS.get(refusal.status)
        raise Unfit(_sentence(refusal) + (f" Look at {hint}." if hint else "")) from refusal
    except (Gone, TimeoutError, rtc.ConnectError) as error:
        hint = " Look at --command." if target.command is not None else ""
        raise Unfit(_sentence(error) + hint) from error


def _look_at(pid: int) -> None:
    try:
        psutil.Process(pid).num_fds()
    except (psutil.NoSuchProcess, ValueError, OverflowError) as error:
        raise Unfit(f"There is no process {pid}: look at --service-pid.") from error
    except psutil.AccessDenied as error:
        raise Unfit(
            f"The process {pid} is somebody else's: run this as its user, or leave --service-pid."
        ) from error


async def _ask(livekit: LiveKit) -> None:
    """Check that the server answers and accepts our key. Raises Unfit."""
    try:
        async with asyncio.timeout(ANSWER_S), livekit.admin() as admin:
            await admin.room.list_rooms(api.ListRoomsRequest(names=["-"]))
    except api.TwirpError as error:
        if error.status in (401, 403):
            raise Unfit(
                f"{livekit.url} does not take {PAIR}: set the pair of that server."
            ) from error
        raise Unfit(f"{livekit.url} answers {error.status}: look at LIVEKIT_URL.") from error
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        raise Unfit(f"LiveKit at {livekit.url} cannot be reached: look at LIVEKIT_URL.") from error


@contextlib.contextmanager
def _hushed(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return f"Nothing can be measured: {text.rstrip('.')}."
