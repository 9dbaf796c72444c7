"""The output channels of FULLY_CONNECTED, whose reference rounds once, in double precision.

The reference (integer_ops/fully_connected.h) computes round(double(sum) * factor), halves away from zero. Kernels
have no doubles: they multiply by 62 bits of the factor, a trace more than its 53, which takes halves away from
zero too. That this gives the same byte for every sum is checked here: both rise with the sum, so that it is enough
to look at the sums at which the output changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.channels import INT32, LONG, SCALE, Channels, OutputRange, folded_bias, wrap
from ei_automation.compiler.quantize import accumulator_range

DOUBLE_BITS = 53
EXTRA_BITS = 9
"""A multiplier has 62 bits, two words of 31."""
WORD_BITS = 31
LARGEST_SHIFT = 52
"""Right shifts beyond the lower word, so that the zero point fits in 64 bits."""
TRACES = (256, 0, 1, 511)
"""What may be added to a multiplier, in units of its last bit; the double's last bit is 512. The first one that
passes is taken: half a unit of the double's is what its own rounding forgives."""
NEIGHBOURS = np.arange(-2, 3)
"""Sums around an estimated step of the output."""


def plan_dense(
    weights: NDArray[np.int8],
    bias: NDArray[np.int32] | None,
    factors: Sequence[float],
    *,
    input_zero_point: int,
    output: OutputRange,
) -> Channels | None:
    """The channels of a FULLY_CONNECTED.

    Args:
        weights: int8, (outputs, depth).
        bias: int32, (outputs,), or None.
        factors: One for each output: input scale * weight scale / output scale, doubles.
        input_zero_point: Of the input.
        output: Of the output.

    Returns:
        None where no integer multiplier gives the double's bytes: for a factor like 0.35, a simple ratio but for
        its last bit, where some halves are halves in double and some are not. Calibrated scales do not make such.
    """
    reach = _reach(weights, bias, input_zero_point)
    found = [_multiplier(factor, output, sums) for factor, sums in zip(factors, reach, strict=True)]
    split = [pair for pair in found if pair is not None]
    if len(split) < len(found):
        return None
    outputs = len(weights)
    long = np.array(
        [(multiplier >> WORD_BITS, multiplier % (1 << WORD_BITS), shift) for multiplier, shift in split]
    )
    start = wrap(folded_bias(weights, bias, input_zero_point))
    return Channels(
        weights=weights,
        starts=wrap((np.arange(outputs) << SCALE) + LONG),
        multipliers=np.zeros(outputs, np.int32),
        long=np.column_stack([np.arange(outputs), start, long]).astype(np.int32),
        scale=0,
    )


def _reach(
    weights: NDArray[np.int8], bias: NDArray[np.int32] | None, input_zero_point: int
) -> list[tuple[int, int]]:
    """The lowest and the highest sum of each output; all that there are where sums wrap."""
    ends = zip(*accumulator_range(weights, bias, input_zero_point), strict=True)
    whole = (int(INT32.min), int(INT32.max))
    return [(int(low), int(high)) if low >= whole[0] and high <= whole[1] else whole for low, high in ends]


def _multiplier(factor: float, output: OutputRange, reach: tuple[int, int]) -> tuple[int, int] | None:
    """Multiplier (62 bits) and right shift beyond its lower word for a factor; None where none is exact."""
    fraction, exponent = frexp(factor)
    shift = WORD_BITS - exponent
    if factor == 0 or shift < 1:
        return (0, 1) if factor == 0 else None
    exact = int(fraction * (1 << DOUBLE_BITS)) << EXTRA_BITS
    spare = max(0, shift - LARGEST_SHIFT)
    for trace in TRACES:
        multiplier = (exact + trace) >> spare
        if _is_exact(factor, multiplier, shift - spare, output=output, reach=reach):
            return multiplier, shift - spare
    return None


def _is_exact(factor: float, multiplier: int, shift: int, *, output: OutputRange, reach: tuple[int, int]) -> bool:
    """Whether the integer way gives the double's byte for every sum from the lowest to the highest."""
    steps = (np.arange(output.low, output.high) + 0.5 - output.zero_point) / factor
    around = np.floor(np.clip(steps, *reach)).astype(np.int64)[:, None] + NEIGHBOURS
    sums = np.clip(np.append(around.ravel(), reach), *reach)
    products = sums.astype(np.float64) * factor
    wanted = np.copysign(np.floor(np.abs(products) + 0.5), products) + output.zero_point
    high, low = multiplier >> WORD_BITS, multiplier % (1 << WORD_BITS)
    scaled = sums * high + ((sums * low) >> WORD_BITS)
    given = (scaled + ((2 * output.zero_point + 1) << (shift - 1))) >> shift
    return bool((np.clip(given, output.low, output.high) == np.clip(wanted, output.low, output.high)).all())
