"""From operators to calls of C kernels: one function for each kind, found by kind and type."""

from __future__ import annotations

from collections.abc import Callable

from ei_automation.compiler.bind.calls import KernelCall
from ei_automation.compiler.bind.convolution import bind_conv_2d, bind_depthwise_conv_2d, bind_fully_connected
from ei_automation.compiler.bind.elementwise import bind_add, bind_dequantize, bind_mul, bind_quantize, bind_table
from ei_automation.compiler.bind.floats import bind_float
from ei_automation.compiler.bind.operands import refuse_what_a_struct_cannot_hold
from ei_automation.compiler.bind.reshape import bind_reshape
from ei_automation.compiler.bind.resize import bind_resize_bilinear, bind_resize_nearest_neighbor
from ei_automation.compiler.bind.softmax import bind_softmax
from ei_automation.compiler.bind.spatial import bind_concatenation, bind_mean, bind_pad, bind_pool
from ei_automation.compiler.bind.transposed import bind_transpose_conv
from ei_automation.compiler.graph import Graph, Operator
from ei_automation.errors import VerificationError

Bind = Callable[[Graph, Operator], KernelCall]
ANY_TYPE: dict[str, Bind] = {
    "QUANTIZE": bind_quantize,
    "DEQUANTIZE": bind_dequantize,
    "RESHAPE": bind_reshape,
    "SQUEEZE": bind_reshape,
    "EXPAND_DIMS": bind_reshape,
}
"""Kinds that are the same for all types."""
INT8: dict[str, Bind] = {
    "CONV_2D": bind_conv_2d,
    "DEPTHWISE_CONV_2D": bind_depthwise_conv_2d,
    "TRANSPOSE_CONV": bind_transpose_conv,
    "FULLY_CONNECTED": bind_fully_connected,
    "ADD": bind_add,
    "SUB": bind_add,
    "MUL": bind_mul,
    "RELU": bind_table,
    "RELU6": bind_table,
    "LOGISTIC": bind_table,
    "HARD_SWISH": bind_table,
    "SOFTMAX": bind_softmax,
    "MAX_POOL_2D": bind_pool,
    "AVERAGE_POOL_2D": bind_pool,
    "MEAN": bind_mean,
    "PAD": bind_pad,
    "CONCATENATION": bind_concatenation,
    "RESIZE_BILINEAR": bind_resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": bind_resize_nearest_neighbor,
}
"""The functions of int8; those of float32 are behind `bind_float`."""


def bind_graph(graph: Graph) -> tuple[KernelCall, ...]:
    """The calls that compute a graph, in its order.

    Args:
        graph: Checked and folded.

    Raises:
        VerificationError: An operator has no kernel for its operands; says which.
    """
    return tuple(bind_operator(graph, operator) for operator in graph.operators)


def bind_operator(graph: Graph, operator: Operator) -> KernelCall:
    """The call that computes one operator.

    Raises:
        VerificationError: It has no kernel for its operands, or one whose struct cannot hold its numbers.
    """
    kinds = ANY_TYPE | INT8
    if operator.kind not in kinds:
        raise VerificationError(
            f"{graph.describe(operator)} has no kernel", hint=f"supported are {', '.join(sorted(kinds))}"
        )
    is_float = graph.tensor(operator.output).dtype == "float32"
    bind = bind_float if is_float and operator.kind in INT8 else kinds[operator.kind]
    call = bind(graph, operator)
    refuse_what_a_struct_cannot_hold(graph, call)
    return call
