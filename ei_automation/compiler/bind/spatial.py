"""Pooling, MEAN, PAD and CONCATENATION, int8, as calls of kernels (RESIZE and TRANSPOSE_CONV: see theirs)."""

from __future__ import annotations

from math import prod

import numpy as np

from ei_automation.compiler.bind.calls import Constant, Field, KernelCall, all_rows, same_rows, window_rows
from ei_automation.compiler.bind.operands import (
    activation_limits,
    factor_of,
    fields,
    image_pair,
    item_bytes,
    refuse,
    tensors,
)
from ei_automation.compiler.graph import (
    ConcatOptions,
    Graph,
    MeanOptions,
    Operator,
    PadOptions,
    PoolOptions,
    Tensor,
)

MEAN_VALUES = 1 << 23
"""The sum of so many values less their zero point, 255 at most, leaves 32 bits."""


def bind_pool(graph: Graph, operator: Operator) -> KernelCall:
    """MAX_POOL_2D or AVERAGE_POOL_2D, int8."""
    source, _ = image_pair(graph, operator)
    assert isinstance(operator.options, PoolOptions)
    low, high = activation_limits(graph, operator, operator.options.activation)
    members = pool_struct(graph, operator) + fields(low=low, high=high)
    function = "nn_max_pool_s8" if operator.kind == "MAX_POOL_2D" else "nn_average_pool_s8"
    return KernelCall(
        operator, "nn_pool_s8.h", function, "nn_pool_s8_t", members,
        (source.index,), operator.output, "rows", (pool_needs(graph, operator),),
    )  # fmt: skip


def pool_struct(graph: Graph, operator: Operator) -> tuple[Field, ...]:
    """The members with which the structs of nn_pool_s8.h and nn_pool_f32.h begin."""
    source, target = image_pair(graph, operator)
    options = operator.options
    assert isinstance(options, PoolOptions)
    return fields(
        height=source.rows.height, width=source.rows.width, channels=source.rows.channels,
        width_out=target.rows.width,
        filter_h=options.filter_h, filter_w=options.filter_w, stride_h=options.stride_h, stride_w=options.stride_w,
        pad_top=options.padding.top, pad_left=options.padding.left,
    )  # fmt: skip


def pool_needs(graph: Graph, operator: Operator) -> tuple[tuple[int, int], ...]:
    """The rows under the window."""
    source, target = image_pair(graph, operator)
    options = operator.options
    assert isinstance(options, PoolOptions)
    return window_rows(
        target.rows.height, source.rows.height,
        stride=options.stride_h, size=options.filter_h, padding=options.padding.top,
    )  # fmt: skip


def mean_struct(graph: Graph, operator: Operator) -> tuple[Field, ...]:
    """The members with which the structs of nn_mean_s8.h and nn_mean_f32.h begin.

    Raises:
        VerificationError: The input is no image and the axes are not simply all its pixels or channels.
    """
    source, target = tensors(graph, operator)
    rows, axes = source.rows, _mean_axes(graph, operator)
    sizes = (rows.height, rows.width, rows.channels)
    steps, step = [0, 0, 0], 1
    for axis in (2, 1, 0):
        if axis not in axes:
            steps[axis] = step
            step *= sizes[axis]
    if step != target.count:
        refuse(graph, operator, f"its output shape {target.shape} does not fit its axes")
    return fields(
        height=rows.height, width=rows.width, channels=rows.channels, outputs=step,
        step_row=steps[0], step_pixel=steps[1], step_channel=steps[2],
    )  # fmt: skip


def _mean_axes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """The axes as 0 for rows, 1 for pixels, 2 for channels."""
    source = graph.tensor(operator.inputs[0])
    assert isinstance(operator.options, MeanOptions)
    rank, axes = len(source.shape), operator.options.axes
    if rank == 4:
        return tuple(axis - 1 for axis in axes if axis > 0)
    pixels, taken = {axis for axis in range(rank - 1) if source.shape[axis] > 1}, set(axes)
    if pixels & taken not in (set(), pixels):
        refuse(graph, operator, f"MEAN over axes {axes} of shape {source.shape} is not supported")
    return ((1,) if pixels & taken else ()) + ((2,) if rank - 1 in taken else ())


def mean_count(graph: Graph, operator: Operator) -> int:
    """Values that go into each mean."""
    source, target = tensors(graph, operator)
    return source.count // target.count


def bind_mean(graph: Graph, operator: Operator) -> KernelCall:
    """MEAN over any axes, int8 (`QuantizedMeanOrSum` of reference/reduce.h, as of TFLite 2.20).

    Raises:
        VerificationError: See `mean_struct`; or its sums may overflow, or its scales are too far apart.
    """
    source, target = tensors(graph, operator)
    count = mean_count(graph, operator)
    if count >= MEAN_VALUES:
        refuse(
            graph, operator, f"it goes over {count} values; the sum of {MEAN_VALUES} may overflow",
            "make the map smaller before it, e.g. with a pool",
        )  # fmt: skip
    multiplier, shift = factor_of(graph, operator, source.q.scale / target.q.scale)
    # The division goes into the multiplier, with as many bits more as the count has.
    more = min(count.bit_length() - 1, 32, 31 + shift)
    members = fields(
        start=-source.q.zero_point * count,
        multiplier=(multiplier << more) // count,
        shift=shift - more,
        offset=target.q.zero_point,
    )
    return KernelCall(
        operator, "nn_mean_s8.h", "nn_mean_s8", "nn_mean_s8_t", mean_struct(graph, operator) + members,
        (source.index,), operator.output, "accumulate", (all_rows(target.rows.height, source.rows.height),),
        scratch_bytes=4 * target.count,
    )  # fmt: skip


def bind_pad(graph: Graph, operator: Operator) -> KernelCall:
    """PAD or PADV2, int8.

    Raises:
        VerificationError: A border along the batch.
    """
    source, _ = tensors(graph, operator)
    assert isinstance(operator.options, PadOptions)
    return KernelCall(
        operator, "nn_pad.h", "nn_pad_s8", "nn_pad_s8_t",
        pad_struct(graph, operator) + fields(value=int(operator.options.value)),
        (source.index,), operator.output, "rows", (pad_needs(graph, operator),),
    )  # fmt: skip


def pad_struct(graph: Graph, operator: Operator) -> tuple[Field, ...]:
    """The members with which the structs of nn_pad.h begin."""
    (top, _), (left, right), (before, after) = _borders(graph, operator)
    source, target = tensors(graph, operator)
    rows, channels = source.rows, target.rows.channels
    pixels, size = (rows.width, rows.channels) if before or after else (1, rows.width * rows.channels)
    return fields(
        height=rows.height, top=top, pixels=pixels,
        left=left * channels, right=right * channels, before=before, size=size, after=after,
    )  # fmt: skip


def pad_needs(graph: Graph, operator: Operator) -> tuple[tuple[int, int], ...]:
    """The row that is copied, none for the border."""
    source, target = tensors(graph, operator)
    top = _borders(graph, operator)[0][0]
    return window_rows(target.rows.height, source.rows.height, stride=1, size=1, padding=top)


def _borders(graph: Graph, operator: Operator) -> tuple[tuple[int, int], ...]:
    """Rows, pixels and channels that are put before and after."""
    options = operator.options
    assert isinstance(options, PadOptions)
    pairs = list(zip(options.before, options.after, strict=True))
    rank = len(pairs)
    missing = max(0, 3 - rank)
    if rank > 4 or (rank >= 3 and pairs[0] != (0, 0)):
        refuse(graph, operator, f"a border of {pairs[0]} along the batch is not supported")
    if rank == 3:  # (1, positions, channels) is one row
        pairs[0] = (0, 0)
    return tuple([(0, 0)] * missing + pairs[-3:])


def bind_concatenation(graph: Graph, operator: Operator) -> KernelCall:
    """CONCATENATION of any type along any axis.

    Raises:
        VerificationError: Constant inputs, or inputs of another rank or type.
    """
    target = graph.tensor(operator.output)
    options = operator.options
    assert isinstance(options, ConcatOptions)
    parts = [graph.tensor(index) for index in operator.inputs]
    _check_concat(graph, operator, parts)
    sizes = [prod(part.shape[options.axis :]) * item_bytes(part) for part in parts]
    lengths = Constant("bytes", "int32_t", np.array(sizes, np.int32), "bytes of a piece of each input")
    indices = tuple(part.index for part in parts)
    if len(target.shape) == 4 and options.axis == 1:
        needs = tuple(all_rows(target.rows.height, part.rows.height) for part in parts)
        return KernelCall(
            operator, "nn_concat.h", "nn_concat_rows", "nn_concat_rows_t",
            fields(inputs=len(parts), bytes=lengths), indices, operator.output, "whole", needs,
        )  # fmt: skip
    members = fields(
        inputs=len(parts),
        pieces=target.rows.row_bytes // sum(sizes),
        row_bytes=target.rows.row_bytes,
        bytes=lengths,
    )
    return KernelCall(
        operator, "nn_concat.h", "nn_concat", "nn_concat_t", members,
        indices, operator.output, "rows", (same_rows(target.rows.height),) * len(parts),
    )  # fmt: skip


def _check_concat(graph: Graph, operator: Operator, parts: list[Tensor]) -> None:
    target = graph.tensor(operator.output)
    for part in parts:
        if part.is_constant:
            refuse(graph, operator, f"its input {part.name} is a constant", "join computed tensors only")
        if (len(part.shape), part.dtype) != (len(target.shape), target.dtype):
            refuse(graph, operator, f"its input {part.name} of shape {part.shape} does not fit")
