"""The Triton kernels in Triton's own interpreter, against PyTorch's operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.models.ops import Norm, Ops, PlainOps, Sum
from engine.models.phases import phase_weight
from engine.models.triton_ops import TritonOps

pytestmark = pytest.mark.usefixtures("one_torch_thread", "interpreter")
CHANNELS, MORE = 24, 8


def drawn(seed: int, *shape: int) -> Tensor:
    image = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return image.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else image


@pytest.fixture(params=[0, 16384], ids=["three passes", "one pass"])
def ops(request: pytest.FixtureRequest) -> Ops:
    return TritonOps(request.param)


@pytest.fixture
def norm() -> Norm:
    return Norm(1 + drawn(1, CHANNELS) / 5, drawn(2, CHANNELS) / 5, 3, 1e-5)


def pending(**parts: Any) -> Sum:
    return Sum(3 + drawn(3, 2, CHANNELS, 6, 10), **parts)


@pytest.mark.parametrize("silu", [True, False])
def test_a_norm_takes_bias_and_residual_with_it(ops: Ops, norm: Norm, silu: bool) -> None:
    kind = Norm(norm.weight, norm.bias, norm.groups, norm.eps, silu)
    sums = pending(bias=drawn(4, CHANNELS), residual=drawn(5, 2, CHANNELS, 6, 10))
    expected_sum, expected = PlainOps().settle_norm(sums, kind)
    seen_sum, seen = ops.settle_norm(sums, kind)
    assert torch.allclose(seen_sum, expected_sum, atol=1e-5)
    assert torch.allclose(seen, expected, atol=1e-4)


def test_a_norm_of_what_nobody_reads_again_adds_its_bias_unstored(ops: Ops, norm: Norm) -> None:
    sums = pending(bias=drawn(4, CHANNELS) * 3)
    before = sums.x.clone()
    assert torch.allclose(ops.norm(sums, norm), PlainOps().norm(sums, norm), atol=1e-4)
    assert torch.equal(sums.x, before)


def test_a_skip_is_joined_while_summing(ops: Ops) -> None:
    wide = CHANNELS + MORE
    # A group of two takes channels of both.
    norm = Norm(1 + drawn(1, wide) / 5, drawn(2, wide) / 5, 2, 1e-5)
    sums = pending(bias=drawn(4, CHANNELS), skip=drawn(6, 2, MORE, 6, 10))
    expected_sum, expected = PlainOps().settle_norm(sums, norm)
    seen_sum, seen = ops.settle_norm(sums, norm)
    assert torch.allclose(seen_sum, expected_sum, atol=1e-5)
    assert torch.allclose(seen, expected, atol=1e-4)


def test_phases_are_interleaved_while_summing(ops: Ops, norm: Norm) -> None:
    phases = torch.nn.functional.conv2d(
        drawn(7, 2, 4, 3, 5), phase_weight(drawn(8, CHANNELS, 4, 3, 3)), padding=1
    ).contiguous(memory_format=torch.channels_last)
    sums = Sum(phases, drawn(4, CHANNELS), phased=True)
    assert torch.allclose(ops.settle(sums), PlainOps().settle(sums), atol=1e-5)
    assert torch.allclose(ops.norm(sums, norm), PlainOps().norm(sums, norm), atol=1e-4)


def test_rows(ops: Ops) -> None:
    rows = drawn(9, 37, 20)
    parts = drawn(10, 20), drawn(11, 20), drawn(12, 20), 1e-5
    expected = PlainOps().layer_norm(rows, *parts)
    assert torch.allclose(ops.layer_norm(rows, *parts), expected, atol=1e-5)
    assert torch.allclose(ops.geglu(rows), PlainOps().geglu(rows), atol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")
def test_the_picture_and_who_is_broken(ops: Ops) -> None:
    image = drawn(13, 2, CHANNELS, 6, 10)
    image[1, 3, 2, 2] = float("inf")
    weight, bias = drawn(14, 3, CHANNELS, 3, 3) / 5, drawn(15, 3) / 5
    marks = [torch.zeros(2, dtype=torch.int32) for _ in range(2)]
    expected = PlainOps().picture(image, weight, bias, 0.5, 0.5, marks[0]).int()
    seen = ops.picture(image, weight, bias, 0.5, 0.5, marks[1]).int()
    assert int((seen - expected)[0].abs().max()) <= 1
    assert expected[0].float().std() > 10
    assert marks[0].tolist() == marks[1].tolist() == [0, 1]
