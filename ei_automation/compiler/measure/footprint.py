"""What a compiled model takes of a board: flash, RAM, stack, instructions; exact for a compiler and its flags.

Counted is the model alone, as if it were linked into a program that is there already:

- flash: its code, its constants and the first values of its variables. What it calls of a C library or of the
  compiler's own (memcpy, memset, soft floating point, expf) is counted apart: a program mostly has it already.
  Start-up code is not counted, nor are the labels, which nothing here prints.
- RAM: its variables, of which the arena is nearly all; not the stack, not the array that takes the scores, and not
  the caller's image where the caller has one.
- stack: from the call of `invoke` to the deepest byte written.
- instructions: of one `invoke`, libraries included; copying the image into place is not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ei_automation.compiler.measure.cores import Core
from ei_automation.compiler.measure.program import FLAGS, build_program, noise
from ei_automation.compiler.toolchain import CCompiler

if TYPE_CHECKING:
    from ei_automation.compiler.compiling import CompiledModel

FLASH_SECTIONS = (".model_code", ".model_constants", ".model_data")
RAM_SECTIONS = (".model_data", ".model_bss")
LIBRARY_SECTIONS = (".library", ".library_data")


@dataclass(frozen=True)
class Footprint:
    """What a compiled model takes; what is counted is said at the head of this module.

    Attributes:
        model: Name of the model.
        memory: planned, streamed or streamed-input.
        core: Name of the core, e.g. `cortex-m4`.
        compiler: Name and version.
        flags: Of the compiler, as given.
        flash_bytes: Code, constants and first values of variables.
        code_bytes: Of it, code.
        ram_bytes: Variables, the arena among them.
        arena_bytes: The arena alone.
        stack_bytes: High-water mark.
        library_bytes: Flash of what it calls of libraries; not in `flash_bytes`.
        instructions: Of one inference.
        functions: Instructions by function, the most expensive first.
        output: The bytes that the model gave for the image.
    """

    model: str
    memory: str
    core: str
    compiler: str
    flags: str
    flash_bytes: int
    code_bytes: int
    ram_bytes: int
    arena_bytes: int
    stack_bytes: int
    library_bytes: int
    instructions: int
    functions: tuple[tuple[str, int], ...] = dataclasses.field(default=(), repr=False)
    output: bytes = dataclasses.field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """Values that JSON takes; the output is left out."""
        found = dataclasses.asdict(self)
        del found["output"]
        return {**found, "functions": dict(self.functions)}


def measure(
    compiled: CompiledModel,
    core: Core,
    *,
    compiler: CCompiler | None = None,
    input: bytes | None = None,
    cache: Path | None = None,
) -> Footprint:
    """Build a compiled model for a core, run it once in the emulator, and read what it takes.

    Args:
        compiled: The model.
        core: Which core.
        compiler: zig or arm-none-eabi-gcc; default: zig.
        input: The model's image, as it takes it; default: `noise(compiled)`. Counts depend on it, but hardly.
        cache: zig's cache folder, where `compiler` is not given.

    Raises:
        JobFailedError: The C compiler or the program failed.
        SettingsError: The extra is not installed.
        UsageError: The image has not the size of the model's input.
    """
    program = build_program(compiled, core, compiler=compiler, cache=cache)
    run = program.run(noise(compiled) if input is None else input)
    elf = program.elf
    return Footprint(
        model=compiled.options.name,
        memory=compiled.options.memory,
        core=core.name,
        compiler=f"{program.compiler.name}: {program.compiler.version}",
        flags=" ".join((*core.arguments(program.compiler), *FLAGS)),
        flash_bytes=elf.section_bytes(*FLASH_SECTIONS),
        code_bytes=elf.section_bytes(".model_code"),
        ram_bytes=elf.section_bytes(*RAM_SECTIONS),
        arena_bytes=compiled.arena_bytes,
        stack_bytes=run.stack_bytes,
        library_bytes=elf.section_bytes(*LIBRARY_SECTIONS),
        instructions=run.instructions,
        functions=run.functions,
        output=run.output,
    )
