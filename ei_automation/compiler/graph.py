"""The nouns of the compiler: a small typed graph.

Everything the passes need to know of a .tflite model, and nothing of the flatbuffer. Paddings are explicit (SAME
and VALID are resolved when the model is read), fused activations stand in the operators' options, axes are not
negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["int8", "uint8", "int32", "int64", "float32"]
Activation = Literal["none", "relu", "relu6", "relu_n1_to_1"]
ITEM_BYTES: dict[DType, int] = {"int8": 1, "uint8": 1, "int32": 4, "int64": 8, "float32": 4}


@dataclass(frozen=True)
class Quantization:
    """How integers stand for real numbers: real = (integer - zero_point) * scale.

    Attributes:
        scales: One, or one a channel (float32 values, as the file holds them).
        zero_points: As many.
        axis: The channels' axis where there are several scales.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0

    @property
    def scale(self) -> float:
        """The first scale, of a tensor that has one."""
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The first zero point."""
        return self.zero_points[0]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph, or a constant.

    Attributes:
        index: Its number in the model; the passes that make tensors count on from there.
        name: As in the file.
        shape: As in the file; image tensors are (1, height, width, channels).
        dtype: Element type.
        quantization: None where the file has none (shapes), and of float32, whatever the file says.
        data: The values of a constant, in `shape`; None for what is computed.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: DType
    quantization: Quantization | None = None
    data: NDArray[Any] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether its values are in the file."""
        return self.data is not None

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size."""
        return self.count * ITEM_BYTES[self.dtype]

    @property
    def rows(self) -> Rows:
        """The tensor seen as rows of pixels, which is how it lies in memory and how kernels take it."""
        return Rows.of(self.shape, ITEM_BYTES[self.dtype])

    @property
    def q(self) -> Quantization:
        """The quantization of a tensor that must have one."""
        if self.quantization is None:
            raise ValueError(f"tensor {self.index} ({self.name}) has no quantization")
        return self.quantization


@dataclass(frozen=True)
class Rows:
    """A tensor as rows: (height, width, channels), batch 1.

    A tensor of rank 4 keeps its axes. Of rank 3 (1, positions, channels) has one row; of rank 2 (n, channels) has
    one row of n pixels, of rank 1 or 0 one pixel. Fold may give a tensor of rank 2 back its (height, width).

    Attributes:
        height: Rows.
        width: Pixels in a row.
        channels: Values in a pixel.
        item_bytes: Bytes of a value.
    """

    height: int
    width: int
    channels: int
    item_bytes: int = 1

    @classmethod
    def of(cls, shape: tuple[int, ...], item_bytes: int) -> Rows:
        """The rows of a shape; a leading batch must be 1 (check has seen to it)."""
        if len(shape) == 4:
            return cls(shape[1], shape[2], shape[3], item_bytes)
        channels = shape[-1] if shape else 1
        return cls(1, prod(shape[:-1]), channels, item_bytes)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.width * self.channels * self.item_bytes

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return self.height * self.row_bytes


@dataclass(frozen=True)
class Padding:
    """Pixels added around an image. Kernels need only top and left: the output's size says the rest."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0


@dataclass(frozen=True)
class ConvOptions:
    """CONV_2D and DEPTHWISE_CONV_2D.

    Filter: (out, height, width, in), or (1, height, width, out) for depthwise.
    """

    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding: Padding
    activation: Activation
    multiplier: int = 1
    """Depthwise only: outputs for each input channel."""
    same: bool = False
    """Whether the file says SAME; `padding` is what counts here, and this is for another input size."""


@dataclass(frozen=True)
class TransposeConvOptions:
    """TRANSPOSE_CONV. Its inputs are the output shape (constant), the filter, the image, and a bias or nothing."""

    stride_h: int
    stride_w: int
    padding: Padding
    activation: Activation
    same: bool = False
    """Whether the file says SAME; `padding` is what counts here, and this is for another input size."""


@dataclass(frozen=True)
class PoolOptions:
    """MAX_POOL_2D and AVERAGE_POOL_2D."""

    filter_h: int
    filter_w: int
    stride_h: int
    stride_w: int
    padding: Padding
    activation: Activation
    same: bool = False
    """Whether the file says SAME; `padding` is what counts here, and this is for another input size."""


@dataclass(frozen=True)
class ActivationOptions:
    """FULLY_CONNECTED, ADD, SUB, MUL: only a fused activation."""

    activation: Activation


@dataclass(frozen=True)
class MeanOptions:
    """MEAN.

    Attributes:
        axes: Sorted, not negative.
    """

    axes: tuple[int, ...]


@dataclass(frozen=True)
class PadOptions:
    """PAD, PADV2 with a constant.

    Attributes:
        before: One an axis.
        after: One an axis.
        value: The stored value that is put there: the output's zero point for int8, 0.0 for float32.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class ConcatOptions:
    """CONCATENATION."""

    axis: int
    activation: Activation


@dataclass(frozen=True)
class SoftmaxOptions:
    """SOFTMAX over the last axis."""

    beta: float


@dataclass(frozen=True)
class ResizeOptions:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True)
class NoOptions:
    """RESHAPE, SQUEEZE, EXPAND_DIMS, LOGISTIC, RELU, RELU6, QUANTIZE, DEQUANTIZE, HARD_SWISH."""


Options = (
    ConvOptions
    | TransposeConvOptions
    | PoolOptions
    | ActivationOptions
    | MeanOptions
    | PadOptions
    | ConcatOptions
    | SoftmaxOptions
    | ResizeOptions
    | NoOptions
)


@dataclass(frozen=True)
class Operator:
    """A step of the graph.

    Attributes:
        place: Its number in the file, from 0; a folded operator keeps the place of the one that computes.
        kind: Builtin name, e.g. CONV_2D.
        inputs: Tensor indices; constants (filter, bias) among them; -1 for one that is left out.
        output: Tensor index. Every supported operator has one output.
        options: What the kind needs.
        folded: Places of the operators that went into this one.
    """

    place: int
    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Options
    folded: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A model with one input and one output.

    Attributes:
        name: For comments and errors, e.g. the file's name.
        tensors: By index.
        operators: In an order in which they can run.
        input: Tensor index of the model's input.
        output: Tensor index of the model's output.
    """

    name: str
    tensors: Mapping[int, Tensor]
    operators: tuple[Operator, ...]
    input: int
    output: int

    def tensor(self, index: int) -> Tensor:
        """A tensor."""
        return self.tensors[index]

    def values(self, operator: Operator) -> tuple[Tensor, ...]:
        """The operator's inputs that are computed, in their order (no constants)."""
        found = (self.tensors[index] for index in operator.inputs if index >= 0)
        return tuple(tensor for tensor in found if not tensor.is_constant)

    def constant(self, operator: Operator, position: int) -> NDArray[Any] | None:
        """The values of a constant input; None where it is left out or computed."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            return None
        return self.tensors[operator.inputs[position]].data

    def describe(self, operator: Operator) -> str:
        """The operator and its place, for errors and comments: `CONV_2D (operator 3, "model/conv1/Relu6")`."""
        return f'{operator.kind} (operator {operator.place}, "{self.tensors[operator.output].name}")'


def int8_array(values: NDArray[Any]) -> NDArray[np.int8]:
    """The same values as int8, for constants that check has seen to be."""
    return np.ascontiguousarray(values, dtype=np.int8)
