"""A compiled model linked with what it needs to be run without a board."""

from __future__ import annotations

import dataclasses
import importlib.resources
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ei_automation.compiler.measure import emulator
from ei_automation.compiler.measure.cores import Core
from ei_automation.compiler.measure.elf import Elf, read_elf
from ei_automation.compiler.measure.emulator import Call, Emulator
from ei_automation.compiler.toolchain import CCompiler, build, zig
from ei_automation.errors import JobFailedError, UsageError

if TYPE_CHECKING:
    from ei_automation.compiler.compiling import CompiledModel

FLAGS = ("-O2", "-std=c99", "-ffp-contract=off")
"""For speed, as one compiles a model; products and sums of floats are rounded one by one, as in TFLite."""
SECTIONS = ("-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
READ_ROW = "harness_read_row"
IMAGE_SEED = 3
"""Of the image that is run where none is given."""
HELPERS_MISSING = "undefined symbol"
"""How the linker says that code needs the compiler's own library, which zig takes seconds to build at first."""


@dataclass(frozen=True)
class Layout:
    """Where a program lies.

    Attributes:
        flash: Address of the flash.
        flash_bytes: Its size.
        ram: Address of the RAM.
        ram_bytes: Its size.
    """

    flash: int
    flash_bytes: int
    ram: int
    ram_bytes: int


EMULATED = Layout(emulator.FLASH, emulator.FLASH_BYTES, emulator.RAM, emulator.RAM_BYTES)


@dataclass(frozen=True)
class Run:
    """One inference on the emulated core.

    Attributes:
        output: What the model wrote.
        instructions: All of them, without the harness's; 0 where they were not counted.
        functions: Instructions by function, the most expensive first.
        stack_bytes: High-water mark.
    """

    output: bytes
    instructions: int
    functions: tuple[tuple[str, int], ...]
    stack_bytes: int


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled model linked for a core, ready to be run on as many images as one likes.

    Attributes:
        compiled: The model.
        core: Which core.
        compiler: Which compiler built it.
        elf: The program.
    """

    compiled: CompiledModel
    core: Core
    compiler: CCompiler
    elf: Elf

    def run(self, image: bytes, *, counted: bool = True) -> Run:
        """Run the model once.

        Args:
            image: The model's input as it takes it, e.g. int8 (height, width, channels).
            counted: Count instructions.

        Raises:
            JobFailedError: The program failed on the emulated core.
            SettingsError: The emulator is not installed.
            UsageError: The image has another size.
        """
        graph, name = self.compiled.graph, self.compiled.options.name
        expected, output_bytes = graph.tensor(graph.input).bytes, graph.tensor(graph.output).bytes
        if len(image) != expected:
            raise UsageError(f"the image has {len(image)} bytes; {name} takes {expected}")
        output = emulator.IMAGE + _aligned(expected)
        machine = Emulator(self.elf, self.core, image_bytes=_aligned(expected) + output_bytes)
        if self.compiled.options.memory == "streamed-input":
            machine.write(emulator.IMAGE, image)
            arguments = (self.elf.symbols[READ_ROW], emulator.IMAGE, output)
        else:
            place = machine.call(f"{name}_input").result
            machine.write(place, image)
            arguments = (place, output, 0)
        call = machine.call(f"{name}_invoke", *arguments, counted=counted)
        if call.result != 0:
            raise JobFailedError(f"{name}_invoke on the emulated {self.core.title} returned {call.result}")
        return self._run(call, machine.read(output, output_bytes))

    def _run(self, call: Call, output: bytes) -> Run:
        """The run, without what the harness did."""
        harness = self.elf.sections.get(".harness")
        functions: dict[str, int] = {}
        for address, count in call.counts.items():
            if harness is None or not harness.holds(address):
                function = self.elf.function_at(address)
                functions[function] = functions.get(function, 0) + count
        ranked = sorted(functions.items(), key=lambda item: (-item[1], item[0]))
        return Run(output, sum(functions.values()), tuple(ranked), call.stack_bytes)


def noise(compiled: CompiledModel) -> bytes:
    """An image of noise, always the same: every value of an int8 input, 0..1 of a float32 one."""
    tensor = compiled.graph.tensor(compiled.graph.input)
    values = np.random.default_rng(IMAGE_SEED).integers(0, 256, tensor.count, dtype=np.uint8)
    if tensor.dtype == "float32":
        return bytes((values / np.float32(255)).astype("<f4").tobytes())
    return bytes(values.tobytes())


def build_program(
    compiled: CompiledModel, core: Core, *, compiler: CCompiler | None = None, cache: Path | None = None
) -> Program:
    """Link a compiled model with what it needs to be run in the emulator.

    Args:
        compiled: The model.
        core: Which core.
        compiler: zig or arm-none-eabi-gcc; default: zig.
        cache: zig's cache folder, where `compiler` is not given.

    Raises:
        JobFailedError: The C compiler refused.
        SettingsError: The extra is not installed.
    """
    compiler = compiler or zig(cache=cache)
    linked = link(compiled, core, compiler=compiler, layout=EMULATED)
    return Program(compiled, core, compiler, read_elf(linked))


def link(
    compiled: CompiledModel, core: Core, *, compiler: CCompiler, layout: Layout, boot: Sequence[str] = ()
) -> bytes:
    """Compile and link a model with the harness.

    Args:
        compiled: The model.
        core: Which core.
        compiler: zig or arm-none-eabi-gcc.
        layout: Where things lie.
        boot: Macros for start-up code, which is linked where there are any: the program then starts by itself.

    Returns:
        The ELF file.

    Raises:
        JobFailedError: The C compiler refused.
    """
    name, streamed = compiled.options.name, compiled.options.memory == "streamed-input"
    keep = (f"{name}_invoke",) if streamed else (f"{name}_invoke", f"{name}_input")
    placed = {field: str(value) for field, value in dataclasses.asdict(layout).items()}
    script = string.Template(_template("link.ld")).substitute(placed, keep=" ".join(keep))
    parts = ("harness.c", "library.c", "boot.c") if boot else ("harness.c", "library.c")
    files = {**compiled.files, "harness/link.ld": script.encode()}
    files |= {f"harness/{part}": _template(part).encode() for part in (*parts, "string.h")}
    arguments = [*core.arguments(compiler), *FLAGS, *SECTIONS, "-I", ".", *boot]
    if streamed:
        arguments.append(f"-DHARNESS_ROW_BYTES={compiled.graph.tensor(compiled.graph.input).rows.row_bytes}")
    arguments += [f"{name}.c", *(f"harness/{part}" for part in parts)]
    arguments += [
        "-Wl,--gc-sections",
        "-Wl,-T,harness/link.ld",
        f"-Wl,--entry={'harness_boot' if boot else keep[0]}",
    ]
    return _build(compiler, files, arguments)


def _build(compiler: CCompiler, files: dict[str, bytes], arguments: list[str]) -> bytes:
    """Build without a C library; with the compiler's own library only where the program needs it."""
    doing = "building for an emulated core"
    if compiler.name != "zig":
        return build(compiler, files, [*arguments, "-nostartfiles", "-lm"], "model.elf", doing=doing)
    arguments = [*arguments, "-isystem", "harness"]  # zig's clang has no string.h for bare metal
    try:
        return build(compiler, files, [*arguments, "-nostdlib"], "model.elf", doing=doing)
    except JobFailedError as error:
        if not any(HELPERS_MISSING in line for line in error.log_tail):
            raise
    return build(compiler, files, arguments, "model.elf", doing=doing)


def _template(name: str) -> str:
    """A file of ours that goes with the model."""
    return importlib.resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _aligned(count: int) -> int:
    """Rounded up so that what lies behind is aligned for every type."""
    return -(-count // 16) * 16
