"""From sums to bytes, densely: every int8 value through channels of every multiplier, shift and bias.

One pixel for each of the 256 values, one channel, and weights that make a thousand different channels of it: sums
near every step of the output, at rounding ties, with biases up to the ends of int32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.toolchain import CCompiler
from tests.compiler.emulated import check_emulated
from tests.compiler.harness import Case, check_on_host, make_cases
from tests.compiler.models import ModelBuilder

CHANNELS = 1000
KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
IMAGE = np.arange(-128, 128).astype(np.int8)


def channels(random: np.random.Generator, *, dyadic: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers, weights and biases: each sum is within what the output shows, where the bias reaches that far.

    Args:
        random: Draws.
        dyadic: Multipliers have few bits, so that sums fall on ties.
    """
    exponents = random.integers(-33, 3, CHANNELS).astype(np.float64)
    bits = random.choice([0, 1, 2, 5, 8, 12], CHANNELS) if dyadic else np.full(CHANNELS, 23)
    mantissas = 1 + np.floor(random.random(CHANNELS) * 2.0**bits) / 2.0**bits
    multipliers = (mantissas * 2.0**exponents).astype(np.float32)
    weights = random.integers(-128, 128, CHANNELS)
    aim = random.uniform(-150, 150, CHANNELS) / multipliers
    biases = np.clip(np.round(aim), -(2**31) + 2**16, 2**31 - 2**16).astype(np.int64)
    return multipliers, weights, biases


def model(kind: str, seed: int, *, dyadic: bool, activation: str, per_channel: bool = True) -> bytes:
    """An operator over the 256 pixels."""
    random = np.random.default_rng(seed)
    multipliers, weights, biases = channels(random, dyadic=dyadic)
    scale_in, scale_out = (1.0, 1.0) if dyadic else (0.0235, 0.0371)
    zero_in, zero_out = (int(value) for value in random.integers(-128, 128, 2))
    build = ModelBuilder()
    source = build.tensor((1, 16, 16, 1), "int8", (scale_in, zero_in))
    target = build.tensor((1, 16, 16, CHANNELS), "int8", (scale_out, zero_out))
    scales = [float(np.float32(factor * scale_out / scale_in)) for factor in multipliers]
    if not per_channel:
        scales = scales[:1]
        biases = np.round(random.uniform(-150, 150, CHANNELS) / multipliers[0]).clip(-(2**30), 2**30)
    dense = kind == "FULLY_CONNECTED"
    depthwise = kind == "DEPTHWISE_CONV_2D"
    shape = (CHANNELS, 1) if dense else (1, 1, 1, CHANNELS) if depthwise else (CHANNELS, 1, 1, 1)
    filters = build.tensor(shape, "int8", (scales, 0), weights, axis=3 if depthwise else 0)
    bias = build.tensor((CHANNELS,), "int32", ([scale * scale_in for scale in scales], 0), biases)
    options = {"keepNumDims": True} if dense else {"strideH": 1, "strideW": 1}
    options |= {"depthMultiplier": CHANNELS} if depthwise else {}
    build.operator(kind, [source, filters, bias], target, activation=activation, **options)
    return build.finish(source, target)


def dense_cases(kind: str, seeds: range) -> list[Case]:
    """Networks of one kind: with and without ties, with and without an activation."""
    return [
        case
        for seed in seeds
        for case in make_cases(
            f"dense_{kind.lower()}_{seed}",
            model(kind, seed, dyadic=seed % 2 == 0, activation=("none", "relu")[seed // 2 % 2]),
            note=f"seed {seed}",
            modes=["planned"],
            inputs=0,
            given=(IMAGE.tobytes(),),
        )
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_a_thousand_channels(kind: str, host: CCompiler, tmp_path: Path) -> None:
    check_on_host(dense_cases(kind, range(4)), host, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_on_a_core_with_dsp(kind: str, board_compiler: CCompiler) -> None:
    check_emulated(dense_cases(kind, range(2)), "cortex-m4", board_compiler)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_many_more(kind: str, host: CCompiler, board_compiler: CCompiler, tmp_path: Path) -> None:
    for start in range(4, 84, 8):
        check_on_host(dense_cases(kind, range(start, start + 8)), host, tmp_path)
    check_emulated(dense_cases(kind, range(84, 92)), "cortex-m3", board_compiler)
    check_emulated(dense_cases(kind, range(92, 100)), "cortex-m7", board_compiler)
