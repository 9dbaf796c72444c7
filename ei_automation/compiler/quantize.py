"""The numbers of quantization, exactly as TFLite's reference prepares them.

Scales in the file are float32; which product is taken in float32 and which in double decides the last bit of a
multiplier, and with it bytes of the output. Each function names the function of TFLite that it agrees with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.graph import Activation, Quantization

INT8_RANGE = (-128, 127)
UINT8_RANGE = (0, 255)
BIAS_SCALE_TOLERANCE = 0.02
"""How far a bias's scale may be from input scale x filter scale, in steps of the output (kernel_util.cc)."""


LARGEST_LEFT_SHIFT = 30
"""Of a requantization; beyond it the reference overflows before it multiplies."""


class ScaleError(ValueError):
    """Scales that are too far apart for the reference's arithmetic; the message is a sentence for people."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """A factor as a 31-bit integer and a shift: real = multiplier * 2**(shift - 31).

    `QuantizeMultiplier` of quantization_util.cc: what is below 2**-32 becomes zero.

    Args:
        real: The factor, a double.

    Returns:
        Multiplier in 2**30..2**31 - 1 (or 0; negative for a negative factor), shift in -31..; left is positive.

    Raises:
        ScaleError: The factor is not finite.
    """
    if not math.isfinite(real):
        raise ScaleError("its output scale is too small for its input's: their quotient is no finite number")
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    fixed = round_half_away(mantissa * 2**31)
    if fixed == 1 << 31:
        fixed, shift = fixed // 2, shift + 1
    return (0, 0) if shift < -31 else (fixed, shift)


def rescale_factor(real: float) -> tuple[int, int]:
    """`quantize_multiplier` of a factor between scales, by which the reference can multiply.

    Raises:
        ScaleError: The factor is not finite or needs a left shift of more than `LARGEST_LEFT_SHIFT`.
    """
    multiplier, shift = quantize_multiplier(real)
    if shift > LARGEST_LEFT_SHIFT:
        raise ScaleError(f"its output scale is too small for its input's: the factor between them is {real:.3g}")
    return multiplier, shift


def round_half_away(value: float) -> int:
    """The nearest integer, halves away from zero, as C's `round`; exact for |value| below 2**51."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def channel_multipliers(
    input_scale: float, filter_scales: Sequence[float], output_scale: float, *, channels: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Multiplier and shift of each output channel of a convolution.

    `PopulateConvolutionQuantizationParams` of kernel_util.cc: all three scales widened to double before they meet.

    Args:
        input_scale: Of the input.
        filter_scales: One, or one an output channel.
        output_scale: Of the output.
        channels: Output channels.
    """
    scales = list(filter_scales) * channels if len(filter_scales) == 1 else filter_scales
    pairs = [quantize_multiplier(input_scale * scale / output_scale) for scale in scales]
    return np.array([pair[0] for pair in pairs], np.int32), np.array([pair[1] for pair in pairs], np.int32)


def bias_scale_matches(bias_scale: float, input_scale: float, filter_scale: float, *, output_scale: float) -> bool:
    """Whether a bias may be added to the products as it is; `GetQuantizedConvolutionMultipler` refuses others."""
    return abs(input_scale * filter_scale - bias_scale) / output_scale <= BIAS_SCALE_TOLERANCE


def quantize_value(real: float, quantization: Quantization) -> int:
    """The integer of a real number, not clipped; the quotient is a float32, halves go away from zero.

    Raises:
        ScaleError: It is no 32-bit integer (TFLite refuses it too).
    """
    with np.errstate(all="ignore"):
        steps = np.float32(real) / np.float32(quantization.scale)
    if not abs(steps) < 2**31:
        raise ScaleError(f"{real} is not representable at a scale of {quantization.scale}")
    return quantization.zero_point + round_half_away(float(steps))


def activation_range(
    activation: Activation, quantization: Quantization, limits: tuple[int, int] = INT8_RANGE
) -> tuple[int, int]:
    """Lowest and highest integer that a fused activation lets pass.

    `CalculateActivationRangeQuantized` of kernel_util.cc.

    Args:
        activation: The fused activation.
        quantization: Of the output.
        limits: Of the output's type.

    Raises:
        ValueError: A bound of the activation is no 32-bit integer at the output's scale.
    """
    low, high = limits
    if activation in ("relu", "relu6"):
        low = max(low, quantize_value(0.0, quantization))
    if activation == "relu6":
        high = min(high, quantize_value(6.0, quantization))
    if activation == "relu_n1_to_1":
        low = max(low, quantize_value(-1.0, quantization))
        high = min(high, quantize_value(1.0, quantization))
    return low, high


def accumulator_range(
    weights: NDArray[np.int8], bias: NDArray[np.int32] | None, input_zero_point: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lowest and highest sum that any int8 input can give, for each output channel.

    Holds for windows that hang over the edge too: a padded pixel adds 0, which lies in the range of every product.

    Args:
        weights: int8, (outputs, taps).
        bias: int32, (outputs,), or None for zeros.
        input_zero_point: Of the input; products are weight * (input - zero point).
    """
    wide = weights.astype(np.int64)
    positive = np.where(wide > 0, wide, 0).sum(axis=1)
    negative = np.where(wide < 0, wide, 0).sum(axis=1)
    lowest, highest = INT8_RANGE[0] - input_zero_point, INT8_RANGE[1] - input_zero_point
    start = np.zeros(len(wide), np.int64) if bias is None else bias.astype(np.int64)
    return start + positive * lowest + negative * highest, start + positive * highest + negative * lowest
