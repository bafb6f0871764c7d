"""The same speech rendered offline: what the mouth does when no clock is involved."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from bench.demo.take import DemoError
from bench.devstack import voipavatar
from bench.measure.mouth import Luma, MouthRegion, openings
from bench.measure.recording import Floats, Pcm
from bench.measure.speech import write_wav

REST_S = 1.0  # of silence put before the speech: what the closed mouth looks like


async def reference_openings(
    folder: Path,
    persona: str,
    region: MouthRegion,
    pcm: Pcm,
    rate: int,
    env: dict[str, str],
) -> Floats:
    """(n,) opening of the picture whose own 40 ms begin at n * 40 ms of the speech.

    Raises DemoError with what `voipavatar render` said.
    """
    wav, film = folder / "speech.wav", folder / "reference.mp4"
    rest = round(REST_S * 25)
    write_wav(wav, np.concatenate([np.zeros(round(REST_S * rate), np.int16), pcm]), rate)
    command = [*voipavatar(), "render", "--persona", persona]
    command += ["--audio", str(wav), "--out", str(film)]
    done = await asyncio.to_thread(
        subprocess.run, command, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"`voipavatar render` failed: {done.stderr or done.stdout}")
    crops = await asyncio.to_thread(_mouths, film, region)
    return openings(crops, crops[:rest], region)[rest:]


def _mouths(film: Path, region: MouthRegion) -> NDArray[np.uint8]:
    """(n, height, width) of each picture's luma."""
    crops: list[Luma] = []
    with av.open(str(film)) as source:
        for frame in source.decode(video=0):
            luma = np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)[: frame.height]
            crops.append(region.crop(luma))
    return np.stack(crops)
