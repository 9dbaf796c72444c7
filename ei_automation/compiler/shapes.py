"""The shape that an operator makes of the shapes that it reads: for `check`, and for another input size."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from ei_automation.compiler.graph import (
    ConcatOptions,
    ConvOptions,
    MeanOptions,
    Operator,
    Padding,
    PadOptions,
    PoolOptions,
    TransposeConvOptions,
)

Shape = tuple[int, ...]
GIVEN = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"})
"""Kinds whose output shape the file states; only what must agree is looked at."""


def output_shape(operator: Operator, shapes: Mapping[int, Shape]) -> Shape:
    """The shape of an operator's output.

    Args:
        operator: Its padding must fit its input.
        shapes: Of its inputs, by tensor index; of its output too, where the inputs leave it open (RESHAPE, RESIZE,
            TRANSPOSE_CONV, MEAN that may keep its axes).

    Raises:
        ValueError: The shapes do not fit together; says how.
    """
    inputs = [shapes[index] for index in operator.inputs if index >= 0]
    stated = shapes.get(operator.output, ())
    options = operator.options
    if isinstance(options, ConvOptions):
        return _convolution(operator.kind, options, inputs[0], inputs[1])
    if isinstance(options, TransposeConvOptions):
        return _transpose_convolution(options, inputs[2], inputs[1], stated)
    if isinstance(options, PoolOptions):
        return _pool(options, inputs[0])
    if isinstance(options, MeanOptions):
        return _mean(options, inputs[0], stated)
    if isinstance(options, PadOptions):
        sizes = zip(options.before, inputs[0], options.after, strict=True)
        return tuple(before + size + after for before, size, after in sizes)
    if isinstance(options, ConcatOptions):
        return _concatenation(options.axis, inputs)
    if operator.kind == "FULLY_CONNECTED":
        return _fully_connected(inputs[0], inputs[1], stated)
    if operator.kind in GIVEN:
        return _given(operator.kind, inputs[0], stated)
    # ADD, SUB and MUL repeat the smaller one; everything else has one input.
    return tuple(int(size) for size in np.broadcast_shapes(*inputs))


def window_count(size: int, padding: int, *, window: int, stride: int, dilation: int = 1) -> int:
    """How many windows fit into `size` pixels and `padding` more.

    Raises:
        ValueError: None fits.
    """
    reach = (window - 1) * dilation + 1
    count = (size + padding - reach) // stride + 1
    if count < 1:
        raise ValueError(f"a window of {reach} pixels does not fit into {size} and {padding} of padding")
    return count


def _convolution(kind: str, options: ConvOptions, image: Shape, window: Shape) -> Shape:
    depthwise = kind == "DEPTHWISE_CONV_2D"
    channels = image[3] * options.multiplier if depthwise else image[3]
    if window[3] != channels or (depthwise and window[0] != 1):
        raise ValueError(f"a filter of shape {window} does not fit an input of shape {image}")
    made = window[3] if depthwise else window[0]
    height, width = _slide(
        image, options.padding, window[1:3], (options.stride_h, options.stride_w),
        (options.dilation_h, options.dilation_w),
    )  # fmt: skip
    return image[0], height, width, made


def _slide(
    image: Shape, padding: Padding, window: Shape, stride: tuple[int, int], dilation: tuple[int, int] = (1, 1)
) -> tuple[int, int]:
    """Windows below and beside one another."""
    added = (padding.top + padding.bottom, padding.left + padding.right)
    height, width = (
        window_count(
            image[axis + 1], added[axis], window=window[axis], stride=stride[axis], dilation=dilation[axis]
        )
        for axis in (0, 1)
    )
    return height, width


def _transpose_convolution(options: TransposeConvOptions, image: Shape, window: Shape, stated: Shape) -> Shape:
    if len(stated) != 4 or len(image) != 4 or (window[0], window[3]) != (stated[3], image[3]):
        raise ValueError(f"a filter of shape {window} does not fit from {image} to {stated}")
    back = _slide(stated, options.padding, window[1:3], (options.stride_h, options.stride_w))
    if back != image[1:3]:
        raise ValueError(f"an output of {stated} belongs to an input of height and width {back}, not {image[1:3]}")
    return stated


def _pool(options: PoolOptions, image: Shape) -> Shape:
    window, stride = (options.filter_h, options.filter_w), (options.stride_h, options.stride_w)
    height, width = _slide(image, options.padding, window, stride)
    return image[0], height, width, image[3]


def _mean(options: MeanOptions, source: Shape, stated: Shape) -> Shape:
    kept = tuple(1 if axis in options.axes else size for axis, size in enumerate(source))
    dropped = tuple(size for axis, size in enumerate(source) if axis not in options.axes)
    return kept if len(stated) == len(source) else dropped


def _concatenation(axis: int, inputs: list[Shape]) -> Shape:
    first = inputs[0]
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}
    if len(others) != 1 or any(len(shape) != len(first) for shape in inputs) or axis >= len(first):
        raise ValueError(f"inputs of shapes {', '.join(map(str, inputs))} do not fit on axis {axis}")
    return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])


def _fully_connected(source: Shape, weights: Shape, stated: Shape) -> Shape:
    units, depth = weights
    if not source or prod(source) % depth:
        raise ValueError(f"weights of shape {weights} do not fit an input of shape {source}")
    positions = prod(source) // depth
    # TFLite keeps the input's axes (keep_num_dims) or gives (positions, units).
    return (*source[:-1], units) if stated[:-1] == source[:-1] and source[-1] == depth else (positions, units)


def _given(kind: str, source: Shape, stated: Shape) -> Shape:
    resized = kind.startswith("RESIZE")
    fits = len(stated) == 4 and stated[3] == source[3] if resized else prod(stated) == prod(source)
    if not fits:
        raise ValueError(f"an input of shape {source} does not give an output of shape {stated}")
    return stated
