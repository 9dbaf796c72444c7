"""CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV, float32, as calls of kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.calls import Constant, KernelCall, RowRange, all_rows, same_rows, window_rows
from ei_automation.compiler.bind.operands import fields, float_limits, image_pair, refuse, tensors
from ei_automation.compiler.bind.transposed import transposed_image, transposed_needs, transposed_struct
from ei_automation.compiler.graph import (
    ActivationOptions,
    ConvOptions,
    Graph,
    Operator,
    TransposeConvOptions,
)

BLOCK = 4
"""Output channels that nn_conv_f32.h computes at a time."""


def _weights(graph: Graph, operator: Operator) -> NDArray[np.float32]:
    """The filter as it is in the file."""
    found = graph.constant(operator, 1)
    if found is None:
        refuse(graph, operator, "its weights are computed while the model runs", "constant weights are supported")
    return found.astype(np.float32)


def _bias(graph: Graph, operator: Operator, position: int, channels: int) -> Constant:
    """The bias, or zeros, filled up to a multiple of `BLOCK`."""
    given = graph.constant(operator, position)
    values = np.zeros(-(-channels // BLOCK) * BLOCK, np.float32)
    if given is not None:
        values[:channels] = given.ravel()
    return Constant("bias", "float", values)


def _blocks(weights: NDArray[np.float32]) -> Constant:
    """Weights in fours of output channels that lie side by side.

    Args:
        weights: float32, (outputs, taps).
    """
    outputs, taps = weights.shape
    filled = np.zeros((-(-outputs // BLOCK) * BLOCK, taps), np.float32)
    filled[:outputs] = weights
    blocks = filled.reshape(-1, BLOCK, taps).transpose(0, 2, 1)
    return Constant("weights", "float", np.ascontiguousarray(blocks).ravel(), "fours of output channels")


def bind_conv(graph: Graph, operator: Operator) -> KernelCall:
    """CONV_2D, float32."""
    source, target = image_pair(graph, operator)
    options, weights = operator.options, _weights(graph, operator)
    assert isinstance(options, ConvOptions)
    outputs, filter_h, filter_w, channels = weights.shape
    if channels != source.rows.channels:
        refuse(
            graph, operator, f"a filter of {channels} channels on {source.rows.channels} (groups) is not supported"
        )
    low, high = float_limits(options.activation)
    members = fields(
        height=source.rows.height, width=source.rows.width, channels=channels,
        width_out=target.rows.width, channels_out=outputs,
        filter_h=filter_h, filter_w=filter_w, stride_h=options.stride_h, stride_w=options.stride_w,
        dilation_h=options.dilation_h, dilation_w=options.dilation_w,
        pad_top=options.padding.top, pad_left=options.padding.left,
        weights=_blocks(weights.reshape(outputs, -1)), bias=_bias(graph, operator, 2, outputs), low=low, high=high,
    )  # fmt: skip
    needs = _window(options, target.rows.height, source.rows.height, size=filter_h)
    return KernelCall(
        operator, "nn_conv_f32.h", "nn_conv_f32", "nn_conv_f32_t", members,
        (source.index,), operator.output, "rows", (needs,),
    )  # fmt: skip


def _window(options: ConvOptions, height_out: int, height_in: int, *, size: int) -> tuple[RowRange, ...]:
    return window_rows(
        height_out, height_in,
        stride=options.stride_h, size=size, padding=options.padding.top, dilation=options.dilation_h,
    )  # fmt: skip


def bind_depthwise(graph: Graph, operator: Operator) -> KernelCall:
    """DEPTHWISE_CONV_2D, float32, any multiplier."""
    source, target = image_pair(graph, operator)
    options, weights = operator.options, _weights(graph, operator)
    assert isinstance(options, ConvOptions)
    _, filter_h, filter_w, outputs = weights.shape
    low, high = float_limits(options.activation)
    members = fields(
        height=source.rows.height, width=source.rows.width, channels=source.rows.channels,
        width_out=target.rows.width, multiplier=outputs // source.rows.channels,
        filter_h=filter_h, filter_w=filter_w, stride_h=options.stride_h, stride_w=options.stride_w,
        dilation_h=options.dilation_h, dilation_w=options.dilation_w,
        pad_top=options.padding.top, pad_left=options.padding.left,
        weights=Constant("weights", "float", weights.ravel(), "row, column, output channel"),
        bias=_bias(graph, operator, 2, outputs), low=low, high=high,
    )  # fmt: skip
    needs = _window(options, target.rows.height, source.rows.height, size=filter_h)
    return KernelCall(
        operator, "nn_depthwise_f32.h", "nn_depthwise_f32", "nn_depthwise_f32_t", members,
        (source.index,), operator.output, "rows", (needs,),
    )  # fmt: skip


def bind_fully_connected(graph: Graph, operator: Operator) -> KernelCall:
    """FULLY_CONNECTED, float32: a 1x1 convolution, of each pixel where the weights fit a pixel.

    Raises:
        VerificationError: The weights do not fit the input.
    """
    source, target = tensors(graph, operator)
    options, weights = operator.options, _weights(graph, operator)
    assert isinstance(options, ActivationOptions)
    outputs, taps = weights.shape
    rows = source.rows
    streamed = rows.channels == taps and (rows.height, rows.width) == (target.rows.height, target.rows.width)
    height, pixels = (rows.height, rows.width) if streamed else (1, source.count // taps)
    if height * pixels * taps != source.count or (not streamed and target.rows.height != 1):
        refuse(graph, operator, f"weights of shape {weights.shape} do not fit an input of shape {source.shape}")
    low, high = float_limits(options.activation)
    members = fields(
        height=height, width=pixels, channels=taps, width_out=pixels, channels_out=outputs,
        filter_h=1, filter_w=1, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, pad_top=0, pad_left=0,
        weights=_blocks(weights), bias=_bias(graph, operator, 2, outputs), low=low, high=high,
    )  # fmt: skip
    needs = same_rows(height) if streamed else all_rows(target.rows.height, rows.height)
    return KernelCall(
        operator, "nn_conv_f32.h", "nn_conv_f32", "nn_conv_f32_t", members,
        (source.index,), operator.output, "rows" if streamed else "whole", (needs,),
    )  # fmt: skip


def bind_transpose_conv(graph: Graph, operator: Operator) -> KernelCall:
    """TRANSPOSE_CONV, float32."""
    source, weights = transposed_image(graph, operator), _weights(graph, operator)
    assert isinstance(operator.options, TransposeConvOptions)
    outputs = weights.shape[0]
    low, high = float_limits(operator.options.activation)
    members = transposed_struct(graph, operator, dilation=True) + fields(
        weights=_blocks(weights.reshape(outputs, -1)), bias=_bias(graph, operator, 3, outputs), low=low, high=high
    )
    return KernelCall(
        operator, "nn_conv_f32.h", "nn_transpose_conv_f32", "nn_conv_f32_t", members,
        (source.index,), operator.output, "rows", (transposed_needs(graph, operator),),
    )  # fmt: skip
