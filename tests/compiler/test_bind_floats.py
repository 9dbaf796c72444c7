"""float32: how operators with weights are laid out, and values at which float arithmetic is easily wrong."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.bind import bind_operator
from ei_automation.compiler.bind.calls import KernelCall, all_rows, same_rows
from ei_automation.compiler.bind.operands import float_limits
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.tables import exp_float32
from ei_automation.compiler.toolchain import CCompiler, build
from tests.compiler.harness import Case, check_on_host, make_cases
from tests.compiler.models import ModelBuilder
from tests.compiler.oracle import reference_outputs

KERNELS = Path(__file__).parents[2] / "ei_automation" / "compiler" / "kernels"
SPECIAL = np.array(
    [
        *(
            0.0,
            -0.0,
            1e-45,
            -1e-45,
            1e-38,
            3e38,
            -3e38,
            np.inf,
            -np.inf,
            0.49999997,
            -0.49999997,
            0.5,
            -0.5,
            1.5,
            2.5,
        ),
        *(
            -2.5,
            16.619,
            16.6191,
            17,
            -9,
            -9.0001,
            -88,
            -104,
            88.7,
            89,
            6,
            5.9999995,
            -3,
            -2.9999998,
            126.5,
            127.5,
            4,
        ),
    ],
    np.float32,
)


def special_inputs(case: Case) -> Case:
    """The case with zeros of both signs, the smallest and largest numbers, ties and ends of approximations."""
    given = (SPECIAL.tobytes(),)
    return replace(case, inputs=given, expected=reference_outputs(case.model, given))


def unary(kind: str, output: tuple[str, tuple[float, int] | None] = ("float32", None)) -> bytes:
    """One operator over as many values as `SPECIAL` has."""
    build_model = ModelBuilder()
    start = build_model.tensor((1, 4, 4, 2), "float32")
    end = build_model.tensor((1, 4, 4, 2), *output)
    build_model.operator(kind, [start], end)
    return build_model.finish(start, end)


def arithmetic(kind: str, activation: str) -> bytes:
    """The input and a constant pair."""
    build_model = ModelBuilder()
    start, end = build_model.tensor((1, 4, 4, 2), "float32"), build_model.tensor((1, 4, 4, 2), "float32")
    constant = build_model.tensor((2,), "float32", data=[-0.0, 3e38])
    build_model.operator(kind, [start, constant], end, activation=activation)
    return build_model.finish(start, end)


def test_special_values(host: CCompiler, tmp_path: Path) -> None:
    models = {kind.lower(): unary(kind) for kind in ("RELU", "RELU6", "LOGISTIC", "HARD_SWISH")}
    for kind in ("ADD", "SUB", "MUL"):
        for activation in ("none", "relu", "relu6", "relu_n1_to_1"):
            models[f"{kind}_{activation}".lower()] = arithmetic(kind, activation)
    cases = [special_inputs(make_cases(name, model, modes=["planned"])[0]) for name, model in models.items()]
    check_on_host(cases, host, tmp_path)


def test_quantize_rounds_halves_away_and_saturates(host: CCompiler, tmp_path: Path) -> None:
    content = unary("QUANTIZE", ("int8", (1.0, 3)))
    case = special_inputs(make_cases("quantize", content, modes=["planned"])[0])
    steps = np.clip(np.where(SPECIAL < 0, np.ceil(SPECIAL - 0.5), np.floor(SPECIAL + 0.5)) + 3, -128, 127)
    steps[np.abs(SPECIAL) == np.float32(0.49999997)] = 3
    wanted = steps.astype(np.int8)
    # Beyond 2**31 steps the reference's conversion is undefined; the kernel saturates.
    defined = np.abs(SPECIAL) < 2**31
    np.testing.assert_array_equal(np.frombuffer(case.expected[0], np.int8)[defined], wanted[defined])
    check_on_host([replace(case, expected=(wanted.tobytes(),))], host, tmp_path)


def call(content: bytes) -> KernelCall:
    """The call of the last operator."""
    graph = read_graph(content)
    return bind_operator(graph, graph.operators[-1])


def dense(shape: tuple[int, ...], weights: np.ndarray, output: tuple[int, ...]) -> bytes:
    """One FULLY_CONNECTED without a bias."""
    build_model = ModelBuilder()
    start, end = build_model.tensor(shape, "float32"), build_model.tensor(output, "float32")
    filters = build_model.tensor(weights.shape, "float32", data=weights)
    build_model.operator("FULLY_CONNECTED", [start, filters, -1], end, keepNumDims=len(output) == 4)
    return build_model.finish(start, end)


def test_weights_lie_in_fours_of_outputs() -> None:
    weights = np.arange(10, dtype=np.float32).reshape(5, 2)
    values = {constant.name: constant.values for constant in call(dense((1, 2), weights, (1, 5))).constants}
    fours = values["weights"].reshape(2, 2, 4)  # block, tap, one of the four
    np.testing.assert_array_equal(fours[0], [[0, 2, 4, 6], [1, 3, 5, 7]])
    np.testing.assert_array_equal(fours[1], [[8, 0, 0, 0], [9, 0, 0, 0]])
    np.testing.assert_array_equal(values["bias"], np.zeros(8))


def test_a_dense_layer_on_each_pixel_streams() -> None:
    weights = np.ones((3, 4), np.float32)
    bound = call(dense((1, 2, 5, 4), weights, (1, 2, 5, 3)))
    assert (bound.streaming, bound.needs) == ("rows", (same_rows(2),))
    bound = call(dense((1, 1, 2, 2), weights, (1, 3)))
    assert (bound.streaming, bound.needs) == ("whole", (all_rows(1, 1),))


def test_without_activation_infinities_become_the_largest_floats() -> None:
    low, high = float_limits("none")
    assert high == float(np.finfo(np.float32).max) == -low
    assert float_limits("relu6") == (0.0, 6.0)


@pytest.fixture(scope="module")
def exponential(host: CCompiler, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], float]:
    """nn_exp_f32, compiled."""
    source = (
        b'#include "nn_exp_f32.h"\nfloat nn_test(float x);\nfloat nn_test(float x) { return nn_exp_f32(x); }\n'
    )
    files = {name: (KERNELS / name).read_bytes() for name in ("nn_exp_f32.h", "nn_float.h", "nn_types.h")}
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "exp.c"]
    path = tmp_path_factory.mktemp("exp") / "exp.so"
    path.write_bytes(build(host, {**files, "exp.c": source}, flags, "exp.so"))
    function = ctypes.CDLL(str(path)).nn_test
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return function


def test_the_exponential_in_c_is_the_one_in_python(exponential: Callable[[float], float]) -> None:
    random = np.random.default_rng(8)
    for value in (*SPECIAL, *random.uniform(-110, 95, 20000).astype(np.float32)):
        assert np.float32(exponential(float(value))).tobytes() == exp_float32(float(value)).tobytes(), value
    assert np.isnan(exponential(float("nan")))
