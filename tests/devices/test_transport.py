from __future__ import annotations

import os
import pty
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.transport import SEEN_BYTES, Deadline, Port, open_port
from ei_automation.errors import DeviceError
from tests.devices.echo_board import HELLO, EchoBoard
from tests.devices.surroundings import surroundings


@pytest.fixture
def board(tmp_path: Path) -> EchoBoard:
    return EchoBoard(surroundings(tmp_path))


@pytest.fixture
def host(board: EchoBoard) -> Iterator[SimulatedHost]:
    with serving(board) as url:
        yield SimulatedHost(url)


@pytest.fixture
def port(host: SimulatedHost) -> Iterator[Port]:
    with host.open(host.ports()[0], 115_200) as opened:
        opened.drain(0.05, Deadline(1))
        yield opened


def test_bytes_come_back_whole_and_in_order(port: Port) -> None:
    sent = bytes(range(256)) * 300
    for start in range(0, len(sent), 5_000):
        port.write(sent[start : start + 5_000])
    assert port.read_exactly(len(sent), Deadline(5), "echo") == sent
    assert port.seen == sent[-SEEN_BYTES:]


def test_reading_until_a_token_keeps_what_follows(port: Port) -> None:
    port.write(b"one> two> three")
    assert port.read_until(b"> ", b"two", deadline=Deadline(2), doing="waiting") == b"one> "
    assert port.read_until(b"three", deadline=Deadline(2), doing="waiting") == b"two> three"
    port.push_back(b"again")
    assert port.read(Deadline(0)) == b"again"


def test_a_deadline_that_passes_shows_what_was_heard(port: Port) -> None:
    port.write(b"\x00abc")
    with pytest.raises(DeviceError, match=r"the prompt: what was expected did not come within 0.1 s") as caught:
        port.read_until(b"> ", deadline=Deadline(0.1), doing="waiting for the prompt", hint="press reset")
    assert (caught.value.hint, caught.value.exit_code) == ("press reset", 9)
    assert caught.value.log_tail[0].endswith(r"\x00abc")
    assert port.read(Deadline(0)) == b"\x00abc", "nothing is lost"


def test_speeds_that_differ_garble_and_a_change_keeps_what_came(port: Port) -> None:
    port.set_baud(9_600)
    port.write(b"hello")
    assert b"hello" not in port.drain(0.1, Deadline(1))
    port.set_baud(115_200)
    port.write(b"faster")
    assert port.read_exactly(6, Deadline(1), "echo") == b"faster"
    port.set_baud(921_600)
    port.write(b"whole again")
    assert port.read_exactly(11, Deadline(1), "echo") == b"whole again"


def test_dtr_resets_the_board(port: Port, board: EchoBoard) -> None:
    before = board.boots
    port.set_dtr(False)
    port.set_dtr(True)
    assert port.read_exactly(len(HELLO), Deadline(2), "boot") == HELLO
    assert board.boots == before + 1


def test_an_unplugged_board_is_an_error_with_its_last_words(port: Port, host: SimulatedHost) -> None:
    port.write(b"last words")
    port.read_exactly(10, Deadline(1), "echo")
    port.write(b"quit")
    with pytest.raises(DeviceError, match="is gone while") as caught:
        port.read_exactly(1, Deadline(5), "waiting")
    assert "last words" in caught.value.log_tail[0]
    assert "plug the board in again" in caught.value.hint
    assert host.ports() == []


def test_one_program_at_a_time(host: SimulatedHost, port: Port) -> None:
    with pytest.raises(DeviceError, match="in use") as caught:
        host.open(host.ports()[0], 115_200)
    assert "close the other program" in caught.value.hint
    assert port.name.startswith("sim://")


def test_nobody_at_the_address() -> None:
    with pytest.raises(DeviceError, match="cannot be opened") as caught:
        open_port("sim://127.0.0.1:9/ttyUSB0")
    assert "eiauto sim" in caught.value.hint
    with pytest.raises(DeviceError, match=r"there is no simulated board at sim://127\.0\.0\.1:9"):
        SimulatedHost("sim://127.0.0.1:9").ports()


@pytest.mark.parametrize("name", ["/dev/ttyNOTHING", "nonsense://x", "sim://no-port"])
def test_a_port_that_cannot_be_opened_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match="cannot be opened") as caught:
        open_port(name)
    assert str(caught.value).startswith(name)
    assert caught.value.hint


def test_a_real_terminal_is_a_port_without_dtr() -> None:
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        with open_port(os.ttyname(slave), 921_600) as port:
            os.write(master, b"> ")
            assert port.read_until(b"> ", deadline=Deadline(2), doing="waiting") == b"> "
            with pytest.raises(DeviceError, match="setting DTR"):
                port.set_dtr(True)
            port.write(b"AT")
            assert os.read(master, 10) == b"AT"
            with pytest.raises(DeviceError, match="cannot be opened") as caught:
                open_port(os.ttyname(slave))
            assert "close the other program" in caught.value.hint
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    "use",
    [
        lambda port: port.forget_input(),
        lambda port: port.set_baud(921_600),
        lambda port: port.write(b"x"),
        lambda port: port.read(Deadline(1)),
        lambda port: port.drain(0.1, Deadline(1)),
    ],
)
def test_a_terminal_that_is_gone_is_an_error_of_the_device(use: Callable[[Port], object]) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    with open_port(os.ttyname(slave)) as port:
        os.close(slave)
        os.close(master)
        with pytest.raises(DeviceError, match="is gone while"):
            use(port)


def test_bytes_without_end_do_not_outlast_a_deadline() -> None:
    class Endless(serial.SerialBase):
        in_waiting = 10

        def read(self, size: int = 1) -> bytes:
            return b"x" * size

    port = Port(Endless(), "endless")
    with pytest.raises(DeviceError, match="waiting for y"):
        port.read_until(b"y", deadline=Deadline(0.01), doing="waiting for y")
    with pytest.raises(DeviceError, match="waiting for many"):
        port.read_exactly(1 << 40, Deadline(0.01), "waiting for many")


def test_what_comes_with_the_last_look_counts(port: Port) -> None:
    port.push_back(b"one> ")
    assert port.read_until(b"> ", deadline=Deadline(0), doing="waiting") == b"one> "


@given(st.floats(0, 0.001), st.floats(0, 100))
def test_a_deadline_within_another_is_not_later(outer: float, inner: float) -> None:
    assert Deadline(outer).within(inner).left_s <= outer
    assert Deadline(0).passed
