"""The trainer's networks, int8 and float32, in every memory mode: each output byte is TFLite's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.compiler.toolchain import CCompiler
from tests.compiler.architectures import LONG, QUICK, architecture
from tests.compiler.harness import check_on_host, make_cases

pytest.importorskip("tensorflow", reason="the trainer's extra is not installed")


@pytest.mark.parametrize("name", QUICK)
def test_a_small_architecture(name: str, host: CCompiler, tmp_path: Path) -> None:
    check_on_host(make_cases(name, architecture(name, "int8")), host, tmp_path)


def test_float32_architectures_streamed(host: CCompiler, tmp_path: Path) -> None:
    cases = [
        case for name in QUICK for case in make_cases(name, architecture(name, "float32"), modes=["streamed"])
    ]
    check_on_host(cases, host, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("name", LONG)
def test_a_large_architecture(name: str, dtype: str, host: CCompiler, tmp_path: Path) -> None:
    check_on_host(make_cases(f"{name}_{dtype}", architecture(name, dtype), inputs=6), host, tmp_path, ("-O2",))
