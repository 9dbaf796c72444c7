"""What the flatbuffer says of each kind of operator, as the options of graph.py. Called by read.py only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ei_automation.compiler.graph import (
    Activation,
    ActivationOptions,
    ConcatOptions,
    ConvOptions,
    MeanOptions,
    NoOptions,
    Options,
    Padding,
    PadOptions,
    PoolOptions,
    ResizeOptions,
    SoftmaxOptions,
    Tensor,
    TransposeConvOptions,
)
from ei_automation.errors import VerificationError

ACTIVATIONS: dict[int, Activation] = {0: "none", 1: "relu", 2: "relu_n1_to_1", 3: "relu6"}
LARGEST_STEP = 1 << 15
"""Strides, dilations and windows beyond it are rubbish; it keeps products in 32 bits."""
DAMAGED_HINT = "the file may be damaged or cut short: download or convert it again"
T = TypeVar("T")


@dataclass(frozen=True)
class RawOperator:
    """An operator of the file whose tensors are read.

    Attributes:
        where: Kind and place, for errors.
        kind: Builtin name.
        table: The flatbuffer's operator.
        inputs: Its tensors; None for one that is left out.
        output: Its tensor.
    """

    where: str
    kind: str
    table: Any
    inputs: tuple[Tensor | None, ...]
    output: Tensor

    def refuse(self, problem: str, hint: str = DAMAGED_HINT) -> NoReturn:
        """Raise a `VerificationError` that names the operator."""
        raise VerificationError(f"{self.where}: {problem}", hint=hint)

    def input(self, position: int) -> Tensor:
        """An input that must be there."""
        if position >= len(self.inputs) or (found := self.inputs[position]) is None:
            self.refuse(f"input {position} is missing")
        return found

    def image(self, position: int) -> tuple[int, int, int]:
        """Height, width and channels of an input that must be an image."""
        shape = self.input(position).shape
        if len(shape) != 4:
            self.refuse(f"input {position} has shape {shape}; an image (1, height, width, channels) was expected")
        return shape[1], shape[2], shape[3]

    def integers(self, position: int) -> NDArray[np.int64]:
        """A small constant of integers, e.g. axes or paddings."""
        found = self.input(position)
        if found.data is None or found.dtype not in ("int32", "int64"):
            self.refuse(
                f"input {position} ({found.name}) is computed while the model runs; a constant was expected",
                "convert the model with a fixed input shape, batch 1",
            )
        return found.data.astype(np.int64)

    def view(self, kind: type[T]) -> T:
        """The operator's options in the file."""
        table = self.table.BuiltinOptions()
        expected = getattr(schema.BuiltinOptions, kind.__name__)
        if table is None or self.table.BuiltinOptionsType() != expected:
            self.refuse("its options are missing in the file", "convert the model again")
        found: Any = kind()
        found.Init(table.Bytes, table.Pos)
        return found  # type: ignore[no-any-return]

    def activation(self, options: Any) -> Activation:
        """The fused activation."""
        number = options.FusedActivationFunction()
        if number not in ACTIVATIONS:
            self.refuse(f"fused activation {number} is not supported", "use ReLU, ReLU6 or none")
        return ACTIVATIONS[number]

    def steps(self, **values: int) -> None:
        """Refuse strides, dilations and windows that cannot be."""
        for name, value in values.items():
            if not 1 <= value <= LARGEST_STEP:
                self.refuse(
                    f"{name.replace('_', ' ')} is {value}", "the file may be damaged; convert the model again"
                )


def same_padding(size_in: int, size_out: int, *, stride: int, window: int, dilation: int = 1) -> tuple[int, int]:
    """Pixels before and after, of TFLite's SAME: the odd one goes behind (`ComputePaddingHeightWidth`)."""
    reach = (window - 1) * dilation + 1
    total = max(0, (size_out - 1) * stride + reach - size_in)
    return total // 2, total - total // 2


def window_padding(
    size_in: tuple[int, int],
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    same: bool,
) -> Padding:
    """The explicit padding of a sliding window.

    Args:
        size_in: Height, width of the image under the window.
        window: Taps.
        stride: Pixels between windows.
        dilation: Pixels between taps.
        same: Whether the file says SAME; VALID has none.
    """
    if not same:
        return Padding()
    (top, bottom), (left, right) = (
        same_padding(
            size_in[axis], -(-size_in[axis] // stride[axis]),
            stride=stride[axis], window=window[axis], dilation=dilation[axis],
        )
        for axis in (0, 1)
    )  # fmt: skip
    return Padding(top=top, left=left, bottom=bottom, right=right)


def _convolution(raw: RawOperator) -> Options:
    depthwise = raw.kind == "DEPTHWISE_CONV_2D"
    view: Any = raw.view(schema.DepthwiseConv2DOptions if depthwise else schema.Conv2DOptions)
    height, width, channels = raw.image(0)
    window = raw.image(1)
    stride = (view.StrideH(), view.StrideW())
    dilation = (view.DilationHFactor(), view.DilationWFactor())
    raw.steps(
        stride_h=stride[0], stride_w=stride[1], dilation_h=dilation[0], dilation_w=dilation[1],
        filter_h=window[0], filter_w=window[1],
    )  # fmt: skip
    same = view.Padding() == schema.Padding.SAME
    return ConvOptions(
        stride_h=stride[0],
        stride_w=stride[1],
        dilation_h=dilation[0],
        dilation_w=dilation[1],
        padding=window_padding((height, width), window=window[:2], stride=stride, dilation=dilation, same=same),
        activation=raw.activation(view),
        # The file's own depth_multiplier is redundant, and TFLite goes by the shapes.
        multiplier=max(1, window[2] // max(1, channels)) if depthwise else 1,
        same=same,
    )


def _transpose_convolution(raw: RawOperator) -> Options:
    view: Any = raw.view(schema.TransposeConvOptions)
    sizes = raw.integers(0)
    if sizes.shape != (4,) or tuple(sizes) != raw.output.shape:
        raw.refuse(f"its output shape {raw.output.shape} is not the one that its first input gives")
    window = raw.image(1)
    stride = (view.StrideH(), view.StrideW())
    raw.steps(stride_h=stride[0], stride_w=stride[1], filter_h=window[0], filter_w=window[1])
    same = view.Padding() == schema.Padding.SAME
    # The padding is that of the convolution that goes the other way, from output to input.
    padding = window_padding((int(sizes[1]), int(sizes[2])), window=window[:2], stride=stride, same=same)
    return TransposeConvOptions(stride[0], stride[1], padding, raw.activation(view), same=same)


def _pool(raw: RawOperator) -> Options:
    view: Any = raw.view(schema.Pool2DOptions)
    height, width, _ = raw.image(0)
    window, stride = (view.FilterHeight(), view.FilterWidth()), (view.StrideH(), view.StrideW())
    raw.steps(filter_h=window[0], filter_w=window[1], stride_h=stride[0], stride_w=stride[1])
    same = view.Padding() == schema.Padding.SAME
    padding = window_padding((height, width), window=window, stride=stride, same=same)
    return PoolOptions(*window, *stride, padding, raw.activation(view), same=same)


def _fully_connected(raw: RawOperator) -> Options:
    view: Any = raw.view(schema.FullyConnectedOptions)
    if len(raw.input(1).shape) != 2:
        raw.refuse(f"its weights have shape {raw.input(1).shape}; (units, depth) was expected")
    if view.WeightsFormat() != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raw.refuse("shuffled weights are not supported", "convert the model without shuffled weights")
    return ActivationOptions(raw.activation(view))


def _sum(raw: RawOperator) -> Options:
    kind = {"ADD": schema.AddOptions, "SUB": schema.SubOptions, "MUL": schema.MulOptions}[raw.kind]
    return ActivationOptions(raw.activation(raw.view(kind)))


def _mean(raw: RawOperator) -> Options:
    rank = len(raw.input(0).shape)
    return MeanOptions(tuple(sorted({_axis(raw, int(axis), rank) for axis in raw.integers(1).ravel()})))


def _pad(raw: RawOperator) -> Options:
    pairs = raw.integers(1)
    rank = len(raw.input(0).shape)
    if pairs.shape != (rank, 2) or pairs.min() < 0 or pairs.max() > LARGEST_STEP:
        raw.refuse(f"paddings of shape {pairs.shape} do not fit an input of rank {rank}")
    given = raw.inputs[2].data if len(raw.inputs) > 2 and raw.inputs[2] is not None else None
    if len(raw.inputs) > 2 and (given is None or given.size != 1):
        raw.refuse("its padding value is not one constant")
    if given is not None and raw.input(2).dtype != raw.output.dtype:
        raw.refuse(f"its padding value is {raw.input(2).dtype}")
    value = float(given.ravel()[0]) if given is not None else _zero_of(raw.output)
    return PadOptions(tuple(map(int, pairs[:, 0])), tuple(map(int, pairs[:, 1])), value)


def _zero_of(tensor: Tensor) -> float:
    """What stands for 0.0 in a tensor."""
    return float(tensor.quantization.zero_point) if tensor.quantization else 0.0


def _concat(raw: RawOperator) -> Options:
    view: Any = raw.view(schema.ConcatenationOptions)
    return ConcatOptions(_axis(raw, view.Axis(), len(raw.input(0).shape)), raw.activation(view))


def _softmax(raw: RawOperator) -> Options:
    view: Any = raw.view(schema.SoftmaxOptions)
    return SoftmaxOptions(float(view.Beta()))


def _resize(raw: RawOperator) -> Options:
    bilinear = raw.kind == "RESIZE_BILINEAR"
    view: Any = raw.view(schema.ResizeBilinearOptions if bilinear else schema.ResizeNearestNeighborOptions)
    sizes, _ = raw.integers(1), raw.image(0)
    if sizes.shape != (2,) or tuple(sizes) != raw.output.shape[1:3]:
        raw.refuse(f"its output shape {raw.output.shape} is not the one that its second input gives")
    return ResizeOptions(bool(view.AlignCorners()), bool(view.HalfPixelCenters()))


def _shape_only(raw: RawOperator) -> Options:
    if len(raw.inputs) > 1:
        raw.integers(1)  # refuses a shape that is computed while the model runs
    return NoOptions()


def _nothing(raw: RawOperator) -> Options:
    del raw
    return NoOptions()


def _axis(raw: RawOperator, axis: int, rank: int) -> int:
    """An axis from 0."""
    if not -rank <= axis < rank:
        raw.refuse(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank


def read_options(raw: RawOperator) -> Options:
    """An operator's options.

    Raises:
        VerificationError: They are missing or cannot be, or the operator has too few or too many inputs.
    """
    fewest, most = INPUTS.get(raw.kind, (1, 1))
    if not fewest <= len(raw.inputs) <= most:
        raw.refuse(f"it has {len(raw.inputs)} inputs")
    for position in range(fewest if raw.kind in BIASED else max(fewest, len(raw.inputs))):
        raw.input(position)
    return READERS[raw.kind](raw)


INPUTS = {
    "CONV_2D": (2, 3),
    "DEPTHWISE_CONV_2D": (2, 3),
    "TRANSPOSE_CONV": (3, 4),
    "FULLY_CONNECTED": (2, 3),
    "ADD": (2, 2),
    "SUB": (2, 2),
    "MUL": (2, 2),
    "MEAN": (2, 2),
    "PAD": (2, 2),
    "PADV2": (3, 3),
    "CONCATENATION": (1, LARGEST_STEP),
    "RESIZE_BILINEAR": (2, 2),
    "RESIZE_NEAREST_NEIGHBOR": (2, 2),
    "RESHAPE": (1, 2),
    "EXPAND_DIMS": (2, 2),
}
"""Fewest and most inputs; one where nothing is said."""
BIASED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
"""Kinds whose last input, the bias, may be left out (-1)."""
READERS: dict[str, Callable[[RawOperator], Options]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transpose_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "ADD": _sum,
    "SUB": _sum,
    "MUL": _sum,
    "MEAN": _mean,
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _concat,
    "SOFTMAX": _softmax,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RESHAPE": _shape_only,
    "SQUEEZE": _nothing,
    "EXPAND_DIMS": _shape_only,
    "LOGISTIC": _nothing,
    "RELU": _nothing,
    "RELU6": _nothing,
    "HARD_SWISH": _nothing,
    "QUANTIZE": _nothing,
    "DEQUANTIZE": _nothing,
}
"""The operators that are supported, by their builtin name."""
