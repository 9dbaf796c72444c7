"""Counting the instructions of an emulated program, block by block as the emulator comes to them.

A network of a few hundred million instructions has tens of millions of blocks, so the emulator calls a few lines
of C, built once a process. Where that cannot be (no C compiler for this machine, nothing may be loaded), it calls
Python, which finds the same and takes ten times as long.
"""

from __future__ import annotations

import ctypes
import importlib
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ei_automation.compiler.toolchain import CCompiler, build, has_zig, host_compiler, zig
from ei_automation.errors import EiautoError

COUNTER = b"""
#include <stdint.h>
typedef struct {
    uint64_t start, bytes;
    const uint8_t *code;
    uint64_t *counts;
} program;
/* The emulator is about to run a block. Counts its instructions, each of two bytes or four (see Python). */
#if defined(_WIN32)
__declspec(dllexport)
#endif
void count_block(void *machine, uint64_t address, uint32_t size, const program *found) {
    uint64_t first = address - found->start, end = first + size;
    (void)machine;
    if (first < found->bytes && end <= found->bytes) {
        uint64_t count = 0;
        for (uint64_t place = first; place < end; place += found->code[place + 1] >= 0xE8 ? 4 : 2) {
            count++;
        }
        found->counts[first / 2] += count;
    }
}
"""
BUILD = ("-O2", "-shared", "-fPIC", "-nostdlib", "-fno-stack-protector", "counter.c")


class _Program(ctypes.Structure):
    """The C code's view of what it counts in."""

    _fields_ = (
        ("start", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("code", ctypes.c_char_p),
        ("counts", ctypes.POINTER(ctypes.c_uint64)),
    )


class NativeCounter:
    """Counts by C.

    Args:
        machine: The emulator.
        start: Address of the code.
        code: Its bytes.

    Raises:
        EiautoError, OSError, AttributeError, ImportError: It cannot be built, loaded, or given to the emulator.
    """

    def __init__(self, machine: Any, start: int, code: bytes) -> None:
        self._machine, self._start = machine, start
        self._counts = np.zeros(len(code) // 2 + 1, np.uint64)
        counts = self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_uint64))
        self._program = _Program(start, len(code), code, counts)
        unicorn = importlib.import_module("unicorn")
        # The package's own hook_add takes Python functions only, which is what this is here to avoid.
        self._library = importlib.import_module("unicorn.unicorn_py3.unicorn").uclib
        self._hook = ctypes.c_size_t()
        status = self._library.uc_hook_add(
            machine._uch,
            ctypes.byref(self._hook),
            unicorn.UC_HOOK_BLOCK,
            native_function(),
            ctypes.byref(self._program),
            ctypes.c_uint64(1),  # from 1 to 0 is everywhere
            ctypes.c_uint64(0),
        )
        if status != unicorn.UC_ERR_OK:
            raise OSError(f"the emulator refused the counter: error {status}")

    def finish(self) -> dict[int, int]:
        """Stop counting; instructions by the address of their block."""
        self._library.uc_hook_del(self._machine._uch, self._hook)
        used = np.flatnonzero(self._counts)
        return {self._start + 2 * int(place): int(self._counts[place]) for place in used}


class PythonCounter:
    """Counts by Python; the arguments are those of `NativeCounter`."""

    def __init__(self, machine: Any, start: int, code: bytes) -> None:
        self._machine, self._start, self._code = machine, start, code
        self._blocks: dict[tuple[int, int], int] = {}
        self._hook = machine.hook_add(importlib.import_module("unicorn").UC_HOOK_BLOCK, self._on_block)

    def _on_block(self, _machine: object, address: int, size: int, _data: object) -> None:
        """The emulator is about to run a block."""
        key = (address, size)
        self._blocks[key] = self._blocks.get(key, 0) + 1

    def finish(self) -> dict[int, int]:
        """Stop counting; instructions by the address of their block."""
        self._machine.hook_del(self._hook)
        return self._instructions(self._blocks)

    def _instructions(self, blocks: Mapping[tuple[int, int], int]) -> dict[int, int]:
        """Instructions by block, from how often each block ran."""
        counts: dict[int, int] = {}
        for (address, size), times in blocks.items():
            first = address - self._start
            if 0 <= first < len(self._code):
                each = count_instructions(self._code[first : first + size])
                counts[address] = counts.get(address, 0) + times * each
        return counts


def counter_for(machine: Any, start: int, code: bytes) -> NativeCounter | PythonCounter:
    """The fastest counter that there is.

    Args:
        machine: The emulator.
        start: Address of the code.
        code: Its bytes.
    """
    try:
        return NativeCounter(machine, start, code)
    except (EiautoError, OSError, AttributeError, ImportError):
        return PythonCounter(machine, start, code)


def count_instructions(code: bytes) -> int:
    """Instructions in a piece of Thumb code.

    A first halfword whose upper five bits are 0b11101, 0b11110 or 0b11111 has a second one (Arm v7-M Architecture
    Reference Manual, A5.1).
    """
    count = position = 0
    while position < len(code):
        position += 4 if code[position + 1] >= 0b1110_1000 else 2
        count += 1
    return count


@cache
def native_function() -> Callable[..., None]:
    """The C function, in this process until it ends."""
    with tempfile.TemporaryDirectory(prefix="eiauto-counter-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "counter.so"
        path.write_bytes(build(_compiler(Path(folder)), {"counter.c": COUNTER}, BUILD, path.name))
        return ctypes.CDLL(str(path)).count_block


def _compiler(folder: Path) -> CCompiler:
    """A compiler for this machine; without a C library zig has nothing to keep in its cache."""
    if has_zig():
        return zig(cache=folder / "cache")
    found = host_compiler()
    if found is None:
        raise OSError("there is no C compiler for this machine")
    return found
