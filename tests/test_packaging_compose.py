"""docker-compose.yml and Dockerfile, as far as they can be tried without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.config import Settings
from bench.devstack import free_port

ROOT = Path(__file__).parents[1]
SECRETS = {
    "POSTGRES_PASSWORD": "p" * 48,
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "s" * 48,
}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def compose(given: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables filled in, by the rules of the compose specification."""

    def value(match: re.Match[str]) -> str:
        name, rule, rest = match.groups()
        if given.get(name):
            return given[name]
        if rule == ":?":
            raise KeyError(f"{name}: {rest}")
        return rest or ""

    text = (ROOT / "docker-compose.yml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(VARIABLE.sub(value, text))
    return loaded


@pytest.mark.parametrize("secret", SECRETS)
def test_every_secret_is_required_and_explained(secret: str) -> None:
    given = {name: value for name, value in SECRETS.items() if name != secret}
    with pytest.raises(KeyError, match=rf"{secret}: set it in \.env"):
        compose(given)


def test_services_wait_for_healthy_ones() -> None:
    services = compose(SECRETS)["services"]
    assert set(services) == {"postgres", "livekit", "voipavatar"}
    waits = services["voipavatar"]["depends_on"]
    assert {name: how["condition"] for name, how in waits.items()} == {
        "postgres": "service_healthy",
        "livekit": "service_healthy",
    }
    for name in waits:
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    # The service's own health check comes with its image.
    assert re.search(r"^HEALTHCHECK ", (ROOT / "Dockerfile").read_text(), re.M)


def test_volumes_are_declared() -> None:
    loaded = compose(SECRETS)
    named = {
        mount.split(":")[0]
        for service in loaded["services"].values()
        for mount in service.get("volumes", ())
        if not mount.startswith(".")
    }
    assert named == set(loaded["volumes"])


def test_the_service_understands_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose(SECRETS)["services"]["voipavatar"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.database == (
        f"postgresql://voipavatar:{SECRETS['POSTGRES_PASSWORD']}@127.0.0.1:5432/voipavatar"
    )
    assert settings.livekit_url == "ws://127.0.0.1:7880"
    assert settings.livekit_api_secret.get_secret_value() == SECRETS["LIVEKIT_API_SECRET"]


def test_livekit_starts_with_its_configuration(livekit_binary: str) -> None:
    config = yaml.safe_load(
        compose(SECRETS)["services"]["livekit"]["environment"]["LIVEKIT_CONFIG"]
    )
    config["port"] = free_port()
    config["rtc"] |= {"tcp_port": free_port(), "udp_port": free_port()}
    process = subprocess.Popen(
        [livekit_binary],
        env={**os.environ, "LIVEKIT_CONFIG": json.dumps(config)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert answers(f"http://127.0.0.1:{config['port']}/", process)
    finally:
        process.kill()  # it forgets a SIGTERM that comes in the first 100 ms of its serving
        process.wait()


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(url).status_code == 200
        except httpx.TransportError:
            time.sleep(0.1)
    return False


def test_the_image_copies_only_what_is_there() -> None:
    """Each source of COPY exists, and .dockerignore lets it through."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    sources = [source for line in copied for source in line.split()]
    assert sources
    allowed = [
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in allowed or source.split("/")[0] in allowed, source


def test_no_face_of_ones_own_gets_into_the_image_or_into_git() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "!personas/" not in ignored and "*" in ignored
    mine = ["me.mp4", "speech.wav", "personas/me/me.mp4", "data/own/me/me.mp4"]
    shown = subprocess.run(["git", "check-ignore", *mine], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.split() == mine
    ours = ["personas/personas.yaml", "personas/default/default.mp4", "samples/speech.wav"]
    shown = subprocess.run(["git", "check-ignore", *ours], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout == ""


def test_the_image_serves_as_an_ordinary_user_without_a_shell() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER voipavatar$", text, re.M)
    command = re.search(r"^CMD (.+)$", text, re.M)
    assert command and json.loads(command.group(1)) == ["voipavatar", "serve"]
