"""Which port is meant, and which board is at it."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from ei_automation.devices.choose import (
    PluggedIn,
    board_at,
    boards_plugged_in,
    choose_port,
    describe,
    find_ports,
    open_host,
)
from ei_automation.devices.host import Host, SerialPort
from ei_automation.devices.local_host import LocalHost
from ei_automation.devices.openmv.drives import MARKER, MountPoint
from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.board import SimulatedOpenMv
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.errors import DeviceError, UsageError
from ei_automation.schema.board import find_board
from tests.devices.echo_board import EchoBoard
from tests.devices.surroundings import surroundings

NICLA, H7, H7_PLUS = find_board("nicla vision"), find_board("openmv cam h7"), find_board("openmv cam h7 plus")
SPRESENSE = find_board("spresense")
SKETCH = ("/dev/ttyACM0", "2341:025F", "NIC1")
CAMERA = ("/dev/ttyACM1", "37C5:1204", "CAM1")
OLD_CAMERA = ("/dev/ttyACM2", "1209:ABD1", "CAM2")
BRIDGE = ("/dev/ttyUSB0", "10C4:EA60", "BR1")
OTHER_BRIDGE = ("/dev/ttyUSB1", "10C4:EA60", "BR2")
UNKNOWN = ("/dev/ttyUSB2", "0403:6001", "FT1")
BUILT_IN = ("/dev/ttyS0", "", "")


def local(*ports: tuple[str, str, str], drives: tuple[MountPoint, ...] = ()) -> LocalHost:
    """A machine with these ports and drives, and without libusb."""
    infos = []
    for name, usb_id, serial_number in ports:
        info = ListPortInfo(name)
        info.serial_number = serial_number
        if usb_id:
            info.vid, info.pid = (int(part, 16) for part in usb_id.split(":"))
        infos.append(info)
    return LocalHost(lambda: infos, lambda: drives, lambda: None)


def names(host: Host, wanted: str) -> list[str]:
    return [port.name for port in find_ports(host, wanted)]


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dfu-util either: what is in DFU mode at the machine that tests run on is none of theirs."""
    monkeypatch.setenv("PATH", "")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("/dev/ttyACM0", ["/dev/ttyACM0"]),
        ("/dev/ttyACM*", ["/dev/ttyACM0", "/dev/ttyACM1", "/dev/ttyACM2"]),
        ("*USB[01]", ["/dev/ttyUSB0", "/dev/ttyUSB1"]),
        ("10c4:ea60", ["/dev/ttyUSB0", "/dev/ttyUSB1"]),
        ("0x37C5:0x1204", ["/dev/ttyACM1"]),
        ("br2", ["/dev/ttyUSB1"]),
        ("/dev/ttyS0", ["/dev/ttyS0"]),
        ("BR", []),
        ("ttyACM0", []),
        ("/dev/no-such-port", []),
        ("FFFF:FFFF", []),
        ("", []),
        ("\0", []),
        ("[", []),
        ("*\0", []),
        ("socket://127.0.0.1:5", ["socket://127.0.0.1:5"]),
        ("sim://127.0.0.1:4750", []),
    ],
)
def test_ports_are_found_by_every_name(wanted: str, found: list[str]) -> None:
    host = local(SKETCH, CAMERA, OLD_CAMERA, BRIDGE, OTHER_BRIDGE, UNKNOWN, BUILT_IN)
    assert names(host, wanted) == found


def test_windows_names_have_no_case() -> None:
    assert names(local(("COM3", "2341:025F", "")), "com3") == ["COM3"]


@contextmanager
def pseudo_terminal() -> Iterator[str]:
    master, slave = pty.openpty()
    try:
        yield os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_a_path_may_lead_to_a_port(tmp_path: Path) -> None:
    with pseudo_terminal() as name:
        link = tmp_path / "usb-Arduino_Nicla-if00"
        link.symlink_to(name)
        host = local((name, "2341:025F", "N1"))
        assert find_ports(host, str(link)) == host.ports()
        assert find_ports(host, str(tmp_path / "usb-Arduino*")) == host.ports()
        assert names(local(), str(link)) == [str(link)]  # a pseudo terminal that no list has
    (tmp_path / "file").touch()
    assert names(local(), str(tmp_path / "file")) == []


def test_the_only_port_of_the_board_is_taken() -> None:
    host = local(BUILT_IN, CAMERA, SKETCH, UNKNOWN)
    assert choose_port(host, board=NICLA).name == "/dev/ttyACM0"
    assert choose_port(host, board=H7).name == "/dev/ttyACM1"
    assert choose_port(local(BUILT_IN, UNKNOWN, SKETCH)).name == "/dev/ttyACM0"


def test_a_named_port_need_not_be_in_the_table() -> None:
    host = local(BUILT_IN, UNKNOWN)
    assert choose_port(host, wanted="/dev/ttyS0", board=SPRESENSE).name == "/dev/ttyS0"
    assert choose_port(host, wanted="FT1", board=NICLA).name == "/dev/ttyUSB2"
    assert choose_port(host, wanted="rfc2217://lab:4000", board=NICLA).name == "rfc2217://lab:4000"


def test_several_ports_are_an_error_that_lists_them() -> None:
    host = local(BRIDGE, OTHER_BRIDGE, SKETCH)
    with pytest.raises(UsageError) as caught:
        choose_port(host, board=SPRESENSE)
    assert str(caught.value) == (
        "2 ports may be Sony Spresense: /dev/ttyUSB0 (perhaps Sony Spresense, 10C4:EA60, serial number BR1); "
        "/dev/ttyUSB1 (perhaps Sony Spresense, 10C4:EA60, serial number BR2)"
    )
    assert "--port, or EIAUTO_PORT" in caught.value.hint
    with pytest.raises(UsageError, match="3 ports match '/dev/tty"):
        choose_port(host, wanted="/dev/tty*")
    with pytest.raises(UsageError, match="3 ports are of boards that are known"):
        choose_port(host)


def test_of_several_ports_that_match_the_boards_own_is_taken() -> None:
    assert choose_port(local(BRIDGE, SKETCH), wanted="/dev/tty*", board=NICLA).name == "/dev/ttyACM0"


def test_another_boards_port_is_refused() -> None:
    host = local(SKETCH, BRIDGE)
    with pytest.raises(UsageError, match=r"ttyACM0 \(Arduino Nicla Vision.*is not Sony Spresense") as caught:
        choose_port(host, wanted="/dev/ttyACM0", board=SPRESENSE)
    assert "--board arduino-nicla-vision" in caught.value.hint
    # a bridge is any chip of its kind, and may stand in front of anything
    assert choose_port(host, wanted="/dev/ttyUSB0", board=NICLA).name == "/dev/ttyUSB0"


def test_nothing_there_says_what_is() -> None:
    with pytest.raises(DeviceError, match="no Sony Spresense is plugged in") as caught:
        choose_port(local(SKETCH, UNKNOWN), board=SPRESENSE)
    assert "/dev/ttyACM0 (Arduino Nicla Vision, 2341:025F, serial number NIC1)" in caught.value.hint
    assert "/dev/ttyUSB2 (unknown, 0403:6001, serial number FT1)" in caught.value.hint
    with pytest.raises(DeviceError, match="no port matches 'FT9'") as caught:
        choose_port(local(BUILT_IN), wanted="FT9")
    assert "`eiauto sim BOARD`" in caught.value.hint
    with pytest.raises(DeviceError, match="no board is plugged in"):
        choose_port(local())


def test_a_shared_usb_id_is_several_candidates() -> None:
    port = local(OLD_CAMERA).ports()[0]
    found = board_at(port)
    assert found.boards == ("openmv-cam-h7", "openmv-cam-h7-plus", "openmv-pure-thermal")
    assert not found.is_certain
    assert found.words == "OpenMV Cam H7 or OpenMV Cam H7 Plus or OpenMV Pure Thermal"
    assert board_at(port, [H7]).is_certain
    assert choose_port(local(OLD_CAMERA), board=H7_PLUS) == port


def test_a_serial_number_tells_the_older_boot_loader() -> None:
    found = board_at(local(("/dev/ttyACM0", "1209:ABD1", "000000000010")).ports()[0])
    assert found.mode == "loader"
    assert "in its boot loader" in describe(found)
    assert board_at(local(OLD_CAMERA).ports()[0]).mode == "openmv"


def test_a_chips_own_id_is_a_perhaps() -> None:
    found = board_at(local(BRIDGE).ports()[0])
    assert (found.boards, found.mode, found.is_certain) == (("sony-spresense",), "bridge", False)
    assert found.words == "perhaps Sony Spresense"
    assert board_at(local(SKETCH).ports()[0]).is_certain


def camera_drive(folder: Path, serial_number: str = "") -> MountPoint:
    folder.mkdir()
    (folder / MARKER).touch()
    return MountPoint(folder, serial_number=serial_number)


def plugged(host: Host) -> list[tuple[str, str]]:
    return [(each.port, Path(each.drive).name) for each in boards_plugged_in(host)]


def test_drives_stand_beside_their_ports(tmp_path: Path) -> None:
    first, second = camera_drive(tmp_path / "one", "cam1"), camera_drive(tmp_path / "two", "CAM2")
    host = local(CAMERA, OLD_CAMERA, SKETCH, BUILT_IN, drives=(second, first))
    assert plugged(host) == [("/dev/ttyACM0", ""), ("/dev/ttyACM1", "one"), ("/dev/ttyACM2", "two")]


def test_the_only_drive_is_the_only_cameras(tmp_path: Path) -> None:
    drive = camera_drive(tmp_path / "one")
    assert plugged(local(CAMERA, SKETCH, drives=(drive,))) == [("/dev/ttyACM0", ""), ("/dev/ttyACM1", "one")]
    assert plugged(local(CAMERA, OLD_CAMERA, drives=(drive,)))[-1] == ("", "one")
    (alone,) = boards_plugged_in(local(drives=(drive,)))
    assert describe(alone) == f"{drive.path} (a drive of OpenMV's firmware)"


def test_without_libusb_and_dfu_util_there_is_a_hint() -> None:
    hints: list[str] = []
    found = boards_plugged_in(local(SKETCH), on_hint=hints.append)
    assert [each.port for each in found] == ["/dev/ttyACM0"]
    assert len(hints) == 1
    assert "boot loader that speaks DFU are not listed" in hints[0]
    assert "install libusb" in hints[0]


def test_what_is_not_permitted_is_listed() -> None:
    assert not board_at(SerialPort("/dev/ttyACM0", 0x2341, 0x025F, permitted=False)).permitted
    assert PluggedIn().permitted


# Simulated boards


def test_the_address_decides_whose_machine_it_is() -> None:
    assert isinstance(open_host("sim://127.0.0.1:4750"), SimulatedHost)
    for port in (None, "/dev/ttyACM0", "10C4:EA60", "socket://127.0.0.1:1"):
        assert isinstance(open_host(port), LocalHost)


def test_a_simulated_board_is_chosen_by_its_address(tmp_path: Path) -> None:
    with serving(EchoBoard(surroundings(tmp_path))) as url:
        host = open_host(url)
        for wanted in (url, f"{url}/", f"{url}/ttyUSB0"):
            assert choose_port(host, wanted=wanted, board=SPRESENSE).name == f"{url}/ttyUSB0"
        with pytest.raises(DeviceError, match="no port matches"):
            choose_port(host, wanted=f"{url}/ttyUSB7")
        (found,) = boards_plugged_in(host)
        assert (found.boards, found.serial_number) == (("sony-spresense",), "SIM0001")
    with pytest.raises(DeviceError, match="no simulated board"):
        choose_port(host, wanted=url)


def test_a_simulated_camera_has_its_drive(tmp_path: Path) -> None:
    board = SimulatedOpenMv(surroundings(tmp_path), restart_s=0.01, window_s=0.05)
    with serving(board) as url:
        host = open_host(url)
        assert wait_until(lambda: any(each.drive for each in boards_plugged_in(host)), 5)
        (found,) = boards_plugged_in(host)
        assert (found.boards, found.mode) == (("openmv-cam-h7",), "openmv")
        assert found.drive == str(board.drive)


def test_a_board_in_its_boot_loader_is_listed_without_a_port(tmp_path: Path) -> None:
    board = SimulatedNicla(surroundings(tmp_path))
    board.flash[:] = b"\xff" * len(board.flash)  # nothing to start
    with serving(board) as url:
        host = open_host(url)
        assert wait_until(lambda: bool(boards_plugged_in(host)), 5)
        (found,) = boards_plugged_in(host)
        assert (found.port, found.boards, found.mode) == ("", ("arduino-nicla-vision",), "dfu")
        assert describe(found) == (
            "no port (Arduino Nicla Vision, 2341:035F, serial number SIM0001, in its boot loader)"
        )
        with pytest.raises(DeviceError) as caught:
            choose_port(host, wanted=url, board=NICLA)
        assert "in its boot loader" in caught.value.hint
