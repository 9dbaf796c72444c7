"""Tables of int8 functions: all 256 results of each are TFLite's, over many quantizations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ei_automation.compiler.graph import Quantization
from ei_automation.compiler.tables import (
    exp_float32,
    hard_swish_table,
    logistic_table,
    relu6_table,
    relu_table,
    requantize_table,
)
from tests.compiler.models import ModelBuilder
from tests.compiler.oracle import reference_outputs

FUNCTIONS = {
    "RELU": relu_table,
    "RELU6": relu6_table,
    "LOGISTIC": logistic_table,
    "HARD_SWISH": hard_swish_table,
    "QUANTIZE": requantize_table,
}
ALL_BYTES = np.arange(-128, 128).astype(np.int8)
ZERO_POINTS = (-128, 0, 127, -3, 77)


def reference_table(
    kind: str, source: Quantization, target: Quantization, types: tuple[str, str] = ("int8", "int8")
) -> np.ndarray:
    """What TFLite makes of the bytes of -128 .. 127."""
    build = ModelBuilder()
    start = build.tensor((1, 16, 16, 1), types[0], (source.scale, source.zero_point))
    end = build.tensor((1, 16, 16, 1), types[1], (target.scale, target.zero_point))
    build.operator(kind, [start], end)
    return np.frombuffer(reference_outputs(build.finish(start, end), [ALL_BYTES.tobytes()])[0], np.int8)


def quantization(scale: float, zero_point: int) -> Quantization:
    """With a scale as a file holds it."""
    return Quantization((float(np.float32(scale)),), (zero_point,))


def output_scale(kind: str, scale: float, random: np.random.Generator) -> float:
    """A scale that TFLite takes: LOGISTIC has its own, HARD_SWISH refuses small ones."""
    if kind == "LOGISTIC":
        return 1 / 256
    return scale * float(2.0 ** random.uniform(-6.9 if kind == "HARD_SWISH" else -9, 5))


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_every_result_of_many_scales(kind: str) -> None:
    random = np.random.default_rng(len(kind))
    for number in range(150):
        scale = float(np.float32(2.0 ** random.uniform(-12, 4)))
        if number % 5 == 0:
            scale = float(2.0 ** round(math.log2(scale)))  # products fall on ties
        source = quantization(scale, int(random.choice(ZERO_POINTS)))
        zero_point = -128 if kind == "LOGISTIC" else int(random.choice(ZERO_POINTS))
        target = quantization(output_scale(kind, scale, random), zero_point)
        made = FUNCTIONS[kind](source, target)
        assert made.dtype == np.int8
        np.testing.assert_array_equal(made, reference_table(kind, source, target), f"{kind} {source} {target}")


@pytest.mark.parametrize("types", [("int8", "uint8"), ("uint8", "int8")])
def test_between_signed_and_unsigned_bytes(types: tuple[str, str]) -> None:
    random = np.random.default_rng(5)
    flags = (types[0] == "uint8", types[1] == "uint8")
    shifts = (128 if flags[0] else 0, 128 if flags[1] else 0)
    for number in range(60):
        scale = float(np.float32(2.0 ** random.uniform(-9, 2)))
        factor = 1.0 if number % 3 == 0 else float(2.0 ** random.uniform(-4, 4))
        source = quantization(scale, int(random.choice(ZERO_POINTS)) + shifts[0])
        target = quantization(scale * factor, int(random.choice(ZERO_POINTS)) + shifts[1])
        made = requantize_table(source, target, *flags)
        np.testing.assert_array_equal(made, reference_table("QUANTIZE", source, target, types))


def test_exponential_is_within_its_bound() -> None:
    random = np.random.default_rng(6)
    values = np.concatenate([random.uniform(-87, 88, 4000), random.uniform(-1, 1, 2000)]).astype(np.float32)
    for value in values:
        exact = math.exp(float(value))
        unit = float(np.spacing(np.float32(exact)))
        assert abs(float(exp_float32(float(value))) - exact) <= 0.503 * unit


def test_exponential_at_its_ends() -> None:
    assert exp_float32(0.0) == 1.0
    assert exp_float32(-200.0) == 0.0
    assert exp_float32(-103.9) == np.float32(1.4e-45)
    assert math.isinf(exp_float32(88.8))
    assert math.isinf(exp_float32(1e30))
    below = float(np.float32(88.7))
    assert exp_float32(below) == np.float32(math.exp(below))
