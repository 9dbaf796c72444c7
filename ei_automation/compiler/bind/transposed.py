"""TRANSPOSE_CONV, int8, as a call of its kernel."""

from __future__ import annotations

import numpy as np

from ei_automation.compiler.bind.calls import Constant, Field, KernelCall, RowRange
from ei_automation.compiler.bind.operands import activation_limits, fields, refuse
from ei_automation.compiler.graph import Graph, Operator, Tensor, TransposeConvOptions, int8_array
from ei_automation.compiler.quantize import channel_multipliers


def transposed_image(graph: Graph, operator: Operator) -> Tensor:
    """The image; it is the third input, after the output's shape and the filter."""
    return graph.tensor(operator.inputs[2])


def transposed_struct(graph: Graph, operator: Operator, *, dilation: bool = False) -> tuple[Field, ...]:
    """The members with which nn_transpose_conv_s8_t and (with dilation) nn_conv_f32_t begin."""
    options, target = operator.options, graph.tensor(operator.output)
    assert isinstance(options, TransposeConvOptions)
    source, filters = transposed_image(graph, operator).rows, graph.tensor(operator.inputs[1]).shape
    sizes = fields(
        height=source.height, width=source.width, channels=source.channels,
        width_out=target.rows.width, channels_out=target.rows.channels,
        filter_h=filters[1], filter_w=filters[2], stride_h=options.stride_h, stride_w=options.stride_w,
    )  # fmt: skip
    steps = fields(dilation_h=1, dilation_w=1) if dilation else ()
    return sizes + steps + fields(pad_top=options.padding.top, pad_left=options.padding.left)


def transposed_needs(graph: Graph, operator: Operator) -> tuple[RowRange, ...]:
    """The input rows that reach each output row."""
    options = operator.options
    assert isinstance(options, TransposeConvOptions)
    height = transposed_image(graph, operator).rows.height
    size = graph.tensor(operator.inputs[1]).shape[1]
    needs = []
    for row in range(graph.tensor(operator.output).rows.height):
        low = -(-(row + options.padding.top - size + 1) // options.stride_h)
        high = (row + options.padding.top) // options.stride_h + 1
        start = min(max(low, 0), height)
        needs.append((start, max(start, min(high, height))))
    return tuple(needs)


def bind_transpose_conv(graph: Graph, operator: Operator) -> KernelCall:
    """TRANSPOSE_CONV, int8, one scale or one an output channel.

    Raises:
        VerificationError: The weights are computed.
    """
    source, target = transposed_image(graph, operator), graph.tensor(operator.output)
    options, filters = operator.options, graph.tensor(operator.inputs[1])
    assert isinstance(options, TransposeConvOptions)
    bias = graph.constant(operator, 3)
    if filters.data is None:
        refuse(graph, operator, "its weights are computed while the model runs", "constant weights are supported")
    channels = target.rows.channels
    multipliers, shifts = channel_multipliers(source.q.scale, filters.q.scales, target.q.scale, channels=channels)
    low, high = activation_limits(graph, operator, options.activation)
    members = transposed_struct(graph, operator) + fields(
        weights=Constant("weights", "int8_t", int8_array(filters.data).ravel(), "output, row, column, input"),
        bias=Constant("bias", "int32_t", np.zeros(channels, np.int32) if bias is None else bias.ravel()),
        multiplier=Constant("multiplier", "int32_t", multipliers),
        shift=Constant("shift", "int8_t", shifts.astype(np.int8)),
        offset_in=-source.q.zero_point, offset=target.q.zero_point, low=low, high=high,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_transpose_conv_s8.h", "nn_transpose_conv_s8", "nn_transpose_conv_s8_t", members,
        (source.index,), operator.output, "rows", (transposed_needs(graph, operator),),
    )  # fmt: skip
