"""The harness sees what it must see: a wrong byte, a stopped program, a kernel that differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ei_automation.compiler.toolchain import CCompiler
from tests.compiler.emulated import build_emulated, run_emulated
from tests.compiler.filters import Conv
from tests.compiler.harness import Case, build_host, check_on_host, differences, make_cases, run_host
from tests.compiler.networks import Network
from tests.compiler.strategies import OPERATORS, examples, networks

NETWORK = Network((5, 4, 3), (Conv(), Conv(multiplier=1)))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return make_cases("small", NETWORK.model(), note=repr(NETWORK))


def test_a_wrong_byte_is_named(cases: list[Case], host: CCompiler, tmp_path: Path) -> None:
    expected = list(cases[1].expected)
    expected[2] = expected[2][:7] + bytes([expected[2][7] ^ 1]) + expected[2][8:]
    spoiled = [cases[0], replace(cases[1], expected=tuple(expected)), cases[2]]
    with pytest.raises(AssertionError, match=r"1 of 3.*\n.*small_s .*input 2: 1 of 80 values.*first at 7"):
        check_on_host(spoiled, host, tmp_path)


def test_a_program_that_stops_is_named(cases: list[Case], host: CCompiler, tmp_path: Path) -> None:
    program = build_host(cases, host)
    short = [cases[0], replace(cases[1], inputs=cases[1].inputs[:1])]
    with pytest.raises(AssertionError, match=r"stopped in small_s: Network\("):
        run_host(program, short, tmp_path)


def test_the_emulated_core_reads_the_inputs(cases: list[Case], board_compiler: CCompiler) -> None:
    turned = [replace(case, inputs=case.inputs[::-1]) for case in cases]
    made = run_emulated(build_emulated(turned, "cortex-m4", board_compiler), turned, "cortex-m4")
    assert made == [case.expected[::-1] for case in cases]
    assert len(differences(cases, made)) == 3


@pytest.mark.parametrize("family", OPERATORS)
def test_examples_are_the_same_in_every_run_and_differ(family: str) -> None:
    found = examples(networks(OPERATORS[family]), 12)
    assert found == examples(networks(OPERATORS[family]), 12)
    assert len({network.model() for network in found}) == 12
    assert found != examples(networks(OPERATORS[family]), 12, 1)
