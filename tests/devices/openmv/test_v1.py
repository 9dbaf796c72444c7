from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.openmv.v1 import CameraV1, Command, frame, read_arch
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.faults import Faults
from ei_automation.devices.sim.openmv.machine import CameraFacts
from ei_automation.devices.sim.openmv.side_v1 import V1Side
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError
from tests.devices.camera_board import V1, V1_OLD, DebugBoard, ScriptedBoard
from tests.devices.surroundings import surroundings

VERSION = b"\x04\0\0\0\x08\0\0\0\x01\0\0\0"


@contextmanager
def line(board: DebugBoard) -> Iterator[Port]:
    """A port of a simulated camera, open at the debug speed."""
    with serving(board) as url:
        host = SimulatedHost(url)
        with host.open(host.ports()[0], 921_600) as port:
            yield port


class Machine:
    """What a side of the protocol works for, as a list of what it asked for."""

    def __init__(self, version: tuple[int, int, int] = V1) -> None:
        self.facts, self.faults, self.is_running = CameraFacts(version), Faults(), False
        self.text, self.calls = b"", list[object]()

    def execute(self, script: bytes) -> None:
        self.calls.append(script)

    def received(self, count: int) -> None:
        pass

    def stop(self) -> None:
        self.calls.append("stop")

    def leave(self, to: str) -> None:
        self.calls.append(to)

    def forget_output(self) -> None:
        self.text = b""

    @property
    def available(self) -> int:
        return len(self.text)

    def take(self, size: int) -> bytes:
        data, self.text = self.text[:size], self.text[size:]
        return data


def test_a_frame() -> None:
    assert frame(Command.SCRIPT_RUNNING, 4) == bytes.fromhex("308704000000")
    assert frame(Command.SCRIPT_STOP) == bytes.fromhex("300600000000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OMV4 H7 1024 [H7:00112233445566778899AABB]", ("OMV4 H7 1024", "H7", "00112233445566778899AABB")),
        ("NICLAV H7 1024 [NICLAV:0011]", ("NICLAV H7 1024", "NICLAV", "0011")),
        ("something else", ("something else", "", "")),
        ("", ("", "", "")),
    ],
)
def test_the_architecture(text: str, expected: tuple[str, str, str]) -> None:
    assert read_arch(text) == expected


@pytest.mark.parametrize("before", [0, 1, 4])
def test_a_camera_that_has_read_a_part_of_a_frame(tmp_path: Path, before: int) -> None:
    with line(DebugBoard(surroundings(tmp_path), V1)) as port:
        port.write(b"\0" * before)
        connected = CameraV1(port, Deadline(5), answer_s=0.06)
        assert connected.info(Deadline(5)).firmware_version == V1


@pytest.mark.parametrize(
    ("answer", "message"),
    [(b"", "FW_VERSION: nothing within"), (b"\xff" * 40, "FW_VERSION"), (VERSION[:7], "FW_VERSION")],
)
@pytest.mark.timeout(30)
def test_what_is_no_version(tmp_path: Path, answer: bytes, message: str) -> None:
    def firmware(uart: Uart) -> None:
        if uart.read(0.01):
            uart.write(answer)

    with (
        line(ScriptedBoard(surroundings(tmp_path), firmware)) as port,
        pytest.raises(DeviceError, match=message) as error,
    ):
        CameraV1(port, Deadline(0.1), answer_s=0.02)
    assert "unplug" in error.value.hint
    assert bool(error.value.log_tail) == bool(answer)


@pytest.mark.timeout(30)
def test_output_that_the_camera_dropped_meanwhile_is_only_shorter(tmp_path: Path) -> None:
    answers = {
        frame(Command.FW_VERSION, 12): b"\x04\0\0\0\x05\0\0\0\x05\0\0\0",
        frame(Command.TX_BUF_LEN, 4): b"\x09\0\0\0",
        frame(Command.TX_BUF, 9): b"short",
    }

    def firmware(uart: Uart) -> None:
        uart.write(answers.get(uart.read(0.01)[-6:], b""))

    with line(ScriptedBoard(surroundings(tmp_path), firmware)) as port:
        assert CameraV1(port, Deadline(5)).output(Deadline(0.3)) == "short"


@pytest.mark.timeout(30)
def test_text_without_a_letter_is_not_read_for_ever(tmp_path: Path) -> None:
    answers = {
        frame(Command.FW_VERSION, 12): b"\x04\0\0\0\x08\0\0\0\x01\0\0\0",
        frame(Command.GET_STATE, 64): b"\x03".ljust(64, b"\0"),
    }

    def firmware(uart: Uart) -> None:
        uart.write(answers.get(uart.read(0.01)[-6:], b""))

    with line(ScriptedBoard(surroundings(tmp_path), firmware)) as port:
        assert CameraV1(port, Deadline(5)).output(Deadline(5)) == ""


def test_firmware_before_4_8_forgets_a_script_at_exec_and_newer_at_running() -> None:
    for version, is_old in ((V1_OLD, True), (V1, False)):
        machine = Machine(version)
        side = V1Side(machine, lambda _: None)
        side.feed(frame(Command.SCRIPT_EXEC, 10) + b"part")
        side._missing = 0  # the rest never came, and it gave up
        side.feed(frame(Command.SCRIPT_EXEC, 3) + b"new")
        assert machine.calls == [b"new" if is_old else b"partnew"]
        side.script_ended()
        side.feed(frame(Command.SCRIPT_EXEC, 10) + b"part")
        side._missing = 0
        side.feed(frame(Command.SCRIPT_RUNNING, 4) + frame(Command.SCRIPT_EXEC, 3) + b"new")
        assert machine.calls[1] == b"new"


def test_state_and_text_come_together() -> None:
    machine, sent = Machine(), bytearray()
    machine.text, machine.is_running = b"x" * 60, True
    side = V1Side(machine, sent.extend)
    side.feed(frame(Command.GET_STATE, 64))
    assert sent == b"\x03" + b"\0" * 15 + b"x" * 47 + b"\0"
    assert machine.text == b"x" * 13


@settings(max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([frame(command, 4) for command in Command]))))
def test_no_bytes_confuse_the_simulated_side(pieces: list[bytes]) -> None:
    machine, sent = Machine(), bytearray()
    side = V1Side(machine, sent.extend)
    for piece in pieces:
        side.feed(piece)
        side.tick()
    assert len(side._held) < 6
    side._missing = 0  # as after a second of silence
    side.feed(b"\0" * (-len(side._held) % 6) + frame(Command.FW_VERSION, 12))
    assert sent.endswith(VERSION)
