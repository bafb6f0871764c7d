"""How far the incremental features are from those of the whole file, by context (§5.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.audio.features import LONGEST, Features, Hearing
from engine.core.engine_errors import BackendUnavailable
from engine.core.types import SAMPLE_RATE, SAMPLES_PER_FRAME, Pcm
from engine.models import networks, whisper
from engine.models.configs import SIZES
from engine.models.header import read_header
from engine.models.layout import NETWORKS
from engine.musetalk import mel, windows
from engine.parity.clips import clip_jobs

States = NDArray[np.float32]  # (positions, 5, 384)


@dataclass(frozen=True, slots=True)
class Measured:
    """One context, over the sampled pictures. Errors: RMS of the difference over RMS of the file's.

    Attributes:
        wait_s: from the start of a picture's sound to the moment when it can be computed.
        stem: error of state 0 without the position's embedding, against the whole file.
        layers: error of states 1 to 4 against the whole file. A sliding window gives a sound other
            embeddings than the file does, which counts here.
        same_place: the same against the file from the window's first sample on: other embeddings
            count no more, only what the window lacks.
    """

    hearing: Hearing
    wait_s: float
    stem: float
    layers: float
    same_place: float


def load_encoder(models: Path, seed: int, device: str) -> tuple[Any, str]:
    """Whisper's encoder, and whose weights it has: converted ones, else random of full size.

    Args:
        device: as torch names it.

    Raises:
        BackendUnavailable: there is no such device here, or the weights are damaged.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise BackendUnavailable(f"There is no device {device} here.", "Use --device cpu.")
    path = NETWORKS["whisper"].ready_path(models)
    if path.is_file():
        origin = read_header(path).get("origin", "unknown")
        return networks.load(models, "whisper", torch.float32, torch.device(device)), origin
    torch.manual_seed(seed)
    encoder = networks.build("whisper", SIZES["full"]["whisper"])
    return encoder.to(device), f"random, seed {seed}"


def measure(
    encoder: Any, pcm: Pcm, contexts: Sequence[Hearing], samples: int
) -> Iterator[Measured]:
    """Compare pictures spread over the clip, in each context.

    Args:
        pcm: pictures are of its first 30 s, which the file has in one window; what follows is
            heard by the files that begin later.
        samples: how many pictures; fewer where the clip is short.

    Raises:
        BackendUnavailable: the clip is too short.
    """
    pictures = windows.picture_count(min(len(pcm), mel.WINDOW_S * SAMPLE_RATE))
    if pictures < 1:
        raise BackendUnavailable("The clip is shorter than a picture, 40 ms.")
    chosen = np.unique(np.linspace(0, pictures, samples + 2)[1:-1].astype(int)).tolist()
    embedding = encoder.embed_positions.weight.detach().cpu().numpy()
    whole = {0: _whole(encoder, pcm, 0)}
    for hearing in contexts:
        streamed, file, same = [], [], []
        for frame, states in _streamed(encoder, pcm, hearing, chosen):
            start = hearing.start(frame)
            if start not in whole:
                whole[start] = _whole(encoder, pcm, start)
            at = windows.window_positions(frame, 1)[0]
            known = (at >= 0) & (at < min(LONGEST, int(windows.position_count(len(pcm)))))
            at = at[known]
            streamed.append(_without(states[known], embedding[at - start]))
            file.append(_without(whole[0][at], embedding[at]))
            same.append(whole[start][at - start])
        wait = (SAMPLES_PER_FRAME + hearing.lookahead) / SAMPLE_RATE
        yield _measured(hearing, wait, *(np.concatenate(part) for part in (streamed, file, same)))


def _without(states: States, embedding: NDArray[np.float32]) -> States:
    """States of which the first has lost its positions' embeddings."""
    bare = states.copy()
    bare[:, 0] -= embedding
    return bare


def _measured(
    hearing: Hearing, wait_s: float, streamed: States, file: States, same: States
) -> Measured:
    stem = _relative(streamed[:, 0], file[:, 0])
    layers = _relative(streamed[:, 1:], file[:, 1:])
    return Measured(hearing, wait_s, stem, layers, _relative(streamed[:, 1:], same[:, 1:]))


def _whole(encoder: Any, pcm: Pcm, start: int) -> States:
    """(1500, 5, 384) of the clip from a position on, all of its future heard."""
    heard = mel.log_mel(pcm[start * windows.POSITION :] / 32768.0)
    states: States = _encode(encoder, heard[None])[0]
    return states


def _streamed(
    encoder: Any, pcm: Pcm, hearing: Hearing, wanted: Sequence[int]
) -> Iterator[tuple[int, States]]:
    """Wanted pictures and the states (10, 5, 384) they hear; all pass, for the running floor."""
    features = Features(hearing)
    for job in clip_jobs(pcm, hearing):
        if job.frame > wanted[-1]:
            return
        heard = features.listen([job])
        if job.frame in wanted:
            states = _encode(encoder, heard.mels)
            tokens = windows.gather(states, heard.index, heard.valid)
            heard_states: States = tokens.reshape(windows.window_length(), windows.STATES, -1)
            yield job.frame, heard_states


def _encode(encoder: Any, mels: NDArray[np.float32]) -> States:
    """(batch, positions, 5, 384)."""
    device = encoder.conv1.weight.device
    with torch.inference_mode():
        states = whisper.encode(encoder, torch.from_numpy(mels).to(device))
    return np.asarray(states.cpu().numpy(), np.float32)


def _relative(got: States, expected: States) -> float:
    """RMS of the difference over RMS of what is expected."""
    return float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))
