"""Incremental features: the same as those of the whole file, wherever the window holds the file."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audio.features import Features, Hearing
from engine.audio.speech import Speech, Window
from engine.core.types import SAMPLES_PER_FRAME, FrameJob, Pcm
from engine.musetalk import windows
from engine.musetalk.mel import log_mel
from engine.parity.clips import clip_jobs
from tests.engine.speech import speech_like
from tests.engine.whole import clip_tokens

WHOLE = Hearing(left=200, right=250, form="padded")


def marked_states(positions: np.ndarray) -> np.ndarray:
    """States that tell which position they are of: (n, 5, 2), as in the reference's vectors."""
    known = np.where(positions >= 0, positions + 1.0, -1.0)
    return np.stack(
        [known[:, None] + np.arange(5) / 8, np.repeat(-known[:, None], 5, axis=1)], axis=2
    )


def heard_tokens(pcm: Pcm, hearing: Hearing) -> np.ndarray:
    """Tokens of every picture, of an encoder that answers with the number of the position."""
    features = Features(hearing)
    tokens = []
    for job in clip_jobs(pcm, hearing):
        start = hearing.start(job.frame)
        heard = features.listen([job])
        states = marked_states(np.arange(start, start + hearing.positions))
        tokens.append(windows.gather(states[None], heard.index, heard.valid)[0])
    return np.array(tokens)


@settings(max_examples=40)
@given(
    samples=st.integers(2 * SAMPLES_PER_FRAME, 50_000),
    left=st.integers(6, 60),
    right=st.integers(0, 12),
    form=st.sampled_from(["padded", "truncated"]),
)
def test_a_picture_hears_the_positions_that_the_reference_gives_it(
    samples: int, left: int, right: int, form: Literal["padded", "truncated"]
) -> None:
    pcm = np.zeros(samples, np.int16)
    hearing = Hearing(left=left, right=right, form=form)
    expected = clip_tokens(marked_states(np.arange(samples // 320)), samples)
    assert np.array_equal(heard_tokens(pcm, hearing), expected)


@pytest.mark.parametrize(
    ("samples", "pictures", "positions"),
    [(9280, 14, 28), (18_560, 28, 57), (36_480, 56, 113), (18_561, 29, 58), (16_000, 25, 50)],
)
def test_pictures_and_positions_of_a_clip_are_as_many_as_the_reference_counts(
    samples: int, pictures: int, positions: int
) -> None:
    """It floors products of doubles, which are not whole where the division is (§1.5)."""
    assert windows.picture_count(samples) == pictures
    assert windows.position_count(samples) == positions
    pcm, hearing = np.zeros(samples, np.int16), Hearing(left=50, right=0)
    jobs = list(clip_jobs(pcm, hearing))
    assert len(jobs) == pictures
    last = Features(hearing).listen(jobs[-1:])
    heard = hearing.start(pictures - 1) + last.index[0][last.valid[0]]
    assert heard.max() == min(positions - 1, 2 * (pictures - 1) + 5)


def test_the_first_pictures_hear_zero_vectors_before_the_clip() -> None:
    hearing = Hearing(left=50, right=0)
    jobs = list(clip_jobs(np.zeros(16_000, np.int16), hearing))[:3]
    valid = Features(hearing).listen(jobs).valid
    assert [int(row.argmax()) for row in valid] == [4, 2, 0]
    assert all(row[int(row.argmax()) :].all() for row in valid)


def test_a_stream_still_shows_the_last_picture_that_the_reference_does_not_count() -> None:
    speech = Speech(640, 640)
    speech.push(np.zeros(18_560, np.int16))
    speech.end_segment()
    assert speech.complete == 29


@pytest.mark.slow
def test_a_stream_whose_sound_goes_on_hears_every_position_of_its_pictures() -> None:
    hearing = Hearing(left=50, right=0)
    speech = Speech(hearing.left_context, hearing.lookahead)
    speech.push(np.zeros(60 * 16_000, np.int16))
    heard = [
        Features(hearing).listen([job_of(speech.window(frame))]) for frame in range(speech.complete)
    ]
    assert all(each.valid.all() for each in heard[2:])


def test_streamed_log_mel_equals_the_whole_file_where_the_window_holds_it() -> None:
    pcm = speech_like(16_000 * 4 + 137)
    whole = log_mel(pcm / 32768.0)
    features = Features(WHOLE)
    for job in clip_jobs(pcm, WHOLE):
        assert np.array_equal(features.listen([job]).mels[0], whole)


def test_only_the_rows_past_the_sound_heard_differ_from_the_whole_file() -> None:
    pcm = speech_like(16_000 * 3)
    pcm[:1600] = speech_like(1600, seed=3) * 2  # the loudest first, so that the floor is the same
    hearing = Hearing(left=200, right=0)
    whole = log_mel(pcm / 32768.0)
    features = Features(hearing)
    for job in clip_jobs(pcm, hearing):
        rows = features.listen([job]).mels[0]
        # §5.1: the last position heard is 2f + 5, whose stem reads rows up to 4f + 12.
        known = min(4 * job.frame + 13, rows.shape[1])
        assert np.array_equal(rows[:, :known], whole[:, :known])


def test_a_window_of_a_stream_does_not_depend_on_what_was_computed_before() -> None:
    pcm = speech_like(16_000 * 3)
    pcm[:320] = 20_000  # the loudest sound first, in every window
    hearing = Hearing(left=150, right=2)
    jobs = list(clip_jobs(pcm, hearing))
    features = Features(hearing)
    for job in jobs:
        alone = Features(hearing).listen([job]).mels
        assert np.array_equal(features.listen([job]).mels, alone)


def test_streams_in_one_batch_hear_what_each_hears_alone() -> None:
    hearing = Hearing(left=50, right=2)
    clips = [speech_like(16_000, seed) for seed in range(3)]
    together = Features(hearing)
    alone = [Features(hearing) for _ in clips]
    for jobs in zip(
        *(clip_jobs(clip, hearing, stream=i) for i, clip in enumerate(clips)), strict=True
    ):
        batch = together.listen(jobs)
        for place, job in enumerate(jobs):
            single = alone[place].listen([job])
            assert np.array_equal(batch.mels[place], single.mels[0])
            assert np.array_equal(batch.valid[place], single.valid[0])
            assert np.array_equal(batch.index[place], single.index[0])


def test_several_jobs_of_a_stream_in_one_batch_are_those_of_single_batches() -> None:
    hearing = Hearing(left=50, right=2)
    jobs = list(clip_jobs(speech_like(16_000), hearing))
    one, batch = Features(hearing), Features(hearing)
    singles = np.concatenate([one.listen([job]).mels for job in jobs])
    fours = np.concatenate([batch.listen(jobs[at : at + 4]).mels for at in range(0, len(jobs), 4)])
    assert np.array_equal(singles, fours)


def test_the_floor_follows_the_loudest_sound_of_the_segment_and_not_of_the_window() -> None:
    pcm = np.concatenate([np.full(3200, 20_000, np.int16), np.zeros(32_000, np.int16)])
    hearing = Hearing(left=25, right=0)
    features = Features(hearing)
    last = [features.listen([job]).mels[0] for job in clip_jobs(pcm, hearing)][-1]
    loudest = log_mel(pcm / 32768.0).max()
    assert np.allclose(last, loudest - 2, atol=1e-6)  # 8 decades under the peak, a quarter each


def test_a_new_segment_starts_with_a_floor_of_its_own() -> None:
    hearing = Hearing(left=25, right=0)
    features = Features(hearing)
    for job in clip_jobs(np.full(6400, 20_000, np.int16), hearing):
        features.listen([job])
    quiet = np.zeros(6400, np.int16)
    for job in clip_jobs(quiet, hearing, segment=1):
        assert np.allclose(features.listen([job]).mels, -1.5)


def test_pictures_that_were_not_asked_for_leave_no_hole() -> None:
    pcm = speech_like(16_000 * 3)
    pcm[:320] = 20_000
    hearing = Hearing(left=20, right=0)
    jobs = list(clip_jobs(pcm, hearing))
    every, some = Features(hearing), Features(hearing)
    for job in jobs:
        expected = every.listen([job]).mels
        if job.frame < 5 or 10 < job.frame < 15 or job.frame > 60:
            assert np.array_equal(some.listen([job]).mels, expected)


def test_look_ahead_is_what_is_proved_necessary_and_the_configured_context() -> None:
    assert Hearing(right=0).lookahead == 2120 - 640  # 92.5 ms after the picture's own (§5.1)
    assert Hearing(right=5).lookahead == 2120 - 640 + 5 * 320


@pytest.mark.parametrize(("left", "right"), [(5, 0), (6, -1), (1494, 0)])
def test_a_window_that_cannot_be_is_refused(left: int, right: int) -> None:
    with pytest.raises(ValueError, match="context"):
        Hearing(left=left, right=right, form="padded")


@settings(max_examples=15)
@given(
    chunks=st.lists(st.integers(1, 5000), min_size=3, max_size=12),
    right=st.integers(0, 6),
)
def test_a_stream_hears_its_segments_as_clips_whatever_the_sizes_they_come_in(
    chunks: list[int], right: int
) -> None:
    hearing = Hearing(left=30, right=right)
    speech = Speech(hearing.left_context, hearing.lookahead)
    streamed, whole = Features(hearing), Features(hearing)
    clips = [speech_like(sum(chunks), seed) for seed in range(2)]
    asked = 0
    for segment, clip in enumerate(clips):
        expected = [whole.listen([job]) for job in clip_jobs(clip, hearing, segment=segment)]
        place, begun = 0, asked
        for size in [*chunks, None]:
            if size is None:
                speech.end_segment()
            else:
                speech.push(clip[place : place + size])
                place += size
            while asked < min(speech.complete, begun + len(expected)):
                job = job_of(speech.window(asked))
                heard = streamed.listen([job])
                assert np.array_equal(heard.mels, expected[asked - begun].mels)
                assert np.array_equal(heard.valid, expected[asked - begun].valid)
                asked += 1
        assert asked - begun == len(expected)
        asked = speech.frames  # a last picture of less than 40 ms is not the reference's


def job_of(window: Window) -> FrameJob:
    """The job of a stream's window."""
    nobody = next(clip_jobs(np.zeros(640, np.int16), Hearing())).persona
    return FrameJob(
        *(0, 0, window.frame, 0.0, nobody, window.audio),
        segment=window.segment,
        frame=window.frame,
        unheard=window.unheard,
    )


def test_the_floor_forgets_what_is_more_than_30_s_ago() -> None:
    loud = np.full(640, 20_000, np.int16)
    pcm = np.concatenate([loud, np.zeros(31 * 16_000, np.int16)])
    hearing = Hearing(left=6, right=0)
    features = Features(hearing)
    floors = [float(features.listen([job]).mels[0].min()) for job in clip_jobs(pcm, hearing)]
    assert floors[700] > -1.5  # 28 s later: still 8 decades under the loud sound
    assert floors[-1] == -1.5  # of silence alone
