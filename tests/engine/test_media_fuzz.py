"""Damaged media, and files that claim too much: each works or is refused in a sentence."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.core.engine_errors import PersonaError
from engine.media.header_limits import MAX_PIXELS, declared_size
from engine.media.video import MediaError, probe_video, read_audio, read_video
from engine.prepare.build import prepare
from engine.prepare.settings import PersonaSettings
from tests.engine.fuzzing import FRAMES, KINDS, SIDE, sample
from tests.videos import DEFAULT, grey, write_video

COUNT = 500
HANGS_S = 120.0  # without a line; a loop is ended by its processor time before


@pytest.mark.slow
def test_damaged_media_work_or_are_refused() -> None:
    """In a process of its own, since a decoder might end it."""
    command = [sys.executable, "-m", "tests.engine.fuzzing", str(COUNT)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=root, timeout=HANGS_S, check=False
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (told[-1:], done.stderr[-2000:])
    outcomes = [line["outcome"] for line in told if "outcome" in line]
    assert len(outcomes) == COUNT
    for outcome in outcomes:
        assert outcome == "made" or (outcome.endswith(".") and "\n" not in outcome), outcome
    assert outcomes.count("made") > COUNT / 10, "damage that does not matter is forgiven"


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_are_whole(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"whole.{kind}"
    file.write_bytes(sample(kind))
    frames = list(read_video(file))
    assert len(frames) == (1 if kind in ("png", "jpg") else FRAMES)
    assert frames[0].shape == (SIDE, SIDE, 3)


def _png(path: Path, width: int, height: int) -> Path:
    """Its header alone is true: decoded, it would be black."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def _claiming(path: Path, kind: str, width: int, height: int) -> Path:
    """A small file that says it is large, to whoever looks at its header and to its decoder."""
    if kind == "png":
        return _png(path, width, height)
    data = bytearray(sample(kind))
    if kind == "jpg":
        at = next(
            i for i in range(len(data)) if bytes(data[i : i + 2]) in (b"\xff\xc0", b"\xff\xc2")
        )
        struct.pack_into(">HH", data, at + 5, height, width)
    else:
        struct.pack_into("<HH", data, 6, width, height)
    path.write_bytes(data)
    return path


def _huge_webm(path: Path, *, says_so: bool) -> Path:
    """VP8 whose key frame has 16,000 x 16,000 pixels, and whether the file's header says so."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width = stream.height = 300
        for picture in grey([9, 200] * 20, 300):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, 16_000, 16_000)
    if says_so:
        for element in (b"\xb0\x82", b"\xba\x82"):
            struct.pack_into(">H", data, data.index(element + b"\x01\x2c") + 2, 16_000)
    path.write_bytes(data)
    return path


def _refusal(file: Path, tmp_path: Path) -> str:
    with pytest.raises(PersonaError) as refused:
        prepare("huge", PersonaSettings("x"), file, tmp_path / "cache")
    return str(refused.value)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif"])
def test_a_picture_that_says_it_is_huge_is_refused(kind: str, tmp_path: Path) -> None:
    file = _claiming(tmp_path / f"huge.{kind}", kind, 16_000, 16_000)
    assert "is too large: 16000x16000 pixels, of which there may be 50" in _refusal(file, tmp_path)


def test_a_video_of_huge_frames_is_refused(tmp_path: Path) -> None:
    honest = _huge_webm(tmp_path / "honest.webm", says_so=True)
    assert "is too large: 16000x16000 pixels" in _refusal(honest, tmp_path)
    hidden = _huge_webm(tmp_path / "hidden.webm", says_so=False)
    assert "cannot be read as a video" in _refusal(hidden, tmp_path)


def test_a_picture_of_full_size_is_never_decoded(tmp_path: Path) -> None:
    """One that is as large as it says."""
    side = 8000
    assert side * side > MAX_PIXELS
    file = tmp_path / "huge.png"
    file.write_bytes(bytes(cv2.imencode(".png", np.zeros((side, side), np.uint8))[1]))
    assert declared_size(file) == (side, side)
    with pytest.raises(MediaError, match="too large: 8000x8000"):
        probe_video(file)


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".webp", ".gif"])
def test_sizes_are_read_from_headers(extension: str, tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (36, 52, 3)).astype(np.uint8)
    file = tmp_path / f"picture{extension}"
    file.write_bytes(bytes(cv2.imencode(extension, picture)[1]))
    assert declared_size(file) == (52, 36)
    for length in range(0, 40, 3):  # broken off, it tells nothing and does no harm
        file.write_bytes(file.read_bytes()[:length])
        declared_size(file)


def test_frames_without_end_are_refused(tmp_path: Path) -> None:
    """Two frames, of which the header says that the first is shown for months."""
    video = write_video(tmp_path / "v.mp4", grey([9, 200] * 20))
    data = bytearray(video.read_bytes())
    at = data.index(b"stts") + 8
    struct.pack_into(">I", data, at + 8, 0x7FFFFFFF)  # duration of a sample
    video.write_bytes(data)
    with pytest.raises(MediaError, match="shows frame 0 for"):
        list(read_video(video))


def test_a_header_of_millions_of_frames_is_refused(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", grey([9, 200] * 20))
    data = bytearray(video.read_bytes())
    # One entry of the table of durations stands for any number of frames.
    struct.pack_into(">I", data, data.index(b"stts") + 12, 5_000_000)
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 100, 5_000_000)
    video.write_bytes(data)
    with pytest.raises(MediaError, match="is too long: it has 5000000 frames"):
        probe_video(video)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("name", ["v.mp4", "v.m3u8", "v.ffconcat"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, playlist: str, name: str) -> None:
    (tmp_path / "other.mp4").write_bytes(DEFAULT.read_bytes())
    (tmp_path / name).write_text(playlist)
    with pytest.raises(MediaError, match="cannot be read"):
        probe_video(tmp_path / name)
    with pytest.raises(MediaError, match="cannot be read"):
        read_audio(tmp_path / name, 16_000)


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    """A stream may change its size at any frame."""
    small, large = (sample_of(side, tmp_path) for side in (64, 128))
    both = tmp_path / "both.mjpeg"
    both.write_bytes(small + large)
    with pytest.raises(MediaError, match="frames of another size from 1 on"):
        list(read_video(both))


def sample_of(side: int, tmp_path: Path) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8))[1])
