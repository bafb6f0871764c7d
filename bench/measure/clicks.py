"""Short tones with silence around them: a second way to measure the offset, as a cross-check.

The first way compares whole curves; this one only looks when the mouth first opens at each tone.
"""

from __future__ import annotations

import numpy as np

from bench.measure.recording import Floats, Pcm, Seen, TimedAudio


def click_track(seconds: float, rate: int, *, seed: int = 1) -> tuple[Pcm, Floats]:
    """Tones of 70 ms, 0.7 to 1.1 s apart, and the seconds at which they begin.

    Apart by chance, so that they fall on every phase of the 40 ms grid; 70 ms, so that one
    picture's own audio is always filled by the tone and no backend takes it for a dip.
    """
    chance = np.random.default_rng(seed)
    track = np.zeros(round(seconds * rate), np.int16)
    starts: list[float] = []
    at = 0.5
    while at + 0.3 < seconds:
        first = round(at * rate)
        starts.append(first / rate)
        t = np.arange(round(0.07 * rate)) / rate
        # A vowel's buzz rather than a pure tone: several bands must have something to hear. Each
        # at a pitch of its own, so that none is taken for another.
        pitch = chance.uniform(110, 220)
        tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 12))
        track[first : first + len(t)] = np.clip(0.35 * 32767 * tone, -32000, 32000)
        at += float(chance.uniform(0.7, 1.1))
    return track, np.array(starts)


def onsets(heard: TimedAudio) -> Floats:
    """When tones began to be heard, to about a millisecond."""
    times = np.arange(float(heard.times[0]), float(heard.times[-1]), 0.001)
    level = np.nan_to_num(heard.loudness(times, 0.005))
    if not len(level) or level.max() <= 0:
        return np.zeros(0)
    loud = level > 0.25 * level.max()
    rises = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    # A quarter of the level in a window of 5 ms is reached when a sixteenth of its energy is
    # in it, 0.3 ms into the tone.
    found = times[rises] + 0.005 - 0.0003
    return found[np.insert(np.diff(found) > 0.3, 0, True)] if len(found) else found


def first_open(seen: Seen, tones: Floats) -> Floats:
    """(n,) seconds from each tone to the first picture, within 0.4 s around, with an open mouth.

    A tone begins anywhere in its picture's 40 ms, so single values differ by as much.
    """
    wide = float(np.percentile(seen.openings, 98))
    found: list[float] = []
    for tone in tones:
        near = seen.between(tone - 0.2, tone + 0.4)
        opened = np.flatnonzero(near.openings > 0.25 * wide)
        if len(opened):
            found.append(float(near.times[opened[0]] - tone))
    return np.array(found)


def click_offset(live: Seen, heard: Floats, offline: Seen, sent: Floats) -> Floats:
    """(n,) seconds by which pictures are late at each heard tone.

    What the mouth itself takes, and where a tone falls in its picture's 40 ms, is in the offline
    rendering, too; its mean is taken off.
    """
    late: Floats = first_open(live, heard) - np.mean(first_open(offline, sent))
    return late
