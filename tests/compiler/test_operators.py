"""Every operator, and small graphs of them: each output byte is TFLite's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.compiler.toolchain import CCompiler
from tests.compiler.harness import check_on_host
from tests.compiler.strategies import OPERATORS, graph_cases, operator_cases

QUICK = {"int8": 4, "float32": 2}
"""Networks of each family in every run."""
QUICK_GRAPHS = {"int8": 6, "float32": 3}
LONG_BATCH, LONG_BATCHES = 60, 4


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_every_operator(dtype: str, host: CCompiler, tmp_path: Path) -> None:
    cases = [case for family in OPERATORS for case in operator_cases(family, dtype, QUICK[dtype])]
    check_on_host(cases, host, tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_small_graphs(dtype: str, host: CCompiler, tmp_path: Path) -> None:
    check_on_host(graph_cases(dtype, QUICK_GRAPHS[dtype]), host, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("family", OPERATORS)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_an_operator_at_length(family: str, dtype: str, host: CCompiler, tmp_path: Path) -> None:
    for start in range(1, LONG_BATCHES + 1):
        check_on_host(operator_cases(family, dtype, LONG_BATCH, start), host, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("start", range(1, 9))
def test_graphs_at_length(start: int, host: CCompiler, tmp_path: Path) -> None:
    check_on_host(graph_cases("int8", 40, start), host, tmp_path)
    check_on_host(graph_cases("float32", 15, start), host, tmp_path)
