"""SOFTMAX, int8: its fixed point numbers, and every difference of two values against TFLite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.bind import bind_operator
from ei_automation.compiler.bind.calls import KernelCall, same_rows
from ei_automation.compiler.compiling import CompileOptions, compile_model
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.toolchain import CCompiler
from ei_automation.errors import VerificationError
from tests.compiler.harness import Case, check_on_host, make_cases
from tests.compiler.models import ModelBuilder


def model(
    scale: float,
    *,
    beta: float = 1.0,
    shape: tuple[int, ...] = (1, 16, 16, 3),
) -> bytes:
    """One softmax."""
    build = ModelBuilder()
    start, end = build.tensor(shape, "int8", (scale, 5)), build.tensor(shape, "int8", (1 / 256, -128))
    build.operator("SOFTMAX", [start], end, beta=beta)
    return build.finish(start, end)


def call(content: bytes) -> KernelCall:
    """Its call."""
    graph = read_graph(content)
    return bind_operator(graph, graph.operators[0])


def test_each_pixel_is_its_own_so_that_it_streams() -> None:
    bound = call(model(0.1))
    assert (bound.streaming, bound.needs, bound.in_place) == ("rows", (same_rows(16),), (0,))
    values = {field.name: field.value for field in bound.fields}
    assert (values["pixels"], values["channels"]) == (16, 3)


def test_scores_of_a_classifier_are_one_pixel() -> None:
    values = {field.name: field.value for field in call(model(0.1, shape=(1, 7))).fields}
    assert (values["pixels"], values["channels"]) == (1, 7)


def test_numbers_of_a_known_scale() -> None:
    # 0.125 * 2**26 = 2**23: a mantissa of one half and a shift of 24; 31 * 2**26 / 2**24 = 124 steps down.
    values = {field.name: field.value for field in call(model(0.125)).fields}
    assert (values["multiplier"], values["shift"], values["lowest"]) == (1 << 30, 24, -124)


def test_a_scale_beyond_fixed_point_is_refused() -> None:
    with pytest.raises(VerificationError, match="too small for a softmax"):
        call(model(1e-9))


def test_scores_are_tflites_over_many_scales(host: CCompiler, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    cases = []
    for number in range(24):
        scale, channels = float(np.float32(2.0 ** random.uniform(-12, 3))), int(random.choice([1, 2, 3, 10, 100]))
        content = model(scale, beta=float(random.choice([1.0, 0.3])), shape=(1, 16, 16, channels))
        cases += make_cases(f"softmax{number}", content, note=f"{scale} {channels}", modes=["planned"], inputs=4)
    check_on_host(cases, host, tmp_path)


@pytest.mark.parametrize(("channels", "likeliest"), [(511, -127), (512, -128), (2000, -128), (4095, -128)])
def test_many_equal_scores_are_all_improbable(
    channels: int, likeliest: int, host: CCompiler, tmp_path: Path
) -> None:
    """From 512 on each is half a step or less; TFLite then wants to shift by 32 bits, and stops."""
    content, scores = model(0.1, shape=(1, channels)), np.full(channels, 5, np.int8).tobytes()
    compiled = compile_model(content, CompileOptions(memory="planned", name="equal"))
    expected = np.full(channels, likeliest, np.int8).tobytes()
    case = Case("equal", content, "planned", (scores,), (expected,), f"{channels} equal scores", compiled)
    check_on_host([case], host, tmp_path)


def test_more_channels_than_a_sum_can_hold_are_refused() -> None:
    assert call(model(0.1, shape=(1, 4095))).function == "nn_softmax_s8"
    with pytest.raises(VerificationError, match="4096 channels; the sum of 4096 overflows"):
        call(model(0.1, shape=(1, 4096)))
