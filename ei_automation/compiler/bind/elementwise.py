"""ADD, SUB, MUL and the int8 functions of one value, as calls of kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.calls import Constant, KernelCall, same_rows
from ei_automation.compiler.bind.operands import (
    SCALE_HINT,
    activation_limits,
    factor_of,
    fields,
    fused,
    refuse,
    same_shape_pair,
    two_operands,
)
from ei_automation.compiler.bind.short_sums import LEFT_SHIFT, rounding_half, short_sum
from ei_automation.compiler.graph import Graph, Operator
from ei_automation.compiler.quantize import INT8_RANGE, UINT8_RANGE, ScaleError, quantize_multiplier
from ei_automation.compiler.tables import TABLES, requantize_table


def bind_add(graph: Graph, operator: Operator) -> KernelCall:
    """ADD or SUB, int8.

    Both inputs are brought to twice the larger of their scales, added with 20 bits more, and requantized
    (`Prepare` of add.cc, `PrepareGeneralSubOp` of sub.cc).

    Raises:
        VerificationError: Shapes that cannot be broadcast, or a scale that TFLite refuses too.
    """
    operands = two_operands(graph, operator)
    first, second, target = operands.first.q, operands.second.q, graph.tensor(operator.output).q
    common = 2 * max(first.scale, second.scale)
    if not common / ((1 << LEFT_SHIFT) * target.scale) < 1:
        refuse(graph, operator, f"its output scale {target.scale} is too small beside its inputs'")
    short = short_sum(graph, operator, operands)
    if short is not None:
        return short
    multiplier_a, shift_a = quantize_multiplier(first.scale / common)
    multiplier_b, shift_b = quantize_multiplier(second.scale / common)
    multiplier, shift = quantize_multiplier(common / ((1 << LEFT_SHIFT) * target.scale))
    sign_a, sign_b = (1, 1) if operator.kind == "ADD" else (-1, 1) if operands.swapped else (1, -1)
    low, high = activation_limits(graph, operator, fused(operator))
    members = fields(
        offset_a=-first.zero_point, multiplier_a=multiplier_a, shift_a=shift_a, sign_a=sign_a,
        offset_b=-second.zero_point, multiplier_b=multiplier_b, shift_b=shift_b, sign_b=sign_b,
        multiplier=multiplier, shift=shift, offset=target.zero_point, low=low, high=high,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_add_s8.h", "nn_add_s8", "nn_add_s8_t", operands.struct() + members,
        operands.inputs, operator.output, "rows", operands.needs, in_place=operands.in_place,
    )  # fmt: skip


def bind_mul(graph: Graph, operator: Operator) -> KernelCall:
    """MUL, int8.

    Raises:
        VerificationError: Shapes that cannot be broadcast, or scales that are too far apart.
    """
    operands = two_operands(graph, operator)
    first, second, target = operands.first.q, operands.second.q, graph.tensor(operator.output).q
    # The product and the quotient are float32 (`Prepare` of mul.cc); the order of the inputs does not matter.
    with np.errstate(all="ignore"):
        factor = np.float32(first.scale) * np.float32(second.scale) / np.float32(target.scale)
    multiplier, shift = factor_of(graph, operator, float(factor))
    low, high = activation_limits(graph, operator, fused(operator))
    function = "nn_mul_exact_s8" if rounding_half(shift, target.zero_point) is None else "nn_mul_s8"
    members = fields(
        offset_a=-first.zero_point, offset_b=-second.zero_point,
        multiplier=multiplier, shift=shift, offset=target.zero_point, low=low, high=high,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_mul_s8.h", function, "nn_mul_s8_t", operands.struct() + members,
        operands.inputs, operator.output, "rows", operands.needs, in_place=operands.in_place,
    )  # fmt: skip


def bind_table(graph: Graph, operator: Operator) -> KernelCall:
    """LOGISTIC, RELU, RELU6, HARD_SWISH, int8: one table of 256 results.

    Raises:
        VerificationError: Shapes that differ, or scales that are too far apart.
    """
    source, target = same_shape_pair(graph, operator)
    try:
        results = TABLES[operator.kind](source.q, target.q)
    except ScaleError as error:
        refuse(graph, operator, str(error), SCALE_HINT)
    return table_call(graph, operator, results)


def table_call(graph: Graph, operator: Operator, results: NDArray[np.int8]) -> KernelCall:
    """A table's kernel.

    Args:
        graph: The model.
        operator: What the table stands for.
        results: int8, (256,): for -128 .. 127.
    """
    source, target = same_shape_pair(graph, operator)
    table = Constant("table", "int8_t", results, f"{operator.kind} of -128 .. 127")
    return KernelCall(
        operator, "nn_table_s8.h", "nn_table_s8", "nn_table_s8_t",
        fields(row_bytes=target.rows.row_bytes, table=table),
        (source.index,), operator.output, "rows", (same_rows(target.rows.height),), in_place=(0,),
    )  # fmt: skip


def bind_quantize(graph: Graph, operator: Operator) -> KernelCall:
    """QUANTIZE: float32 to int8 or uint8, or one of these to another of them.

    Raises:
        VerificationError: Other types, or scales that are too far apart.
    """
    source, target = same_shape_pair(graph, operator)
    if source.dtype == "float32":
        low, high = UINT8_RANGE if target.dtype == "uint8" else INT8_RANGE
        members = fields(
            values=target.rows.width * target.rows.channels, scale=target.q.scale, offset=target.q.zero_point,
            low=low, high=high,
        )  # fmt: skip
        return KernelCall(
            operator, "nn_quantize.h", "nn_quantize_s8", "nn_quantize_s8_t", members,
            (source.index,), operator.output, "rows", (same_rows(target.rows.height),),
        )  # fmt: skip
    if not {source.dtype, target.dtype} <= {"int8", "uint8"}:
        refuse(graph, operator, f"from {source.dtype} to {target.dtype} is not supported")
    unsigned = (source.dtype == "uint8", target.dtype == "uint8")
    factor_of(graph, operator, source.q.scale / target.q.scale)  # refuses
    return table_call(graph, operator, requantize_table(source.q, target.q, *unsigned))


def bind_dequantize(graph: Graph, operator: Operator) -> KernelCall:
    """DEQUANTIZE: int8 or uint8 to float32.

    Raises:
        VerificationError: Other types, or a scale for each channel.
    """
    source, target = same_shape_pair(graph, operator)
    if source.dtype not in ("int8", "uint8") or len(source.q.scales) != 1:
        refuse(graph, operator, f"from {source.dtype} with {len(source.q.scales)} scales is not supported")
    # An unsigned byte with its highest bit flipped is a signed one, 128 lower.
    flip = 128 if source.dtype == "uint8" else 0
    members = fields(
        values=target.rows.width * target.rows.channels, scale=source.q.scale, offset=flip - source.q.zero_point,
        flip=flip,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_quantize.h", "nn_dequantize_f32", "nn_dequantize_f32_t", members,
        (source.index,), operator.output, "rows", (same_rows(target.rows.height),),
    )  # fmt: skip
