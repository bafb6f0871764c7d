"""What the service keeps is its owner's alone."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.process.private_files import callers_mode, keep_private, private_files
from tests.videos import persona_frames, write_video

ROOT = Path(__file__).parents[2]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """As careless as can be."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return [str(path) for path in paths if path.lstat().st_mode & 0o077 and not path.is_symlink()]


def voipavatar(folder: Path, *words: object) -> None:
    env = {
        "VOIPAVATAR_DATA_DIR": str(folder / "data"),
        "VOIPAVATAR_PERSONAS_DIR": str(folder / "personas"),
        "VOIPAVATAR_ENGINE": "warp",
        "VOIPAVATAR_DATABASE_URL": "",
    }
    done = CliRunner().invoke(app, [str(word) for word in words], env=env)
    assert done.exit_code == 0, done.output


@pytest.mark.usefixtures("open_umask")
def test_commands_keep_data_private_and_films_as_the_caller_wants(tmp_path: Path) -> None:
    video = write_video(tmp_path / "me.mp4", persona_frames(26))
    box = ("--face-box", "80,80,180,190")
    voipavatar(tmp_path, "persona", "prepare", video, "--name", "me", *box)
    voipavatar(tmp_path, "keys", "create", "mine")
    assert (tmp_path / "data" / "voipavatar.db").is_file()
    assert (tmp_path / "data" / "own" / "me" / "me.mp4").is_file()
    assert open_to_others(tmp_path / "data") == []
    sound = tmp_path / "speech.wav"
    voipavatar(tmp_path, "samples", "--out", sound)
    assert stat.S_IMODE(sound.stat().st_mode) == 0o666
    assert os.umask(0) == 0  # given back


@pytest.mark.usefixtures("open_umask")
def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "personas" / "abc").mkdir(parents=True)
    (data / "personas" / "abc" / "frames.npy").touch()
    (data / "own").mkdir()
    (data / "voipavatar.db").touch()
    outside = tmp_path / "theirs"
    outside.touch()
    (data / "own" / "link").symlink_to(outside)
    assert keep_private(data) is None
    assert open_to_others(data) == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o666


@pytest.mark.usefixtures("open_umask")
def test_a_folder_that_others_use_stays_but_is_told_of(tmp_path: Path) -> None:
    data = tmp_path / "home"
    data.mkdir(0o755)
    (data / "letter.txt").touch()
    (data / "voipavatar.db").touch()
    said = keep_private(data)
    assert said == f"{data} is open to other users of this machine: chmod 700 {data}"
    assert stat.S_IMODE((data / "letter.txt").stat().st_mode) == 0o666
    assert stat.S_IMODE((data / "voipavatar.db").stat().st_mode) == 0o600


@pytest.mark.usefixtures("open_umask")
def test_a_new_folder_is_private_at_once(tmp_path: Path) -> None:
    assert keep_private(tmp_path / "new" / "data") is None
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700


@pytest.mark.usefixtures("open_umask")
async def test_processes_that_are_started_inherit_it(tmp_path: Path) -> None:
    with private_files():
        made = await asyncio.create_subprocess_exec("touch", str(tmp_path / "made"))
        assert await made.wait() == 0
        assert callers_mode() == 0o666
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600


def test_the_image_can_be_read_whatever_the_checkouts_modes(tmp_path: Path) -> None:
    """Its command for that, on a tree as umask 077 leaves one."""
    (command,) = re.findall(r"^RUN (chmod -R .+) \.$", (ROOT / "Dockerfile").read_text(), re.M)
    shutil.copytree(ROOT / "personas", tmp_path / "personas")
    script = tmp_path / "run.sh"
    script.touch()
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o700 if path.is_dir() or path == script else 0o600)
    subprocess.run([*command.split(), "."], cwd=tmp_path, check=True)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o755, 0o644}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE(script.stat().st_mode) == 0o755


@pytest.mark.parametrize("script", ["livekit-server.sh", "people.sh"])
def test_a_cached_program_of_others_is_not_run(script: str, tmp_path: Path) -> None:
    """Neither one in /tmp, for want of a home, nor one that others could have written."""
    text = (ROOT / "scripts" / script).read_text()
    assert "/tmp" not in text
    assert '. "$root/scripts/cache.sh"' in text
    kept = tmp_path / ".cache" / "voipavatar" / "bin"
    kept.mkdir(parents=True, mode=0o700)
    (kept / "tool").touch(0o755)

    def found(home: str | None) -> str:
        env = {"PATH": os.environ["PATH"], **({"HOME": home} if home is not None else {})}
        shell = f". {ROOT}/scripts/cache.sh; cached tool"
        run = subprocess.run(["sh", "-euc", shell], env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    assert found(str(tmp_path)) == str(kept / "tool")
    assert found(None) == found("") == ""
    (kept / "tool").chmod(0o775)
    assert found(str(tmp_path)) == ""
    (kept / "tool").chmod(0o755)
    kept.chmod(0o777)
    assert found(str(tmp_path)) == ""
    kept.chmod(0o755)
    (kept / "tool").rename(kept / "real")
    (kept / "tool").symlink_to("real")
    assert found(str(tmp_path)) == ""
