"""What to do where a port may not be opened."""

from __future__ import annotations

import getpass
import grp
import os
import re
from pathlib import Path

import pytest

from ei_automation.devices.permissions import INSTALL_RULES, RULES_NAME, port_hints, udev_rules
from ei_automation.schema.board import find_board, known_boards


@pytest.fixture
def port(tmp_path: Path) -> Path:
    """A file with the rights of a serial port, in a group of this user's, or root's where that is all there is."""
    path = tmp_path / "ttyACM0"
    path.touch()
    path.chmod(0o660)
    return path


def test_the_group_of_the_port_is_named(port: Path) -> None:
    groups = [group.gr_gid for group in grp.getgrall() if group.gr_gid and getpass.getuser() not in group.gr_mem]
    foreign = next((gid for gid in groups if os.geteuid() == 0 or gid in os.getgroups()), None)
    if foreign is None:
        pytest.skip("this user may give the file to no group but root's")
    os.chown(port, -1, foreign)
    name = grp.getgrgid(foreign).gr_name
    hint, rules = port_hints([str(port)], "linux")
    assert f"{port} belongs to group {name}: run `sudo usermod -aG {name} $USER`" in hint
    assert "log out and in again" in hint
    assert INSTALL_RULES in rules


def test_a_port_that_is_roots_alone_needs_the_rules(port: Path) -> None:
    port.chmod(0o600)
    hint, _ = port_hints([str(port)], "linux")
    assert hint == f"{port} is root's alone: install the rules below"


def test_a_port_that_is_gone_says_so(tmp_path: Path) -> None:
    hint, _ = port_hints([str(tmp_path / "none")], "linux")
    assert "its group is not known" in hint


def test_each_thing_is_said_once(port: Path) -> None:
    port.chmod(0o600)
    assert len(port_hints([str(port), str(port)], "linux")) == 2
    assert port_hints([], "linux") == []


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_have_no_groups(system: str) -> None:
    assert port_hints(["COM3"], system) == [
        "COM3: this user may not open it; close what uses it, or run as administrator"
    ]
    assert port_hints([], system) == []


def test_rules_name_every_usb_id_once() -> None:
    text = udev_rules()
    found = re.findall(
        r'idVendor\}=="(\w{4})", ATTRS?\{idProduct\}=="(\w{4})", MODE="0660", TAG\+="uaccess"', text
    )
    ids = [f"{vendor}:{product}".upper() for vendor, product in found]
    assert sorted(ids) == sorted({usb.id for board in known_boards() for usb in board.usb})
    assert RULES_NAME < "73-seat-late.rules"  # which acts on the tag


def test_each_line_is_a_rule_or_a_comment() -> None:
    rule = re.compile(r'(?:[A-Z]+(?:\{\w+\})?(?:==|\+=|=)"[^"]*"(?:, )?)+')
    for line in udev_rules().splitlines():
        assert not line or line.startswith("# ") or rule.fullmatch(line), line


def test_boot_loaders_are_usb_devices_and_ports_no_modems() -> None:
    lines = udev_rules([find_board("Nicla Vision")]).splitlines()
    (boot_loader,) = [line for line in lines if '"035f"' in line]
    assert boot_loader.startswith('SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device"')
    assert sum('ENV{ID_MM_DEVICE_IGNORE}="1"' in line for line in lines) == 3


def test_a_chips_own_id_is_not_kept_from_modem_programs() -> None:
    text = udev_rules([find_board("Spresense")])
    assert '"ea60"' in text
    assert 'ID_MM_DEVICE_IGNORE}="1"' not in text
