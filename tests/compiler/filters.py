"""Layers with weights, quantized so that their outputs stay alive, or in the ways that kernels get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from tests.compiler.net import FULL_STEPS, Net, Value

Scaling = Literal["plain", "dyadic", "tiny", "large", "dead"]
"""How a layer's sums become bytes.

plain: a healthy network. dyadic: multipliers are powers of two, or nearly, so that sums fall on rounding ties.
tiny: multipliers down to 2**-40. large: above one, everything saturates. dead: as plain, but every other channel
has a scale near zero and a bias near +-2**30, as channels of real models have that never fire.
"""


@dataclass(frozen=True)
class Weights:
    """What convolutions and fully connected layers have in common.

    Attributes:
        scaling: How sums become bytes.
        per_channel: A scale for each output channel.
        bias: Whether there is one.
        zero_point: Of the output.
        scale: Of the output.
    """

    scaling: Scaling = "plain"
    per_channel: bool = True
    bias: bool = True
    zero_point: int = 0
    scale: float = 0.05

    def tensors(self, net: Net, value: Value, shape: Sequence[int], *, axis: int) -> tuple[list[int], float]:
        """The filter, the bias where there is one, and the scale of the output.

        Args:
            net: Where they are added.
            value: The layer's input.
            shape: Of the filter.
            axis: Its output channels.
        """
        channels, taps = shape[axis], prod(shape) // shape[axis]
        if value.is_float:
            filters = net.random.normal(0, (1.0 / taps) ** 0.5, shape)
            index = net.build.tensor(shape, "float32", data=filters)
            bias = net.build.tensor((channels,), "float32", data=net.random.normal(0, 0.3, channels))
            return [index, bias][: 1 + self.bias], 1.0
        scale = 2.0**-5 if self.scaling == "dyadic" else self.scale
        multipliers = self._multipliers(net.random, channels, taps)
        scales = [float(np.float32(factor * scale / value.scale)) for factor in multipliers]
        weights = net.random.integers(-127, 128, shape)
        index = net.build.tensor(shape, "int8", (scales if self.per_channel else scales[0], 0), weights, axis=axis)
        if not self.bias:
            return [index], scale
        return [index, self._bias(net, value, scales, taps)], scale

    def _multipliers(self, random: np.random.Generator, channels: int, taps: int) -> list[float]:
        plain = FULL_STEPS / (taps**0.5 * 73 * 73) * 2 ** random.uniform(-1, 1, channels)
        if self.scaling == "dyadic":
            plain = np.exp2(np.round(np.log2(plain))) * random.choice([1.0, 1.0, 1.5, 1.25, 1 + 2**-8], channels)
        if self.scaling == "tiny":
            plain = plain * np.exp2(-random.integers(3, 30, channels))
        if self.scaling == "large":
            plain = np.minimum(plain * 2.0 ** random.integers(3, 12, channels), 8)
        if self.scaling == "dead" and self.per_channel:
            plain[::2] *= 2.0 ** -random.integers(14, 24, len(plain[::2]))
        return [float(factor) for factor in plain]

    def _bias(self, net: Net, value: Value, scales: list[float], taps: int) -> int:
        random, channels = net.random, len(scales)
        bias = random.integers(-2000, 2000, channels) * max(1, int(taps**0.5))
        if self.scaling == "dead":
            huge = random.choice([-1, 1], len(bias[::2])) * (
                2**30 + random.integers(-(2**24), 2**24, len(bias[::2]))
            )
            bias[::2] = huge
        # A bias of the range a file may hold: scales as input scale x filter scale, which TFLite checks.
        products = [value.scale * scale for scale in scales]
        quantization = (products if self.per_channel else products[0], 0)
        return net.build.tensor((channels,), "int32", quantization, bias)


@dataclass(frozen=True)
class Window:
    """How a filter or a pool moves.

    Attributes:
        size: Height, width.
        stride: Height, width.
        same: SAME, else VALID.
        dilation: Height, width; not for pools.
    """

    size: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    same: bool = True
    dilation: tuple[int, int] = (1, 1)

    def fit(self, shape: Sequence[int]) -> tuple[int, int, dict[str, int]]:
        """Height and width of the output, and the options of the file."""
        reach = [(size - 1) * dilation + 1 for size, dilation in zip(self.size, self.dilation, strict=True)]
        same = self.same or any(size < least for size, least in zip(shape[1:3], reach, strict=True))
        sizes = [
            -(-size // stride) if same else (size - least) // stride + 1
            for size, stride, least in zip(shape[1:3], self.stride, reach, strict=True)
        ]
        return sizes[0], sizes[1], {"padding": int(not same), "strideH": self.stride[0], "strideW": self.stride[1]}


@dataclass(frozen=True)
class Conv:
    """CONV_2D, or DEPTHWISE_CONV_2D where `multiplier` is not 0.

    Attributes:
        filters: Outputs of a CONV_2D.
        multiplier: Outputs for each input of a DEPTHWISE_CONV_2D.
        window: How it moves.
        activation: Fused.
        weights: Filter, bias, output's quantization.
    """

    filters: int = 4
    multiplier: int = 0
    window: Window = Window()
    activation: str = "none"
    weights: Weights = Weights()

    def __call__(self, net: Net, value: Value) -> Value:
        height, width, options = self.window.fit(value.shape)
        inner = value.shape[3]
        outer, first, axis = (
            (inner * self.multiplier, 1, 3) if self.multiplier else (self.filters, self.filters, 0)
        )
        shape = (first, *self.window.size, outer if self.multiplier else inner)
        # TFLite takes no CONV_2D without a bias.
        weights = self.weights if self.multiplier else replace(self.weights, bias=True)
        constants, scale = weights.tensors(net, value, shape, axis=axis)
        output = net.like(value, (1, height, width, outer), scale, self.weights.zero_point)
        options |= {"dilationHFactor": self.window.dilation[0], "dilationWFactor": self.window.dilation[1]}
        options |= {"depthMultiplier": self.multiplier} if self.multiplier else {}
        kind = "DEPTHWISE_CONV_2D" if self.multiplier else "CONV_2D"
        return net.apply(kind, [value, *constants], output, activation=self.activation, **options)


@dataclass(frozen=True)
class TransposeConv:
    """TRANSPOSE_CONV; the output is the smallest that the input fills, or with SAME `stride` times the input."""

    filters: int = 4
    window: Window = Window()
    weights: Weights = Weights()

    def __call__(self, net: Net, value: Value) -> Value:
        pairs = zip(value.shape[1:3], self.window.stride, self.window.size, strict=True)
        sizes = [
            size * stride if self.window.same else (size - 1) * stride + reach for size, stride, reach in pairs
        ]
        shape = (1, *sizes, self.filters)
        constants, scale = self.weights.tensors(
            net, value, (self.filters, *self.window.size, value.shape[3]), axis=0
        )
        output = net.like(value, shape, scale, self.weights.zero_point)
        inputs = [net.integers(shape), constants[0], value, *constants[1:]]
        height, width = self.window.stride
        return net.apply(
            "TRANSPOSE_CONV", inputs, output, padding=int(not self.window.same), strideH=height, strideW=width
        )


@dataclass(frozen=True)
class FullyConnected:
    """FULLY_CONNECTED.

    Attributes:
        units: Outputs.
        view: How it takes the image. flat: through a RESHAPE to (1, n). direct: the image itself, all its values.
            positions: through a RESHAPE to (pixels, channels), and back. kept: each pixel of the image.
        activation: Fused.
        weights: Filter, bias, output's quantization.
    """

    units: int = 4
    view: Literal["flat", "direct", "positions", "kept"] = "flat"
    activation: str = "none"
    weights: Weights = Weights()

    def __call__(self, net: Net, value: Value) -> Value:
        count, image = prod(value.shape), value.shape
        inner = count if self.view in ("flat", "direct") else image[-1]
        rows = count // inner
        if self.view in ("flat", "positions"):
            value = net.reshape(value, (rows, inner))
        constants, scale = self.weights.tensors(net, value, (self.units, inner), axis=0)
        shape = (*image[:-1], self.units) if self.view == "kept" else (rows, self.units)
        made = net.apply(
            "FULLY_CONNECTED",
            [value, *constants, -1][:3],
            net.like(value, shape, scale, self.weights.zero_point),
            activation=self.activation,
            keepNumDims=self.view == "kept",
        )
        return net.reshape(made, (*image[:-1], self.units)) if self.view == "positions" else made
