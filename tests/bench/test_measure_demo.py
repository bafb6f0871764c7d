"""The demo's judgement on made-up takes with known answers, and its film."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from app.shipped import SAMPLE
from bench.demo.film import Film
from bench.demo.judge import judge
from bench.demo.take import Take
from bench.measure.mouth import MouthRegion
from bench.measure.recording import Floats, Pcm, TimedAudio
from bench.measure.report import Line, passed
from bench.measure.speech import read_wav
from engine.engine_config import Stall
from tests.videos import sound_seconds

RATE = 24_000
REGION = MouthRegion(0, 0, 40, 40, 40.0)
SPEECH, SPEECH_RATE = read_wav(SAMPLE)
SECONDS = 10  # of it
START = 100.0  # of the speech at the speaker
LATENCY_S = 0.25


def own_openings(pcm: Pcm) -> Floats:
    frames = pcm[: len(pcm) // 960 * 960].reshape(-1, 960) / 32768.0
    openings: Floats = np.minimum(1.0, 2.5 * np.sqrt(np.mean(np.square(frames), axis=1)))
    return openings


def timed(pcm: Pcm, start: float, late: Floats | None = None) -> TimedAudio:
    pieces = [pcm[at : at + 240] for at in range(0, len(pcm), 240)]
    times = start + np.arange(len(pieces)) * 0.01 + (0 if late is None else late)
    return TimedAudio.of(list(zip(times, pieces, strict=True)), RATE)


def mouths(openings: Floats) -> np.ndarray:
    """Light pictures with as many dark rows as the mouth is open."""
    rows = np.arange(40)[None, :, None] < np.round(openings * 40)[:, None, None]
    return np.where(np.broadcast_to(rows, (len(openings), 40, 40)), 20, 200).astype(np.uint8)


def take(offset_ms: float = 0.0, stall: tuple[float, float] | None = None) -> Take:
    """2 s of rest, the sample, 2 s of rest; pictures late by an offset.

    After a stall at its first value, pictures are late by another 200 ms for its second.
    """
    pcm = SPEECH[: SECONDS * SPEECH_RATE]
    assert SPEECH_RATE == RATE
    rest = np.zeros(2 * RATE, np.int16)
    heard = np.concatenate([rest, pcm, rest])
    opened = own_openings(heard)
    times = START - 2 + LATENCY_S + np.arange(len(opened), dtype=np.float64) * 0.04
    shown: Floats = times + offset_ms / 1000
    if stall is not None:
        late = (times >= START + stall[0]) & (times < START + stall[0] + stall[1])
        shown = np.maximum.accumulate(shown + np.where(late, 0.2, 0.0))
    return Take(
        posted=START - 3,
        ready_s=0.4,
        first_frame=START - 2.5,
        arrivals=shown,
        crops=mouths(opened),
        region=REGION,
        sent=timed(pcm, START),
        heard=timed(heard, START - 2 + LATENCY_S),
        speech_from=START,
        speech_until=START + SECONDS,
        left_behind=[],
        end_state="ended",
        stats={},
    )


def line(lines: list[Line], name: str) -> Line:
    return next(line for line in lines if line.name.startswith(name))


REFERENCE = own_openings(SPEECH)


def test_a_good_take_passes() -> None:
    verdict = judge(take(), REFERENCE, ())
    assert [line.name for line in verdict.lines if line.passed is False] == []
    assert line(verdict.lines, "track latency, p95").value == "250 ms"
    assert line(verdict.lines, "pictures a second").value == "25.00"
    assert not verdict.gaps_ms


@pytest.mark.parametrize(("offset_ms", "good"), [(-60, False), (30, True)])
def test_the_offset_is_told_and_judged(offset_ms: float, good: bool) -> None:
    verdict = judge(take(offset_ms), REFERENCE, ())
    told = line(verdict.lines, "A/V offset, median")
    assert float(told.value.split()[0]) == pytest.approx(offset_ms, abs=6)
    assert told.passed is good
    assert line(verdict.lines, "|A/V offset| p95").passed is good


def test_an_offset_that_outlives_its_stall_by_more_than_a_second_fails() -> None:
    stalls = (Stall(5.5, 0.4),)  # 3 s into the speech
    brief = judge(take(stall=(3.0, 0.8)), REFERENCE, stalls)
    assert line(brief.lines, "|A/V offset| p95").passed
    lasting = judge(take(stall=(3.0, 6.0)), REFERENCE, stalls)
    assert not line(lasting.lines, "|A/V offset| p95").passed


def test_a_still_face_fails_by_unknown_offset_and_correlation() -> None:
    moving = take()
    still = replace(moving, crops=mouths(np.zeros(len(moving.arrivals))))
    verdict = judge(still, REFERENCE, ())
    assert line(verdict.lines, "A/V offset").value == "unknown"
    assert not line(verdict.lines, "A/V offset").passed
    assert not line(verdict.lines, "mouth follows").passed


def test_lost_sound_lost_pictures_and_a_ghost_in_the_room_fail() -> None:
    good = take()
    cut = good.heard.pcm.copy()
    cut[6 * RATE : 7 * RATE] = 0
    keep = np.ones(len(good.arrivals), bool)
    keep[200:204] = False
    bad = replace(
        good,
        heard=replace(good.heard, pcm=cut),
        arrivals=good.arrivals[keep],
        crops=good.crops[keep],
        left_behind=["avatar"],
        end_state="ending",
    )
    verdict = judge(bad, REFERENCE, ())
    failed = {line.name.split(",")[0] for line in verdict.lines if line.passed is False}
    assert {
        "audio lost",
        "longest gap between pictures",
        "session's end",
        "left in the room",
    } <= failed
    assert verdict.gaps_ms[0][1] == pytest.approx(200, abs=1)
    assert not passed(verdict.lines)


def test_the_film_keeps_arrival_times(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", 48_000)
    film.sound(9.0, np.ones(480, np.int16))  # before the first picture: left out
    arrivals = [10.0, 10.04, 10.08, 10.3, 10.34]
    for number, at in enumerate(arrivals):
        film.picture(at, 64, 48, bytes([40 * number]) * (64 * 48 * 3 // 2))
    for piece in range(40):
        film.sound(10.0 + 0.01 * piece, np.full(480, 900, np.int16))
    film.sound(10.8, np.full(480, 900, np.int16))  # after a hole of 0.4 s
    film.close()
    with av.open(str(tmp_path / "film.mp4")) as source:
        pictures = [frame.time for frame in source.decode(video=0)]
        assert pictures == pytest.approx([at - 10.0 for at in arrivals], abs=0.002)
        assert source.streams.video[0].codec_context.name == "h264"
    with av.open(str(tmp_path / "film.mp4")) as source:
        audio = source.streams.audio[0]
        assert audio.codec_context.name == "aac"
        assert sound_seconds(audio) == pytest.approx(0.81, abs=0.03)


def test_a_film_without_pictures_is_no_file(tmp_path: Path) -> None:
    Film(tmp_path / "film.mp4", 48_000).close()
    assert not (tmp_path / "film.mp4").exists()
