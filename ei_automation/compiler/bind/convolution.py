"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED, int8, as calls of kernels."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.calls import Constant, Field, KernelCall, RowRange, all_rows, window_rows
from ei_automation.compiler.bind.channels import Channels, OutputRange, plan_channels
from ei_automation.compiler.bind.dense_channels import plan_dense
from ei_automation.compiler.bind.operands import activation_limits, fields, image_pair, refuse, tensors
from ei_automation.compiler.bind.weight_layout import pack_rows, pack_stream, pack_windows, padded_depth
from ei_automation.compiler.graph import (
    Activation,
    ActivationOptions,
    ConvOptions,
    Graph,
    Operator,
    Padding,
    Rows,
    int8_array,
)
from ei_automation.compiler.quantize import channel_multipliers

BLOCK_PIXELS = 4
"""Output pixels, or columns, that a kernel computes together."""
LONG_PIXELS = 2
"""The same of channels of the long way, and of what is left of a row."""
DEEP, NARROW = 512, 64
"""A deeper window for fewer channels goes a pixel at a time: its scratch would be larger than what it saves."""
BLOCK_CHANNELS = 4
"""Input channels that the depthwise kernel lays out together."""
DEEPEST = 1 << 17
"""Products of two int8 that may not fit in 32 bits together."""
AWAY = 128
"""What `nn_output.away` is where it is not 0."""
ONE_TO_ONE = ConvOptions(1, 1, 1, 1, Padding(), "none")
"""The window of a 1x1 convolution."""


def bind_conv_2d(graph: Graph, operator: Operator) -> KernelCall:
    """CONV_2D, int8.

    Raises:
        VerificationError: Its filter has fewer channels than its input (a grouped convolution).
    """
    source, _ = image_pair(graph, operator)
    options = cast(ConvOptions, operator.options)
    weights = _filter(graph, operator)
    if weights.shape[3] != source.rows.channels:
        refuse(
            graph, operator, f"it takes {weights.shape[3]} of {source.rows.channels} input channels (groups)",
            "split it into convolutions without groups, or make it a depthwise one",
        )  # fmt: skip
    planned = _channels(graph, operator, weights.reshape(weights.shape[0], -1))
    window = (weights.shape[1], weights.shape[2])
    return _conv_call(graph, operator, planned, window=window, options=options, image=source.rows)


def bind_depthwise_conv_2d(graph: Graph, operator: Operator) -> KernelCall:
    """DEPTHWISE_CONV_2D, int8, with any number of outputs for each input channel.

    Raises:
        VerificationError: Its activation cannot be quantized.
    """
    source, target = image_pair(graph, operator)
    options = cast(ConvOptions, operator.options)
    weights = _filter(graph, operator)
    height, width, outputs = weights.shape[1:]
    channels, output = _channels(graph, operator, weights.reshape(-1, outputs).T)
    steps = -(-target.rows.width // BLOCK_PIXELS) * BLOCK_PIXELS - 1
    reach = steps * options.stride_w + (width - 1) * options.dilation_w + 1
    columns = reach + reach % 2
    before = min(-(-options.padding.left // 2), columns // 2)
    inside = max(0, min((source.rows.width + options.padding.left) // 2, columns // 2) - before)
    members = fields(
        weights=Constant("weights", "int8_t", pack_windows(channels.weights), "a window for each output"),
        starts=Constant("starts", "int32_t", channels.starts, "biases and shifts"),
        multipliers=Constant("multipliers", "int32_t", channels.multipliers, "31 bits"),
    ) + _long_fields(channels) + fields(
        "int16_t", in_height=source.rows.height, in_width=source.rows.width, in_channels=source.rows.channels,
        out_width=target.rows.width, multiple=outputs // source.rows.channels, columns=columns,
        before=before, inside=inside,
    ) + _window_fields(options, (height, width)) + _value_fields(graph, operator, channels, output)  # fmt: skip
    return KernelCall(
        operator, "nn_depthwise_s8.h", "nn_depthwise_s8", "nn_depthwise_s8_t", members,
        (source.index,), target.index, "rows", (_needs(graph, operator, options, height),),
        scratch_bytes=2 * height * BLOCK_CHANNELS * columns,
    )  # fmt: skip


def bind_fully_connected(graph: Graph, operator: Operator) -> KernelCall:
    """FULLY_CONNECTED, int8: at each position a 1x1 convolution, else over the whole input, row by row.

    Raises:
        VerificationError: Its weights do not fit its input.
    """
    source, target = tensors(graph, operator)
    weights = _filter(graph, operator)
    depth = weights.shape[1]
    if source.count % depth:
        refuse(graph, operator, f"its input has {source.count} values, its weights take {depth} at a time")
    planned = _dense_channels(graph, operator, weights)
    if source.count == depth:
        return _dense_call(graph, operator, *planned)
    # The output of the network may be written as one row: then so is the input.
    alike = source.rows.channels == depth and source.rows.height == target.rows.height
    image = source.rows if alike else Rows(1, source.count // depth, depth)
    return _conv_call(graph, operator, planned, window=(1, 1), options=ONE_TO_ONE, image=image)


def _conv_call(
    graph: Graph,
    operator: Operator,
    planned: tuple[Channels, OutputRange],
    *,
    window: tuple[int, int],
    options: ConvOptions,
    image: Rows,
) -> KernelCall:
    """The call of nn_conv_s8; `image` is how it sees its input."""
    source, target = tensors(graph, operator)
    channels, output = planned
    depth = padded_depth(channels.weights.shape[1])
    direct = window == (1, 1) and depth == image.channels and options.padding == Padding()
    in_rows = image.height == source.rows.height
    made = target.rows if in_rows else Rows(1, image.width, target.rows.channels)
    lanes = _lanes(channels, depth, made.height * made.width)
    members = fields(
        stream=Constant("stream", "uint32_t", pack_stream(channels), "starts, weights and multipliers by twos"),
    ) + _long_fields(channels) + fields(
        depth=depth,
    ) + fields(
        "int16_t", in_height=image.height, in_width=image.width, in_channels=image.channels,
        out_height=made.height, out_width=made.width, out_channels=made.channels,
    ) + _window_fields(options, window) + _value_fields(graph, operator, channels, output) + fields(
        "uint8_t", direct=int(direct), lanes=lanes,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_conv_s8.h", "nn_conv_s8", "nn_conv_s8_t", members, (source.index,), target.index,
        "rows" if in_rows else "whole", (_needs(graph, operator, options, window[0]),),
        scratch_bytes=(2 * lanes + (0 if direct else 1)) * depth,
    )  # fmt: skip


def _lanes(channels: Channels, depth: int, pixels: int) -> int:
    """How many pixels nn_conv_s8 computes together, at most."""
    if depth > DEEP and len(channels.weights) <= NARROW:
        return 1
    return BLOCK_PIXELS if channels.scale and pixels >= BLOCK_PIXELS else min(pixels, LONG_PIXELS)


def _needs(graph: Graph, operator: Operator, options: ConvOptions, size: int) -> tuple[RowRange, ...]:
    """The input rows that each output row needs, for a window of `size` rows."""
    source, target = tensors(graph, operator)
    if source.rows.height != target.rows.height and operator.kind == "FULLY_CONNECTED":
        return all_rows(target.rows.height, source.rows.height)
    return window_rows(
        target.rows.height, source.rows.height, stride=options.stride_h, size=size,
        padding=options.padding.top, dilation=options.dilation_h,
    )  # fmt: skip


def _dense_call(graph: Graph, operator: Operator, channels: Channels, output: OutputRange) -> KernelCall:
    """The call of nn_fully_connected_s8."""
    source, target = tensors(graph, operator)
    rows: Rows = source.rows
    outputs = channels.weights.shape[0]
    members = fields(
        weights=Constant("weights", "uint32_t", pack_rows(channels.weights, rows.height), "by rows and twos"),
    ) + _long_fields(channels) + fields(
        row_bytes=rows.row_bytes, height=rows.height,
    ) + fields("int16_t", step=2 * output.zero_point + 1) + fields(
        "int8_t", low=output.low, high=output.high
    )  # fmt: skip
    return KernelCall(
        operator, "nn_fully_connected_s8.h", "nn_fully_connected_s8", "nn_fully_connected_s8_t", members,
        (source.index,), target.index, "accumulate" if rows.height > 1 else "whole",
        (all_rows(target.rows.height, rows.height),), scratch_bytes=4 * (outputs + outputs % 2),
    )  # fmt: skip


def _filter(graph: Graph, operator: Operator) -> NDArray[np.int8]:
    """The weights, in the file's shape."""
    values = graph.constant(operator, 1)
    if values is None:
        refuse(graph, operator, "its weights are computed", "only constant weights are supported")
    if values.size // graph.tensor(operator.output).rows.channels >= DEEPEST:
        refuse(graph, operator, f"its weights have shape {values.shape}: a sum of {DEEPEST} products may overflow")
    return int8_array(values)


def _channels(graph: Graph, operator: Operator, weights: NDArray[np.int8]) -> tuple[Channels, OutputRange]:
    """The output channels of a convolution, weights (outputs, taps), and its output's range."""
    source, target = tensors(graph, operator)
    output = _output_range(graph, operator, cast(ConvOptions, operator.options).activation)
    scales = graph.tensor(operator.inputs[1]).q.scales
    factors = channel_multipliers(source.q.scale, scales, target.q.scale, channels=len(weights))
    bias = graph.constant(operator, 2)
    return plan_channels(weights, bias, factors, input_zero_point=source.q.zero_point, output=output), output


def _dense_channels(graph: Graph, operator: Operator, weights: NDArray[np.int8]) -> tuple[Channels, OutputRange]:
    """The outputs of a FULLY_CONNECTED, weights (outputs, depth), and its output's range."""
    source, target = tensors(graph, operator)
    output = _output_range(graph, operator, cast(ActivationOptions, operator.options).activation)
    scales = graph.tensor(operator.inputs[1]).q.scales
    factors = [source.q.scale * scale / target.q.scale for scale in scales] * (len(weights) // len(scales))
    bias = graph.constant(operator, 2)
    channels = plan_dense(weights, bias, factors, input_zero_point=source.q.zero_point, output=output)
    if channels is None:
        refuse(
            graph, operator, f"output scale {target.q.scale} does not go with input scale {source.q.scale}",
            "convert the model again, with a representative data set",
        )  # fmt: skip
    return channels, output


def _output_range(graph: Graph, operator: Operator, activation: Activation) -> OutputRange:
    """Zero point and bounds of the output."""
    return OutputRange(graph.tensor(operator.output).q.zero_point, *activation_limits(graph, operator, activation))


def _long_fields(channels: Channels) -> tuple[Field, ...]:
    """The channels of the long way."""
    count = len(channels.long)
    comment = "channel, bias, multiplier, its lower word, shift"
    return fields(
        longs=Constant("longs", "int32_t", channels.long.ravel(), comment) if count else None, long_count=count
    )


def _window_fields(options: ConvOptions, size: tuple[int, int]) -> tuple[Field, ...]:
    """The sliding window."""
    return fields(
        "uint8_t", filter_h=size[0], filter_w=size[1], stride_h=options.stride_h, stride_w=options.stride_w,
        dilation_h=options.dilation_h, dilation_w=options.dilation_w,
    ) + fields("int16_t", top=options.padding.top, left=options.padding.left)  # fmt: skip


def _value_fields(graph: Graph, operator: Operator, channels: Channels, output: OutputRange) -> tuple[Field, ...]:
    """Zero points, bounds and the way of rounding."""
    source, _ = tensors(graph, operator)
    return (
        fields("int16_t", step=2 * output.zero_point + 1)
        + fields("uint8_t", scale=channels.scale, away=AWAY if channels.away else 0)
        + fields("int8_t", in_zero=source.q.zero_point, low=output.low, high=output.high)
    )
