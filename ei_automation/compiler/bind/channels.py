"""What each output channel of a convolution needs to give the reference's bytes, and why less is enough.

The reference rounds twice (to the high word, then to the power of two). `nn_finish` in nn_requantize.h does the
same in four to six instructions where a channel's sums are small, whatever the input; most channels of real models
are so. Some are not: batch normalisation over a dead channel leaves a weight scale near 0 and a bias near 2**30.
Nearly all of these give one and the same byte for every input; they become channels of weight zero. What then
remains goes the long way (`nn_finish_long`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.quantize import INT8_RANGE, accumulator_range

SCALE = 8
"""Bits by which the sums of most operators are scaled up (nn_output in nn_requantize.h)."""
SUM_LIMIT = 1 << (31 - SCALE)
"""Scaled sums below this fit in 32 bits."""
SHORT_SHIFTS = (1, 16)
"""Right shifts of the short way: 0 has no second rounding, from 17 on the zero point overflows."""
FEWEST_SHORT = 7 / 8
"""With fewer channels of the short way all go the long one: the others are computed twice."""
SHIFT_BASE = 6
"""A channel's shift is stored with 6 added: one less than the bits behind the point and the right shift."""
LONG = 255
"""NN_LONG of nn_requantize.h: the shift of a channel that goes the long way."""
ONE_HALF = 1 << 30
"""The multiplier 0.5."""
INT32 = np.iinfo(np.int32)
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Channels:
    """The output channels of a convolution, as its kernel takes them.

    Attributes:
        weights: int8, (outputs, taps); zeros for channels that always give the same.
        starts: int32, (outputs,): scaled bias, with the input's zero point folded in, and in the lowest byte the
            shift; of the long way LONG and above it the channel's place in `long`.
        multipliers: int32, (outputs,).
        long: int32, (channels of the long way, 5): channel, bias, multiplier, its lower
            word (-1 where it has none), shift.
        scale: Bits by which the sums are scaled: SCALE or 0.
        away: Whether roundings of negative halves can show.
    """

    weights: NDArray[np.int8]
    starts: NDArray[np.int32]
    multipliers: NDArray[np.int32]
    long: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 5), np.int32))
    scale: int = SCALE
    away: bool = False


@dataclass(frozen=True)
class OutputRange:
    """How the output is stored.

    Attributes:
        zero_point: Of the output, -128..127.
        low: Lowest value that the activation lets pass.
        high: Highest.
    """

    zero_point: int
    low: int
    high: int


def requantize(sums: Integers, multiplier: Integers, shift: Integers) -> Integers:
    """The reference's MultiplyByQuantizedMultiplier (common.cc, double rounding), elementwise.

    Args:
        sums: Within 32 bits, also after a left shift.
        multiplier: 0..2**31 - 1.
        shift: -31..31, left is positive.
    """
    right = np.maximum(-shift, 0)
    high = ((sums << np.maximum(shift, 0)) * multiplier + (1 << 30)) >> 31
    mask = (np.int64(1) << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def plan_channels(
    weights: NDArray[np.int8],
    bias: NDArray[np.int32] | None,
    factors: tuple[NDArray[np.int32], NDArray[np.int32]],
    *,
    input_zero_point: int,
    output: OutputRange,
) -> Channels:
    """Choose the way of each channel of a CONV_2D or DEPTHWISE_CONV_2D.

    Args:
        weights: int8, (outputs, taps).
        bias: int32, (outputs,), or None.
        factors: Multiplier and shift of each output, as the reference has them.
        input_zero_point: Of the input.
        output: Of the output.
    """
    lowest, highest = accumulator_range(weights, bias, input_zero_point)
    multiplier, shift = (factor.astype(np.int64) for factor in factors)
    constant, value = _constant_channels(lowest, highest, multiplier, shift, output=output)
    weights = np.where(constant[:, None], 0, weights).astype(np.int8)
    products = np.abs(weights.astype(np.int64)).sum(axis=1) * -INT8_RANGE[0]
    small = np.maximum(np.abs(lowest), np.abs(highest)) < SUM_LIMIT
    right = np.where(constant, 1, -shift)
    short = (small | constant) & (right >= SHORT_SHIFTS[0]) & (right <= SHORT_SHIFTS[1])
    if (products >= SUM_LIMIT).any() or short.mean() < FEWEST_SHORT:
        short[:] = False
    scale = SCALE if short.any() else 0
    # 4 * d at a multiplier of one half and a right shift of one gives d, without a rounding.
    folded = folded_bias(weights, bias, input_zero_point)
    start = np.where(constant, 4 * (value - output.zero_point), folded)
    place = np.cumsum(~short) - 1
    long = np.column_stack([np.arange(len(weights)), wrap(folded), multiplier, np.full_like(shift, -1), shift])
    return Channels(
        weights=weights,
        starts=wrap(np.where(short, (start << SCALE) + SHIFT_BASE + right, (place << SCALE) + LONG)),
        multipliers=np.where(constant, ONE_HALF, multiplier).astype(np.int32),
        long=long[~short].astype(np.int32),
        scale=scale,
        away=output.low < output.zero_point,
    )


def folded_bias(weights: NDArray[np.int8], bias: NDArray[np.int32] | None, input_zero_point: int) -> Integers:
    """The bias of sums over weight * input instead of weight * (input - zero point)."""
    start = np.zeros(len(weights), np.int64) if bias is None else bias.astype(np.int64)
    return np.asarray(start - input_zero_point * weights.astype(np.int64).sum(axis=1))


def wrap(values: Integers) -> NDArray[np.int32]:
    """Integers modulo 2**32, as the reference's sums are."""
    return values.astype(np.uint32).astype(np.int32)


def _constant_channels(
    lowest: Integers, highest: Integers, multiplier: Integers, shift: Integers, *, output: OutputRange
) -> tuple[NDArray[np.bool_], Integers]:
    """Which channels give the same byte whatever the input is, and which byte.

    Requantization never falls as the sum rises (the multiplier is not negative), so that the ends of the range
    decide; unless a sum or its left shift wraps.
    """
    left = np.maximum(shift, 0)
    fits = (left < 31) & (lowest << left >= INT32.min) & (highest << left <= INT32.max)
    ends = [
        np.clip(requantize(np.where(fits, end, 0), multiplier, shift) + output.zero_point, output.low, output.high)
        for end in (lowest, highest)
    ]
    return fits & (ends[0] == ends[1]), ends[0]
