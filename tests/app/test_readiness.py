"""`/ready` says why no session could begin; `/health` only whether the process moves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from app.api import readiness
from app.api.health import Health
from app.config import Settings
from app.errors import Unhealthy
from engine.core.engine_errors import StorageFault
from engine.prepare.cache import require_room
from tests.fixtures.api import Api, QuietEngine, Serve
from tests.fixtures.outage import Outage


async def refused(api: Api, code: str, words: str) -> None:
    """Not ready for that reason, and healthy all the same."""
    answer = await api.http.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert words in answer.json()["detail"]
    assert (await api.http.head("/ready")).status_code == 503
    assert (await api.http.get("/health")).status_code == 200


async def ready(api: Api) -> None:
    answer = await api.http.get("/ready")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_without_its_database_the_service_is_healthy_and_not_ready(
    serve: Serve, service_settings: Settings, outage: Outage
) -> None:
    api = await serve(service_settings.model_copy(update={"database_url": outage.url}))
    await ready(api)
    await outage.begin()
    await refused(api, "unhealthy", "database")
    await outage.end()
    await ready(api)


async def test_without_a_usable_persona(
    serve: Serve, service_settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "personas"
    folder.mkdir()
    api = await serve(service_settings.model_copy(update={"personas_dir": folder}))
    await refused(api, "unhealthy", "personas.yaml")
    (folder / "personas.yaml").write_text("ada: {video_path: ada.mp4}\n")
    await refused(api, "unhealthy", "ada.mp4")
    (folder / "ada.mp4").write_bytes(b"no video")
    await refused(api, "unhealthy", "ada.mp4 cannot be read")
    default = service_settings.personas_dir / "default/default.mp4"
    (folder / "personas.yaml").write_text(f"a: {{video_path: x}}\nb: {{video_path: {default}}}\n")
    await ready(api)


async def test_with_a_data_folder_that_cannot_be_written(
    serve: Serve, service_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    api = await serve(service_settings.model_copy(update={"database_url": url}))
    await ready(api)
    # Root may write anywhere, so what is no folder stands in for one without permission.
    monkeypatch.setattr(readiness, "PROBE", b"x")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Unhealthy, match="not writable"):
        readiness.require_writable(file / "below")
    full = Path("/dev/full")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full.open("wb", buffering=0))
    await refused(api, "storage_unavailable", "No space left on device")


async def test_on_a_disk_that_is_too_small_for_a_persona(
    serve: Serve, service_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await serve(service_settings)
    real = os.statvfs

    class Full:
        f_bavail, f_frsize = 20, 1 << 20

        def __init__(self, folder: Path) -> None:
            real(folder)

    monkeypatch.setattr("os.statvfs", Full)
    await refused(api, "storage_unavailable", "20 MiB left; the persona needs 198 MiB")
    with pytest.raises(StorageFault):
        require_room(service_settings.data_dir / "not/yet/there", 176, 512, 512)


async def test_a_check_that_hangs_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.health.ASK_S", 0.05)
    health = Health(QuietEngine(), {"the moon": lambda: asyncio.sleep(3600)})
    with pytest.raises(Unhealthy, match="The check of the moon took"):
        await health.require_readiness()
