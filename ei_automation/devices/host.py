"""What a flasher sees of the machine: serial ports, drives, USB. A simulated board gives the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ei_automation.devices.transport import Port

SIMULATED = "sim://"
"""How the address of a simulated board begins."""


@dataclass(frozen=True)
class SerialPort:
    """A serial port that is there.

    Attributes:
        name: Path or URL that `open_port` takes.
        vid: USB vendor, 0..0xFFFF; None where it is no USB port.
        pid: USB product.
        serial_number: Of the USB device; empty where it has none.
        description: Of the system.
        permitted: Whether this user may open it.
    """

    name: str
    vid: int | None = None
    pid: int | None = None
    serial_number: str = ""
    description: str = ""
    permitted: bool = True

    @property
    def usb_id(self) -> str:
        """Vendor and product as `37C5:1204`; empty where it is no USB port."""
        return f"{self.vid:04X}:{self.pid:04X}" if self.vid is not None and self.pid is not None else ""


class Drive(Protocol):
    """A mounted drive of a board."""

    @property
    def name(self) -> str:
        """For people: where it is mounted."""

    @property
    def serial_number(self) -> str:
        """Of the board; empty where the system does not tell."""

    @property
    def cluster_bytes(self) -> int:
        """The unit in which room is given: a file takes a multiple of it."""

    def names(self) -> list[str]:
        """Names of the files at its top."""

    def read(self, name: str) -> bytes | None:
        """A file's content, from the drive and not from the system's memory of it; None where there is none."""

    def free_bytes(self) -> int:
        """Room that is left."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all: temporary name, fsync, compare, rename, fsync of the folder.

        Raises:
            DeviceError: The drive is full, cut the file short, or is gone; the old file is untouched.
            VerificationError: The drive stored other bytes than were sent; the old file is untouched.
        """

    def remove(self, name: str) -> None:
        """Delete a file; nothing where there is none.

        Raises:
            DeviceError: The drive is gone, or read-only.
        """

    def eject(self) -> None:
        """Unmount, so that nothing is left unwritten.

        Raises:
            DeviceError: Something holds it; nothing is lost, the hint says how to do it by hand.
        """


class Host(Protocol):
    """A machine with boards plugged in."""

    def ports(self) -> list[SerialPort]:
        """The serial ports that are there now."""

    def open(self, port: SerialPort, baud: int) -> Port:
        """Open one.

        Raises:
            DeviceError: It cannot be opened.
        """

    def drives(self) -> list[Drive]:
        """The drives that boards have mounted now: those with OpenMV's marker file."""

    def usb_backend(self) -> Any:
        """The backend that `usb.core.find` takes; None where there is no libusb."""
