"""Layers without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.compiler.filters import Window
from tests.compiler.net import FULL_STEPS, Net, Value

WINDOW = Window((2, 2), (2, 2))


@dataclass(frozen=True)
class Pad:
    """PAD, or PADV2 with a value; four pairs."""

    pairs: tuple[tuple[int, int], ...]
    value: float | None = None

    def __call__(self, net: Net, value: Value) -> Value:
        pairs = self.pairs[-len(value.shape) :]
        shape = [size + sum(pair) for size, pair in zip(value.shape, pairs, strict=True)]
        inputs: list[Value | int] = [value, net.integers(pairs)]
        if self.value is not None:
            stored = self.value if value.is_float else int(np.clip(self.value * 20, -128, 127))
            inputs.append(net.value((), value.dtype, value.scale, value.zero_point, data=stored))
        return net.apply("PAD" if self.value is None else "PADV2", inputs, net.like(value, shape))


@dataclass(frozen=True)
class Arithmetic:
    """ADD, SUB or MUL of the value with an earlier one of the network or with a constant.

    Attributes:
        kind: Builtin name.
        other: constant: with the axes below. twin: the value itself. earlier: another value of the same shape,
            where there is one. pooled: its own mean over the image, which is broadcast.
        axes: Of a constant: which of the last three axes it has; the others are 1.
        first: The other operand comes first.
        activation: Fused.
        zero_point: Of the output.
        factor: Makes the output's scale smaller (saturating) or larger.
        pick: Which of the earlier values.
    """

    kind: Literal["ADD", "SUB", "MUL"] = "ADD"
    other: Literal["constant", "twin", "earlier", "pooled"] = "constant"
    axes: tuple[bool, bool, bool] = (False, False, True)
    first: bool = False
    activation: str = "none"
    zero_point: int = 0
    factor: float = 1.0
    pick: int = 0

    def __call__(self, net: Net, value: Value) -> Value:
        other = self._other(net, value)
        scale = value.scale + other.scale if self.kind != "MUL" else value.scale * other.scale * FULL_STEPS
        output = net.like(value, None, scale * self.factor, self.zero_point)
        inputs = [other, value] if self.first else [value, other]
        return net.apply(self.kind, inputs, output, activation=self.activation)

    def _other(self, net: Net, value: Value) -> Value:
        if self.other == "earlier":
            fitting = [known for known in net.values if known.shape == value.shape and known.index != value.index]
            return fitting[self.pick % len(fitting)] if fitting else value
        if self.other == "pooled" and len(value.shape) == 4:
            return Mean((1, 2))(net, value)
        if self.other == "twin":
            return value
        shape = (1, *(size if kept else 1 for size, kept in zip(value.shape[1:], self.axes, strict=False)))
        low, high = (-2.0, 2.0) if value.is_float else (-128, 128)
        data = net.random.uniform(low, high, shape)
        scale = value.scale * float(2 ** net.random.uniform(-3, 3))
        zero_point = int(net.random.integers(-128, 128))
        return net.value(shape, value.dtype, scale, zero_point, data=data if value.is_float else np.floor(data))


@dataclass(frozen=True)
class Pool:
    """MAX_POOL_2D or AVERAGE_POOL_2D."""

    kind: Literal["MAX_POOL_2D", "AVERAGE_POOL_2D"] = "MAX_POOL_2D"
    window: Window = WINDOW
    activation: str = "none"

    def __call__(self, net: Net, value: Value) -> Value:
        height, width, options = self.window.fit(value.shape)
        options |= {"filterHeight": self.window.size[0], "filterWidth": self.window.size[1]}
        output = net.like(value, (1, height, width, value.shape[3]))
        return net.apply(self.kind, [value], output, activation=self.activation, **options)


@dataclass(frozen=True)
class Mean:
    """MEAN over some of the last three axes; `scale` 0 keeps the quantization."""

    axes: tuple[int, ...] = (1, 2)
    keep: bool = True
    scale: float = 0.0
    zero_point: int = 0

    def __call__(self, net: Net, value: Value) -> Value:
        axes = [axis for axis in self.axes if axis < len(value.shape)]
        kept = [1 if axis in axes else size for axis, size in enumerate(value.shape)]
        shape = kept if self.keep else [size for axis, size in enumerate(value.shape) if axis not in axes]
        output = net.like(value, shape, value.scale * self.scale, self.zero_point)
        return net.apply("MEAN", [value, net.integers(axes)], output, keepDims=self.keep)


@dataclass(frozen=True)
class Concat:
    """CONCATENATION with earlier values that fit, or else with constants and itself.

    Attributes:
        axis: 1..3.
        count: Values in all, 2..4.
        pick: Which of the earlier values.
        first: The value comes first.
    """

    axis: int = 3
    count: int = 2
    pick: int = 0
    first: bool = True

    def __call__(self, net: Net, value: Value) -> Value:
        others = [self._other(net, value, self.pick + number) for number in range(self.count - 1)]
        others = [net.requantize(other, value.scale, value.zero_point) for other in others]
        values = [value, *others] if self.first else [*others, value]
        shape = list(value.shape)
        shape[self.axis] = sum(each.shape[self.axis] for each in values)
        return net.apply("CONCATENATION", values, net.like(value, shape), axis=self.axis)

    def _other(self, net: Net, value: Value, pick: int) -> Value:
        rest = [axis for axis in range(len(value.shape)) if axis != self.axis]
        fitting = [known for known in net.values if self._matches(known, value, rest)]
        if pick % 3 == 2 or not fitting:
            return value
        return fitting[pick % len(fitting)]

    @staticmethod
    def _matches(known: Value, value: Value, rest: list[int]) -> bool:
        return len(known.shape) == len(value.shape) and all(
            known.shape[axis] == value.shape[axis] for axis in rest
        )


@dataclass(frozen=True)
class Unary:
    """RELU, RELU6, LOGISTIC, HARD_SWISH, SOFTMAX.

    Attributes:
        kind: Builtin name.
        scale: Of the output, relative to the input's; 0 keeps the quantization. LOGISTIC, SOFTMAX have their own.
        zero_point: Of the output.
        beta: Of a SOFTMAX.
    """

    kind: str = "RELU"
    scale: float = 0.0
    zero_point: int = 0
    beta: float = 1.0

    def __call__(self, net: Net, value: Value) -> Value:
        output = net.like(value, None, value.scale * self.scale, self.zero_point)
        if self.kind in ("SOFTMAX", "LOGISTIC"):
            output = net.like(value, None, 1 / 256, -128)
        options = {"beta": self.beta} if self.kind == "SOFTMAX" else {}
        return net.apply(self.kind, [value], output, **options)


@dataclass(frozen=True)
class Resize:
    """RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR."""

    size: tuple[int, int]
    kind: str = "RESIZE_BILINEAR"
    corners: bool = False
    centers: bool = False

    def __call__(self, net: Net, value: Value) -> Value:
        output = net.like(value, (1, *self.size, value.shape[3]))
        inputs = [value, net.integers(self.size)]
        return net.apply(self.kind, inputs, output, alignCorners=self.corners, halfPixelCenters=self.centers)


@dataclass(frozen=True)
class Requantize:
    """QUANTIZE from int8 to int8; nothing in a float32 network."""

    scale: float
    zero_point: int

    def __call__(self, net: Net, value: Value) -> Value:
        return net.requantize(value, value.scale * self.scale, self.zero_point)


@dataclass(frozen=True)
class Reshape:
    """RESHAPE of an image to another image of the same values.

    Attributes:
        view: column: all pixels below one another; row: beside one another; swapped: height and width swapped;
            pixel: all values in one pixel; wide: channels become pixels.
    """

    view: Literal["column", "row", "swapped", "pixel", "wide"] = "row"

    def __call__(self, net: Net, value: Value) -> Value:
        _, height, width, channels = value.shape
        shapes = {
            "column": (1, height * width, 1, channels),
            "row": (1, 1, height * width, channels),
            "swapped": (1, width, height, channels),
            "pixel": (1, 1, 1, height * width * channels),
            "wide": (1, height, width * channels, 1),
        }
        return net.reshape(value, shapes[self.view])
