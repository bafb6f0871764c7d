"""A machine that is out of something is told from work that is wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.db.database import Database
from app.errors import ResourcesExhausted, StorageUnavailable, shortage_problem
from app.personas.catalogue import Catalogue
from app.personas.manifest import read_blocks
from app.rtc.sdk.validate import ask_livekit
from engine.core.engine_errors import PersonaError, ResourceShortage, StorageFault
from engine.core.persona import load
from engine.core.shortage import out_of_descriptors, shortage_of
from engine.media.video import MediaError, Mp4Writer, probe_video, read_audio
from engine.prepare.build import prepare
from engine.prepare.cache import new_folder
from engine.prepare.settings import parse_settings
from tests.limits import no_more_files

PERSONAS = Path(__file__).parents[2] / "personas"
VIDEO = PERSONAS / "default/default.mp4"
SPEECH = PERSONAS.parent / "samples/speech.wav"


@contextmanager
def no_descriptors() -> Iterator[None]:
    with no_more_files(os.getpid()), ExitStack() as files:
        with suppress(OSError):
            while True:
                files.enter_context(Path(os.devnull).open("rb"))
        yield


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EIO"])
def test_storage(number: str) -> None:
    error = OSError(getattr(errno, number), "said by the system")
    assert isinstance(shortage_of(error), StorageFault)
    assert isinstance(shortage_problem(error), StorageUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "x"),
        OSError(errno.ENFILE, "x"),
        OSError(errno.ENOMEM, "x"),
        MemoryError(),
        RuntimeError("can't start new thread"),
    ],
)
def test_resources(error: Exception) -> None:
    assert isinstance(shortage_problem(error), ResourcesExhausted)
    wrapped = httpx.ConnectError("All connection attempts failed")
    wrapped.__context__ = ExceptionGroup("attempts", [error])
    assert isinstance(shortage_of(wrapped), ResourceShortage)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOENT, "x"), RuntimeError("x"), ValueError("x"), BlockingIOError()]
)
def test_other_errors_are_none_of_it(error: Exception) -> None:
    assert shortage_of(error) is None
    assert shortage_problem(error) is None


@pytest.mark.slow
def test_without_descriptors_nothing_is_said_of_a_persona(tmp_path: Path) -> None:
    settings = parse_settings("default", {"video_path": "default.mp4"})
    persona = prepare("default", settings, VIDEO, tmp_path)
    catalogue = Catalogue(PERSONAS, tmp_path)
    with no_descriptors():
        for work in (
            lambda: read_blocks(PERSONAS),
            lambda: catalogue.settings("default"),
            lambda: probe_video(VIDEO),
            lambda: read_audio(SPEECH, 16000),
            lambda: load(persona.folder),
            lambda: prepare("default", settings, VIDEO, tmp_path / "other"),
            lambda: Mp4Writer(tmp_path / "a.mp4", 16, 16, 16000),
        ):
            with pytest.raises(ResourceShortage, match="no file descriptor left"):
                work()


async def test_without_a_socket_livekit_is_not_blamed() -> None:
    with no_descriptors(), pytest.raises(ResourcesExhausted, match="no file descriptor left"):
        await ask_livekit("ws://127.0.0.1:9", "token", ours=True)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_a_descriptor_the_database_is_not_blamed(database_url: str) -> None:
    database = Database(database_url)
    with no_descriptors(), pytest.raises(ResourcesExhausted, match="no file descriptor left"):
        await database.ping()
    await database.ping()
    await database.aclose()


async def test_personas_are_not_shown_as_broken(tmp_path: Path) -> None:
    catalogue = Catalogue(PERSONAS, tmp_path)
    probe_video(VIDEO)  # and the thread that does it is there
    await catalogue.listing()
    with no_descriptors(), pytest.raises(ResourceShortage):
        await catalogue.listing()


def test_whether_a_file_can_be_opened() -> None:
    assert out_of_descriptors() is None
    with no_descriptors():
        assert isinstance(out_of_descriptors(), ResourceShortage)


def test_a_full_disk_is_named_with_its_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageFault, match=r"cannot be stored in .*No space left"),
        new_folder(tmp_path / "persona"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_stays_the_persona_s_fault(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(MediaError):
        probe_video(tmp_path / "a.mp4")
    with pytest.raises(PersonaError):
        load(tmp_path)
