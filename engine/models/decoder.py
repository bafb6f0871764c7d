"""From latents to the picture of a face: the KL decoder rewritten, and the tiny one (TAESD)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.layers import Attention, Conv, Resnet, Upsample, norm_of
from engine.models.ops import Ops, Sum
from engine.musetalk.image import SCALING_FACTOR


class Decoder(Protocol):
    def __call__(self, latents: Tensor, bad: Tensor) -> Tensor:
        """Pictures (batch, 256, 256, 3) uint8 BGR of latents (batch, 4, 32, 32).

        Sets `bad` (batch,) int32 to 1 where a picture is not made of finite numbers.
        """
        ...


class KlDecoder:
    """sd-vae-ft-mse's decoder: phases for doubling, norms that take the sums with them."""

    def __init__(self, ops: Ops, vae: Any) -> None:
        decoder = vae.decoder
        self._ops = ops
        self._scale = vae.post_quant_conv.weight / SCALING_FACTOR
        self._scale_bias = vae.post_quant_conv.bias
        self._first = Conv(decoder.conv_in)
        middle = decoder.mid_block
        self._middle = [Resnet(ops, resnet) for resnet in middle.resnets]
        self._attention = Attention(ops, middle.attentions[0])
        self._levels = [
            (
                [Resnet(ops, resnet) for resnet in block.resnets],
                Upsample(block.upsamplers[0].conv) if block.upsamplers else None,
            )
            for block in decoder.up_blocks
        ]
        self._last_norm = norm_of(decoder.conv_norm_out)
        self._last = decoder.conv_out

    def __call__(self, latents: Tensor, bad: Tensor) -> Tensor:
        pending = Sum(self._first(self.unscaled(latents)), self._first.bias)
        pending = self._middle[0](pending)[1]
        pending = self._middle[1](self._attention(pending))[1]
        for resnets, up in self._levels:
            for resnet in resnets:
                pending = resnet(pending)[1]
            if up:
                pending = up(self._ops.settle(pending))
        normed = self._ops.norm(pending, self._last_norm)
        return self._ops.picture(normed, self._last.weight, self._last.bias, 0.5, 0.5, bad)

    def unscaled(self, latents: Tensor) -> Tensor:
        """Latents without their factor, through the first, pointwise convolution."""
        return functional.conv2d(latents, self._scale, self._scale_bias)


class TinyDecoder:
    """TAESD's decoder: convolutions and ReLU only. It takes the scaled latents as they are."""

    def __init__(self, ops: Ops, vae: Any) -> None:
        layers = list(vae.decoder.layers)
        self._ops = ops
        self._first, self._last = layers[0], layers[-1]
        self._steps = [self._step(layer) for layer in layers[1:-1] if list(layer.parameters())]

    def _step(self, layer: Any) -> Callable[[Tensor], Tensor]:
        if hasattr(layer, "conv"):
            return _TinyBlock([layer.conv[0], layer.conv[2], layer.conv[4]])
        up = Upsample(layer)
        return lambda image: self._ops.settle(up(image))

    def __call__(self, latents: Tensor, bad: Tensor) -> Tensor:
        image = conv_relu(torch.tanh(latents / 3) * 3, self._first.weight, self._first.bias)
        for step in self._steps:
            image = step(image)
        # The published module maps 0 … 1 to -1 … 1, which its users map back: left out.
        return self._ops.picture(image, self._last.weight, self._last.bias, 1.0, 0.0, bad)


class _TinyBlock:
    def __init__(self, convs: list[Any]) -> None:
        self._convs = convs

    def __call__(self, image: Tensor) -> Tensor:
        first, second, third = self._convs
        inner = conv_relu(conv_relu(image, first.weight, first.bias), second.weight, second.bias)
        return conv_add_relu(inner, third.weight, third.bias, image)


def conv_relu(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3 x 3 convolution and ReLU; one cuDNN kernel on a GPU."""
    if image.is_cuda:
        return torch.cudnn_convolution_relu(image, weight, bias, (1, 1), (1, 1), (1, 1), 1)
    return functional.conv2d(image, weight, bias, padding=1).relu_()


def conv_add_relu(image: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """ReLU of a 3 x 3 convolution plus a residual; one cuDNN kernel on a GPU."""
    if image.is_cuda:
        return torch.cudnn_convolution_add_relu(
            image, weight, residual, 1.0, bias, (1, 1), (1, 1), (1, 1), 1
        )
    return functional.conv2d(image, weight, bias, padding=1).add_(residual).relu_()


def fast_decoder(ops: Ops, kind: str, vae: Any) -> Decoder:
    """`kl` or `tiny`."""
    if kind == "tiny":
        vae.decoder.to(memory_format=torch.channels_last)
        return TinyDecoder(ops, vae)
    return KlDecoder(ops, vae)
