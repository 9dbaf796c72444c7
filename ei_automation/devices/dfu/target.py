"""What DFU writes to, whatever speaks it: partitions, memory layouts, file suffixes, and what is refused."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from ei_automation.errors import DeviceError, DoesNotFitError, UsageError
from ei_automation.schema.board import DfuTarget

Progress = Callable[[str, int, int], None]
"""Gets a text, what is done and how much there is, bytes."""
UNITS = {"B": 1, " ": 1, "K": 1 << 10, "M": 1 << 20}
READABLE, ERASABLE, WRITABLE = 1, 2, 4
"""Bits of the letter that ends a sector group: `a` is 1, `g` is 7. ST UM0290, string descriptors."""
GROUP = re.compile(r"0*(\d{1,5})\*0*(\d{1,5})([ BKM]?)([a-g])")
SUFFIX_BYTES = 16
SUFFIX = struct.Struct("<HHHH3sBI")
"""bcdDevice, idProduct, idVendor, bcdDFU, "UFD", its length, CRC-32: USB DFU 1.1, appendix B."""
ANY_ID = 0xFFFF
DFUSE_FILE = b"DfuSe"
"""How a file of ST's container format begins: UM0391."""


@dataclass(frozen=True)
class Sectors:
    """Sectors of one size, one behind the other.

    Attributes:
        start: Address of the first byte.
        count: How many there are.
        size_bytes: Of each.
        access: READABLE, ERASABLE, WRITABLE.
    """

    start: int
    count: int
    size_bytes: int
    access: int

    @property
    def stop(self) -> int:
        """The address behind the last byte."""
        return self.start + self.count * self.size_bytes


@dataclass(frozen=True)
class MemoryLayout:
    """What the name of a DfuSe alternate setting says of its memory.

    Attributes:
        name: Of the memory, e.g. `Internal Flash`.
        sectors: In the order of the name.
    """

    name: str
    sectors: tuple[Sectors, ...]

    def pages(self, address: int, size: int) -> list[range]:
        """The pages that hold some bytes, in order.

        Args:
            address: Of the first byte.
            size: How many; 0 for none.

        Raises:
            DeviceError: Some of them lie in no page that can be erased and written.
        """
        pages, place = [], address
        while place < address + size:
            group = next((each for each in self.sectors if each.start <= place < each.stop), None)
            if group is None or not group.access & ERASABLE or not group.access & WRITABLE:
                raise DeviceError(
                    f"the boot loader says that {self.name} cannot be written at 0x{place:08X}",
                    hint="nothing was erased or written; check that this is the board that was named",
                )
            start = place - (place - group.start) % group.size_bytes
            pages.append(range(start, start + group.size_bytes))
            place = start + group.size_bytes
        return pages


def parse_layout(name: str) -> MemoryLayout | None:
    """Read the name of an alternate setting, e.g. `@Internal Flash  /0x08000000/01*128Ka,15*128Kg`.

    Returns:
        None where it is no memory layout, or one that contradicts itself.
    """
    title, *parts = name.split("/")
    if not title.startswith("@") or not parts or len(parts) % 2:
        return None
    sectors: list[Sectors] = []
    for start, groups in zip(parts[::2], parts[1::2], strict=True):
        if not re.fullmatch(r"\s*0x[0-9A-Fa-f]{1,8}\s*", start):
            return None
        address = int(start, 16)
        for text in groups.split(","):
            match = GROUP.fullmatch(text.strip())
            if match is None or not int(match[1]) or not int(match[2]):
                return None
            size = int(match[2]) * UNITS[match[3] or "B"]
            sectors.append(Sectors(address, int(match[1]), size, ord(match[4]) - ord("a") + 1))
            address = sectors[-1].stop
    return MemoryLayout(title[1:].strip(), tuple(sectors)) if _are_apart(sectors) else None


def _are_apart(sectors: list[Sectors]) -> bool:
    """Whether no two groups overlap, and all lie below 4 GiB."""
    ordered = sorted(sectors, key=lambda group: group.start)
    apart = all(left.stop <= right.start for left, right in pairwise(ordered))
    return apart and ordered[-1].stop <= 1 << 32


@dataclass(frozen=True)
class DfuAlt:
    """An alternate setting of a DFU interface.

    Attributes:
        number: bAlternateSetting.
        name: Its string; empty where it has none.
    """

    number: int
    name: str

    @property
    def layout(self) -> MemoryLayout | None:
        """What its name says of its memory; None for plain DFU 1.1."""
        return parse_layout(self.name)


class DfuDevice(Protocol):
    """A device in DFU mode. `usb_device` and `util` have one each."""

    @property
    def usb_id(self) -> str:
        """As `2341:035F`."""

    @property
    def serial_number(self) -> str:
        """Of the USB device; empty where it has none."""

    @property
    def place(self) -> str:
        """Where it is plugged in: differs between two devices, and before and after a reset."""

    @property
    def alts(self) -> tuple[DfuAlt, ...]:
        """Its alternate settings."""

    def download(self, content: bytes, target: DfuTarget, on_progress: Progress) -> None:
        """Erase where that is needed, and write. The firmware is not started.

        Raises:
            DoesNotFitError: Larger than its place; nothing was erased.
            DeviceError: What would be erased is not allowed, and nothing was; or it failed.
        """

    def read_back(self, size: int, target: DfuTarget, on_progress: Progress) -> bytes | None:
        """The first bytes of what the device holds there; None where it does not let them be read.

        Raises:
            DeviceError: It failed.
        """

    def leave(self, target: DfuTarget) -> None:
        """Start the firmware.

        Raises:
            DeviceError: It failed.
        """


def find_alt(alts: tuple[DfuAlt, ...], target: DfuTarget) -> DfuAlt:
    """The alternate setting that a target names, by number or by name.

    Raises:
        DeviceError: The device has none such.
    """
    for alt in alts:
        layout = alt.layout
        if target.alt in (alt.number, alt.name) or (layout and target.alt == layout.name):
            return alt
    listed = ", ".join(f"{alt.number} {alt.name!r}" for alt in alts) or "none"
    raise DeviceError(
        f"the boot loader {target.usb_id} has no partition {target.alt!r}; it has {listed}",
        hint="nothing was written; check that this is the board that was named, and its boot loader's release",
    )


def pages_to_erase(alt: DfuAlt, size: int, target: DfuTarget) -> list[range]:
    """Which pages must be erased for an image; none where the device does it by itself.

    Args:
        alt: Where it goes.
        size: Of the image, bytes.
        target: Where it goes.

    Raises:
        DoesNotFitError: The image is larger than its place.
        DeviceError: The device's memory is another one, or a page holds something else too: the boot loader.
    """
    require_fit(size, target)
    if target.address is None:
        return []
    layout = alt.layout
    if layout is None:
        raise DeviceError(
            f"the boot loader {target.usb_id} does not say what memory it has: {alt.name!r}",
            hint="nothing was written; check that this is the board that was named",
        )
    pages = layout.pages(target.address, size)
    allowed = target.allowed
    for page in pages:
        if page.start < allowed.start or page.stop > allowed.stop:
            raise DeviceError(
                f"erasing 0x{page.start:08X}..0x{page.stop:08X} would erase more than the firmware's "
                f"0x{allowed.start:08X}..0x{allowed.stop:08X}",
                hint="nothing was erased or written; check that this is the board that was named",
            )
    return pages


def require_allowed(address: int, size: int, target: DfuTarget) -> None:
    """The last check before a write: the boot loader is never touched, whatever went wrong before.

    Raises:
        DeviceError: It would be, or something else beside the firmware.
    """
    if address < target.allowed.start or address + size > target.allowed.stop:
        raise DeviceError(
            f"refused to write {size} bytes at 0x{address:08X}: only 0x{target.allowed.start:08X}.."
            f"0x{target.allowed.stop:08X} is the firmware's place",
            hint="nothing was written there; this is a mistake in eiauto, please report it",
        )


def require_fit(size: int, target: DfuTarget) -> None:
    """Refuse an image that is larger than its place, or empty.

    Raises:
        DoesNotFitError: Larger.
        UsageError: Empty.
    """
    if not size:
        raise UsageError("the firmware image is empty", hint="build or download the deployment again")
    if size > target.size_bytes:
        raise DoesNotFitError(
            f"the image has {size:,} bytes, and the board has {target.size_bytes:,} for it",
            hint="nothing was written; take a smaller model (int8, fewer filters) and build again",
        )


def without_suffix(content: bytes, usb_id: str, name: str) -> bytes:
    """A firmware file without its DFU suffix, which is no code.

    Args:
        content: Of the file.
        usb_id: Of the device that it is meant to go to.
        name: For the error.

    Raises:
        UsageError: The suffix is damaged or names another device, or the file is ST's container format.
    """
    if content.startswith(DFUSE_FILE):
        raise UsageError(
            f"{name} is a DfuSe container, no plain image",
            hint="take the .bin file of the deployment; dfu-util can write a container: dfu-util -a 0 -D FILE",
        )
    if len(content) < SUFFIX_BYTES:
        return content
    _, pid, vid, _, mark, length, checksum = SUFFIX.unpack(content[-SUFFIX_BYTES:])
    if mark != b"UFD" or length < SUFFIX_BYTES:
        return content
    if length > len(content) or zlib.crc32(content[:-4]) ^ 0xFFFF_FFFF != checksum:
        raise UsageError(
            f"{name} is damaged: the checksum in its DFU suffix is not that of its content",
            hint="download or build the deployment again",
        )
    wanted_vid, wanted_pid = (int(part, 16) for part in usb_id.split(":"))
    if vid not in (ANY_ID, wanted_vid) or pid not in (ANY_ID, wanted_pid):
        raise UsageError(
            f"{name} is for the device {vid:04X}:{pid:04X}, and this one is {usb_id}",
            hint="take the deployment for this board, or name the board that it is for: --board",
        )
    return content[:-length]
