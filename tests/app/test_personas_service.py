"""The catalogue: what is configured, prepared once, shared by sessions."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.personas.catalogue import Catalogue
from app.personas.edit import with_block, write_file
from app.personas.manifest import FILE
from engine.core.engine_errors import PersonaError, PersonaMissing
from tests.videos import grey, persona_frames, write_video

BOX = "[80, 80, 180, 190]"  # by hand: nobody needs to look for the face here


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """personas.yaml with one good persona and one without a face."""
    folder = tmp_path / "personas"
    (folder / "ada").mkdir(parents=True)
    write_video(folder / "ada" / "ada.mp4", persona_frames(26))
    write_video(folder / "wall.mp4", grey([120] * 26))
    (folder / FILE).write_text(
        f"# ours\nada:\n  display_name: Ada\n  video_path: ada/ada.mp4\n  face_box: {BOX}\n\n"
        "wall:\n  video_path: wall.mp4\n"
    )
    return folder


@pytest.fixture
async def catalogue(folder: Path, tmp_path: Path) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue(folder, tmp_path / "cache")
    yield catalogue
    await catalogue.aclose()


def write_block(folder: Path, name: str, keys: dict[str, object]) -> None:
    write_file(folder, with_block(folder, name, keys))


async def _begun(catalogue: Catalogue, waiting: int = 1) -> None:
    """Returns once a preparation runs, and so many wait for it."""
    while sum(each._waiting for each in catalogue._loading.values()) < waiting:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_sessions_share_one_preparation_and_one_persona(catalogue: Catalogue) -> None:
    first, second = await asyncio.gather(catalogue.load("ada"), catalogue.load("ada"))
    assert first is second
    assert await catalogue.load("ada") is first
    assert catalogue.preparations == 1
    assert (first.name, first.display_name, first.width) == ("ada", "Ada", 256)


async def test_a_persona_nobody_holds_is_let_go_and_mapped_again(catalogue: Catalogue) -> None:
    persona = await catalogue.load("ada")
    key = persona.key
    del persona
    await asyncio.sleep(0.05)  # the loop lets go of the finished task
    gc.collect()
    assert len(catalogue._loaded) == 0
    assert (await catalogue.load("ada")).key == key
    assert catalogue.preparations == 1


async def test_the_loop_turns_while_a_persona_is_prepared(catalogue: Catalogue) -> None:
    loading = asyncio.create_task(catalogue.load("ada"))
    turns = 0
    while not loading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10


async def test_a_session_that_gives_up_leaves_the_others_their_persona(
    catalogue: Catalogue,
) -> None:
    impatient = asyncio.create_task(catalogue.load("ada"))
    patient = asyncio.create_task(catalogue.load("ada"))
    await _begun(catalogue, waiting=2)
    impatient.cancel()
    assert (await patient).name == "ada"
    assert impatient.cancelled()
    assert catalogue.preparations == 1


async def test_a_size_is_a_persona_of_its_own_and_the_own_size_is_not(
    catalogue: Catalogue,
) -> None:
    own = await catalogue.load("ada")
    assert await catalogue.load("ada", 256, 256) is own
    small = await catalogue.load("ada", width=129)
    assert (small.width, small.height) == (128, 128)
    assert catalogue.preparations == 2


async def test_an_edit_counts_at_once(catalogue: Catalogue, folder: Path) -> None:
    before = await catalogue.load("ada")
    write_block(folder, "ada", {"display_name": "Eve", "extra_margin": 0})
    after = await catalogue.load("ada")
    assert (after.display_name, after.key == before.key) == ("Eve", False)


async def test_the_listing_says_what_is_wrong_with_whom(catalogue: Catalogue, folder: Path) -> None:
    await catalogue.load("ada")
    write_block(folder, "lost", {"video_path": "lost.mp4"})
    listed = {info.name: info for info in await catalogue.listing()}
    assert list(listed) == catalogue.names() == ["ada", "wall", "lost"]
    ada, wall, lost = listed.values()
    assert (ada.display_name, ada.width, ada.height, ada.prepared) == ("Ada", 256, 256, True)
    assert (wall.prepared, wall.problem) == (False, None)
    assert "video of persona lost does not exist" in (lost.problem or "")


async def test_a_video_without_a_face_is_refused_to_every_session(catalogue: Catalogue) -> None:
    for _ in range(2):
        with pytest.raises(PersonaError, match=r"No face was found in frames 0 to 10 of wall\.mp4"):
            await catalogue.load("wall")


async def test_an_unknown_name_says_which_there_are(catalogue: Catalogue) -> None:
    with pytest.raises(PersonaMissing, match=r"'eve'.*has: ada, wall"):
        await catalogue.load("eve")


async def test_no_file_is_no_persona(tmp_path: Path) -> None:
    nothing = Catalogue(tmp_path, tmp_path / "cache")
    assert await nothing.listing() == []
    with pytest.raises(PersonaMissing, match="has: none"):
        await nothing.load("default")


@pytest.mark.parametrize(
    ("text", "words"), [("a: [1", "not valid YAML at line 1"), ("- a", "must be a mapping")]
)
async def test_a_broken_file_is_named(
    catalogue: Catalogue, folder: Path, text: str, words: str
) -> None:
    (folder / FILE).write_text(text)
    with pytest.raises(PersonaError, match=words):
        await catalogue.listing()


async def test_musetalk_settings_stand_behind_the_blocks_own(
    catalogue: Catalogue, folder: Path
) -> None:
    (folder / "realtime.yaml").write_text("bbox_shift: 5\nparsing_mode: raw\npreparation: true\n")
    write_block(folder, "ada", {"inference_config": "realtime.yaml", "parsing_mode": "neck"})
    settings = catalogue.settings("ada")
    assert (settings.bbox_shift, settings.parsing_mode) == (5.0, "neck")


async def test_closing_gives_up_a_preparation_and_leaves_nothing(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    loading = asyncio.create_task(catalogue.load("ada"))
    await _begun(catalogue)
    await catalogue.aclose()
    with pytest.raises(PersonaError, match="shutting down"):
        await loading
    assert list((tmp_path / "cache").glob("*")) == []


def test_editing_keeps_what_a_person_wrote(folder: Path) -> None:
    before = (folder / FILE).read_text()
    write_block(folder, "ada", {"display_name": "Ada: the #1", "bbox_shift": 2})
    write_block(folder, "new", {"video_path": "new/new.mp4"})
    text = (folder / FILE).read_text()
    changed = before.replace("display_name: Ada\n", "display_name: 'Ada: the #1'\n")
    changed = changed.replace(f"{BOX}\n", f"{BOX}\n  bbox_shift: 2\n")
    assert text == changed + "\nnew:\n  video_path: new/new.mp4\n"


def test_what_cannot_be_edited_safely_is_left_alone(folder: Path) -> None:
    text = "ada: {video_path: ada/ada.mp4}\n"
    (folder / FILE).write_text(text)
    with pytest.raises(PersonaError, match="Add this yourself:\nada:\n  video_path"):
        write_block(folder, "ada", {"bbox_shift": 2})
    assert (folder / FILE).read_text() == text


async def test_the_version_of_musetalk_that_is_served_decides_what_is_not_set(
    folder: Path, tmp_path: Path
) -> None:
    catalogues = [Catalogue(folder, tmp_path / "cache", version=each) for each in ("v15", "v1")]
    assert [each.settings("ada").margin for each in catalogues] == [10, 0]
