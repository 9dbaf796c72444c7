"""The pieces of generated C: what a compiler reads back is what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.compiler.bind.calls import Constant
from ei_automation.compiler.compiling import compile_model
from ei_automation.compiler.emit.blocks import LONGEST, Block, find_blocks
from ei_automation.compiler.emit.kernels import kernel_headers
from ei_automation.compiler.emit.parameters import ConstantPool
from ei_automation.compiler.emit.text import (
    COLUMNS,
    array_lines,
    c_string,
    check_name,
    in_comment,
    integer,
    number,
    packed,
)
from ei_automation.compiler.measure.cores import find_core
from ei_automation.compiler.measure.footprint import measure
from ei_automation.compiler.toolchain import CCompiler
from ei_automation.errors import UsageError
from tests.compiler.harness import C99, CXX17, check_on_host, make_cases
from tests.compiler.net import Net


def unescaped(literal: str) -> bytes:
    """What a C compiler makes of a string literal with octal escapes."""
    assert literal[0] == literal[-1] == '"'
    escaped = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), literal[1:-1])
    return escaped.encode("latin-1")


@given(st.text())
def test_a_string_is_read_back_as_its_utf_8(text: str) -> None:
    literal = c_string(text)
    assert literal.isascii()
    assert "??" not in literal
    assert unescaped(literal) == text.encode()


@given(st.text())
def test_a_comment_cannot_be_left(text: str) -> None:
    plain = in_comment(text)
    assert plain.isascii()
    assert plain.isprintable()
    assert len(plain) <= 80
    assert not any(pair in f"{plain} */"[: len(plain)] for pair in ("*/", "/*", "??"))


@given(st.floats(width=32))
def test_a_float_is_read_back_to_the_bit(value: float) -> None:
    literal = number(value)
    if literal in ("NAN", "INFINITY", "-INFINITY"):
        assert np.isnan(value) or np.isinf(value)
    else:
        assert re.fullmatch(r"-?(\d+\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+)f", literal)
        assert np.float32(literal[:-1]).tobytes() == np.float32(value).tobytes()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-5, "-5"), (2**31 - 1, "2147483647"), (-(2**31), "(-2147483647 - 1)"), (2**31, "2147483648u")],
)
def test_integers_have_a_type_that_holds_them(value: int, text: str) -> None:
    assert integer(value) == text


@given(st.lists(st.integers(-128, 127)))
def test_arrays_are_read_back(values: list[int]) -> None:
    lines = array_lines(np.array(values, np.int8))
    assert [int(word) for line in lines for word in line.split(",") if word.strip()] == values
    assert all(len(line) <= COLUMNS for line in lines)


@given(st.lists(st.integers(-(2**31) + 1, 2**32 - 1)))
def test_arrays_of_wide_integers_are_read_back(values: list[int]) -> None:
    lines = array_lines(np.array(values, np.int64))
    words = [word.strip().rstrip("u") for line in lines for word in line.split(",") if word.strip()]
    assert [int(word) for word in words] == values
    assert all(len(line) <= COLUMNS for line in lines)


def test_arrays_of_floats() -> None:
    assert array_lines(np.array([1.0, -0.5, 1e-20], np.float32)) == ["    1.0f, -0.5f, 1e-20f,"]


@given(st.lists(st.integers(0, 10**30)))
def test_packed_items_keep_their_order(values: list[int]) -> None:
    lines = packed(list(map(str, values)))
    assert [int(word) for line in lines for word in line.split(",") if word.strip()] == values
    assert all(len(line) <= COLUMNS for line in lines)


def unfolded(blocks: list[Block]) -> list[int]:
    """The steps that blocks stand for."""
    return [step for block in blocks for _ in range(block.times) for step in block.steps]


@given(st.lists(st.integers(0, 3), max_size=60))
def test_blocks_stand_for_the_same_steps(steps: list[int]) -> None:
    assert unfolded(find_blocks(steps)) == steps


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(2, 600))
def test_a_rhythm_is_written_once(pattern: list[int], times: int) -> None:
    blocks = find_blocks(pattern * times)
    assert unfolded(blocks) == pattern * times
    assert sum(2 + len(block.steps) for block in blocks) <= 2 * (len(pattern) + 2) + 5 * len(pattern) + 10
    assert all(1 <= block.times <= LONGEST and 1 <= len(block.steps) <= LONGEST for block in blocks)


def test_a_long_schedule_without_a_rhythm_has_blocks_of_a_byte() -> None:
    steps = [int(value) for value in np.random.default_rng(0).integers(0, 200, 1000)]
    blocks = find_blocks(steps)
    assert unfolded(blocks) == steps
    assert max(len(block.steps) for block in blocks) <= LONGEST


def test_equal_constants_are_written_once() -> None:
    pool = ConstantPool()
    one = Constant("table", "int8_t", np.arange(4, dtype=np.int8), alignment=4, comment="why")
    same = Constant("other", "int8_t", np.arange(4, dtype=np.int8), alignment=4)
    wider = Constant("wide", "int32_t", np.arange(4, dtype=np.int32))
    assert list(pool.lines(one, "op0_table")) == [
        "/* why */",
        "static const int8_t ALIGNED(4) op0_table[4] = {",
        "    0,1,2,3,",
        "};",
    ]
    assert list(pool.lines(same, "op1_other")) == []
    assert next(pool.lines(wider, "op1_wide")) == "static const int32_t op1_wide[4] = {"
    assert (pool.name(same), pool.name(wider), pool.bytes) == ("op0_table", "op1_wide", 20)


def test_kernel_headers_bring_what_they_include() -> None:
    headers = kernel_headers(["nn_mean_s8.h"])
    assert list(headers) == sorted(headers)
    assert {"nn_types.h", "nn_requantize.h", "nn_mean_s8.h"} <= set(headers)
    included = {name for content in headers.values() for name in re.findall(rb'#include "([^"]+)"', content)}
    assert {name.decode() for name in included} <= set(headers)


@pytest.mark.parametrize("name", ["model", "Model2", "my_model", "a"])
def test_names_that_can_begin_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "2d",
        "a-b",
        "int",
        "class",
        "main",
        "_model",
        "a__b",
        "nn_conv",
        "nn",
        "NN_x",
        "é",
        "a b",
        "x\n",
        "x" * 60,
        "string",
        "stdint",
        "MATH",
        "Features",
    ],
)
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_name(name)
    assert "choose a name" in caught.value.hint


def with_infinities() -> bytes:
    """A border of minus infinity around a float32 image, and around that one of no number."""
    net = Net(0)
    image = net.value((1, 4, 6, 3), "float32")
    value = image
    for border in (-np.inf, np.nan):
        _, height, width, channels = value.shape
        wider, filled = (
            net.like(value, (1, height + 2, width + 2, channels)),
            net.value((), "float32", data=border),
        )
        sides = net.integers([(0, 0), (1, 1), (1, 1), (0, 0)])
        value = net.apply("PADV2", [value, sides, filled], wider)
    return net.build.finish(image.index, value.index)


@pytest.mark.parametrize("language", [C99, CXX17])
@pytest.mark.parametrize("position", [0, 1])
def test_infinities_compile_without_a_warning(
    language: tuple[str, ...], position: int, installed_compilers: list[CCompiler], tmp_path: Path
) -> None:
    if position >= len(installed_compilers):
        pytest.skip(f"of gcc and clang only {installed_compilers[0].name} is installed")
    cases = make_cases("border", with_infinities(), modes=["planned"])
    check_on_host(cases, installed_compilers[position], tmp_path, (*language, "-O1"))


def test_infinities_need_no_library(board_compiler: CCompiler) -> None:
    """zig brings no math.h for bare metal."""
    found = measure(compile_model(with_infinities()), find_core("cortex-m4"), compiler=board_compiler)
    values = np.frombuffer(found.output, np.float32).reshape(8, 10, 3)
    assert np.isnan(values[0]).all()
    assert np.isneginf(values[1, 1:-1]).all()
    assert np.isfinite(values[2:-2, 2:-2]).all()
