"""ADD and SUB by the short ways of nn_add_s8.h, where they give the same bytes as the reference.

The reference widens both inputs by 20 bits, multiplies each with its scale over twice the larger scale, adds, and
multiplies with what is left. Each product is rounded to its high word and then to a power of two. `nn_short` does
both roundings at once. Inputs less their zero points are at most 255, so that nothing overflows but the last
rounding term, which is checked here.
"""

from __future__ import annotations

import numpy as np

from ei_automation.compiler.bind.calls import Constant, Field, KernelCall, same_rows
from ei_automation.compiler.bind.operands import Operands, activation_limits, fields, fused
from ei_automation.compiler.graph import Graph, Operator, Quantization, Tensor
from ei_automation.compiler.quantize import quantize_multiplier
from ei_automation.compiler.tables import multiply

LEFT_SHIFT = 20
"""Bits by which ADD and SUB widen their inputs before they bring them to one scale (add.cc, sub.cc)."""
LARGEST_SHIFT = 29
"""Right shift of an input whose rounding term still fits."""
LARGEST_HALF = 3 << 29
"""Bound of the last rounding term; the high word beside it is below 2**29."""
FEW_VALUES = 1024
"""Constants up to this many are stored as four bytes each."""


def rounding_half(shift: int, zero_point: int) -> int | None:
    """The last rounding term with the output's zero point in it; None where the short way cannot be taken.

    Args:
        shift: As `quantize_multiplier` gives it.
        zero_point: Of the output.
    """
    if not -LARGEST_SHIFT <= shift < 0:
        return None
    half = (1 << (-shift - 1)) + (zero_point << -shift)
    return half if abs(half) < LARGEST_HALF else None


def short_sum(graph: Graph, operator: Operator, operands: Operands) -> KernelCall | None:
    """The call of a short way; None where there is none that is exact."""
    alike = not operands.second.is_constant and operands.second.rows == operands.first.rows
    if alike and operator.kind == "ADD":
        return _sum_of_two(graph, operator, operands)
    taken_from = operator.kind == "SUB" and operands.swapped
    if operands.second.is_constant and operands.second.count <= FEW_VALUES and not taken_from:
        return _sum_with_constant(graph, operator, operands)
    return None


def _sum_of_two(graph: Graph, operator: Operator, operands: Operands) -> KernelCall | None:
    larger, smaller = sorted((operands.first, operands.second), key=lambda tensor: -tensor.q.scale)
    scaling, end = _scaling(smaller.q, 2 * larger.q.scale), _end(graph, operator, 2 * larger.q.scale)
    if scaling is None or end is None:
        return None
    start, step, multiplier, half, shift = scaling
    members = fields(
        values=larger.rows.width * larger.rows.channels, start_a=-larger.q.zero_point << LEFT_SHIFT,
        start_b=start, step_b=step, multiplier_b=multiplier, half_b=half, shift_b=shift,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_add_s8.h", "nn_add_same_s8", "nn_add_same_s8_t", members + end,
        (larger.index, smaller.index), operator.output, "rows", (same_rows(larger.rows.height),) * 2,
        in_place=operands.in_place,
    )  # fmt: skip


def _sum_with_constant(graph: Graph, operator: Operator, operands: Operands) -> KernelCall | None:
    common = 2 * max(operands.first.q.scale, operands.second.q.scale)
    scaling, end = _scaling(operands.first.q, common), _end(graph, operator, common)
    if scaling is None or end is None:
        return None
    start, step, multiplier, half, shift = scaling
    members = fields(
        width=operands.width, channels=operands.channels,
        constant=_scaled(operands.second, common, sign=-1 if operator.kind == "SUB" else 1),
        step_row=operands.steps[0], step_pixel=operands.steps[1], step_channel=operands.steps[2],
        start=start, step=step, multiplier_in=multiplier, half_in=half, shift_in=shift,
    )  # fmt: skip
    return KernelCall(
        operator, "nn_add_s8.h", "nn_add_constant_s8", "nn_add_constant_s8_t", members + end,
        operands.inputs, operator.output, "rows", operands.needs, in_place=operands.in_place,
    )  # fmt: skip


def _scaling(source: Quantization, common: float) -> tuple[int, int, int, int, int] | None:
    """Start, step, multiplier, half and shift of an input on its way to the common scale."""
    multiplier, shift = quantize_multiplier(source.scale / common)
    if multiplier == 0 or shift < -LARGEST_SHIFT:
        return None
    # The larger scale's factor is one half, with a shift of 0: one bit more before it, and one after, do no harm.
    more = 1 if shift == 0 else 0
    step = 1 << (LEFT_SHIFT + 1 + more)
    return -source.zero_point * step, step, multiplier, 1 << (more - shift - 1), more - shift


def _end(graph: Graph, operator: Operator, common: float) -> tuple[Field, ...] | None:
    """The members that requantize the sum."""
    target = graph.tensor(operator.output).q
    multiplier, shift = quantize_multiplier(common / ((1 << LEFT_SHIFT) * target.scale))
    half = rounding_half(shift, target.zero_point)
    if half is None:
        return None
    low, high = activation_limits(graph, operator, fused(operator))
    return fields(multiplier=multiplier, half=half, shift=-shift, low=low, high=high)


def _scaled(constant: Tensor, common: float, *, sign: int) -> Constant:
    """A constant as the reference scales it, doubled; negative for SUB."""
    factor = quantize_multiplier(constant.q.scale / common)
    given = np.asarray(constant.data).ravel().astype(np.int64) - constant.q.zero_point
    scaled = [2 * sign * multiply(int(value) << LEFT_SHIFT, *factor) for value in given]
    return Constant("constant", "int32_t", np.array(scaled, np.int32), f"{constant.name}, scaled")
