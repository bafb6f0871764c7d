"""The doctor finds what is there, and says what mends what is not."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from app.cli import app
from app.config import Settings
from app.db.database import Database
from app.db.migrate import migrate
from app.doctor import machine, services
from app.doctor.examine import examine
from app.doctor.finding import Finding
from bench.devstack import LiveKit, free_port, local_livekit
from tests.fixtures.api import Api

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        models_dir=tmp_path / "models",
        personas_dir=ROOT / "personas",
        port=free_port(),
    )


def with_keys(settings: Settings, livekit: LiveKit, secret: str = "") -> Settings:
    return settings.model_copy(
        update={
            "livekit_url": livekit.url,
            "livekit_api_key": livekit.key,
            "livekit_api_secret": SecretStr(secret or livekit.secret),
        }
    )


async def test_a_working_machine_lacks_nothing(settings: Settings, tmp_path: Path) -> None:
    async with local_livekit(tmp_path) as livekit:
        findings = await examine(with_keys(settings, livekit))
        refused = await services.livekit(with_keys(settings, livekit, secret="x" * 32))
    assert [finding for finding in findings if finding.state == "missing"] == []
    named = {finding.what: finding for finding in findings}
    assert named["LiveKit"].detail == f"{livekit.url} answers and accepts the service's key"
    assert named["Engine warp (serves)"].state == "ok"
    assert refused.state == "missing"
    assert "refused the token" in refused.detail and "LIVEKIT_API_SECRET=" in refused.remedy


async def test_livekit_without_a_key_or_without_a_server(settings: Settings) -> None:
    keyless = await services.livekit(settings)
    assert keyless.state == "missing" and "LIVEKIT_API_KEY=" in keyless.remedy
    nobody = LiveKit(f"ws://127.0.0.1:{free_port()}", "key", "s" * 32, None)  # type: ignore[arg-type]
    down = await services.livekit(with_keys(settings, nobody))
    assert down.state == "missing" and "did not answer" in down.detail


async def test_a_database_in_each_state(settings: Settings, tmp_path: Path) -> None:
    def states(finding: Finding) -> tuple[str, str]:
        return finding.state, finding.detail

    file = tmp_path / "data" / "voipavatar.db"
    state, detail = states(await services.database(settings))
    assert (state, "created at the first start" in detail) == ("ok", True)
    assert not file.exists()

    database = Database(settings.database)
    await database.ping()  # a file without any table
    state, detail = states(await services.database(settings))
    assert (state, "is at None" in detail) == ("note", True)
    await migrate(database)
    await database.aclose()
    state, detail = states(await services.database(settings))
    assert (state, "migrated to" in detail) == ("ok", True)

    file.write_bytes(b"not a database " * 100)
    state, detail = states(await services.database(settings))
    assert (state, "it is not an SQLite file" in detail) == ("missing", True)


async def test_a_password_is_not_shown(settings: Settings) -> None:
    url = f"postgresql://me:hidden@127.0.0.1:{free_port()}/x"
    finding = await services.database(settings.model_copy(update={"database_url": url}))
    assert finding.state == "missing"
    assert "hidden" not in finding.detail


def test_a_data_folder_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = machine.data_folder(settings.model_copy(update={"data_dir": tmp_path / "file/x"}))
    assert finding.state == "missing" and "VOIPAVATAR_DATA_DIR" in finding.remedy


def test_a_port_that_somebody_else_has(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.port)) as taken:
        hang_up = threading.Thread(target=lambda: taken.accept()[0].close())
        hang_up.start()
        assert machine.port(settings).state == "note"
        hang_up.join()
    assert machine.port(settings).detail.endswith("is free")


async def test_a_port_that_the_service_has(api: Api) -> None:
    port = api.http.base_url.port
    found = await asyncio.to_thread(machine.port, api.settings.model_copy(update={"port": port}))
    assert (found.state, found.detail) == ("ok", f"the service answers on 127.0.0.1:{port}")


def test_an_engine_that_cannot_run_is_missing_only_when_it_has_to_serve(settings: Settings) -> None:
    wanted = settings.model_copy(update={"engine": "tensorrt"})
    states = {finding.what: finding.state for finding in machine.engines(wanted)}
    assert states["Engine warp"] == "ok"
    assert states["Engine tensorrt (serves)"] == "missing"
    states = {finding.what: finding.state for finding in machine.engines(settings)}
    assert states["Engine tensorrt"] == "note"


async def test_no_personas_and_a_broken_one(settings: Settings, tmp_path: Path) -> None:
    empty = settings.model_copy(update={"personas_dir": tmp_path})
    (finding,) = await services.personas(empty)
    assert finding.state == "missing" and "VOIPAVATAR_PERSONAS_DIR" in finding.remedy
    (tmp_path / "personas.yaml").write_text("other: {video_path: nowhere.mp4}\n")
    (finding,) = await services.personas(empty)
    assert finding.state == "note" and "does not exist" in finding.detail


def test_the_command_prints_json_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    shown = CliRunner().invoke(app, ["doctor", "--json"])
    assert shown.exit_code == 1
    missing = [found["what"] for found in json.loads(shown.output) if found["state"] == "missing"]
    assert missing == ["LiveKit"]
    table = CliRunner().invoke(app, ["doctor"])
    assert table.exit_code == 1 and "LIVEKIT_API_KEY" in table.output


def test_weights_are_those_of_the_version_that_is_served(
    settings: Settings, tiny_models: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "models" / "ready"
    ready.mkdir(parents=True)
    for name in ("unet-v1", "kl", "whisper"):
        (ready / f"{name}.safetensors").symlink_to(tiny_models / "ready" / f"{name}.safetensors")
    first = settings.model_copy(
        update={"models_dir": tmp_path / "models", "musetalk_version": "v1"}
    )
    assert machine.weights(first).detail.startswith("MuseTalk 1.0, in ")
    newest = first.model_copy(update={"musetalk_version": "v15"})
    assert "has no weights of unet-v15" in machine.weights(newest).detail
