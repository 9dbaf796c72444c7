"""The processor cores that a footprint can be measured for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ei_automation.compiler.toolchain import CCompiler
from ei_automation.errors import NotFoundError


@dataclass(frozen=True)
class Core:
    """A processor core, and what compilers and emulators call it.

    Attributes:
        name: E.g. `cortex-m4f`.
        title: For people.
        zig: zig's name with the features that set the floating-point unit.
        gcc: Arguments of GCC.
        unicorn: Ends the emulator's constant UC_CPU_ARM_.
        hard_float: Whether it has a floating-point unit, and its calls pass numbers in it.
        qemu: Machine of qemu-system-arm with this core; empty for none.
        note: What the emulation leaves out.
    """

    name: str
    title: str
    zig: str
    gcc: tuple[str, ...]
    unicorn: str
    hard_float: bool = False
    qemu: str = ""
    note: str = ""

    def arguments(self, compiler: CCompiler) -> tuple[str, ...]:
        """What makes a compiler build for this core, without an operating system."""
        if compiler.name == "zig":
            return ("-target", f"thumb-freestanding-eabi{'hf' if self.hard_float else ''}", f"-mcpu={self.zig}")
        return ("-mthumb", *self.gcc, f"-mfloat-abi={'hard' if self.hard_float else 'soft'}")


CORES = (
    Core(
        "cortex-m0plus",
        "Cortex-M0+",
        zig="cortex_m0plus",
        gcc=("-mcpu=cortex-m0plus",),
        unicorn="CORTEX_M0",
        note="run as a Cortex-M0, which has the same instructions",
    ),
    Core("cortex-m3", "Cortex-M3", "cortex_m3", ("-mcpu=cortex-m3",), "CORTEX_M3", qemu="mps2-an385"),
    Core("cortex-m4", "Cortex-M4", "cortex_m4", ("-mcpu=cortex-m4",), "CORTEX_M4", qemu="mps2-an386"),
    Core(
        "cortex-m4f",
        "Cortex-M4F",
        zig="cortex_m4+vfp4d16sp",
        gcc=("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"),
        unicorn="CORTEX_M4",
        hard_float=True,
        qemu="mps2-an386",
    ),
    Core(
        "cortex-m7",
        "Cortex-M7",
        zig="cortex_m7+fp_armv8d16sp",
        gcc=("-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16"),
        unicorn="CORTEX_M7",
        hard_float=True,
        qemu="mps2-an500",
        note="built for the unit of single precision, which every Cortex-M7 runs and the emulator has",
    ),
    Core(
        "cortex-m33",
        "Cortex-M33",
        zig="cortex_m33+fp_armv8d16sp",
        gcc=("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16"),
        unicorn="CORTEX_M33",
        hard_float=True,
    ),
)
"""There is no Cortex-M55: the emulator does not have it, and nothing is measured that was not run."""


def find_core(name: str) -> Core:
    """A core by its name.

    Raises:
        NotFoundError: There is none; the nearest names are in the hint.
    """
    names = [core.name for core in CORES]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=2) or names
        raise NotFoundError(f"there is no core named {name}", hint=f"did you mean {' or '.join(near)}?")
    return CORES[names.index(name)]
