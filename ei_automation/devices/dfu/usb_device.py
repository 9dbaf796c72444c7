"""Devices in DFU mode, by pyusb: finding them, writing, reading back, leaving."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ei_automation.devices.dfu.protocol import ERASE, FIRST_BLOCK, SET_ADDRESS, DfuSession, usb_errors
from ei_automation.devices.dfu.target import DfuAlt, Progress, find_alt, pages_to_erase, require_allowed
from ei_automation.schema.board import DfuTarget

APPLICATION_CLASS, DFU_SUBCLASS, DFU_MODE = 0xFE, 1, 2
FUNCTIONAL = 0x21
CAN_UPLOAD = 2


@dataclass(frozen=True)
class UsbDfuDevice:
    """A device in DFU mode, by pyusb.

    Attributes:
        usb: Of pyusb.
        usb_id: As `2341:035F`.
        serial_number: Of the USB device; empty where it has none.
        place: Bus and address.
        product: Its name.
        interface: bInterfaceNumber.
        alts: Its alternate settings.
        transfer_bytes: The most that one transfer carries.
        can_upload: Whether its memory can be read back.
    """

    usb: Any
    usb_id: str
    serial_number: str
    place: str
    product: str
    interface: int
    alts: tuple[DfuAlt, ...]
    transfer_bytes: int
    can_upload: bool

    def download(self, content: bytes, target: DfuTarget, on_progress: Progress) -> None:
        """Erase where that is needed, and write. The firmware is not started.

        Args:
            content: The image.
            target: Where it goes.
            on_progress: Gets `erasing` and `writing`.

        Raises:
            DoesNotFitError: Larger than its place; nothing was erased.
            DeviceError: What would be erased is not allowed, and nothing was; or it failed.
        """
        alt = find_alt(self.alts, target)
        pages = pages_to_erase(alt, len(content), target)
        with self._session(alt) as session:
            for done, page in enumerate(pages):
                on_progress("erasing", done, len(pages))
                require_allowed(page.start, len(page), target)
                session.command(ERASE, page.start, f"erasing the page at 0x{page.start:08X}")
            for offset in range(0, len(content), self.transfer_bytes):
                on_progress("writing", offset, len(content))
                session.write(content[offset : offset + self.transfer_bytes], offset, target)
            on_progress("writing", len(content), len(content))
            if target.address is None:
                session.manifest()
            session.make_idle()

    def read_back(self, size: int, target: DfuTarget, on_progress: Progress) -> bytes | None:
        """The first bytes of what the device holds there; None where it does not let them be read.

        Raises:
            DeviceError: It failed.
        """
        if not self.can_upload:
            return None
        content = bytearray()
        with self._session(find_alt(self.alts, target)) as session:
            if target.address is not None:
                session.command(SET_ADDRESS, target.address, "setting the address to read from")
                session.make_idle()
            first = 0 if target.address is None else FIRST_BLOCK
            while len(content) < size:
                on_progress("reading back", len(content), size)
                block = first + len(content) // self.transfer_bytes
                part = session.read(block, self.transfer_bytes)
                content += part
                if len(part) < self.transfer_bytes:
                    break
            session.make_idle()
        return bytes(content[:size])

    def leave(self, target: DfuTarget) -> None:
        """Start the firmware. A device may be gone before it has answered.

        Raises:
            DeviceError: It failed.
        """
        with self._session(find_alt(self.alts, target)) as session:
            if target.address is None:
                session.detach()
            else:
                session.command(SET_ADDRESS, target.address, "setting the address to start at")
                session.leave()

    @contextmanager
    def _session(self, alt: DfuAlt) -> Iterator[DfuSession]:
        """The interface, ours alone, with an alternate setting chosen and the device idle."""
        import usb.util

        session = DfuSession(self.usb, self.interface, self.transfer_bytes)
        try:
            with usb_errors(f"opening the boot loader {self.usb_id}"):
                usb.util.claim_interface(self.usb, self.interface)
                self.usb.set_interface_altsetting(self.interface, alt.number)
            session.make_idle()
            yield session
        finally:
            with suppress(OSError):  # it may be gone
                usb.util.dispose_resources(self.usb)


def list_usb_dfu(backend: Any, usb_ids: Sequence[str]) -> list[UsbDfuDevice]:
    """The devices in DFU mode that are there now.

    Args:
        backend: Of pyusb.
        usb_ids: Which to look for, as `2341:035F`.

    Raises:
        DeviceError: One of them may not be opened, or is gone meanwhile.
    """
    import usb.core

    wanted = {usb_id.upper() for usb_id in usb_ids}
    with usb_errors("listing USB devices"):
        there = [each for each in usb.core.find(find_all=True, backend=backend) if _usb_id(each) in wanted]
    return [found for each in there if (found := _opened(each)) is not None]


def _usb_id(device: Any) -> str:
    return f"{device.idVendor:04X}:{device.idProduct:04X}"


def _opened(device: Any) -> UsbDfuDevice | None:
    """A device with what it says of itself, not held open; None where it is not in DFU mode.

    Raises:
        DeviceError: It may not be opened, or is gone.
    """
    import usb.util

    try:
        with usb_errors(f"opening the boot loader {_usb_id(device)}"):
            return _described(device, _usb_id(device))
    finally:
        with suppress(OSError):  # it may be gone
            usb.util.dispose_resources(device)


def _described(device: Any, usb_id: str) -> UsbDfuDevice | None:
    """A device with what it says of itself; None where it is not in DFU mode."""
    settings = [
        each
        for each in device.get_active_configuration()
        if (each.bInterfaceClass, each.bInterfaceSubClass) == (APPLICATION_CLASS, DFU_SUBCLASS)
        and each.bInterfaceProtocol == DFU_MODE
    ]
    functional = find_functional(each.extra_descriptors for each in settings)
    if functional is None:
        return None
    attributes, transfer_bytes = functional
    return UsbDfuDevice(
        usb=device,
        usb_id=usb_id,
        serial_number=_text(device, device.iSerialNumber),
        place=f"{device.bus}-{device.address}",
        product=_text(device, device.iProduct),
        interface=settings[0].bInterfaceNumber,
        alts=tuple(DfuAlt(each.bAlternateSetting, _text(device, each.iInterface)) for each in settings),
        transfer_bytes=transfer_bytes,
        can_upload=bool(attributes & CAN_UPLOAD),
    )


def find_functional(extras: Iterable[Sequence[int]]) -> tuple[int, int] | None:
    """The fields bmAttributes and wTransferSize of the DFU functional descriptor: USB DFU 1.1, section 4.1.3.

    Args:
        extras: What follows each alternate setting's descriptor; the functional one may follow any of them.
    """
    for extra in extras:
        left = bytes(extra)
        while len(left) >= 2 and left[0] >= 2:
            if left[1] == FUNCTIONAL and left[0] >= 7 and len(left) >= 7:
                attributes, _, transfer_bytes = struct.unpack_from("<BHH", left, 2)
                if transfer_bytes:
                    return attributes, transfer_bytes
            left = left[left[0] :]
    return None


def _text(device: Any, index: int) -> str:
    """A string of a device; empty where it has none, or none that can be read."""
    import usb.util

    with suppress(ValueError):  # no languages, or no UTF-16
        return str(usb.util.get_string(device, index) or "")
    return ""
