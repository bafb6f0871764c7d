"""Joins a room through a gateway, and prints what the library says.

`python -m tests.outbound.joining URL TOKEN [ADMITTED]`, in a process of its own: the library keeps
the first proxy that it finds.
"""

from __future__ import annotations

import asyncio
import os
import sys

from livekit import rtc

from app.outbound.gateway import open_gateway


async def main(url: str, token: str, admitted: str = "") -> None:
    async with open_gateway("") as gateway:
        with gateway.admit(admitted or url, public_only=False):
            try:
                await rtc.Room().connect(url, token, rtc.RoomOptions(connect_timeout=3.0))
            except rtc.ConnectError as error:
                print(error.message, flush=True)  # noqa: T201
    os._exit(0)  # the library is not taken apart in order: app/rtc/exit.py


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
