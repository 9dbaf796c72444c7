from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.faults import ALL, DEFAULTS, FAMILIES, FAULTS, Faults
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.sim.wire import Wire, WireClosedError, connect
from ei_automation.devices.transport import Deadline, open_port
from ei_automation.errors import DeviceError, UsageError
from tests.devices.echo_board import HELLO, EchoBoard
from tests.devices.scripted_board import ScriptedBoard
from tests.devices.surroundings import surroundings


def test_a_host_sees_what_is_there(tmp_path: Path) -> None:
    with serving(EchoBoard(surroundings(tmp_path))) as url:
        host = SimulatedHost(f"{url}/whatever")
        (port,) = host.ports()
        assert (port.name, port.usb_id, port.serial_number) == (f"{url}/ttyUSB0", "10C4:EA60", "SIM0001")
        assert host.drives() == []
        assert host.ask()["board"] == "echo"


def test_a_cable_can_be_plugged_in_again_and_again(tmp_path: Path) -> None:
    with serving(EchoBoard(surroundings(tmp_path), is_usb=True)) as url:
        host = SimulatedHost(url)
        for _ in range(5):
            with host.open(host.ports()[0], 1_200) as port:
                port.drain(0.01, Deadline(1))
                port.write(b"x")
                assert b"x" in port.read_until(b"x", deadline=Deadline(2), doing="echo"), "USB garbles nothing"


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=60))
def test_strangers_do_no_harm(noise: bytes) -> None:
    with serving(EchoBoard(surroundings(Path()))) as url:
        host, port = url.removeprefix("sim://").split(":")
        with socket.create_connection((host, int(port)), 5) as stranger:
            stranger.sendall(noise)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(5)
            while stranger.recv(4096):
                pass
        machine = SimulatedHost(url)
        with machine.open(machine.ports()[0], 115_200) as opened:
            opened.set_dtr(False)
            assert HELLO in opened.read_until(HELLO, deadline=Deadline(2), doing="boot")


@given(
    st.lists(st.one_of(st.binary(max_size=50), st.dictionaries(st.text(max_size=5), st.integers())), max_size=8)
)
def test_messages_arrive_as_they_were_sent(messages: list[bytes | dict[str, int]]) -> None:
    one, other = socket.socketpair()
    with closing(Wire(one)) as left, closing(Wire(other)) as right:
        for message in messages:
            left.send(message)
        assert [right.receive(1) for _ in messages] == messages
        assert right.receive(0) is None
        left.close()
        with pytest.raises(WireClosedError):
            right.receive(1)


def chatter(uart):
    while True:
        uart.write(b"C" * 4096)


def test_a_board_that_never_stops_talking_can_be_plugged_in_and_read(tmp_path: Path) -> None:
    with serving(ScriptedBoard(tmp_path, chatter)) as url:
        for _ in range(20):  # its first words may be there before the answer that it is plugged in
            with open_port(f"{url}/ttyUSB0") as port:
                assert port.drain(0.01, Deadline(0.01)).strip(b"C") == b""
                with pytest.raises(DeviceError, match="the end: what was expected did not come"):
                    port.read_until(b"end", deadline=Deadline(0.01), doing="waiting for the end")


def test_a_port_that_was_closed_is_free_at_once(tmp_path: Path) -> None:
    board = ScriptedBoard(tmp_path, chatter)
    with serving(board) as url:
        for _ in range(20):
            open_port(f"{url}/ttyUSB0").close()
            assert not board.uarts()["ttyUSB0"].is_open


def test_stopping_leaves_no_thread_behind(tmp_path: Path) -> None:
    board = ScriptedBoard(tmp_path, chatter)
    before = set(threading.enumerate())
    with serving(board) as url:
        mute = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5)  # never says what it is
        port = open_port(f"{url}/ttyUSB0")  # and is not read: the board is held up
        assert wait_until(lambda: bool(board.uarts()["ttyUSB0"].is_open), 5)
    assert set(threading.enumerate()) <= before
    port.close()
    mute.close()


@pytest.mark.parametrize("message", [{"cable": "ttyUSB0", "baud": None}, {"stored": []}, {"control": None}, {}])
def test_a_wrong_message_ends_only_its_connection(message: dict[str, Any], tmp_path: Path) -> None:
    with serving(EchoBoard(surroundings(tmp_path))) as url:
        with closing(connect(url.removeprefix("sim://"))) as wire:
            wire.send(message)
            with suppress(WireClosedError):
                wire.receive(5)
        assert SimulatedHost(url).ports()


def test_every_fault_can_be_asked_for() -> None:
    for name in FAULTS:
        assert Faults.parse([name]).numbers == {name: DEFAULTS.get(name, 1)}
    faults = Faults.parse(["nak=3", "silence=10", "garble"])
    assert [faults.every("nak", count) for count in (1, 3, 6)] == [False, True, True]
    assert [faults.at("silence", count) for count in (9, 10, 11)] == [False, True, True]
    assert "garble" in faults
    assert not faults.at("unplug", 10**9)


@pytest.mark.parametrize(
    ("word", "text"),
    [("nonsense", "no fault 'nonsense'"), ("nak=0", "number of 1"), ("garble=2", "takes no number")],
)
def test_a_wrong_fault_is_refused(word: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Faults.parse([word])


def test_a_fault_of_another_kind_of_board_is_refused() -> None:
    assert FAMILIES.keys() == FAULTS.keys()
    with pytest.raises(UsageError, match="full-drive does not concern this board") as told:
        Faults.parse(["full-drive=5"], "spresense")
    assert told.value.hint.startswith("there are nak, cancel, ")
    assert "drive" not in told.value.hint
    for name, families in FAMILIES.items():
        for family in ALL:
            if family in families:
                assert name in Faults.parse([name], family)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_an_address_without_a_port_number_is_explained(address: str) -> None:
    with pytest.raises(DeviceError, match=r"the number of a port, e\.g\. sim://127\.0\.0\.1:4750"):
        SimulatedHost(f"sim://{address}").ports()
    with pytest.raises(DeviceError, match="the number of a port"):
        open_port(f"sim://{address}/ttyUSB0")
