"""A second opinion on what the emulator found: the same model under qemu-system-arm, where that is installed.

QEMU's machines are whole boards with a timer, so that the program starts by itself and counts its instructions:
with `-icount shift=0` an instruction takes a nanosecond, and a tick of the timer is 40 of them. What the harness
takes to hand over a row (streamed-input) is counted here, and is not in a footprint.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ei_automation.compiler.measure.cores import Core
from ei_automation.compiler.measure.program import Layout, link, noise
from ei_automation.compiler.toolchain import CCompiler, zig
from ei_automation.errors import JobFailedError
from ei_automation.files import storage_errors

if TYPE_CHECKING:
    from ei_automation.compiler.compiling import CompiledModel

QEMU = "qemu-system-arm"
BOARD = Layout(flash=0x0000_0000, flash_bytes=4 << 20, ram=0x2000_0000, ram_bytes=2 << 20)
"""Of the machines mps2-an385, an386 and an500: 4 MB of each; the upper half of the RAM is the harness's."""
IMAGE, STACK_TOP, HARNESS_BYTES = 0x2020_0000, 0x2040_0000, 2 << 20
INSTRUCTIONS_PER_TICK = 40
TIMEOUT_S = 120


@dataclass(frozen=True)
class SecondOpinion:
    """What QEMU found.

    Attributes:
        qemu: Version.
        compiler: Name and version.
        instructions: Of one inference, in steps of 40; with the harness's row callback.
        output: The bytes that the model gave.
    """

    qemu: str
    compiler: str
    instructions: int
    output: bytes


def second_opinion(
    compiled: CompiledModel,
    core: Core,
    *,
    compiler: CCompiler | None = None,
    input: bytes | None = None,
    cache: Path | None = None,
) -> SecondOpinion | None:
    """Run a compiled model once under QEMU.

    Args:
        compiled: The model.
        core: Which core.
        compiler: zig or arm-none-eabi-gcc; default: zig.
        input: The model's image, as it takes it; default: `noise(compiled)`.
        cache: zig's cache folder, where `compiler` is not given.

    Returns:
        None where QEMU is not installed, has no machine with this core, or the model is too large for the machine.

    Raises:
        JobFailedError: The C compiler or the program failed.
        SettingsError: The extra is not installed.
    """
    program = shutil.which(QEMU)
    image = noise(compiled) if input is None else input
    if not program or not core.qemu or not _fits(compiled, image):
        return None
    compiler = compiler or zig(cache=cache)
    output_bytes = compiled.graph.tensor(compiled.graph.output).bytes
    linked = link(
        compiled, core, compiler=compiler, layout=BOARD, boot=_macros(compiled, len(image), output_bytes)
    )
    ticks, result, output = _run(program, core, linked, image)
    if result != 0 or len(output) != output_bytes:
        raise JobFailedError(f"{compiled.options.name}_invoke under {QEMU} returned {result}")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return SecondOpinion(
        qemu=version.partition("\n")[0],
        compiler=f"{compiler.name}: {compiler.version}",
        instructions=ticks * INSTRUCTIONS_PER_TICK,
        output=output,
    )


def _fits(compiled: CompiledModel, image: bytes) -> bool:
    """Whether the machine's memory takes it, with room for code and variables beside weights and arena."""
    margin = 128 << 10
    return (
        compiled.arena_bytes < BOARD.ram_bytes - margin
        and compiled.constant_bytes < BOARD.flash_bytes - margin
        and len(image) < HARNESS_BYTES - margin
    )


def _macros(compiled: CompiledModel, image_bytes: int, output_bytes: int) -> tuple[str, ...]:
    """For the start-up code: the model's functions, and where things lie."""
    name = compiled.options.name
    values = {
        "INVOKE": f"{name}_invoke",
        "IMAGE": f"{IMAGE:#x}u",
        "IMAGE_BYTES": str(image_bytes),
        "OUTPUT": f"{IMAGE + -(-image_bytes // 16) * 16:#x}u",
        "OUTPUT_BYTES": str(output_bytes),
        "STACK": f"{STACK_TOP:#x}u",
    }
    if compiled.options.memory != "streamed-input":
        values["INPUT"] = f"{name}_input"
    return tuple(f"-DHARNESS_{key}={value}" for key, value in values.items())


def _run(program: str, core: Core, linked: bytes, image: bytes) -> tuple[int, int, bytes]:
    """Ticks, the function's result, and the output."""
    with tempfile.TemporaryDirectory(prefix="eiauto-qemu-") as name:
        folder = Path(name)
        with storage_errors(folder, "writing a program for QEMU"):
            (folder / "model.elf").write_bytes(linked)
            (folder / "image.bin").write_bytes(image)
        command = [
            program, "-M", core.qemu, "-display", "none", "-monitor", "none", "-serial", "none",
            "-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out",
            "-icount", "shift=0,sleep=off", "-kernel", "model.elf",
            "-device", f"loader,file=image.bin,addr={IMAGE:#x},force-raw=on",
        ]  # fmt: skip
        try:
            ran = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
            )
            found = bytes.fromhex(ran.stdout.strip())
            ticks, result = struct.unpack_from("<Ii", found)
        except (subprocess.TimeoutExpired, ValueError, struct.error) as error:
            raise JobFailedError(f"the program failed under {QEMU}: {error}") from error
        return ticks, result, found[8:]
