"""This machine: its serial ports, the drives of boards, its USB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import usb.backend.libusb1
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from ei_automation.devices.host import Drive, SerialPort
from ei_automation.devices.openmv.drives import MountPoint, board_drives, mount_points
from ei_automation.devices.transport import Port, open_port


def libusb() -> Any:
    """libusb, as pyusb takes it; None where it is not installed."""
    if find_spec("libusb_package") is None:
        return usb.backend.libusb1.get_backend()
    package = import_module("libusb_package")  # libusb as a Python package, for systems that bring none
    return usb.backend.libusb1.get_backend(find_library=package.find_library)


class LocalHost:
    """What is plugged into this machine.

    Args:
        list_serial: Gives the system's serial ports as pyserial describes them.
        list_mounts: Gives the drives that are mounted.
        find_libusb: Gives libusb as pyusb takes it; None where it is not installed.
    """

    def __init__(
        self,
        list_serial: Callable[[], Iterable[ListPortInfo]] = list_ports.comports,
        list_mounts: Callable[[], Iterable[MountPoint]] = mount_points,
        find_libusb: Callable[[], Any] = libusb,
    ) -> None:
        self._list_serial, self._list_mounts, self._find_libusb = list_serial, list_mounts, find_libusb

    def ports(self) -> list[SerialPort]:
        """The serial ports that are there now, by name."""
        return sorted((_port(info) for info in self._list_serial()), key=lambda port: port.name)

    def open(self, port: SerialPort, baud: int) -> Port:
        """Open one.

        Raises:
            DeviceError: It is not there, not permitted, or in use.
        """
        return open_port(port.name, baud, port.usb_id)

    def drives(self) -> list[Drive]:
        """The drives that boards have mounted now."""
        return list(board_drives(self._list_mounts()))

    def usb_backend(self) -> Any:
        """libusb, as pyusb takes it; None where it is not installed."""
        return self._find_libusb()


def is_permitted(name: str) -> bool:
    """Whether this user may open a port; yes where the system has no such thing as permissions of ports."""
    return os.name != "posix" or not os.path.exists(name) or os.access(name, os.R_OK | os.W_OK)  # noqa: PTH110


def _port(info: ListPortInfo) -> SerialPort:
    """From what pyserial says."""
    return SerialPort(
        name=info.device,
        vid=info.vid,
        pid=info.pid,
        serial_number=info.serial_number or "",
        description=_described(info),
        permitted=is_permitted(info.device),
    )


def _described(info: ListPortInfo) -> str:
    """The product's name; empty where the system has none: pyserial says `n/a` then."""
    text = info.product or info.description or ""
    return "" if text == "n/a" else text
