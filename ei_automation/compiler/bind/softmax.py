"""SOFTMAX, int8, as a call of its kernel."""

from __future__ import annotations

import math

from ei_automation.compiler.bind.calls import KernelCall, same_rows
from ei_automation.compiler.bind.operands import fields, refuse, same_shape_pair
from ei_automation.compiler.graph import Graph, Operator, SoftmaxOptions
from ei_automation.compiler.quantize import quantize_multiplier

DIFFERENCE_BITS = 5
"""Integer bits of the differences that go into the exponential (reference/softmax.h)."""
SUM_CHANNELS = 1 << (31 - 19)
"""So many powers of 1 overflow their sum, a Q12.19, in the reference."""


def bind_softmax(graph: Graph, operator: Operator) -> KernelCall:
    """SOFTMAX over the last axis, int8.

    Multiplier, shift and lowest difference as `PreprocessSoftmaxScaling` and `CalculateInputRadius` make them.

    Raises:
        VerificationError: An input scale that TFLite refuses too, or more channels than it can add.
    """
    source, target = same_shape_pair(graph, operator)
    assert isinstance(operator.options, SoftmaxOptions)
    if target.rows.channels >= SUM_CHANNELS:
        refuse(
            graph, operator, f"it runs over {target.rows.channels} channels; the sum of {SUM_CHANNELS} overflows",
            "leave the softmax out: the largest score is the same without it",
        )  # fmt: skip
    factor = min(operator.options.beta * source.q.scale * (1 << (31 - DIFFERENCE_BITS)), 2**31 - 1.0)
    if not factor > 1:
        refuse(graph, operator, f"its input scale {source.q.scale} is too small for a softmax")
    multiplier, shift = quantize_multiplier(factor)
    radius = ((1 << DIFFERENCE_BITS) - 1) * (1 << (31 - DIFFERENCE_BITS)) / (1 << shift)
    members = fields(
        pixels=target.rows.width,
        channels=target.rows.channels,
        multiplier=multiplier,
        shift=shift,
        lowest=-math.floor(radius),
    )
    return KernelCall(
        operator, "nn_softmax_s8.h", "nn_softmax_s8", "nn_softmax_s8_t", members,
        (source.index,), operator.output, "rows", (same_rows(target.rows.height),), in_place=(0,),
    )  # fmt: skip
