"""The generated code is C99 and C++17, without a warning from gcc or clang, and exports its interface alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ei_automation.compiler.compiling import CompileOptions, compile_model
from ei_automation.compiler.toolchain import CCompiler, build
from ei_automation.schema.deployment import Memory
from tests.compiler.filters import Conv
from tests.compiler.harness import BARE, C99, CXX17, MODES, check_on_host
from tests.compiler.networks import Network
from tests.compiler.strategies import OPERATORS, operator_cases

LANGUAGES = {"c99": C99, "c++17": CXX17}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("position", [0, 1])
def test_it_compiles_without_a_warning(
    position: int, language: str, installed_compilers: list[CCompiler], tmp_path: Path
) -> None:
    if position >= len(installed_compilers):
        pytest.skip(f"of gcc and clang only {installed_compilers[0].name} is installed")
    cases = [case for family in OPERATORS for case in operator_cases(family, "int8", 1, 400)]
    cases += [case for family in OPERATORS for case in operator_cases(family, "float32", 1, 400)]
    flags = [*LANGUAGES[language], "-O1"]
    check_on_host(cases, installed_compilers[position], tmp_path, flags)


@pytest.mark.parametrize("memory", MODES)
def test_it_exports_its_interface_and_nothing_else(memory: Memory, host: CCompiler) -> None:
    elftools = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")
    network = Network((9, 7, 3), (Conv(), Conv(multiplier=1)))
    options = CompileOptions(memory=memory, name="leaf", labels=("a", "b", "c", "d"))
    files = compile_model(network.model(), options).files
    content = build(host, files, [*C99, *BARE, "-c", "leaf.c"], "leaf.o")
    table = elftools.ELFFile(io.BytesIO(content)).get_section_by_name(".symtab")
    exported = {
        symbol.name
        for symbol in table.iter_symbols()
        if symbol["st_info"]["bind"] == "STB_GLOBAL" and symbol["st_shndx"] != "SHN_UNDEF"
    }
    expected = {"leaf_invoke", "leaf_labels"} | ({"leaf_input"} if memory != "streamed-input" else set())
    assert exported == expected


def test_the_same_model_gives_the_same_files() -> None:
    model = Network((9, 7, 3), (Conv(), Conv(multiplier=1))).model()
    assert dict(compile_model(model).files) == dict(compile_model(model).files)
