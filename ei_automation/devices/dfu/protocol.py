"""Requests and states of a DFU interface: USB DFU 1.1, and ST's DfuSe with addresses (UM0424)."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ei_automation.devices.dfu.target import require_allowed
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError
from ei_automation.schema.board import DfuTarget

DETACH, DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT = range(7)
OUT, IN = 0x21, 0xA1
"""bmRequestType: class requests to the interface."""
SET_ADDRESS, ERASE = 0x21, 0x41
"""Commands of DfuSe: the first byte of block 0, before a little-endian address."""
FIRST_BLOCK = 2
"""Of DfuSe: wValue of the first block of data; 0 is a command, 1 means nothing."""
IDLE, DNBUSY, DNLOAD_IDLE, MANIFEST, WAIT_RESET, UPLOAD_IDLE, ERROR = 2, 4, 5, 7, 8, 9, 10
STATES = (
    "appIDLE",
    "appDETACH",
    "dfuIDLE",
    "dfuDNLOAD-SYNC",
    "dfuDNBUSY",
    "dfuDNLOAD-IDLE",
    "dfuMANIFEST-SYNC",
    "dfuMANIFEST",
    "dfuMANIFEST-WAIT-RESET",
    "dfuUPLOAD-IDLE",
    "dfuERROR",
)
"""bState: USB DFU 1.1, section 6.1.2."""
STATUSES = (
    ("OK", "no error"),
    ("errTARGET", "the file is not meant for this device"),
    ("errFILE", "the file fails a check that the device makes"),
    ("errWRITE", "the device cannot write its memory"),
    ("errERASE", "the device cannot erase its memory"),
    ("errCHECK_ERASED", "the memory is not empty after it was erased"),
    ("errPROG", "the memory cannot be programmed"),
    ("errVERIFY", "what the memory holds is not what was written"),
    ("errADDRESS", "the address is outside of the memory"),
    ("errNOTDONE", "the device has not got all that it needs"),
    ("errFIRMWARE", "the device's firmware is damaged, and it cannot start it"),
    ("errVENDOR", "an error of the vendor's own"),
    ("errUSBR", "the device saw an unexpected USB reset"),
    ("errPOR", "the device saw an unexpected power on reset"),
    ("errUNKNOWN", "something went wrong, and the device does not know what"),
    ("errSTALLEDPKT", "the device got a request that it did not expect"),
)
"""bStatus, its name and what it means: USB DFU 1.1, section 6.1.2."""
TRANSFER_MS = 5000
"""A device that takes longer for one transfer does not answer."""
STEP_S = 20.0
"""By when a device has erased a page or written a block: 128 KiB of an STM32H7 take 4 s at most (DS12110)."""
IS_GONE = "is gone"
ACCESS, NO_DEVICE, BUSY, TIMEOUT, PIPE, NOT_SUPPORTED = -3, -4, -6, -7, -9, -12
"""libusb's codes."""


@dataclass(frozen=True)
class Status:
    """The answer to GETSTATUS."""

    code: int
    poll_s: float
    state: int

    @property
    def words(self) -> str:
        """The error, by name and in words."""
        name, meaning = STATUSES[self.code] if self.code < len(STATUSES) else (f"status {self.code}", "unknown")
        return f"{name}: {meaning}"

    @property
    def state_name(self) -> str:
        """What it is doing, by name."""
        return STATES[self.state] if self.state < len(STATES) else f"state {self.state}"


class DfuSession:
    """Requests to a claimed DFU interface."""

    def __init__(self, usb: Any, interface: int, transfer_bytes: int) -> None:
        self._usb, self._interface, self._transfer_bytes = usb, interface, transfer_bytes

    def make_idle(self) -> None:
        """Whatever state the device was left in, bring it to dfuIDLE.

        Raises:
            DeviceError: It does not get there.
        """
        deadline = Deadline(STEP_S)
        while (status := self._status("asking for its state")).state != IDLE:
            if deadline.passed:
                raise DeviceError(
                    f"the boot loader stays in {status.state_name} ({status.words}) for {STEP_S:g} s",
                    hint="reset the board into its boot loader again, then run the same command once more",
                )
            if status.state == ERROR:
                self._out(CLRSTATUS, 0, b"", "clearing its error")
            elif status.state in (DNLOAD_IDLE, UPLOAD_IDLE):
                self._out(ABORT, 0, b"", "ending what was begun")
            else:
                time.sleep(min(max(status.poll_s, 0.001), deadline.left_s))

    def command(self, code: int, address: int, doing: str) -> None:
        """A command of DfuSe with an address."""
        self._out(DNLOAD, 0, struct.pack("<BI", code, address), doing)
        self._settle(DNLOAD_IDLE, doing)

    def write(self, data: bytes, offset: int, target: DfuTarget) -> None:
        """A block of the image, at an offset in it: at its own address, as dfu-util does it, or by its number."""
        address = target.first + offset
        require_allowed(address, len(data), target)
        doing = f"writing {len(data)} bytes at 0x{address:08X}"
        block = offset // self._transfer_bytes
        if target.address is not None:
            self.command(SET_ADDRESS, address, doing)
            block = FIRST_BLOCK
        self._out(DNLOAD, block & 0xFFFF, data, doing)
        self._settle(DNLOAD_IDLE, doing)

    def manifest(self) -> None:
        """Say that this was all: plain DFU 1.1."""
        doing = "ending the transfer"
        self._out(DNLOAD, 0, b"", doing)
        self._settle(IDLE, doing)

    def read(self, block: int, size: int) -> bytes:
        """A block of its memory; shorter where the memory ends."""
        doing = f"reading block {block} back"
        with usb_errors(doing):
            data = self._usb.ctrl_transfer(IN, UPLOAD, block & 0xFFFF, self._interface, size, TRANSFER_MS)
        return bytes(data)

    def leave(self) -> None:
        """DfuSe: a block without data, and a GETSTATUS, at which the device goes, with or without an answer."""
        self._out(DNLOAD, FIRST_BLOCK, b"", "starting the firmware")
        with suppress(DeviceError):
            self._status("starting the firmware")

    def detach(self) -> None:
        """Plain DFU: DETACH in DFU mode starts the firmware; a device may go without an answer."""
        with suppress(DeviceError):
            self._out(DETACH, 1000, b"", "starting the firmware")

    def _out(self, request: int, value: int, data: bytes, doing: str) -> None:
        with usb_errors(doing):
            self._usb.ctrl_transfer(OUT, request, value, self._interface, data, TRANSFER_MS)

    def _status(self, doing: str) -> Status:
        with usb_errors(doing):
            data = bytes(self._usb.ctrl_transfer(IN, GETSTATUS, 0, self._interface, 6, TRANSFER_MS))
        if len(data) < 6:
            raise DeviceError(f"{doing}: the boot loader's answer is cut short", seen=data)
        return Status(data[0], int.from_bytes(data[1:4], "little") / 1000, data[4])

    def _settle(self, wanted: int, doing: str) -> None:
        """Ask until the device has done what it was told to, as often as it wants to be asked."""
        deadline = Deadline(STEP_S)
        while (status := self._status(doing)).state not in (wanted, WAIT_RESET):
            if status.state == ERROR or status.code:
                raise DeviceError(f"{doing}: the boot loader reports {status.words}")
            if deadline.passed:
                raise DeviceError(f"{doing}: the boot loader is still in {status.state_name} after {STEP_S:g} s")
            time.sleep(min(status.poll_s, deadline.left_s))


@contextmanager
def usb_errors(doing: str) -> Iterator[None]:
    """Say in words what libusb says."""
    import usb.core

    began = time.monotonic()
    try:
        yield
    except usb.core.USBError as error:
        code, number = error.backend_error_code, error.errno
        if code == ACCESS or number in (errno.EACCES, errno.EPERM):
            said = "may not be opened by this user"
            hint = "run `eiauto boards`: it prints the udev rule that gives you the permission"
        elif code == TIMEOUT or number == errno.ETIMEDOUT:
            waited_s = time.monotonic() - began
            said, hint = f"says nothing{f' (it was waited for {waited_s:.1f} s)' if waited_s >= 0.1 else ''}", ""
        elif code == NO_DEVICE or number == errno.ENODEV:
            said, hint = IS_GONE, ""
        elif code == BUSY or number == errno.EBUSY:
            said, hint = "is held by another program", "close that program, then run the same command again"
        elif code == NOT_SUPPORTED:
            said, hint = "has no driver that libusb can use", "on Windows give it WinUSB, e.g. with Zadig"
        elif code == PIPE or number == errno.EPIPE:
            said, hint = "refuses the request", ""
        else:
            said, hint = f"cannot be reached: {error}", ""
        raise DeviceError(f"{doing}: the boot loader {said}", hint=hint) from error
