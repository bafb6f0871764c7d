"""The rewritten networks against the published modules, in single precision and small shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.models import networks, whisper
from engine.models.configs import FULL, SMALL
from engine.models.decoder import fast_decoder
from engine.models.hearing import FastEncoder
from engine.models.ops import PlainOps
from engine.models.phases import interleave, phase_weight
from engine.models.unet import FastUNet
from engine.musetalk.image import SCALING_FACTOR, to_faces

pytestmark = pytest.mark.usefixtures("one_torch_thread")
BATCH = 3


def module(kind: Any, **changes: Any) -> Any:
    """A small published module with norms that are not plain, so that losing one shows."""
    torch.manual_seed(11)
    built = networks.build(kind, SMALL[kind] | changes)
    for parameter in built.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return built


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


FOUR_LEVELS = {
    "block_out_channels": [16, 16, 32, 32],
    "down_block_types": FULL["unet"]["down_block_types"],
    "up_block_types": FULL["unet"]["up_block_types"],
    "layers_per_block": 2,
}


@pytest.mark.parametrize("changes", [{}, FOUR_LEVELS], ids=["two levels", "four, as published"])
def test_the_unet_computes_what_the_published_one_does(changes: dict[str, Any]) -> None:
    unet = module("unet", **changes)
    latents, tokens = drawn(BATCH, 8, 16, 16), drawn(BATCH, 50, 384)
    expected = unet(latents, torch.tensor([0]), encoder_hidden_states=tokens).sample
    seen = FastUNet(PlainOps(), unet)(latents, tokens)
    assert float((seen - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize(("kind", "scale"), [("kl", SCALING_FACTOR), ("tiny", 1.0)])
def test_the_decoders_paint_what_the_published_ones_do(kind: str, scale: float) -> None:
    vae = module(kind)
    latents = drawn(BATCH, 4, 8, 8)
    expected = to_faces(vae.decode(latents / scale).sample.numpy())
    bad = torch.zeros(BATCH, dtype=torch.int32)
    seen = fast_decoder(PlainOps(), kind, vae)(latents, bad).numpy()
    assert expected.std() > 1
    assert np.abs(seen.astype(int) - expected).max() <= 1
    assert not bad.any()


def test_only_the_picture_that_is_not_finite_is_marked() -> None:
    latents = drawn(BATCH, 4, 8, 8)
    latents[1, 0, 3, 3] = float("nan")
    bad = torch.zeros(BATCH, dtype=torch.int32)
    fast_decoder(PlainOps(), "kl", module("kl"))(latents, bad)
    assert bad.tolist() == [0, 1, 0]


def test_phases_double_a_picture_and_convolve_it_in_one() -> None:
    image, weight = drawn(2, 3, 5, 7).double(), drawn(4, 3, 3, 3).double()
    doubled = functional.interpolate(image, scale_factor=2, mode="nearest")
    expected = functional.conv2d(doubled, weight, padding=1)
    seen = interleave(functional.conv2d(image, phase_weight(weight), padding=1))
    assert torch.allclose(seen, expected, rtol=0, atol=1e-12)


def test_the_encoder_gives_the_published_states_of_thirty_seconds() -> None:
    encoder = module("whisper", encoder_layers=2, max_source_positions=60)
    mel = drawn(1, 80, 120)
    expected = encoder(mel, output_hidden_states=True).hidden_states
    seen = whisper.encode(encoder, mel)
    assert seen.shape == (1, 60, 3, 384)
    for place, state in enumerate(expected):
        assert torch.equal(seen[:, :, place], state)


def test_the_last_state_is_normalised_and_the_others_are_not() -> None:
    encoder = module("whisper", max_source_positions=60)
    states = whisper.encode(encoder, drawn(1, 80, 40))
    assert states.shape == (1, 20, 5, 384)
    again = encoder.layers[3](states[:, :, 3], None)
    assert torch.allclose(states[:, :, 4], encoder.layer_norm(again), atol=1e-6)
    assert not torch.allclose(states[:, :, 4], again, atol=1e-2)


def test_tokens_are_the_windows_and_zero_vectors_outside() -> None:
    states = drawn(2, 12, 5, 384)
    index = torch.arange(10).repeat(2, 1) + torch.tensor([[0], [2]])
    valid = torch.ones(2, 10)
    valid[0, :4] = 0
    positions = drawn(50, 384)
    seen = whisper.tokens(states, index, valid, positions) - positions
    assert torch.allclose(seen[0, :20], torch.zeros(20, 384), atol=1e-6)
    assert torch.allclose(seen[1, 5 * 3 + 2], states[1, 5, 2], atol=1e-6)


def test_the_rewritten_encoder_says_what_the_published_one_does() -> None:
    encoder = module("whisper", max_source_positions=60)
    log = drawn(BATCH, 40, 80) * 3 - 4
    floor = torch.tensor([-9.0, -5.0, -4.0])
    index = torch.arange(10).repeat(BATCH, 1) + torch.tensor([[0], [4], [10]])
    mel = ((torch.maximum(log, floor[:, None, None]) + 4) / 4).transpose(1, 2)
    states = whisper.encode(encoder, mel)
    expected = states[torch.arange(BATCH)[:, None], index]
    seen = FastEncoder(PlainOps(), encoder)(log, floor, index)
    assert seen.shape == expected.shape == (BATCH, 10, 5, 384)
    for state in range(5):
        error = (seen - expected)[:, :, state].norm() / expected[:, :, state].norm()
        assert float(error) < 1e-5, state
