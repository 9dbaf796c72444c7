"""The same network for another image size, to find out what it would take; its weights stay where they can.

Only shapes matter to a memory plan, so that a FULLY_CONNECTED that sees all positions at once gets zeros in place
of the weights that nobody trained for that size. Such a graph can be planned and compiled; its scores are void.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ei_automation.compiler.graph import (
    ConvOptions,
    Graph,
    Operator,
    Options,
    PoolOptions,
    Tensor,
    TransposeConvOptions,
)
from ei_automation.compiler.options import window_padding
from ei_automation.compiler.shapes import Shape, output_shape

ALIASES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def rescale(graph: Graph, height: int, width: int) -> Graph:
    """The network for images of another size.

    Args:
        graph: As read and checked, before any fold (explicit padding does not say where it came from).
        height: Of the input, pixels.
        width: Of the input, pixels.

    Raises:
        ValueError: It does not exist at that size: no image, a window that no longer fits, a shape that is fixed.
    """
    source = graph.tensor(graph.input)
    if len(source.shape) != 4:
        raise ValueError(f"the input has shape {source.shape}, no height and width")
    tensors = dict(graph.tensors)
    tensors[graph.input] = replace(source, shape=(1, height, width, source.shape[3]))
    operators = []
    for operator in graph.operators:
        resized = _resized(operator, graph, tensors)
        operators.append(resized)
        made = tensors[operator.output]
        if made.data is None:
            tensors[operator.output] = replace(made, shape=_shape_made(resized, graph, tensors))
    return replace(graph, tensors=tensors, operators=tuple(operators))


def _resized(operator: Operator, graph: Graph, tensors: dict[int, Tensor]) -> Operator:
    """The operator with paddings and weights for its new input."""
    options = operator.options
    image = tensors[operator.inputs[0]].shape
    if isinstance(options, ConvOptions):
        return replace(operator, options=_padded_convolution(options, image, tensors[operator.inputs[1]].shape))
    if isinstance(options, PoolOptions):
        return replace(operator, options=_padded_pool(options, image, graph.tensor(operator.inputs[0]).shape))
    if operator.kind == "FULLY_CONNECTED":
        return _resized_dense(operator, graph, tensors)
    return operator


def _padded_convolution(options: ConvOptions, image: Shape, window: Shape) -> Options:
    padding = window_padding(
        (image[1], image[2]),
        window=(window[1], window[2]),
        stride=(options.stride_h, options.stride_w),
        dilation=(options.dilation_h, options.dilation_w),
        same=options.same,
    )
    return replace(options, padding=padding)


def _padded_pool(options: PoolOptions, image: Shape, before: Shape) -> Options:
    if (options.filter_h, options.filter_w) == before[1:3]:  # a global pool
        options = replace(options, filter_h=image[1], filter_w=image[2])
    padding = window_padding(
        (image[1], image[2]),
        window=(options.filter_h, options.filter_w),
        stride=(options.stride_h, options.stride_w),
        same=options.same,
    )
    return replace(options, padding=padding)


def _resized_dense(operator: Operator, graph: Graph, tensors: dict[int, Tensor]) -> Operator:
    """A FULLY_CONNECTED; weights over all positions become zeros of the new number, as a tensor of their own."""
    source, weights = tensors[operator.inputs[0]], tensors[operator.inputs[1]]
    units, depth = weights.shape
    if graph.tensor(operator.inputs[0]).count != depth or source.count == depth:
        return operator
    index = max(tensors) + 1
    shape = (units, source.count)
    tensors[index] = replace(weights, index=index, shape=shape, data=np.zeros(shape, weights.dtype))
    return replace(operator, inputs=(operator.inputs[0], index, *operator.inputs[2:]))


def _shape_made(operator: Operator, graph: Graph, tensors: dict[int, Tensor]) -> Shape:
    """The new shape of the operator's output."""
    stated = graph.tensor(operator.output).shape
    position = 2 if operator.kind == "TRANSPOSE_CONV" else 0
    before, now = graph.tensor(operator.inputs[position]).shape, tensors[operator.inputs[position]].shape
    if before == now and operator.kind not in ("ADD", "SUB", "MUL", "CONCATENATION"):
        return stated
    shapes = {index: tensors[index].shape for index in operator.inputs if index >= 0}
    if operator.kind in STATED:
        stated = STATED[operator.kind](operator, before, now, stated)
    elif operator.kind == "FULLY_CONNECTED" and stated[:-1] == before[:-1]:
        stated = (*now[:-1], stated[-1])
    return output_shape(operator, {**shapes, operator.output: stated})


def _regrouped(operator: Operator, before: Shape, now: Shape, stated: Shape) -> Shape:
    """The new shape of a RESHAPE, each of whose axes is a run of the input's axes, or part of one that stays."""
    made: list[int] = []
    position = 0
    for size in stated:
        old, new = 1, 1
        while position < len(before) and (old < size or before[position] == 1):
            old, new = old * before[position], new * now[position]
            position += 1
        if old != size:
            raise ValueError(f"{operator.kind} from {before} to {stated} has no like at another size")
        made.append(new)
    return tuple(made)


def _resized_image(operator: Operator, before: Shape, now: Shape, stated: Shape) -> Shape:
    """The new shape of a RESIZE: as much larger than its input as it was."""
    sizes = []
    for axis in (1, 2):
        size, rest = divmod(stated[axis] * now[axis], before[axis])
        if rest:
            raise ValueError(f"{operator.kind} from {before} to {stated} has no like for {now}")
        sizes.append(size)
    return (stated[0], *sizes, stated[3])


def _transposed(operator: Operator, before: Shape, now: Shape, stated: Shape) -> Shape:
    """The new shape of a TRANSPOSE_CONV: stride pixels for each of the input, and the same rest."""
    options = operator.options
    assert isinstance(options, TransposeConvOptions)
    strides = (options.stride_h, options.stride_w)
    sizes = (stated[axis] + strides[axis - 1] * (now[axis] - before[axis]) for axis in (1, 2))
    return (stated[0], *sizes, stated[3])


STATED: dict[str, Callable[[Operator, Shape, Shape, Shape], Shape]] = {
    **dict.fromkeys(ALIASES, _regrouped),
    "RESIZE_BILINEAR": _resized_image,
    "RESIZE_NEAREST_NEIGHBOR": _resized_image,
    "TRANSPOSE_CONV": _transposed,
}
"""Kinds whose output shape the file states."""
