"""The pseudo terminal at a simulated board: bytes, speeds, and who is plugged in."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest
import serial

from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.pty import PtyDoor
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.transport import Deadline, open_port
from ei_automation.errors import DeviceError
from tests.devices.scripted_board import ScriptedBoard

pytest.importorskip("termios", reason="this system has no pseudo terminals")


def echo(uart):
    """Answers in capitals; to `speed N`, by going to another speed."""
    while True:
        data = uart.read(1.0)
        if data.startswith(b"speed "):
            uart.baud = int(data[6:])
        elif data:
            uart.write(data.upper())


@contextmanager
def door_to(board):
    with serving(board) as url:
        door = PtyDoor(board, "ttyUSB0")
        door.start()
        try:
            yield door, url
        finally:
            door.stop()


def test_bytes_pass_as_they_are(tmp_path):
    data = bytes(set(range(256)) - set(range(ord("a"), ord("z") + 1))) * 8
    with door_to(ScriptedBoard(tmp_path, echo)) as (door, _), open_port(door.path) as port:
        port.write(b"hello")
        assert port.read_exactly(5, Deadline(5), "reading") == b"HELLO"
        port.write(data)
        assert port.read_exactly(len(data), Deadline(5), "reading") == data


def test_speeds_that_differ_garble(tmp_path):
    board = ScriptedBoard(tmp_path, echo)
    with door_to(board) as (door, _), open_port(door.path, 921_600) as port:
        port.write(b"aaaa")
        assert port.read_exactly(4, Deadline(5), "reading") != b"AAAA"
        port.set_baud(115_200)
        assert wait_until(lambda: board.uarts()["ttyUSB0"].host_baud == 115_200, 5)
        port.write(b"speed 921600")
        assert wait_until(lambda: board.uarts()["ttyUSB0"].baud == 921_600, 5)
        port.set_baud(921_600)
        assert wait_until(lambda: board.uarts()["ttyUSB0"].host_baud == 921_600, 5)
        port.write(b"aaaa")
        assert port.read_exactly(4, Deadline(5), "reading") == b"AAAA"


def test_it_has_no_dtr(tmp_path):
    with (
        door_to(ScriptedBoard(tmp_path, echo)) as (door, _),
        open_port(door.path) as port,
        pytest.raises(DeviceError, match="setting DTR"),
    ):
        port.set_dtr(True)


def test_path_and_address_are_used_in_turn(tmp_path):
    with door_to(ScriptedBoard(tmp_path, echo)) as (door, url):
        host = SimulatedHost(url)
        uart = door.board.uarts()["ttyUSB0"]
        for _ in range(2):
            with open_port(door.path) as port:
                port.write(b"a")
                port.read_exactly(1, Deadline(5), "reading")
                with pytest.raises(DeviceError, match="in use"):
                    host.open(host.ports()[0], 115_200)
            assert wait_until(lambda: not uart.is_open, 5)
            with host.open(host.ports()[0], 115_200) as port:
                port.write(b"b")
                assert port.read_exactly(1, Deadline(5), "reading") == b"B"
            assert wait_until(lambda: not uart.is_open, 5)


def test_what_a_program_wrote_before_it_closed_arrives(tmp_path):
    got = []

    def listen(uart):
        while True:
            got.append(uart.read(0.1))

    with door_to(ScriptedBoard(tmp_path, listen)) as (door, _):
        with open_port(door.path):
            assert wait_until(lambda: bool(got), 5)  # it listens
        descriptor = os.open(door.path, os.O_WRONLY | os.O_NOCTTY)
        os.write(descriptor, b"AT\r")
        os.close(descriptor)
        assert wait_until(lambda: b"".join(got) == b"AT\r", 5)


def test_an_unplugged_board_closes_it(tmp_path):
    board = ScriptedBoard(tmp_path, echo)
    with door_to(board) as (door, _), open_port(door.path) as port:
        port.write(b"a")
        port.read_exactly(1, Deadline(5), "reading")
        board.unplug()
        with pytest.raises(DeviceError, match="is gone while reading"):
            port.read_exactly(1, Deadline(5), "reading")


def test_it_is_gone_when_it_was_stopped(tmp_path):
    with door_to(ScriptedBoard(tmp_path, echo)) as (door, _):
        door.stop()
        with pytest.raises(serial.SerialException, match="could not open"):
            serial.Serial(door.path)


def test_what_nobody_reads_does_not_hold_the_board_up(tmp_path):
    said = []

    def talk(uart):
        for _ in range(100):
            uart.write(b"x" * 1000)
        said.append(True)

    with door_to(ScriptedBoard(tmp_path, talk)) as (door, _), open_port(door.path):
        assert wait_until(lambda: bool(said), 5)
