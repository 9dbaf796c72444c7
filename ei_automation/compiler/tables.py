"""int8 functions of one value as tables of their 256 results, exactly as TFLite's reference computes each.

Every function takes the quantization of its input and of its output and gives int8, (256,): the results for -128,
-127, ... 127. Products of scales are float32 where the reference's are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.graph import Quantization
from ei_automation.compiler.quantize import (
    INT8_RANGE,
    UINT8_RANGE,
    ScaleError,
    quantize_multiplier,
    quantize_value,
    rescale_factor,
    round_half_away,
)

Table = NDArray[np.int8]
VALUES = range(INT8_RANGE[0], INT8_RANGE[1] + 1)
EXP_STEPS = 32
"""Steps of an octave in the table of `exp_float32`."""
EXP_POLYNOMIAL = (
    float.fromhex("0x1.c6af84b912394p-5") / EXP_STEPS**3,
    float.fromhex("0x1.ebfce50fac4f3p-3") / EXP_STEPS**2,
    float.fromhex("0x1.62e42ff0c52d6p-1") / EXP_STEPS,
)
"""Minimax polynomial of 2**(r / 32) - 1, cubic first: the constants of expf in glibc since 2.27 (S. Nagy, Arm)."""


def exp_float32(value: float) -> np.float32:
    """e**value as C's `expf` of glibc gives it, on which TFLite's reference relies.

    Written from the method (table of 32 powers of two, cubic polynomial, all in double), because NumPy's own
    float32 exp differs by up to 2 units in the last place.

    Args:
        value: A float32.
    """
    if value < -104 or value > 88.8:
        return np.float32(0.0 if value < 0 else np.inf)
    turns = value * (EXP_STEPS / np.log(2.0))
    steps = round(turns)
    rest = turns - steps
    power = 2.0 ** (steps / EXP_STEPS)
    cubic, square, linear = EXP_POLYNOMIAL
    polynomial = (cubic * rest + square) * (rest * rest) + (linear * rest + 1)
    with np.errstate(over="ignore"):
        return np.float32(polynomial * power)


def multiply(value: int, multiplier: int, shift: int) -> int:
    """`MultiplyByQuantizedMultiplier` of common.h: two roundings, the sum of 32 bits."""
    left, right = max(shift, 0), max(-shift, 0)
    doubled = srdhm(_wrap32(value << left), multiplier)
    return rounding_divide(doubled, right)


def srdhm(left: int, right: int, bits: int = 31) -> int:
    """`SaturatingRoundingDoublingHighMul` of gemmlowp: the high half of twice the product, halves up."""
    if left == right == -(1 << bits):
        return (1 << bits) - 1
    return (left * right + (1 << (bits - 1))) >> bits


def rounding_divide(value: int, exponent: int) -> int:
    """`RoundingDivideByPOT` of gemmlowp: by a power of two, halves away from zero."""
    if exponent == 0:
        return value
    return (value + (1 << (exponent - 1)) - (value < 0)) >> exponent


def _wrap32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _clip(value: int, low: int = INT8_RANGE[0], high: int = INT8_RANGE[1]) -> int:
    return min(max(value, low), high)


def _table(results: list[int]) -> Table:
    return np.array(results, np.int8)


def requantize_table(
    source: Quantization, target: Quantization, from_unsigned: bool = False, to_unsigned: bool = False
) -> Table:
    """Another scale and zero point (`Requantize` of reference/requantize.h).

    Args:
        source: Of the input.
        target: Of the output.
        from_unsigned: The input's bytes are uint8; the table is found by the same bytes as int8.
        to_unsigned: The output's bytes are uint8.

    Raises:
        ScaleError: The scales are too far apart.
    """
    multiplier, shift = rescale_factor(source.scale / target.scale)
    low, high = UINT8_RANGE if to_unsigned else INT8_RANGE
    results = []
    for value in VALUES:
        steps = (value % 256 if from_unsigned else value) - source.zero_point
        results.append(_clip(multiply(steps, multiplier, shift) + target.zero_point, low, high))
    return np.array(results, np.uint8 if to_unsigned else np.int8).view(np.int8)


def relu_table(source: Quantization, target: Quantization, *, ceiling: float | None = None) -> Table:
    """RELU, or RELU6 with ceiling 6 (`QuantizedReluX` of activations.cc).

    The quotient of the scales is a float32 there.

    Raises:
        ScaleError: The scales are too far apart, or the ceiling is no integer at the output's.
    """
    multiplier, shift = rescale_factor(_quotient(np.float32(source.scale), target))
    low = max(INT8_RANGE[0], target.zero_point)
    high = INT8_RANGE[1]
    if ceiling is not None:
        high = min(high, quantize_value(ceiling, target))
    results = (multiply(value - source.zero_point, multiplier, shift) + target.zero_point for value in VALUES)
    return _table([min(max(result, low), high) for result in results])


def relu6_table(source: Quantization, target: Quantization) -> Table:
    """RELU6."""
    return relu_table(source, target, ceiling=6.0)


def logistic_table(source: Quantization, target: Quantization) -> Table:
    """LOGISTIC: 1 / (1 + e**-x) in float32 (`PopulateLookupTable` of activations.cc)."""
    inverse = np.float32(1) / np.float32(target.scale)
    results = []
    for value in VALUES:
        with np.errstate(over="ignore"):
            real = np.float32(source.scale) * np.float32(value - source.zero_point)
        share = np.float32(1) / (np.float32(1) + exp_float32(-float(real)))
        results.append(_clip(round_half_away(float(share * inverse)) + target.zero_point))
    return _table(results)


def hard_swish_table(source: Quantization, target: Quantization) -> Table:
    """HARD_SWISH: x * relu6(x + 3) / 6 in 16-bit fixed point (`HardSwish` of reference/hard_swish.h).

    Raises:
        ScaleError: The input's scale is 128 times the output's or more, which TFLite refuses too.
    """
    fine = np.float32(1 / 128) * np.float32(source.scale)
    out_multiplier, out_shift = _multiplier16(_quotient(fine, target))
    if out_shift > 0:
        raise ScaleError(f"its input scale {source.scale} is 128 times its output scale {target.scale} or more")
    relu_multiplier, relu_shift = _multiplier16(float(fine / np.float32(3 / 32768)))
    results = []
    for value in VALUES:
        wide = _wrap16((value - source.zero_point) * 128)
        scaled = srdhm(wide, out_multiplier, 15)
        share = wide
        if relu_shift > 0:
            share = _saturate16(share << (relu_shift - 1))
        share = srdhm(share, relu_multiplier, 15)
        if relu_shift > 0:
            share = _saturate16(share << 1)
        share = rounding_divide(share, max(-relu_shift, 0))
        share = (share + (1 << 15)) >> 1
        product = _high_product16(share, scaled)
        results.append(_clip(_wrap16(rounding_divide(product, -out_shift) + target.zero_point)))
    return _table(results)


def _quotient(scale: np.float32, target: Quantization) -> float:
    """What of the output's scale another one is, a float32; infinite where that is too large for one."""
    with np.errstate(over="ignore"):
        return float(scale / np.float32(target.scale))


def _multiplier16(factor: float) -> tuple[int, int]:
    """`QuantizeMultiplier`, then `DownScaleInt32ToInt16Multiplier`."""
    multiplier, shift = quantize_multiplier(factor)
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), shift


def _wrap16(value: int) -> int:
    return (value + (1 << 15)) % (1 << 16) - (1 << 15)


def _saturate16(value: int) -> int:
    return _clip(value, -(1 << 15), (1 << 15) - 1)


def _high_product16(left: int, right: int) -> int:
    """`SaturatingDoublingHighMul`: no rounding; the division truncates."""
    if left == right == -(1 << 15):
        return (1 << 15) - 1
    product = left * right
    return abs(product) // (1 << 15) * (1 if product >= 0 else -1)


TABLES: Mapping[str, Callable[[Quantization, Quantization], Table]] = {
    "RELU": relu_table,
    "RELU6": relu6_table,
    "LOGISTIC": logistic_table,
    "HARD_SWISH": hard_swish_table,
}
"""By kind of operator."""
