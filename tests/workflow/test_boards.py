"""Which boards are known, and what is plugged in."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.openmv.board import SimulatedOpenMv
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.spresense import SimulatedSpresense
from ei_automation.devices.sim.uart import wait_until
from ei_automation.errors import DeviceError
from ei_automation.schema.board import known_boards
from ei_automation.workflow.boards import look, supported_boards, supported_markdown, udev_text
from tests.devices.surroundings import surroundings


def test_what_is_only_a_size_is_no_board() -> None:
    ids = [board.id for board in supported_boards()]
    assert ids == [board.id for board in known_boards() if board.usb]
    assert "cortex-m7-216mhz" not in ids


def test_the_readmes_table_has_a_row_for_each() -> None:
    table, ways = supported_markdown().split("\n\n")
    header, rule, *rows = table.splitlines()
    assert len({line.count("|") for line in (header, rule, *rows)}) == 1
    assert [row.split("|")[1].strip(" `") for row in rows] == [board.id for board in supported_boards()]
    assert "| `sony-spresense` | Sony Spresense | cortex-m4f | 1536, 8192 | 10C4:EA60 | XMODEM | AT |" in rows
    assert any(row.startswith("| `arduino-nano-33-ble-sense` |") and row.endswith("| no | AT |") for row in rows)
    assert "XMODEM: over the serial line, to the boot loader; " in ways


def test_the_rules_are_a_file() -> None:
    assert udev_text().endswith("\n")


def test_a_simulated_spresense_is_a_perhaps(tmp_path: Path) -> None:
    with serving(SimulatedSpresense(surroundings(tmp_path))) as url:
        report = look(url)
    (found,) = report.plugged_in
    assert (found.board, found.is_certain, found.boards) == ("perhaps Sony Spresense", False, ("sony-spresense",))
    assert (found.mode, found.state) == ("bridge", "a serial line")
    assert found.port.startswith(f"{url}/")
    assert report.hints == (
        "a USB id that several kinds of boards have does not say which one it is: name it with --board",
    )
    assert report.to_json()["plugged_in"][0]["serial_number"] == "SIM0001"


def test_an_old_camera_could_be_any_of_three(tmp_path: Path) -> None:
    board = SimulatedOpenMv(surroundings(tmp_path), firmware_version=(4, 5, 9), restart_s=0.01, window_s=0.05)
    with serving(board) as url:
        assert wait_until(lambda: any(each.mode == "openmv" for each in look(url).plugged_in), 5)
        (found,) = look(url).plugged_in
    assert found.boards == ("openmv-cam-h7", "openmv-cam-h7-plus", "openmv-pure-thermal")
    assert (found.usb_id, found.drive) == ("1209:ABD1", str(board.drive))


def test_a_board_in_its_boot_loader(tmp_path: Path) -> None:
    board = SimulatedNicla(surroundings(tmp_path))
    board.flash[:] = b"\xff" * len(board.flash)  # nothing to start
    with serving(board) as url:
        assert wait_until(lambda: bool(look(url).plugged_in), 5)
        report = look(url)
    (found,) = report.plugged_in
    assert (found.port, found.board, found.state) == ("", "Arduino Nicla Vision", "its boot loader (DFU)")
    assert report.hints == ()


def test_no_simulated_board_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no simulated board at sim:"):
        look("sim://127.0.0.1:1")


def test_a_port_that_means_nothing_is_a_hint() -> None:
    assert "--port NO-SUCH-BOARD matches nothing that is plugged in" in look("NO-SUCH-BOARD").hints
