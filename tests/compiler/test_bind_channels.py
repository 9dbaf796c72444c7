"""The short way of a channel gives the reference's bytes for every sum that its weights and bias allow."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ei_automation.compiler.bind.channels import LONG, SCALE, Channels, OutputRange, plan_channels, requantize
from ei_automation.compiler.bind.dense_channels import DOUBLE_BITS, plan_dense
from ei_automation.compiler.bind.weight_layout import pack_pairs, pack_rows
from ei_automation.compiler.quantize import accumulator_range

EVERY = OutputRange(0, -128, 127)


def reference(total: int, multiplier: int, shift: int, output: OutputRange) -> int:
    """MultiplyByQuantizedMultiplier of common.cc in unlimited integers, as its source has it."""
    product = (total << max(shift, 0)) * multiplier
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    quotient = abs(product + nudge) >> 31
    high = quotient if product + nudge >= 0 else -quotient
    right = max(-shift, 0)
    mask = (1 << right) - 1
    rounded = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))
    return min(max(rounded + output.zero_point, output.low), output.high)


def finish(channels: Channels, channel: int, products: int, output: OutputRange) -> int:
    """What nn_finish makes of the products' sum, every word checked to be one of 32 bits."""
    start, multiplier = int(channels.starts[channel]), int(channels.multipliers[channel])
    shift = start & 255
    assert shift != LONG
    scaled = (products << SCALE) + (start & ~255)
    rounding = 64 + ((2 * output.zero_point + 1) << shift)
    high = (scaled * multiplier >> 32) + rounding - (128 if channels.away and scaled < 0 else 0)
    for word in (scaled, rounding, high):
        assert -(1 << 31) <= word < 1 << 31
    value = min(max(high >> shift >> 1, -128), 127)
    return min(max(value, output.low), output.high)


def interesting_sums(lowest: int, highest: int, random: np.random.Generator) -> list[int]:
    """Both ends, around zero, and a thousand between."""
    near = [*range(lowest, lowest + 40), *range(-40, 41), *range(highest - 40, highest + 1)]
    drawn = random.integers(lowest, highest + 1, 1000).tolist()
    return [total for total in [*near, *drawn] if lowest <= total <= highest]


def one_weight(bias: int) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """A channel of four weights, and its bias."""
    return np.array([[100, -50, 127, -128]], np.int8), np.array([bias], np.int32)


@settings(max_examples=150, deadline=None)
@given(
    multiplier=st.one_of(
        st.integers(1 << 30, (1 << 31) - 1),
        st.sampled_from([1 << 30, (1 << 31) - 1, 3 << 29, 5 << 28, (1 << 30) + 1]),
    ),
    shift=st.integers(-16, -1),
    bias=st.one_of(st.integers(-8_200_000, 8_200_000), st.integers(-100_000, 100_000), st.integers(-3000, 3000)),
    zero_in=st.integers(-128, 127),
    zero_out=st.integers(-128, 127),
    activated=st.booleans(),
)
def test_the_short_way_is_the_references(
    multiplier: int, shift: int, bias: int, zero_in: int, zero_out: int, activated: bool
) -> None:
    weights, biases = one_weight(bias)
    output = OutputRange(zero_out, zero_out if activated else -128, 127)
    factors = (np.array([multiplier], np.int32), np.array([shift], np.int32))
    channels = plan_channels(weights, biases, factors, input_zero_point=zero_in, output=output)
    assert channels.long.size == 0
    assert channels.away == (output.low < zero_out)
    lowest, highest = (int(end[0]) for end in accumulator_range(weights, biases, zero_in))
    folded = bias - zero_in * int(weights.astype(int).sum())
    still = not channels.weights.any()
    for total in interesting_sums(lowest, highest, np.random.default_rng(0)):
        wanted = reference(total, multiplier, shift, output)
        assert finish(channels, 0, 0 if still else total - folded, output) == wanted, total


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(-31, 0))
def test_requantize_is_the_references(total: int, multiplier: int, shift: int) -> None:
    found = requantize(np.array([total]), np.array([multiplier]), np.array([shift]))
    wide = OutputRange(0, -(1 << 40), 1 << 40)
    assert int(found[0]) == reference(total, multiplier, shift, wide)


@pytest.mark.parametrize(
    ("bias", "shift", "way"),
    [(0, -8, "short"), (1 << 23, -8, "constant"), (1 << 23, -17, "long"), (0, 0, "long"), (0, 2, "long")],
)
def test_each_channel_gets_its_way(bias: int, shift: int, way: str) -> None:
    weights, biases = one_weight(bias)
    factors = (np.array([1_500_000_000], np.int32), np.array([shift], np.int32))
    channels = plan_channels(weights, biases, factors, input_zero_point=0, output=EVERY)
    assert (channels.long.size > 0) == (way == "long")
    assert channels.weights.any() == (way != "constant")
    if way == "long":
        assert channels.long.tolist() == [[0, bias, 1_500_000_000, -1, shift]]
        assert (channels.scale, int(channels.starts[0])) == (0, LONG)


def test_a_few_long_channels_leave_the_others_short() -> None:
    weights = np.tile(one_weight(0)[0], (16, 1))
    biases = np.zeros(16, np.int32)
    shifts = np.full(16, -8, np.int32)
    shifts[[3, 9]] = 0
    factors = (np.full(16, 1_500_000_000, np.int32), shifts)
    channels = plan_channels(weights, biases, factors, input_zero_point=0, output=EVERY)
    assert channels.long[:, 0].tolist() == [3, 9]
    assert channels.scale == SCALE
    assert [int(start) for start in channels.starts[[3, 9]]] == [LONG, (1 << 8) + LONG]


def test_deep_sums_of_heavy_weights_all_go_the_long_way() -> None:
    weights = np.full((2, 600), 127, np.int8)
    factors = (np.full(2, 1_500_000_000, np.int32), np.full(2, -12, np.int32))
    channels = plan_channels(weights, None, factors, input_zero_point=0, output=EVERY)
    assert (channels.scale, len(channels.long)) == (0, 2)


def dense(channels: Channels, total: int, output: OutputRange) -> int:
    """What nn_finish_long makes of a sum with its bias."""
    _, _, high, low, shift = (int(word) for word in channels.long[0])
    scaled = total * high + (total * low >> 31)
    assert -(1 << 63) <= scaled + ((2 * output.zero_point + 1) << (shift - 1)) < 1 << 63
    value = (scaled + ((2 * output.zero_point + 1) << (shift - 1))) >> shift
    return min(max(value, output.low), output.high)


@settings(max_examples=150, deadline=None)
@given(
    factor=st.one_of(
        st.floats(2.0**-30, 2.0, exclude_min=True),
        st.sampled_from([0.5, 0.25, 2.0**-9, 3 * 2.0**-11, 1.0, 5 * 2.0**-20]),
    ),
    zero_point=st.integers(-128, 127),
    centre=st.integers(-140, 140),
)
def test_dense_sums_round_as_doubles_do(factor: float, zero_point: int, centre: int) -> None:
    output = OutputRange(zero_point, -128, 127)
    channels = plan_dense(np.ones((1, 1), np.int8), None, [factor], input_zero_point=0, output=output)
    if channels is None:  # a simple ratio: some sums are halves but for the double's own rounding, some are not
        ratio = Fraction(factor).limit_denominator(1 << 20)
        assert 0 < abs(Fraction(factor) - ratio) < ratio / 2**DOUBLE_BITS
        return
    middle = int((centre - 0.5) / factor)
    ends = [-(2**31), 2**31 - 1]
    for total in [*range(middle - 50, middle + 51), *range(-20, 21), *ends]:
        if not ends[0] <= total <= ends[1]:
            continue
        product = float(total) * factor
        rounded = int(np.copysign(np.floor(abs(product) + 0.5), product)) + zero_point
        assert dense(channels, total, output) == min(max(rounded, -128), 127), total


def test_an_absurd_dense_factor_has_no_integer() -> None:
    assert plan_dense(np.ones((1, 1), np.int8), None, [2.0**31], input_zero_point=0, output=EVERY) is None


def test_weights_go_by_twos_and_fours() -> None:
    weights = np.arange(1, 16, dtype=np.int8).reshape(3, 5)
    packed = pack_pairs(weights)
    assert packed.shape == (2, 4)
    assert packed.astype("<u4").tobytes() == bytes(
        [1, 6, 3, 8, 2, 7, 4, 9, 5, 10, 0, 0, 0, 0, 0, 0, 11, 0, 13, 0, 12, 0, 14, 0, 15, 0, 0, 0, 0, 0, 0, 0]
    )
    rows = pack_rows(np.arange(1, 9, dtype=np.int8).reshape(1, 8), 2)
    assert rows.astype("<u4").tobytes() == bytes([1, 0, 3, 0, 2, 0, 4, 0, 5, 0, 7, 0, 6, 0, 8, 0])
