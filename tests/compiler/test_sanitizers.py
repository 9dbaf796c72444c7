"""No undefined behaviour and no byte out of bounds: AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.compiler.toolchain import CCompiler, build
from ei_automation.errors import JobFailedError
from tests.compiler.architectures import QUICK, architecture
from tests.compiler.harness import SANITIZED, check_on_host, make_cases
from tests.compiler.strategies import OPERATORS, graph_cases, operator_cases


@pytest.fixture(scope="module")
def sanitizing(installed_compilers: list[CCompiler]) -> CCompiler:
    """gcc or clang with the sanitizers' libraries."""
    for compiler in installed_compilers:
        try:
            build(compiler, {"main.c": b"int main(void) { return 0; }"}, [*SANITIZED, "main.c"], "program")
        except JobFailedError:
            continue
        return compiler
    pytest.skip("neither gcc nor clang has the sanitizers' libraries here")


def test_operators_and_graphs(sanitizing: CCompiler, tmp_path: Path) -> None:
    cases = [case for family in OPERATORS for case in operator_cases(family, "int8", 1, start=100)]
    cases += graph_cases("int8", 3, start=100) + graph_cases("float32", 1, start=100)
    check_on_host(cases, sanitizing, tmp_path, SANITIZED)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("start", range(101, 105))
def test_more_operators_and_graphs(start: int, sanitizing: CCompiler, tmp_path: Path) -> None:
    for dtype in ("int8", "float32"):
        cases = [case for family in OPERATORS for case in operator_cases(family, dtype, 8, start)]
        check_on_host([*cases, *graph_cases(dtype, 30, start)], sanitizing, tmp_path, SANITIZED)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", QUICK)
def test_an_architecture(name: str, sanitizing: CCompiler, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="the trainer's extra is not installed")
    cases = [
        case for dtype in ("int8", "float32") for case in make_cases(f"{name}_{dtype}", architecture(name, dtype))
    ]
    check_on_host(cases, sanitizing, tmp_path, SANITIZED)
