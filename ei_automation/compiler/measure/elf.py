"""What a linked program is made of: read from its ELF file."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from ei_automation.compiler.toolchain import EXTRA
from ei_automation.errors import SettingsError

THUMB_BIT = 1
"""Set in the address of a Thumb function; its code lies one lower."""


@dataclass(frozen=True)
class Section:
    """A section that the program loads.

    Attributes:
        address: Where it lies when the program runs.
        bytes: Size; of zeroed memory, too.
    """

    address: int
    bytes: int

    def holds(self, address: int) -> bool:
        """Whether an address lies in it."""
        return self.address <= address < self.address + self.bytes


@dataclass(frozen=True, eq=False)
class Elf:
    """A linked program.

    Attributes:
        segments: Address where it runs and content, of everything that is not zero at the start.
        sections: By name; only those that take memory.
        symbols: Address by name, of functions with the Thumb bit.
        functions: Addresses without the Thumb bit and names, ascending.
    """

    segments: tuple[tuple[int, bytes], ...]
    sections: Mapping[str, Section]
    symbols: Mapping[str, int]
    functions: tuple[tuple[int, str], ...]

    def section_bytes(self, *names: str) -> int:
        """The size of sections together; 0 for one that is not there."""
        return sum(self.sections[name].bytes for name in names if name in self.sections)

    def function_at(self, address: int) -> str:
        """The function that an address belongs to; empty below the first."""
        position = bisect_right(self.functions, address, key=lambda function: function[0])
        return self.functions[position - 1][1] if position else ""


def read_elf(content: bytes) -> Elf:
    """Read a linked program.

    Raises:
        SettingsError: pyelftools is not installed.
    """
    try:
        from elftools.elf.elffile import ELFFile
    except ImportError as error:
        raise SettingsError("pyelftools is not installed", hint=f"install it with: {EXTRA}") from error
    elf = ELFFile(io.BytesIO(content))
    allocated = [section for section in elf.iter_sections() if section["sh_flags"] & 2]  # SHF_ALLOC
    table = elf.get_section_by_name(".symtab")
    symbols = [symbol for symbol in (table.iter_symbols() if table else ()) if symbol.name]
    functions = {
        symbol["st_value"] & ~THUMB_BIT: symbol.name
        for symbol in sorted(symbols, key=lambda symbol: (symbol.name.startswith("_"), symbol.name), reverse=True)
        if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
    }  # of several names of one function the last one stays: memcpy, not __aeabi_memcpy
    return Elf(
        segments=tuple(
            (segment["p_vaddr"], segment.data())
            for segment in elf.iter_segments()
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
        ),
        sections={section.name: Section(section["sh_addr"], section["sh_size"]) for section in allocated},
        symbols={symbol.name: symbol["st_value"] for symbol in symbols},
        functions=tuple(sorted(functions.items())),
    )
