"""Reading and writing video and sound files."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.media.video import MediaError, Mp4Writer, probe_video, read_audio, read_video
from tests.videos import grey, sound_seconds, tone, write_sound, write_video

UNTURNED = bytes.fromhex("00010000" + "00000000" * 3 + "00010000" + "00000000" * 3 + "40000000")
QUARTER = bytes.fromhex(
    "00000000" "00010000" "00000000" "ffff0000" + "00000000" * 4 + "40000000"
)  # fmt: skip


@pytest.mark.parametrize(("rate", "count"), [(25, 50), (50, 100), (30, 60), (12, 24), (60, 120)])
def test_any_rate_becomes_25(tmp_path: Path, rate: int, count: int) -> None:
    """Two seconds are 50 frames, and each shows what a player showed at that time."""
    levels = np.linspace(20, 230, count).round().astype(int)
    video = write_video(tmp_path / "v.mp4", grey(levels.tolist()), rate)
    seen = [float(frame.mean()) for frame in read_video(video)]
    assert len(seen) == 50
    at = (np.arange(len(seen)) + 0.5) / 25
    shown = levels[np.minimum((at * rate).astype(int), count - 1)]
    assert np.abs(np.array(seen) - shown).max() <= np.diff(levels).max() + 2
    assert probe_video(video).other_rate is (rate != 25)


def test_odd_sizes_lose_a_line(tmp_path: Path) -> None:
    picture = np.full((65, 67, 3), 90, np.uint8)
    video = write_video(tmp_path / "v.mp4", [picture] * 3, pixels="yuv444p")
    assert {frame.shape for frame in read_video(video)} == {(64, 66, 3)}
    assert (probe_video(video).width, probe_video(video).height) == (66, 64)


@pytest.mark.parametrize("side", [64, 720])
def test_colours_are_what_they_were(tmp_path: Path, side: int) -> None:
    """Written as BT.601 and said so, even in HD; read, shown and read again without a loss."""
    picture = np.full((side, side, 3), (90, 60, 200), np.uint8)
    i420 = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8).ravel()
    out = tmp_path / "o.mp4"
    with Mp4Writer(out, side, side, 48_000) as writer:
        writer.picture(i420)
        writer.sound(np.zeros(1920, np.int16))
    again = next(read_video(out))
    assert np.abs(again.astype(int) - picture).max() <= 2


def test_a_turned_video_stands_upright(tmp_path: Path) -> None:
    """Telephones film sideways and say so in the file."""
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :32] = 255  # bright on the left
    video = write_video(tmp_path / "v.mp4", [picture] * 3)
    data = video.read_bytes()
    head = data.index(b"tkhd")
    at = data.index(UNTURNED, head)
    video.write_bytes(data[:at] + QUARTER + data[at + len(QUARTER) :])
    frame = next(read_video(video))
    assert frame.shape == (128, 64, 3)
    assert frame[:28].mean() > 240  # a quarter clockwise: the left is now the top
    assert frame[40:].mean() < 15


@pytest.mark.parametrize(
    ("codec", "rate", "layout"),
    [
        ("pcm_u8", 8_000, "mono"),
        ("pcm_s16le", 44_100, "stereo"),
        ("pcm_s24le", 48_000, "5.1"),
        ("pcm_f32le", 22_050, "stereo"),
        ("pcm_s16le", 16_000, "mono"),
    ],
)
def test_any_sound_becomes_16_khz_mono(tmp_path: Path, codec: str, rate: int, layout: str) -> None:
    wave = write_sound(tmp_path / "s.wav", tone(1.0, rate), rate, codec, layout)
    pcm = read_audio(wave, 16_000)
    assert pcm.dtype == np.int16
    assert abs(len(pcm) - 16_000) <= 2
    spectrum = np.abs(np.fft.rfft(pcm[:16_000] * np.hanning(len(pcm[:16_000]))))
    assert spectrum.argmax() in (439, 440, 441)
    assert np.abs(pcm).max() == pytest.approx(16_384, rel=0.03)


def test_loud_float_sound_is_limited_not_wrapped(tmp_path: Path) -> None:
    wave = write_sound(tmp_path / "s.wav", tone(0.2, 16_000, level=3.0), 16_000, "pcm_f32le")
    pcm = read_audio(wave, 16_000).astype(int)
    assert pcm.max() == 32767
    assert pcm.min() == -32768
    assert np.abs(np.diff(pcm)).max() < 20_000


def _not_media(folder: Path) -> dict[str, Path]:
    files = {name: folder / name for name in ("missing.wav", "empty.wav", "text.wav", "bare.wav")}
    files["empty.wav"].touch()
    files["text.wav"].write_text("hello\n" * 50)
    whole = write_sound(folder / "whole.wav", tone(0.1, 16_000), 16_000)
    files["bare.wav"].write_bytes(whole.read_bytes()[:44])  # a header, and nothing after it
    return files


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.wav", "does not exist"),
        ("empty.wav", "is empty (0 bytes)"),
        ("text.wav", "cannot be read as an audio file"),
        ("bare.wav", "bare.wav"),
    ],
)
def test_what_is_no_sound_says_so(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(MediaError) as caught:
        read_audio(_not_media(tmp_path)[name], 16_000)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sound_and_pictures_are_not_mistaken(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no sound"):
        read_audio(write_video(tmp_path / "v.mp4", grey([9, 9])), 16_000)
    with pytest.raises(MediaError, match="holds no video"):
        probe_video(write_sound(tmp_path / "s.wav", tone(0.1, 16_000), 16_000))


def test_a_broken_video_names_the_frame(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3)).astype(np.uint8)
    video = write_video(tmp_path / "v.mp4", list(noise))
    data = bytearray(video.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = b"\0" * 4000
    video.write_bytes(data)
    with pytest.raises(MediaError, match=r"unreadable from frame \d+ on"):
        list(read_video(video))


def test_a_written_file_is_as_long_as_its_sound(tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    picture = np.full(64 * 64 * 3 // 2, 128, np.uint8)
    sound = (tone(1.0, 48_000) * 32767).astype(np.int16)
    with Mp4Writer(out, 64, 64, 48_000) as writer:
        for tick in range(25):
            writer.picture(picture)
            writer.sound(sound[tick * 1920 : (tick + 1) * 1920])
    with av.open(str(out)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.frames == 25
        assert sound_seconds(audio) == pytest.approx(1.0, abs=0.025)
        assert video.start_time == 0
    heard = read_audio(out, 48_000).astype(float)[: len(sound)]
    shift = int(np.correlate(heard[4000:12000], sound[4800:11200].astype(float)).argmax()) - 800
    assert abs(shift) <= 1  # the encoder's delay is taken off


def test_an_exception_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Mp4Writer(tmp_path / "o.mp4", 64, 64, 48_000):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        Mp4Writer(tmp_path / "nowhere" / "o.mp4", 64, 64, 48_000)
