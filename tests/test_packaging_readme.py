"""The README's commands work when pasted: the service in a process of its own, a real room."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import stat
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bench.devstack import LiveKit, Service, free_port, local_service
from tests.videos import persona_frames, write_video

ROOT = Path(__file__).parents[1]

# Tests need no curl on the machine: this takes the options that the README uses.
CURL = f"""#!{sys.executable}
import argparse, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("-sS", action="store_true")
parser.add_argument("-X", default="GET")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-d")
parser.add_argument("url")
asked = parser.parse_args()
headers = dict(line.split(": ", 1) for line in asked.H)
body = asked.d.encode() if asked.d else None
request = urllib.request.Request(asked.url, body, headers, method=asked.X)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


def pasted() -> str:
    """Every block of the README that speaks to the service, as one script."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return "\n".join(block for block in blocks if "curl" in block)


async def run(*command: str, env: dict[str, str]) -> tuple[int, list[str]]:
    """Exit code, and the lines of standard output."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode().split("\n")


def healthcheck() -> list[str]:
    """The command of the image's HEALTHCHECK, with this Python."""
    text = (ROOT / "Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (.+)$", text, re.M)
    assert found
    command: list[str] = json.loads(found.group(1))
    return [sys.executable, *command[1:]]


async def check_health(service: Service) -> None:
    port = str(urlsplit(service.url).port)
    code, _ = await run(*healthcheck(), env={"VOIPAVATAR_PORT": port})
    assert code == 0
    code, _ = await run(*healthcheck(), env={"VOIPAVATAR_PORT": str(free_port())})
    assert code != 0


async def test_what_the_readme_says_works(livekit_server: LiveKit, tmp_path: Path) -> None:
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(CURL)
    curl.chmod(curl.stat().st_mode | stat.S_IXUSR)
    # Of a persona that is prepared in a moment.
    write_video(tmp_path / "short.mp4", persona_frames(26))
    (tmp_path / "personas.yaml").write_text(
        "default: {video_path: short.mp4, face_box: [80, 80, 180, 190]}\n"
    )
    env = {"VOIPAVATAR_PERSONAS_DIR": str(tmp_path)}
    async with local_service(tmp_path / "data", livekit_server, env=env) as service:
        await check_health(service)
        script = pasted().replace("http://127.0.0.1:8080", service.url)
        assert service.url in script
        path = f"{curl.parent}{os.pathsep}{os.environ['PATH']}"
        code, lines = await run("sh", "-eu", "-c", script, env={"PATH": path})
    assert code == 0
    link, stats, session = (line for line in lines if line)
    asked = parse_qs(urlsplit(link).query)
    assert asked["liveKitUrl"] == [livekit_server.url]
    claims = asked["token"][0].split(".")[1]
    grants = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["video"]
    assert grants["room"] == "demo-room" and grants["roomJoin"]
    assert json.loads(stats)["time_to_first_frame_ms"] > 0
    assert json.loads(session)["state"] in ("ending", "ended")
