"""Footprints: exact, the same every time, and of the model alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.compiler.measure.cores import CORES, Core, find_core
from ei_automation.compiler.measure.counting import count_instructions, native_function
from ei_automation.compiler.measure.emulator import STACK_BYTES
from ei_automation.compiler.measure.footprint import Footprint, measure
from ei_automation.compiler.measure.program import build_program, noise
from ei_automation.compiler.measure.qemu import INSTRUCTIONS_PER_TICK, second_opinion
from ei_automation.compiler.toolchain import CCompiler, arm_gcc, host_compiler
from ei_automation.errors import JobFailedError, SettingsError, UsageError
from ei_automation.schema.deployment import MEMORY_MODES, Memory
from tests.compiler.models import ModelBuilder
from tests.compiler.oracle import reference_outputs

M4 = find_core("cortex-m4")
SIDE, CHANNELS, CLASSES = 12, 8, 4


def small_model() -> bytes:
    """A convolution and a dense layer, int8, of random weights."""
    rng = np.random.default_rng(5)
    builder = ModelBuilder()
    image = builder.tensor((1, SIDE, SIDE, 3), "int8", (1 / 255, -128))
    weights = rng.integers(-127, 128, (CHANNELS, 3, 3, 3))
    filters = builder.tensor(weights.shape, "int8", ([0.005] * CHANNELS, 0), weights)
    bias = builder.tensor((CHANNELS,), "int32", ([0.005 / 255] * CHANNELS, 0), rng.integers(-9000, 9000, CHANNELS))
    features = builder.tensor((1, SIDE // 2, SIDE // 2, CHANNELS), "int8", (0.02, -128))
    builder.operator(
        "CONV_2D", (image, filters, bias), features, strideH=2, strideW=2, padding=0, activation="relu"
    )
    dense = rng.integers(-127, 128, (CLASSES, SIDE // 2 * SIDE // 2 * CHANNELS))
    matrix = builder.tensor(dense.shape, "int8", (0.004, 0), dense)
    scores = builder.tensor((1, CLASSES), "int8", (0.1, 3))
    builder.operator("FULLY_CONNECTED", (features, matrix, -1), scores)
    return builder.finish(image, scores)


MODEL = small_model()


def compiled_model(memory: Memory = "streamed") -> CompiledModel:
    return compile_model(MODEL, CompileOptions(memory=memory, name="small"))


def by_hand(body: str, declarations: str = "") -> CompiledModel:
    """The small model with another .c file, in which `small_invoke` does what the test says."""
    source = f"""
        #include "small.h"
        #include <string.h>
        static small_input_t image[SMALL_INPUT_COUNT];
        {declarations}
        small_input_t *small_input(void) {{ return image; }}
        int small_invoke(const small_input_t *input, small_output_t *output) {{
            (void)input;
            {body}
            output[0] = 1;
            return 0;
        }}
    """
    compiled = compiled_model()
    files: Mapping[str, bytes] = {**compiled.files, "small.c": source.encode()}
    return replace(compiled, files=files)


@pytest.fixture(scope="module")
def plain(board_compiler: CCompiler) -> Footprint:
    return measure(by_hand(""), M4, compiler=board_compiler)


@pytest.mark.parametrize("memory", MEMORY_MODES)
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m7"])
def test_tflites_bytes_and_the_same_figures_twice(core: str, memory: Memory, board_compiler: CCompiler) -> None:
    compiled = compiled_model(memory)
    first, second = (measure(compiled, find_core(core), compiler=board_compiler) for _ in range(2))
    assert first == second
    assert (first.output,) == reference_outputs(MODEL, [noise(compiled)])
    assert first.arena_bytes <= first.ram_bytes < first.arena_bytes + 64
    assert compiled.constant_bytes < first.flash_bytes < compiled.constant_bytes + 12_000
    assert 0 < first.code_bytes < first.flash_bytes
    assert 16 <= first.stack_bytes < 2048
    assert first.instructions == sum(dict(first.functions).values())
    multiplications = (SIDE // 2) ** 2 * CHANNELS * (27 + CLASSES)
    assert 0.5 * multiplications < first.instructions < 20 * multiplications


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.name)
def test_every_core_runs_the_model(core: Core, board_compiler: CCompiler) -> None:
    compiled = compiled_model()
    found = build_program(compiled, core, compiler=board_compiler).run(noise(compiled), counted=False)
    assert (found.output,) == reference_outputs(MODEL, [noise(compiled)])
    assert found.instructions == 0
    assert found.stack_bytes > 0


def test_a_constant_is_flash(plain: Footprint, board_compiler: CCompiler) -> None:
    table = "static const volatile unsigned char table[1000] = {1};"
    found = measure(
        by_hand("output[0] = (small_output_t)table[input[0] & 3];", table), M4, compiler=board_compiler
    )
    assert found.flash_bytes - found.code_bytes - (plain.flash_bytes - plain.code_bytes) == 1000
    assert found.ram_bytes == plain.ram_bytes


def test_a_zeroed_array_is_ram_and_an_initialised_one_is_both(plain: Footprint, board_compiler: CCompiler) -> None:
    zeroed = measure(by_hand("scratch[0] = 1;", "static volatile int scratch[250];"), M4, compiler=board_compiler)
    assert zeroed.ram_bytes - plain.ram_bytes == 1000
    assert zeroed.flash_bytes - zeroed.code_bytes == plain.flash_bytes - plain.code_bytes
    filled = measure(by_hand("state[0]++;", "static volatile int state[250] = {1};"), M4, compiler=board_compiler)
    assert filled.ram_bytes - plain.ram_bytes == 1000
    assert filled.flash_bytes - filled.code_bytes - (plain.flash_bytes - plain.code_bytes) == 1000


def test_the_stack_is_what_was_written_of_it(plain: Footprint, board_compiler: CCompiler) -> None:
    body = "volatile char deep[1000]; for (int i = 0; i < 1000; i++) deep[i] = 1;"
    found = measure(by_hand(body), M4, compiler=board_compiler)
    assert 1000 <= found.stack_bytes - plain.stack_bytes <= 1040


def test_instructions_are_exact(plain: Footprint, board_compiler: CCompiler) -> None:
    def loop(times: int) -> int:
        # Two instructions each time, and one that is passed over; the count itself takes one to load.
        code = (
            f'int n = {times}; __asm__ volatile("1: subs %0, #1\\n it mi\\n nopmi\\n bne 1b" : "+r"(n) : : "cc");'
        )
        return measure(by_hand(code), M4, compiler=board_compiler).instructions

    assert loop(200) - loop(100) == 400
    assert loop(100) == plain.instructions + 401


def test_libraries_are_counted_apart(plain: Footprint, board_compiler: CCompiler) -> None:
    copy = "memcpy(image + (input[0] & 7), image + 200, (size_t)input[1] & 63);"
    found = measure(by_hand(copy), M4, compiler=board_compiler)
    assert plain.library_bytes == 0
    assert 16 < found.library_bytes < 1024
    assert found.code_bytes - plain.code_bytes < 64
    assert "memcpy" in dict(found.functions)


def test_rows_are_handed_over_by_the_harness_at_no_cost_to_the_model(board_compiler: CCompiler) -> None:
    streamed, pulled = (
        measure(compiled_model(memory), M4, compiler=board_compiler) for memory in MEMORY_MODES[1:]
    )
    assert pulled.ram_bytes < streamed.ram_bytes
    assert not any("harness" in name for name, _count in pulled.functions)
    assert abs(pulled.instructions - streamed.instructions) < 0.1 * streamed.instructions


def test_a_footprint_is_json(plain: Footprint) -> None:
    found = json.loads(json.dumps(plain.to_json()))
    assert found["core"] == "cortex-m4"
    assert found["flash_bytes"] == plain.flash_bytes
    assert "-O2" in found["flags"]
    assert found["functions"]["small_invoke"] > 0
    assert "output" not in found


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("*(volatile int *)16 = 1;", "stopped in small_invoke"),
        ("*(volatile int *)((char *)image + 0x100000) = 1;", "stopped in small_invoke"),
        ("return 7;", "returned 7"),
        (
            f"volatile char deep[{2 * STACK_BYTES}]; for (unsigned i = 0; i < sizeof deep; i++) deep[i] = 1;",
            "stopped in",
        ),
        ("int f(void); return f();", "failed: "),
    ],
    ids=["low address", "behind the RAM", "result", "stack", "missing function"],
)
def test_what_fails_is_an_error(body: str, words: str, board_compiler: CCompiler) -> None:
    with pytest.raises(JobFailedError, match=words):
        measure(by_hand(body), M4, compiler=board_compiler)


def test_an_image_of_another_size_is_refused(board_compiler: CCompiler) -> None:
    with pytest.raises(UsageError, match=f"has 5 bytes; small takes {SIDE * SIDE * 3}"):
        measure(compiled_model(), M4, compiler=board_compiler, input=b"12345")


@pytest.mark.parametrize("package", ["unicorn", "elftools.elf.elffile"])
def test_without_the_extra_the_error_says_what_to_install(
    package: str, board_compiler: CCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError, match="is not installed") as caught:
        measure(compiled_model(), M4, compiler=board_compiler)
    assert 'pip install "eiauto[compile]"' in caught.value.hint


def test_without_a_compiler_for_this_machine_python_counts_the_same(
    board_compiler: CCompiler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled = compiled_model()
    program = build_program(compiled, M4, compiler=board_compiler)
    usual = program.run(noise(compiled))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    forget = (native_function, host_compiler)
    for function in forget:
        function.cache_clear()
    try:
        with pytest.raises(OSError, match="no C compiler for this machine"):
            native_function()
        assert program.run(noise(compiled)) == usual
    finally:
        for function in forget:
            function.cache_clear()
    assert usual.instructions > 0


def test_the_length_of_instructions() -> None:
    two, four = b"\x00\xbf", b"\x4f\xf0\x01\x00"  # nop; mov.w r0, #1
    assert count_instructions(b"") == 0
    assert count_instructions(two + four + two + four) == 4
    assert count_instructions(b"\xff\xe7") == 1  # b.n, the largest first halfword of two bytes


def test_gcc_gives_the_same_bytes(board_compiler: CCompiler) -> None:
    gcc = arm_gcc()
    if gcc is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    zig, other = (measure(compiled_model(), M4, compiler=compiler) for compiler in (board_compiler, gcc))
    assert other.output == zig.output
    assert other.compiler.startswith("arm-none-eabi-gcc: gcc ")
    assert other.arena_bytes == zig.arena_bytes


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4f", "cortex-m7"])
def test_qemu_agrees(core: str, board_compiler: CCompiler) -> None:
    compiled = compiled_model()
    second = second_opinion(compiled, find_core(core), compiler=board_compiler)
    if second is None:
        pytest.skip("qemu-system-arm is not installed")
    first = measure(compiled, find_core(core), compiler=board_compiler)
    assert second.output == first.output
    assert abs(second.instructions - first.instructions) <= 2 * INSTRUCTIONS_PER_TICK


def test_no_second_opinion_without_qemu_or_a_machine(
    board_compiler: CCompiler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert second_opinion(compiled_model(), find_core("cortex-m33"), compiler=board_compiler) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert second_opinion(compiled_model(), M4, compiler=board_compiler) is None
