"""The kinds of boards that are known: processor, memory that a model may take, how they are flashed and run."""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import Field, model_validator

from ei_automation.errors import NotFoundError
from ei_automation.schema.strict import StrictModel

TABLE = "boards.toml"
MAKERS = ("Arduino ", "OpenMV ", "Sony ")
"""What a board's name may be said without."""
UsbMode = Literal["bridge", "openmv", "sketch", "loader", "dfu"]
"""What answers at a USB id; MODES says it in words."""
MODES: dict[UsbMode, str] = {
    "bridge": "a serial line",
    "openmv": "OpenMV's firmware",
    "sketch": "a sketch, or AT firmware",
    "loader": "its boot loader",
    "dfu": "its boot loader (DFU)",
}
FlasherName = Literal["spresense", "openmv", "arduino"]
"""The family whose flasher puts firmware onto a board."""
FLASHERS: dict[FlasherName, str] = {"spresense": "XMODEM", "openmv": "drive, DFU", "arduino": "DFU, drive"}
"""In words; WAYS explains them."""
ConsoleName = Literal["at", "openmv"]
CONSOLES: dict[ConsoleName, str] = {"at": "AT", "openmv": "script"}
WAYS = {
    "XMODEM": "over the serial line, to the boot loader",
    "drive": "model, labels and script onto the drive of OpenMV's firmware",
    "DFU": "a whole firmware over USB, to the boot loader",
    "AT": "commands of Edge Impulse's firmware",
    "script": "run by OpenMV's firmware, through its debug protocol",
}
"""What the words of FLASHERS and CONSOLES mean."""
USB_ID = r"^[0-9A-F]{4}:[0-9A-F]{4}$"


class OpenMvMemory(StrictModel):
    """What OpenMV's firmware on a board has for a model that a script loads."""

    heap_blocks_bytes: tuple[int, ...] = Field(strict=False, min_length=1)
    """The pieces of the heap, in the order in which they are filled; one allocation lies in one piece."""
    frame_buffer_bytes: int
    """For pictures, and for models that the heap cannot hold."""
    sources: tuple[str, ...] = Field(strict=False, min_length=1)


class UsbId(StrictModel):
    """How a board shows itself at USB, in one of its states."""

    id: str = Field(pattern=USB_ID)
    """Vendor and product, e.g. `37C5:1204`."""
    mode: UsbMode
    serial_numbers: tuple[str, ...] = Field(default=(), strict=False)
    """Only with one of these; empty for any that no other row of the board names."""
    is_generic: bool = False
    """Whether things that are no such board have it too: a chip's own id, not the board's."""


class DfuTarget(StrictModel):
    """Where a boot loader that speaks DFU takes the firmware."""

    usb_id: str = Field(pattern=USB_ID)
    """Of the boot loader."""
    alt: str | int
    """The alternate setting: its name, or its number where names differ between releases."""
    address: int | None = None
    """Where the firmware begins, for DfuSe; None where the alternate setting alone says it (plain DFU 1.1)."""
    first: int
    """Address of the first byte of the firmware; equals `address` where that is given."""
    size_bytes: int = Field(gt=0)
    """What it may take; where releases differ, the least."""
    protected: tuple[int, int] = Field(strict=False)
    """The boot loader's own flash, first byte and the one behind its last: never written."""

    @model_validator(mode="after")
    def _apart(self) -> DfuTarget:
        if self.address not in (None, self.first):
            raise ValueError(f"DFU of {self.usb_id}: address and first differ")
        if self.first < self.protected[1] and self.protected[0] < self.first + self.size_bytes:
            raise ValueError(f"DFU of {self.usb_id}: the firmware lies over the boot loader")
        return self

    @property
    def allowed(self) -> range:
        """The addresses that may be written."""
        return range(self.first, self.first + self.size_bytes)


class BoardKind(StrictModel):
    """A kind of board."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    """Lower case with hyphens; what `--board` takes."""
    name: str
    """For people, and in manifests."""
    aliases: tuple[str, ...] = Field(default=(), strict=False)
    """What else it is called."""
    core: str
    """Of the processor that runs the model, e.g. `cortex-m7`."""
    clock_hz: int = Field(gt=0)
    ram_bytes: int = Field(gt=0)
    """On the chip."""
    flash_bytes: int = Field(gt=0)
    """That programs are stored in."""
    application_ram_bytes: int = Field(gt=0)
    """What a program's static data may take; see `rule`."""
    application_flash_bytes: int = Field(gt=0)
    """What a program may take; see `rule`."""
    code_in_ram: bool = False
    """Whether code and constants are copied into RAM, and count there too."""
    rule: str
    """How the two numbers for applications come about."""
    openmv: OpenMvMemory | None = None
    """None where OpenMV's firmware does not run on it."""
    sources: tuple[str, ...] = Field(strict=False, min_length=1)
    """Where the numbers are from."""
    usb: tuple[UsbId, ...] = Field(default=(), strict=False)
    """How it shows itself; empty for what is no board but a size."""
    flasher: FlasherName | None = None
    """None where it cannot be flashed here."""
    consoles: tuple[ConsoleName, ...] = Field(default=(), strict=False)
    """How its results are read; empty where they cannot be."""
    at_baud: int = Field(default=115_200, gt=0)
    """The highest speed of Edge Impulse's firmware on it; every one starts at 115,200."""
    dfu: DfuTarget | None = None
    """None where its boot loader does not speak DFU."""
    openmv_arch: str = ""
    """How the architecture begins that OpenMV's firmware gives; empty where it does not run on it."""
    firmware_files: tuple[str, ...] = Field(default=(), strict=False)
    """Regular expressions: whole names of the firmware files for it, case aside."""
    flash_sources: tuple[str, ...] = Field(default=(), strict=False)
    """Where USB ids, addresses and names are from."""

    @model_validator(mode="after")
    def _applications_fit(self) -> BoardKind:
        if self.application_ram_bytes > self.ram_bytes or self.application_flash_bytes > self.flash_bytes:
            raise ValueError(f"{self.id}: an application cannot have more than the board has")
        return self

    @model_validator(mode="after")
    def _flashing_is_whole(self) -> BoardKind:
        if (self.usb or self.flasher) and not self.flash_sources:
            raise ValueError(f"{self.id}: flash_sources must say where the USB ids are from")
        if self.dfu is not None and self.dfu.usb_id not in [usb.id for usb in self.usb if usb.mode == "dfu"]:
            raise ValueError(f"{self.id}: its DFU boot loader is not among its USB ids")
        for pattern in self.firmware_files:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{self.id}: {pattern!r} is no regular expression: {error}") from error
        return self

    def usb_as(self, usb_id: str, serial_number: str = "") -> UsbId | None:
        """What of it answers at a USB id.

        Args:
            usb_id: As `37C5:1204`.
            serial_number: Of the USB device.

        Returns:
            None where it is not this board.
        """
        rows = [usb for usb in self.usb if usb.id == usb_id.upper()]
        named = [usb for usb in rows if serial_number in usb.serial_numbers]
        return next(iter(named or [usb for usb in rows if not usb.serial_numbers]), None)

    def names_firmware(self, name: str) -> bool:
        """Whether a file's name, without folders, says that it is firmware for this board."""
        return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in self.firmware_files)


class BoardTable(StrictModel):
    """`boards.toml`."""

    boards: tuple[BoardKind, ...] = Field(strict=False, min_length=1)


@cache
def known_boards() -> tuple[BoardKind, ...]:
    """The table of boards, in its order."""
    text = files("ei_automation.schema").joinpath(TABLE).read_text(encoding="utf-8")
    return BoardTable.model_validate(tomllib.loads(text)).boards


def find_board(name: str) -> BoardKind:
    """A board by its id, name or another name; case, punctuation and the maker do not matter.

    Raises:
        NotFoundError: There is none; the hint has the nearest names and the list.
    """
    named = _named()
    if _plain(name) in named:
        return named[_plain(name)]
    near = difflib.get_close_matches(_plain(name), named, n=3, cutoff=0.5)
    nearest = dict.fromkeys(named[each].id for each in near)
    listed = ", ".join(board.id for board in known_boards())
    question = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise NotFoundError(f"no board is called {name!r}", hint=f"{question}known are {listed}")


@cache
def _named() -> dict[str, BoardKind]:
    """Every name, plain, to its board; without its maker where that is the name of no other one."""
    whole: dict[str, BoardKind] = {}
    short: dict[str, set[str]] = {}
    for board in known_boards():
        for each in (board.id, board.name, *board.aliases):
            whole[_plain(each)] = board
            for maker in MAKERS:
                if each.startswith(maker):
                    short.setdefault(_plain(each.removeprefix(maker)), set()).add(board.id)
    boards = {board.id: board for board in known_boards()}
    return {name: boards[min(ids)] for name, ids in short.items() if len(ids) == 1} | whole


def _plain(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[^a-z0-9+]+", "", name.lower()).replace("plus", "+")
