"""A Cortex-M in the process: runs one function of a linked program and counts what it does.

The emulator (unicorn, of QEMU's descent) executes the instructions and nothing else: no pipeline, no caches, no
wait states of the flash. Counts are exact and the same in every run; times are another matter (estimate.py).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ei_automation.compiler.measure.cores import Core
from ei_automation.compiler.measure.counting import counter_for
from ei_automation.compiler.measure.elf import THUMB_BIT, Elf
from ei_automation.compiler.toolchain import EXTRA
from ei_automation.errors import JobFailedError, SettingsError

FLASH, RAM, IMAGE, STACK, RETURN = 0x0800_0000, 0x2000_0000, 0x6000_0000, 0x7000_0000, 0x1800_0000
"""Where things lie. What is between is not mapped, so that a stray access is an error."""
FLASH_BYTES, RAM_BYTES, STACK_BYTES = 255 << 20, 512 << 20, 64 << 10
"""Far more than a board has: whether a program fits is not asked here."""
PAGE = 4096
PAINT = 0xA5
"""Fills the stack before a call; the lowest byte that differs afterwards is the high-water mark."""
TIMEOUT_S = 300


@dataclass(frozen=True)
class Call:
    """What a function did.

    Attributes:
        result: Of the function: register r0 as a signed number.
        counts: Instructions by the address of their block; empty where they were not to be counted. A conditional
            instruction that is passed over counts, as it takes its cycle.
        stack_bytes: Of the stack, from its top to the lowest byte written.
    """

    result: int
    counts: Mapping[int, int]
    stack_bytes: int


class Emulator:
    """One core with a program in its memory.

    Args:
        elf: The program, linked for FLASH and RAM.
        core: Which core.
        image_bytes: Size of the memory at IMAGE, which belongs to neither program nor stack.

    Raises:
        SettingsError: unicorn is not installed, or does not have the core.
    """

    def __init__(self, elf: Elf, core: Core, *, image_bytes: int) -> None:
        self._unicorn = _door()
        self._arm: Any = importlib.import_module("unicorn.arm_const")
        self._elf, self._core = elf, core
        self._machine = self._unicorn.Uc(
            self._unicorn.UC_ARCH_ARM, self._unicorn.UC_MODE_THUMB | self._unicorn.UC_MODE_MCLASS
        )
        self._machine.ctl_set_cpu_model(getattr(self._arm, f"UC_CPU_ARM_{core.unicorn}"))
        for start, count in ((IMAGE, image_bytes), (STACK, STACK_BYTES), (RETURN, PAGE)):
            self._machine.mem_map(start, _pages(count))
        for start in (FLASH, RAM):
            self._machine.mem_map(start, _pages(_reach(elf, start)))
        for address, content in elf.segments:
            self._machine.mem_write(address, content)
        self._code = self.read(FLASH, _reach(elf, FLASH))

    def write(self, address: int, content: bytes) -> None:
        """Put bytes into memory."""
        self._machine.mem_write(address, content)

    def read(self, address: int, count: int) -> bytes:
        """Bytes of memory."""
        return bytes(self._machine.mem_read(address, count))

    def call(self, function: str, *arguments: int, counted: bool = False) -> Call:
        """Run a function to its end.

        Args:
            function: Its name.
            *arguments: At most four numbers or addresses.
            counted: Count instructions.

        Raises:
            JobFailedError: It reached for memory that is not there, ran an instruction that the core does not
                have, or did not end.
        """
        arm = self._arm
        registers = (arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3)
        for register, value in zip(registers, arguments, strict=False):
            self._machine.reg_write(register, value)
        self._machine.reg_write(arm.UC_ARM_REG_SP, STACK + STACK_BYTES)
        self._machine.reg_write(arm.UC_ARM_REG_LR, RETURN | THUMB_BIT)
        self.write(STACK, bytes([PAINT]) * STACK_BYTES)
        counter = counter_for(self._machine, FLASH, self._code) if counted else None
        self._run(function)
        result = self._machine.reg_read(arm.UC_ARM_REG_R0)
        stack = self.read(STACK, STACK_BYTES)
        return Call(
            result=result - (1 << 32) if result & 1 << 31 else result,
            counts=counter.finish() if counter else {},
            stack_bytes=len(stack.lstrip(bytes([PAINT]))),
        )

    def _run(self, function: str) -> None:
        """Execute until the function returns."""
        failed = ""
        try:
            self._machine.emu_start(self._elf.symbols[function] | THUMB_BIT, RETURN, timeout=TIMEOUT_S * 1_000_000)
        except self._unicorn.UcError as error:
            failed = str(error)
        place = self._machine.reg_read(self._arm.UC_ARM_REG_PC)
        if failed or place & ~THUMB_BIT != RETURN:
            where = f"{self._elf.function_at(place) or 'nowhere'} (0x{place:08x})"
            raise JobFailedError(
                f"{function} on the emulated {self._core.title} stopped in {where}: "
                f"{failed or f'not finished after {TIMEOUT_S} s'}",
                hint="the generated code or the compiler is at fault; please report it with the model",
            )


def _door() -> Any:
    """The emulator's package."""
    try:
        return importlib.import_module("unicorn")
    except ImportError as error:
        raise SettingsError("the emulator unicorn is not installed", hint=f"install it with: {EXTRA}") from error


def _reach(elf: Elf, start: int) -> int:
    """Bytes from the start of a region to the end of what the program has there."""
    ends = (section.address + section.bytes for section in elf.sections.values() if section.address >= start)
    region = FLASH_BYTES if start == FLASH else RAM_BYTES
    return max((end - start for end in ends if end - start <= region), default=0)


def _pages(count: int) -> int:
    """Rounded up to what can be mapped."""
    return max(PAGE, -(-count // PAGE) * PAGE)
