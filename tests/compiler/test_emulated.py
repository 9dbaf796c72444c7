"""Boards' processors in the emulator: the DSP paths of Cortex-M4, M7 and M33, the portable code of M3 and M0+."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.compiler.measure.cores import CORES, find_core
from ei_automation.compiler.toolchain import CCompiler, arm_gcc
from tests.compiler.architectures import LONG, QUICK, architecture
from tests.compiler.emulated import check_emulated
from tests.compiler.harness import MODES, make_cases
from tests.compiler.strategies import OPERATORS, graph_cases, operator_cases
from tests.compiler.test_real_models import STUDIO, VWW, real_cases

WEIGHTED = ("convolution", "padded", "depthwise", "fully_connected", "transpose_conv")
"""The families that have DSP paths."""
QUICK_CORES = ("cortex-m3", "cortex-m4")
REAL_CORES = ("cortex-m3", "cortex-m4", "cortex-m7")


@pytest.mark.parametrize("core", QUICK_CORES)
def test_every_operator_on_a_core(core: str, board_compiler: CCompiler) -> None:
    counts = {family: 3 if family in WEIGHTED and core == "cortex-m4" else 1 for family in OPERATORS}
    cases = [case for family, count in counts.items() for case in operator_cases(family, "int8", count, 200)]
    check_emulated(cases, core, board_compiler)


@pytest.mark.parametrize(
    ("core", "families"), [("cortex-m4f", tuple(OPERATORS)), ("cortex-m7", ("softmax", "unary"))]
)
def test_float32_on_a_core_with_a_floating_point_unit(
    core: str, families: tuple[str, ...], board_compiler: CCompiler
) -> None:
    cases = [case for family in families for case in operator_cases(family, "float32", 1, 200)]
    check_emulated(cases, core, board_compiler)


def test_a_real_fomo_on_a_core(shared_data: Path, board_compiler: CCompiler) -> None:
    cases = real_cases(shared_data, {"balloon": STUDIO["balloon"]}, count=1, modes=["streamed-input"])
    check_emulated(cases, "cortex-m4", board_compiler)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("core", [core.name for core in CORES])
@pytest.mark.parametrize("family", OPERATORS)
def test_an_operator_at_length_on_a_core(family: str, core: str, board_compiler: CCompiler) -> None:
    count = 60 if family in WEIGHTED else 20
    for dtype in ("int8", "float32"):
        check_emulated(operator_cases(family, dtype, count, 201), core, board_compiler)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("core", [core.name for core in CORES])
def test_graphs_at_length_on_a_core(core: str, board_compiler: CCompiler) -> None:
    check_emulated([*graph_cases("int8", 40, 201), *graph_cases("float32", 10, 201)], core, board_compiler)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("family", WEIGHTED)
def test_operators_built_by_gcc_for_arm(family: str, board_compiler: CCompiler) -> None:
    compiler = arm_gcc()
    if compiler is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    for start in (301, 302):
        check_emulated(operator_cases(family, "int8", 60, start), "cortex-m4", compiler)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("name", ["mobilenet_v2_035_96", "fomo_035_96"])
def test_an_architecture_on_a_core(name: str, core: str, board_compiler: CCompiler) -> None:
    pytest.importorskip("tensorflow", reason="the trainer's extra is not installed")
    assert name in LONG | QUICK
    check_emulated(make_cases(name, architecture(name, "int8"), inputs=2), core, board_compiler)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("name", "core"),
    [
        (name, core)
        for name in STUDIO | VWW
        for core in REAL_CORES
        if name != "vww_float" or find_core(core).hard_float
    ],
)
def test_a_real_model_on_a_core(name: str, core: str, shared_data: Path, board_compiler: CCompiler) -> None:
    cases = real_cases(shared_data, {name: (STUDIO | VWW)[name]}, count=2, modes=MODES)
    check_emulated(cases, core, board_compiler)
