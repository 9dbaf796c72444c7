"""The multipliers, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.compiler.graph import Quantization
from ei_automation.compiler.quantize import (
    ScaleError,
    accumulator_range,
    activation_range,
    bias_scale_matches,
    channel_multipliers,
    quantize_multiplier,
    quantize_value,
    rescale_factor,
    round_half_away,
)

SCALES = st.floats(2**-20, 2.0, width=32)


def nearest(value: Fraction) -> int:
    """The nearest integer, halves away from zero, in whole numbers only."""
    doubled = abs(value) * 2 + 1
    size = doubled.numerator // (2 * doubled.denominator)
    return -size if value < 0 else size


def float32(value: Fraction) -> Fraction:
    """A positive number rounded to 24 bits, halves to even, in whole numbers only (no subnormals)."""
    exponent = 0
    while value >= 2**24:
        value, exponent = value / 2, exponent + 1
    while value < 2**23:
        value, exponent = value * 2, exponent - 1
    whole, rest = divmod(value.numerator, value.denominator)
    twice = 2 * rest
    if twice > value.denominator or (twice == value.denominator and whole % 2):
        whole += 1
    return Fraction(whole) * Fraction(2) ** exponent


def multiplier_and_shift(real: Fraction) -> tuple[int, int]:
    """31 bits and a shift of a positive number, in whole numbers only."""
    shift = 0
    while real >= 1:
        real, shift = real / 2, shift + 1
    while real < Fraction(1, 2):
        real, shift = real * 2, shift - 1
    fixed = nearest(real * 2**31)
    if fixed == 2**31:
        fixed, shift = 2**30, shift + 1
    return (fixed, shift) if shift >= -31 else (0, 0)


@given(st.floats(2.0**-60, 2.0**30))
def test_a_multiplier_is_the_nearest_of_31_bits(real: float) -> None:
    assert quantize_multiplier(real) == multiplier_and_shift(Fraction(real))


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (1 << 30, 1)),
        (0.5, (1 << 30, 0)),
        (1 - 2.0**-40, (1 << 30, 1)),  # rounds up to the next power of two
        (2.0**-32, (1 << 30, -31)),
        (2.0**-33, (0, 0)),  # flushed to zero
        (-0.75, (-(3 << 29), 0)),
    ],
)
def test_multipliers_at_the_edges(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected


@pytest.mark.parametrize("real", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_number_has_no_multiplier(real: float) -> None:
    with pytest.raises(ScaleError, match="no finite number"):
        quantize_multiplier(real)


def test_a_factor_between_scales_has_a_largest_shift() -> None:
    assert rescale_factor(2.0**29) == (1 << 30, 30)
    with pytest.raises(ScaleError, match=r"the factor between them is 1\.07e\+09"):
        rescale_factor(2.0**30)


@given(st.integers(-(2**20), 2**20))
def test_halves_go_away_from_zero(twice: int) -> None:
    assert round_half_away(twice / 2) == nearest(Fraction(twice, 2))


@given(SCALES, st.lists(SCALES, min_size=1, max_size=4), SCALES)
def test_the_scales_of_a_convolution_meet_in_double(source: float, filters: list[float], made: float) -> None:
    channels = len(filters) if len(filters) > 1 else 3
    multipliers, shifts = channel_multipliers(source, filters, made, channels=channels)
    every = filters * 3 if len(filters) == 1 else filters
    for multiplier, shift, scale in zip(multipliers, shifts, every, strict=True):
        # The product of two float32 is exact in double; the quotient is rounded once.
        quotient = Fraction(float(Fraction(source) * Fraction(scale)) / made)
        assert (multiplier, shift) == multiplier_and_shift(quotient)


@given(SCALES, st.integers(-128, 127), st.sampled_from([-1.0, 0.0, 1.0, 6.0]))
def test_a_value_is_divided_in_float32(scale: float, zero_point: int, real: float) -> None:
    steps = Fraction(0) if real == 0 else float32(abs(Fraction(real)) / Fraction(scale)) * (1 if real > 0 else -1)
    assert quantize_value(real, Quantization((scale,), (zero_point,))) == zero_point + nearest(steps)


def test_activation_ranges() -> None:
    quantization = Quantization((0.0235294122248888,), (-128,))
    assert activation_range("none", quantization) == (-128, 127)
    assert activation_range("relu6", quantization) == (-128, 127)
    assert activation_range("relu6", Quantization((0.1,), (3,))) == (3, 63)
    assert activation_range("relu", Quantization((0.1,), (3,))) == (3, 127)
    assert activation_range("relu_n1_to_1", Quantization((0.1,), (3,))) == (-7, 13)
    assert activation_range("relu", Quantization((0.1,), (3,)), (0, 255)) == (3, 255)


def test_a_bound_that_is_no_integer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"6\.0 is not representable"):
        activation_range("relu6", Quantization((1e-30,), (0,)))


def test_bias_scales() -> None:
    assert bias_scale_matches(0.5 * 0.01, 0.5, 0.01, output_scale=0.1)
    assert not bias_scale_matches(0.5, 0.5, 0.01, output_scale=0.1)


@given(st.integers(0, 2**32), st.integers(-128, 127))
def test_accumulators_reach_their_bounds_and_no_further(seed: int, zero_point: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.integers(-128, 128, (3, 7), dtype=np.int8)
    bias = random.integers(-(2**30), 2**30, 3, dtype=np.int32)
    low, high = accumulator_range(weights, bias, zero_point)
    inputs = random.integers(-128, 128, (50, 7))
    sums = bias + (inputs - zero_point) @ weights.astype(np.int64).T
    assert (low <= sums.min(axis=0)).all()
    assert (sums.max(axis=0) <= high).all()
    for channel, row in enumerate(weights.astype(np.int64)):
        worst = np.where(row > 0, 127, -128) - zero_point
        assert high[channel] == bias[channel] + worst @ row
        assert low[channel] == bias[channel] + (np.where(row > 0, -128, 127) - zero_point) @ row
    assert (accumulator_range(weights, None, zero_point)[0] == low - bias).all()
