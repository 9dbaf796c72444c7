"""Many models in one program for a Cortex-M, run in the emulator: inputs are put in memory, outputs read."""

from __future__ import annotations

import importlib.resources
import string
from collections.abc import Sequence

from ei_automation.compiler.measure import emulator
from ei_automation.compiler.measure.cores import find_core
from ei_automation.compiler.measure.elf import Elf, read_elf
from ei_automation.compiler.measure.emulator import Emulator
from ei_automation.compiler.measure.program import FLAGS
from ei_automation.compiler.toolchain import CCompiler, build
from tests.compiler.harness import Case, differences, includes, sources, wrapper

TEMPLATES = importlib.resources.files("ei_automation.compiler.measure").joinpath("templates")


def _main(cases: Sequence[Case]) -> str:
    """The wrappers of all cases, each a function that the emulator can call."""
    wrappers = "".join(map(wrapper, cases)).replace("static int run_", "int run_")
    declared = "".join(f"int run_{case.name}(unsigned char *, unsigned char *, int);\n" for case in cases)
    return f"#include <string.h>\n{includes(cases)}{declared}{wrappers}"


def build_emulated(cases: Sequence[Case], core: str, compiler: CCompiler) -> Elf:
    """One program of all cases for a core."""
    layout = {
        "flash": hex(emulator.FLASH),
        "flash_bytes": str(emulator.FLASH_BYTES),
        "ram": hex(emulator.RAM),
        "ram_bytes": str(emulator.RAM_BYTES),
        "keep": " ".join(f"run_{case.name}" for case in cases),
    }
    files = sources(cases, _main(cases))
    names = [name for name in files if name.endswith(".c")]
    for part in ("library.c", "string.h"):
        files[f"harness/{part}"] = TEMPLATES.joinpath(part).read_bytes()
    script = TEMPLATES.joinpath("link.ld").read_text(encoding="utf-8")
    files["link.ld"] = string.Template(script).substitute(layout).encode()
    own = ("-isystem", "harness") if compiler.name == "zig" else ("-nostartfiles",)
    entry = f"-Wl,--gc-sections,--entry=run_{cases[0].name},-T,link.ld"
    arguments = [*core_arguments(core, compiler), *FLAGS, *own, entry, *names, "harness/library.c"]
    libraries = () if compiler.name == "zig" else ("-lm",)
    return read_elf(build(compiler, files, [*arguments, *libraries], "tests.elf", doing=f"building for {core}"))


def core_arguments(core: str, compiler: CCompiler) -> tuple[str, ...]:
    """What makes a compiler build for a core."""
    return find_core(core).arguments(compiler)


def run_emulated(elf: Elf, cases: Sequence[Case], core: str) -> list[tuple[bytes, ...]]:
    """The outputs of each case."""
    room = max(len(case.inputs[0]) + len(case.expected[0]) for case in cases) + 64
    machine = Emulator(elf, find_core(core), image_bytes=room)
    return [
        tuple(_run(machine, case, number, image) for number, image in enumerate(case.inputs)) for case in cases
    ]


def _run(machine: Emulator, case: Case, number: int, image: bytes) -> bytes:
    """One output. Input and output of int8 lie at odd addresses, as they may."""
    odd = int(case.compiled.graph.tensor(case.compiled.graph.input).dtype != "float32")
    start = emulator.IMAGE + odd
    output = start + -(-len(image) // 4) * 4 + 4
    if case.compiled.graph.tensor(case.compiled.graph.output).dtype == "float32":
        output = -(-output // 4) * 4
    machine.write(start, image)
    call = machine.call(f"run_{case.name}", start, output, number)
    assert call.result == 0, f"{case.name} ({case.note}) returned {call.result}"
    return machine.read(output, len(case.expected[number]))


def check_emulated(cases: Sequence[Case], core: str, compiler: CCompiler) -> None:
    """Assert that every case gives TFLite's bytes on an emulated core."""
    found = differences(cases, run_emulated(build_emulated(cases, core, compiler), cases, core))
    assert not found, f"{len(found)} of {len(cases)} on {core}:\n" + "\n".join(found[:8])
