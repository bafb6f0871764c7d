"""Files that the user names: never written over, never half written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.cli.output_files import refusal, write_json, write_page, write_text
from bench.demo.film import Film
from engine.core.new_file import NewFile
from engine.media.video import MediaError, Mp4Writer
from tests.videos import grey, tone, write_sound, write_video

MAKER = "voipavatar demo"
PICTURE = np.full(64 * 96, 90, np.uint8)


def voipavatar(*words: object, **env: object) -> Result:
    given = {name: str(value) for name, value in env.items()}
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", **given})


def film(path: Path, comment: str) -> Path:
    with Mp4Writer(path, 64, 64, 48_000, comment=comment) as writer:
        writer.picture(PICTURE)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return write_video(tmp_path / "me.mp4", grey([120] * 3))


def test_somebody_elses_file_is_refused_with_the_way_out(theirs: Path) -> None:
    said = refusal(theirs, "--out", MAKER)
    assert said == (
        f"{theirs} exists, and `voipavatar demo` did not write it: name another file with --out, "
        "or add --force to replace it."
    )
    assert refusal(theirs, "--out", MAKER, force=True) is None


def test_what_the_command_wrote_itself_it_may_replace(tmp_path: Path) -> None:
    written = {name: tmp_path / name for name in ("f.mp4", "one.json", "list.json", "p.html")}
    with Mp4Writer(written["f.mp4"], 64, 64, 48_000, comment=MAKER) as writer:
        writer.picture(PICTURE)
    write_json(written["one.json"], {"passed": True}, MAKER)
    write_json(written["list.json"], [{"a": 1}, {"a": 2}], MAKER)
    write_page(written["p.html"], "<!doctype html><html><head></head></html>", MAKER)
    written["r.md"] = tmp_path / "r.md"
    write_text(written["r.md"], f"# Report\n\n<!-- {MAKER} -->\n")
    for file in written.values():
        assert refusal(file, "--out", MAKER) is None, file
        other = refusal(file, "--out", "voipavatar render")
        assert other is not None and "did not write it" in other, file


def test_the_demos_film_says_whose_it_is(tmp_path: Path) -> None:
    tape = Film(tmp_path / "demo.mp4", 48_000, MAKER)
    tape.picture(0.0, 64, 64, bytes(64 * 96))
    tape.close()
    assert refusal(tmp_path / "demo.mp4", "--out", MAKER) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", "{", '{"made_by": 1}', "\x00", "é" * 9])
def test_what_has_no_mark_is_somebody_elses(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(text.encode("latin-1"))
    assert refusal(file, "--json", MAKER) is not None


def test_an_input_is_never_written_over_whatever_its_name(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(theirs)
    (tmp_path / "hard.mp4").hardlink_to(theirs)
    for name in ("me.mp4", "link.mp4", "hard.mp4"):
        said = refusal(tmp_path / name, "--out", MAKER, force=True, inputs=[theirs])
        assert said is not None and "is what this command reads" in said


def test_links_folders_and_impossible_names(theirs: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(theirs)
    assert f"(a link to {theirs})" in (refusal(link, "--out", MAKER) or "")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none" / "x")
    assert "is a folder" in (refusal(tmp_path, "--out", MAKER) or "")
    assert "mkdir -p" in (refusal(tmp_path / "no" / "x.mp4", "--out", MAKER) or "")
    assert "mkdir -p" in (refusal(tmp_path / "nowhere", "--out", MAKER) or "")
    assert "cannot be written" in (refusal(tmp_path / ("x" * 300), "--out", MAKER) or "")
    assert refusal(Path(os.devnull), "--json", MAKER) is None


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    link = tmp_path / "link.json"
    link.symlink_to("old.json")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "old.json").read_text() == "new"


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    file.write_text("before")
    with pytest.raises(ZeroDivisionError), NewFile(file) as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_disk_that_is_full_leaves_the_film_that_was_there(tmp_path: Path) -> None:
    out = film(tmp_path / "out.mp4", MAKER)
    before = out.read_bytes()
    writer = Mp4Writer(out, 64, 64, 48_000)
    writer._new.path.unlink()
    writer._new.path.symlink_to("/dev/full")
    with pytest.raises(MediaError, match="cannot be written"), writer:
        raise MediaError(f"{out} cannot be written: it broke off.")
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_file_keeps_its_mode_and_a_new_one_has_the_callers(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept.json", tmp_path / "new.json"
    kept.touch(0o640)
    kept.chmod(0o640)
    write_text(kept, "x")
    write_text(new, "x")
    umask = os.umask(0o22)
    os.umask(umask)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "warp", "--json"),
        ("bench", "cycles", "--json"),
        ("bench", "rooms", "--json"),
        ("bench", "load", "--json"),
        ("bench", "engine", "--json"),
        ("bench", "blending", "--json"),
        ("bench", "sessions", "--json"),
        ("bench", "sessions", "--html"),
        ("conformance", "--json"),
        ("conformance", "--report"),
        ("samples", "--out"),
        ("demo", "--out"),
    ],
    ids=" ".join,
)
def test_no_command_writes_over_a_file_of_the_user(command: tuple[str, ...], theirs: Path) -> None:
    before = theirs.read_bytes()
    refused = voipavatar(*command, theirs)
    assert refused.exit_code in (1, 2), refused.output
    assert "--force" in refused.output
    assert theirs.read_bytes() == before


def test_the_demo_spares_the_file_beside_its_film_too(tmp_path: Path) -> None:
    notes = tmp_path / "holiday.json"
    notes.write_text(json.dumps({"mine": True}))
    refused = voipavatar("demo", "--out", tmp_path / "holiday.mp4")
    assert refused.exit_code == 2
    assert f"{notes} exists" in refused.output
    assert voipavatar("demo", "--out", tmp_path / "film.json").exit_code == 2


def test_realtime_spares_what_it_reads(theirs: Path) -> None:
    sound = write_sound(theirs.with_name("s.wav"), tone(0.2, 16_000), 16_000)
    command = ["bench", "realtime", "--video", theirs, "--audio", sound, "--force", "--json"]
    for file in (theirs, sound):
        refused = voipavatar(*command, file)
        assert refused.exit_code == 2
        assert "is what this command reads" in refused.output


def test_one_name_for_two_things_is_refused(tmp_path: Path) -> None:
    both = tmp_path / "x"
    refused = voipavatar("bench", "sessions", "--json", both, "--html", both)
    assert refused.exit_code == 2
    assert "is given for --json and for --html" in refused.output
