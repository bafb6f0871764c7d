"""`voipavatar render` and `voipavatar persona`, as a person types them."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from app.cli import app
from engine.core.persona import ping_pong
from engine.media.video import read_video
from tests.videos import grey, persona_frames, sound_seconds, tone, write_sound, write_video

pytestmark = pytest.mark.slow

SECONDS = 1.3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video of a face; personas and their cache go beside it."""
    place = tmp_path_factory.mktemp("place")
    write_video(place / "talk.mp4", persona_frames(30))
    return place


def voipavatar(place: Path, *words: object) -> Result:
    env = {
        "VOIPAVATAR_PERSONAS_DIR": str(place / "personas"),
        "VOIPAVATAR_DATA_DIR": str(place / "data"),
        "VOIPAVATAR_ENGINE": "warp",
        "COLUMNS": "200",
    }
    return CliRunner().invoke(app, [str(word) for word in words], env=env)


@pytest.fixture(scope="module")
def ada(place: Path) -> str:
    (place / "personas").mkdir()
    made = voipavatar(place, "persona", "prepare", place / "talk.mp4", "--name", "ada")
    assert made.exit_code == 0, made.output
    return "ada"


def brighter(frame: NDArray[np.uint8], shade: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.add(frame, np.full_like(frame, shade)), np.uint8)


def _decoded(path: Path) -> tuple[NDArray[np.uint8], float]:
    """All frames, and the seconds of sound."""
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        seconds = sound_seconds(audio)
    return np.array(list(read_video(path))), seconds


def _change(place: Path, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far the lower face of each frame is from the persona's own of that moment."""
    own = list(read_video(place / "talk.mp4"))
    pairs = ((frame, own[ping_pong(tick, 30)]) for tick, frame in enumerate(frames))
    mouth = np.s_[150:190, 100:160]
    return np.array([np.abs(a[mouth].astype(float) - b[mouth]).mean() for a, b in pairs])


def test_prepare_writes_the_persona_down(place: Path, ada: str) -> None:
    own = place / "data" / "own"
    assert (own / "personas.yaml").read_text() == "ada:\n  video_path: ada/talk.mp4\n"
    assert list((place / "personas").iterdir()) == []  # of the repository: git would see a face
    copied = own / "ada" / "talk.mp4"
    assert copied.read_bytes() == (place / "talk.mp4").read_bytes()
    listed = voipavatar(place, "persona", "list")
    assert listed.exit_code == 0
    assert "256x256" in listed.output
    assert "not prepared" not in listed.output


def test_prepare_encodes_the_frames_where_the_networks_are(
    place: Path, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "ready").symlink_to(tiny_models / "ready")
    monkeypatch.setenv("VOIPAVATAR_MODELS_DIR", str(models))
    run = "persona", "prepare", place / "talk.mp4", "--name", "eve"
    made = voipavatar(tmp_path, *run)
    assert made.exit_code == 0, made.output
    assert "latents for MuseTalk are ready" in made.output
    assert len(list((tmp_path / "data").rglob("latents-*.npy"))) == 1
    monkeypatch.setitem(sys.modules, "engine.picture.encode_latents", None)
    told = voipavatar(tmp_path, *run)
    assert told.exit_code == 0, told.output
    assert "voipavatar models latents eve" in told.output


def test_render_is_as_long_as_the_sound_and_speaks_when_it_does(place: Path, ada: str) -> None:
    """Half a second of silence, then noise like a voice to the very end."""
    voice = tone(SECONDS, 44_100, hz=700) * (np.arange(round(SECONDS * 44_100)) > 22_050)
    sound = write_sound(place / "in.wav", voice, 44_100, layout="stereo")
    done = voipavatar(
        place, "render", "--persona", ada, "--audio", sound, "--out", place / "out.mp4"
    )
    assert done.exit_code == 0, done.output
    frames, seconds = _decoded(place / "out.mp4")
    assert len(frames) == 33  # 1.3 s are 32.5 of them
    assert seconds == pytest.approx(SECONDS, abs=0.025)
    change = _change(place, frames)
    at_rest = change[:11].max()  # what compression does
    assert at_rest < 3
    assert change[14:28].min() > 2 * at_rest
    assert change[-1] < at_rest + 0.15 * (change.max() - at_rest)  # closed at the end


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("zero.wav", b"", "zero.wav is empty (0 bytes), not an audio file."),
        ("text.wav", b"hello\n" * 99, "text.wav cannot be read as an audio file"),
        ("none.wav", None, "does not exist"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_sentence(
    place: Path, ada: str, name: str, content: bytes | None, words: str
) -> None:
    sound, out = place / name, place / "never.mp4"
    if content is not None:
        sound.write_bytes(content)
    refused = voipavatar(place, "render", "--persona", ada, "--audio", sound, "--out", out)
    assert refused.exit_code == 1
    assert words in refused.output
    assert len(refused.output.splitlines()) == 1
    assert not out.exists()


def test_render_does_not_write_over_its_sound(place: Path, ada: str) -> None:
    sound = write_sound(place / "own.wav", tone(0.2, 16_000), 16_000)
    before = sound.read_bytes()
    refused = voipavatar(place, "render", "--persona", ada, "--audio", sound, "--out", sound)
    assert refused.exit_code == 1
    assert "is what this command reads" in refused.output
    assert sound.read_bytes() == before


def test_the_readmes_commands_leave_the_users_video_alone(place: Path, tmp_path: Path) -> None:
    """`prepare me.mp4 --name me`, then `render … --out me.mp4`, as people guess it."""
    mine = write_video(tmp_path / "me.mp4", persona_frames(26))
    before = mine.read_bytes()
    box = ("--face-box", "80,80,180,190")
    made = voipavatar(tmp_path, "persona", "prepare", mine, "--name", "me", *box)
    assert made.exit_code == 0, made.output
    sound = write_sound(tmp_path / "s.wav", tone(0.2, 16_000), 16_000)
    run = "render", "--persona", "me", "--audio", sound, "--out"
    refused = voipavatar(tmp_path, *run, mine)
    assert refused.exit_code == 1
    assert f"{mine} exists, and `voipavatar render` did not write it" in refused.output
    own = tmp_path / "data" / "own" / "me" / "me.mp4"
    for force in ([], ["--force"]):
        kept = voipavatar(tmp_path, *run, own, *force)
        assert "is what this command reads" in kept.output
    assert mine.read_bytes() == own.read_bytes() == before
    for _ in range(2):  # its own film it replaces
        done = voipavatar(tmp_path, *run, tmp_path / "film.mp4")
        assert done.exit_code == 0, done.output
    assert voipavatar(tmp_path, *run, mine, "--force").exit_code == 0
    assert mine.read_bytes() != before


def test_another_video_of_the_same_name_needs_force(tmp_path: Path) -> None:
    box = ("--face-box", "80,80,180,190")
    for number, shade in enumerate((0, 9)):
        (tmp_path / str(number)).mkdir()
        frames = [brighter(frame, shade) for frame in persona_frames(26)]
        write_video(tmp_path / str(number) / "me.mp4", frames)
    run = "persona", "prepare"
    assert voipavatar(tmp_path, *run, tmp_path / "0/me.mp4", "--name", "me", *box).exit_code == 0
    own = tmp_path / "data" / "own" / "me" / "me.mp4"
    again = voipavatar(tmp_path, *run, tmp_path / "0/me.mp4", "--name", "me", *box)
    assert again.exit_code == 0, again.output
    refused = voipavatar(tmp_path, *run, tmp_path / "1/me.mp4", "--name", "me", *box)
    assert refused.exit_code == 1
    assert "add --force to replace it" in refused.output
    assert own.read_bytes() == (tmp_path / "0/me.mp4").read_bytes()
    forced = voipavatar(tmp_path, *run, tmp_path / "1/me.mp4", "--name", "me", *box, "--force")
    assert forced.exit_code == 0, forced.output
    assert own.read_bytes() == (tmp_path / "1/me.mp4").read_bytes()


def test_personas_that_came_with_the_service_are_changed_in_the_own_file(tmp_path: Path) -> None:
    shipped = tmp_path / "personas"
    shipped.mkdir()
    write_video(shipped / "ada.mp4", persona_frames(26))
    text = "ada:\n  video_path: ada.mp4\n  face_box: [80, 80, 180, 190]\n"
    (shipped / "personas.yaml").write_text(text)
    named = ("--name", "ada", "--display-name", "Eve")
    made = voipavatar(tmp_path, "persona", "prepare", *named)
    assert made.exit_code == 0, made.output
    assert (shipped / "personas.yaml").read_text() == text
    own = tmp_path / "data" / "own" / "personas.yaml"
    assert own.read_text() == "ada:\n  display_name: Eve\n"
    listed = voipavatar(tmp_path, "persona", "list")
    assert "Eve" in listed.output and "256x256" in listed.output
    # Moved out of the repository with all that it had there.
    moved = voipavatar(tmp_path, "persona", "prepare", shipped / "ada.mp4", "--name", "ada")
    assert moved.exit_code == 0, moved.output
    (shipped / "personas.yaml").write_text("")
    (shipped / "ada.mp4").unlink()
    assert "256x256" in voipavatar(tmp_path, "persona", "list").output
    assert "face_box" in own.read_text()


def test_render_says_whom_there_is(place: Path, ada: str) -> None:
    sound = write_sound(place / "s.wav", tone(0.2, 16_000), 16_000)
    refused = voipavatar(
        place, "render", "--persona", "eve", "--audio", sound, "--out", place / "never.mp4"
    )
    assert refused.exit_code == 1
    assert "No persona is named 'eve'. personas.yaml has: ada." in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wall.mp4", "--name", "wall"], "No face was found in frames 0 to 10 of wall.mp4"),
        (["talk.mp4", "--name", "../etc"], "cannot name a persona"),
        (["talk.mp4", "--name", "b", "--face-box", "1,2,x,4"], "Write --face-box as X1,Y1"),
        (["talk.mp4", "--name", "b", "--face-box", "9,9,900,90"], "which is 256x256"),
        (["--name", "nobody"], "No persona is named 'nobody' yet: give the video"),
        (["no.mp4", "--name", "b"], "does not exist"),
    ],
)
def test_a_refused_video_changes_nothing(
    place: Path, ada: str, words: list[str], said: str
) -> None:
    write_video(place / "wall.mp4", grey([120] * 26))
    before = sorted((place / "data" / "own").rglob("*"))
    arguments = [place / word if word.endswith(".mp4") else word for word in words]
    refused = voipavatar(place, "persona", "prepare", *arguments)
    assert refused.exit_code == 1
    assert said in refused.output
    assert sorted((place / "data" / "own").rglob("*")) == before


def test_another_rate_is_converted_and_said(place: Path, ada: str) -> None:
    fast = write_video(place / "fast.mp4", persona_frames(30), rate=12)
    made = voipavatar(
        place, "persona", "prepare", fast, "--name", "fast", "--face-box", "80,80,180,190"
    )
    assert made.exit_code == 0, made.output
    assert "12 frames a second; it was converted to 25" in made.output
    assert "fast is ready" in made.output
