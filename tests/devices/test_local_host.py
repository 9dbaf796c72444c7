"""This machine as a host."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest
import usb.backend.libusb1
from serial.tools.list_ports_common import ListPortInfo

from ei_automation.devices.host import SerialPort
from ei_automation.devices.local_host import LocalHost, is_permitted
from ei_automation.devices.openmv.drives import MARKER, MountPoint
from ei_automation.errors import DeviceError


def port_info(
    device: str, usb_id: str = "", *, serial: str | None = None, product: str | None = None
) -> ListPortInfo:
    """What pyserial gives for a port."""
    info = ListPortInfo(device)
    info.product, info.serial_number = product, serial
    if usb_id:
        info.vid, info.pid = (int(part, 16) for part in usb_id.split(":"))
    return info


def test_ports_are_sorted_and_said_in_our_words() -> None:
    infos = [port_info("/dev/ttyUSB1", "10c4:ea60", serial="AB12", product="CP2102N"), port_info("/dev/ttyS0")]
    ports = LocalHost(lambda: infos).ports()
    assert [port.name for port in ports] == ["/dev/ttyS0", "/dev/ttyUSB1"]
    assert ports[1] == SerialPort("/dev/ttyUSB1", 0x10C4, 0xEA60, "AB12", "CP2102N", ports[1].permitted)
    assert ports[1].usb_id == "10C4:EA60"
    assert (ports[0].usb_id, ports[0].serial_number, ports[0].description) == ("", "", "")


def test_the_real_list_can_be_had() -> None:
    host = LocalHost()
    assert all(isinstance(port, SerialPort) for port in host.ports())
    assert all(MARKER in os.listdir(drive.name) for drive in host.drives())  # noqa: PTH208


def test_drives_are_those_with_the_marker(tmp_path: Path) -> None:
    for name in ("camera", "stick"):
        (tmp_path / name).mkdir()
    (tmp_path / "camera" / MARKER).touch()
    mounts = [MountPoint(tmp_path / "camera", serial_number="X1"), MountPoint(tmp_path / "stick")]
    drives = LocalHost(list, lambda: mounts).drives()
    assert [(drive.name, drive.serial_number) for drive in drives] == [(str(tmp_path / "camera"), "X1")]


def test_a_port_is_opened_and_its_absence_said() -> None:
    master, slave = pty.openpty()
    try:
        host, name = LocalHost(list), os.ttyname(slave)
        with host.open(SerialPort(name), 115_200) as port:
            assert port.baud == 115_200
        with pytest.raises(DeviceError, match="cannot be opened"):
            host.open(SerialPort("/dev/no-such-port"), 115_200)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_what_may_not_be_opened_is_known(tmp_path: Path) -> None:
    closed = tmp_path / "port"
    closed.touch(0o000)
    assert not is_permitted(str(closed))
    assert not LocalHost(lambda: [port_info(str(closed))]).ports()[0].permitted


def test_what_is_not_there_is_not_called_forbidden(tmp_path: Path) -> None:
    assert is_permitted(str(tmp_path / "none"))
    assert is_permitted(str(tmp_path))


def test_libusb_may_come_as_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = usb.backend.libusb1.get_backend()
    assert (LocalHost(list).usb_backend() is None) == (found is None)
    (tmp_path / "libusb_package.py").write_text("asked = []\ndef find_library(name):\n    asked.append(name)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(usb.backend.libusb1, "_lib", None)  # pyusb's memory of the last library
    monkeypatch.setattr(usb.backend.libusb1, "_lib_object", None)
    assert LocalHost(list).usb_backend() is None
    import libusb_package  # type: ignore[import-not-found]

    assert "usb-1.0" in libusb_package.asked
