"""The simulated Nicla Vision: its two modes, and what brings it from one to the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.sim.arduino import BOOT_LOADER_BYTES, SimulatedNicla, SimulatedPortenta
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.flashed_model import models_in
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.transport import Deadline
from tests.devices.surroundings import CLASSIFIER, surroundings


@contextmanager
def started(board: SimulatedNicla, mode: str) -> Iterator[SimulatedHost]:
    """Its machine, once it is in a mode."""
    with serving(board) as url:
        assert wait_until(lambda: board.mode == mode, 5)
        yield SimulatedHost(url)


class TestModes:
    def test_ids_of_firmware_and_boot_loader(self, tmp_path: Path) -> None:
        with started(SimulatedNicla(surroundings(tmp_path)), "sketch") as host:
            (port,) = host.ports()
            assert (port.usb_id, port.serial_number) == ("2341:025F", "SIM0001")
            assert host.ask()["usb"] == []
        portenta = SimulatedPortenta(surroundings(tmp_path))
        assert (portenta.usb_identity("ttyACM0")[:2], portenta.dfu.facts.usb_id) == ((0x2341, 0x025B), "2341:035B")

    @pytest.mark.parametrize(
        ("baud", "faults", "mode"),
        [(1200, (), "dfu"), (115_200, (), "sketch"), (1200, ("no-bootloader",), "sketch")],
    )
    def test_a_touch_is_a_port_closed_at_1200_baud(
        self, tmp_path: Path, baud: int, faults: tuple[str, ...], mode: str
    ) -> None:
        board = SimulatedNicla(surroundings(tmp_path, *faults))
        with started(board, "sketch") as host:
            (port,) = host.ports()
            host.open(port, baud).close()
            assert wait_until(lambda: board.mode == mode and not board._uart.is_open, 5)
            assert [bool(host.ports()), bool(host.ask()["usb"])] == [mode == "sketch", mode == "dfu"]

    def test_says_hello_when_its_port_is_opened(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with started(board, "sketch") as host, host.open(host.ports()[0], 115_200) as port:
            said = port.read_until(b"> ", deadline=Deadline(5), doing="waiting for hello")
        assert said.startswith(b"Hello from Edge Impulse running on ARDUINO_NICLA_VISION.\r\n")

    def test_an_erased_flash_keeps_it_in_the_boot_loader(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        board.flash[BOOT_LOADER_BYTES:] = b"\xff" * (len(board.flash) - BOOT_LOADER_BYTES)
        with started(board, "dfu") as host:
            assert host.ports() == []

    def test_a_network_that_cannot_be_run_is_passed_over(self, tmp_path: Path) -> None:
        log: list[str] = []
        board = SimulatedNicla(surroundings(tmp_path, log=log.append))
        board.flash[BOOT_LOADER_BYTES + 100 : BOOT_LOADER_BYTES + 108] = b"\x1c\x00\x00\x00TFL3"
        place = BOOT_LOADER_BYTES + 4096
        board.flash[place : place + len(CLASSIFIER)] = CLASSIFIER
        model = board._flashed().model
        assert model is not None
        assert model.startswith(CLASSIFIER)
        assert "is none" in log[0]


@settings(max_examples=30)
@given(st.lists(st.sampled_from([b"TFL3", b"\x00" * 4, b"x", b"T"]), max_size=12))
def test_every_mark_is_found_once(pieces: list[bytes]) -> None:
    flash = b"".join(pieces)
    found = list(models_in(flash))
    assert all(model[4:8] == b"TFL3" for model in found)
    assert len(found) == flash[4:].count(b"TFL3")
