"""float32 operators as calls of kernels; those with weights are in float_filters.py.

The kernels add in the order of TFLite's reference, so that the bytes are the same on a processor with IEEE floats.
The exponential of SOFTMAX and LOGISTIC is nn_exp_f32.h: the same floats as glibc's, on which the reference relies,
but for about one in 10**9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ei_automation.compiler.bind.calls import KernelCall, all_rows, same_rows
from ei_automation.compiler.bind.float_filters import (
    bind_conv,
    bind_depthwise,
    bind_fully_connected,
    bind_transpose_conv,
)
from ei_automation.compiler.bind.operands import (
    fields,
    float_limits,
    refuse,
    same_shape_pair,
    tensors,
    two_operands,
)
from ei_automation.compiler.bind.resize import bind_resize_bilinear, bind_resize_nearest_neighbor
from ei_automation.compiler.bind.spatial import (
    bind_concatenation,
    mean_count,
    mean_struct,
    pad_needs,
    pad_struct,
    pool_needs,
    pool_struct,
)
from ei_automation.compiler.graph import (
    ActivationOptions,
    Graph,
    Operator,
    PadOptions,
    PoolOptions,
    SoftmaxOptions,
)


def bind_float(graph: Graph, operator: Operator) -> KernelCall:
    """The call that computes a float32 operator.

    Raises:
        VerificationError: It has no float32 kernel, or shapes that the kernel does not take.
    """
    if operator.kind not in BINDINGS:
        refuse(graph, operator, "there is no float32 kernel for it", "quantize the model to int8")
    return BINDINGS[operator.kind](graph, operator)


def _binary(graph: Graph, operator: Operator) -> KernelCall:
    """ADD, SUB, MUL."""
    operands = two_operands(graph, operator)
    assert isinstance(operator.options, ActivationOptions)
    low, high = float_limits(operator.options.activation)
    function = f"nn_{operator.kind.lower()}_f32"
    if operator.kind == "SUB" and operands.swapped:
        function = "nn_sub_from_f32"
    return KernelCall(
        operator, "nn_binary_f32.h", function, "nn_binary_f32_t", operands.struct() + fields(low=low, high=high),
        operands.inputs, operator.output, "rows", operands.needs, in_place=operands.in_place,
    )  # fmt: skip


def _unary(graph: Graph, operator: Operator) -> KernelCall:
    """RELU, RELU6, LOGISTIC, HARD_SWISH."""
    source, target = same_shape_pair(graph, operator)
    return KernelCall(
        operator, "nn_unary_f32.h", f"nn_{operator.kind.lower()}_f32", "nn_unary_f32_t",
        fields(values=target.rows.width * target.rows.channels),
        (source.index,), operator.output, "rows", (same_rows(target.rows.height),), in_place=(0,),
    )  # fmt: skip


def _softmax(graph: Graph, operator: Operator) -> KernelCall:
    source, target = same_shape_pair(graph, operator)
    assert isinstance(operator.options, SoftmaxOptions)
    return KernelCall(
        operator, "nn_softmax_f32.h", "nn_softmax_f32", "nn_softmax_f32_t",
        fields(pixels=target.rows.width, channels=target.rows.channels, beta=operator.options.beta),
        (source.index,), operator.output, "rows", (same_rows(target.rows.height),), in_place=(0,),
    )  # fmt: skip


def _pool(graph: Graph, operator: Operator) -> KernelCall:
    """MAX_POOL_2D, AVERAGE_POOL_2D."""
    assert isinstance(operator.options, PoolOptions)
    low, high = float_limits(operator.options.activation)
    function = "nn_max_pool_f32" if operator.kind == "MAX_POOL_2D" else "nn_average_pool_f32"
    return KernelCall(
        operator, "nn_pool_f32.h", function, "nn_pool_f32_t",
        pool_struct(graph, operator) + fields(low=low, high=high),
        operator.inputs[:1], operator.output, "rows", (pool_needs(graph, operator),),
    )  # fmt: skip


def _mean(graph: Graph, operator: Operator) -> KernelCall:
    source, target = tensors(graph, operator)
    members = mean_struct(graph, operator) + fields(count=float(mean_count(graph, operator)))
    return KernelCall(
        operator, "nn_mean_f32.h", "nn_mean_f32", "nn_mean_f32_t", members,
        (source.index,), operator.output, "accumulate", (all_rows(target.rows.height, source.rows.height),),
        scratch_bytes=4 * target.count,
    )  # fmt: skip


def _pad(graph: Graph, operator: Operator) -> KernelCall:
    assert isinstance(operator.options, PadOptions)
    return KernelCall(
        operator, "nn_pad.h", "nn_pad_f32", "nn_pad_f32_t",
        pad_struct(graph, operator) + fields(value=float(operator.options.value)),
        operator.inputs[:1], operator.output, "rows", (pad_needs(graph, operator),),
    )  # fmt: skip


BINDINGS: Mapping[str, Callable[[Graph, Operator], KernelCall]] = {
    "ADD": _binary,
    "SUB": _binary,
    "MUL": _binary,
    "RELU": _unary,
    "RELU6": _unary,
    "LOGISTIC": _unary,
    "HARD_SWISH": _unary,
    "SOFTMAX": _softmax,
    "MAX_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "MEAN": _mean,
    "PAD": _pad,
    "CONCATENATION": bind_concatenation,
    "RESIZE_NEAREST_NEIGHBOR": bind_resize_nearest_neighbor,
    "RESIZE_BILINEAR": bind_resize_bilinear,
    "CONV_2D": bind_conv,
    "DEPTHWISE_CONV_2D": bind_depthwise,
    "FULLY_CONNECTED": bind_fully_connected,
    "TRANSPOSE_CONV": bind_transpose_conv,
}
"""By kind of operator."""
