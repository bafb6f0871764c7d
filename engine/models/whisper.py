"""Whisper's encoder over windows of any length, with the states that MuseTalk listens to (§1.4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def encode(encoder: Any, mel: Tensor) -> Tensor:
    """Hidden states of a batch of sounds.

    The published forward insists on 30 s; this is the same computation for the first K position
    embeddings (musetalk.md §5.2, form PT), and for 30 s the very same (form P30).

    Args:
        encoder: transformers' WhisperEncoder.
        mel: (batch, 80, 2 K) of the encoder's type.

    Returns:
        (batch, K, layers + 1, 384): the conv stem with positions, the raw outputs of all layers but
        the last, and the last one's after the final norm.
    """
    stem = functional.gelu(encoder.conv1(mel))
    stem = functional.gelu(encoder.conv2(stem)).permute(0, 2, 1)
    hidden = stem + encoder.embed_positions.weight[: stem.shape[1]]
    states = [hidden]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
        states.append(hidden)
    states[-1] = encoder.layer_norm(hidden)
    return torch.stack(states, dim=2)


def tokens(states: Tensor, index: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
    """The UNet's audio input for a batch of pictures, with positions added.

    Args:
        states: (batch, K, 5, 384).
        index: (batch, 10) int64 positions heard; any number within K where not valid.
        valid: (batch, 10) of the states' type or bool: 0 where the picture hears a zero vector.
        positions: (50, 384) the table of §1.6 in the states' type.
    """
    rows = torch.arange(index.shape[0], device=index.device)[:, None]
    return placed(states[rows, index], valid, positions)


def placed(heard: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
    """Tokens (batch, 50, 384) of the heard states (batch, 10, 5, 384); see `tokens`."""
    known = heard * valid[:, :, None, None]
    return known.reshape(valid.shape[0], -1, heard.shape[-1]) + positions
