from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.devices.openmv.loader import CHUNK_BYTES, SECTOR_BYTES, CdcLoader, Layout, flash_by_cdc
from ei_automation.devices.sim.board import SimulatedBoard
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.loader import ERASE, LAYOUT, START, PacketUart
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import open_port
from ei_automation.errors import DeviceError, DoesNotFitError
from tests.devices.cameras import OLD, Plugged, camera
from tests.devices.surroundings import surroundings

ANSWER_S, SILENT_S = 3.0, 0.1
IMAGE = bytes(range(251)) * 530  # more than a sector


def flash(plugged: Plugged, image: bytes = IMAGE, answer_s: float = ANSWER_S) -> None:
    port = plugged.port()
    assert port is not None
    with plugged.host.open(port, 921_600) as line:
        flash_by_cdc(line, image, answer_s, lambda *what: plugged.progress.append(what))


def test_an_image_that_ends_anywhere(tmp_path):
    with camera(tmp_path, version=OLD, starts=False) as plugged:
        assert plugged.port().usb_id == "1209:ABD1"
        assert plugged.port().serial_number == "000000000010"
        flash(plugged)
        plugged.wait()
        held = bytes(plugged.board.firmware)
    end = len(IMAGE) + -len(IMAGE) % 64
    assert held[: len(IMAGE)] == IMAGE
    assert held[len(IMAGE) : end] == b"\xff" * (end - len(IMAGE))
    assert plugged.board.erased == [2, 3]  # of 2..15; 0 is the boot loader, 1 the drive
    assert held[2 * SECTOR_BYTES :] == bytes(len(held) - 2 * SECTOR_BYTES)
    assert ("erasing", SECTOR_BYTES, 2 * SECTOR_BYTES) in plugged.progress
    assert plugged.progress[-1] == ("writing", len(IMAGE), len(IMAGE))


def test_too_large(tmp_path):
    with camera(tmp_path, version=OLD, starts=False) as plugged:
        with pytest.raises(DoesNotFitError, match="1,835,009 bytes, the firmware's place on the camera 1,835,008"):
            flash(plugged, bytes(14 * SECTOR_BYTES + 1))
        assert plugged.board.erased == []


@pytest.mark.parametrize(
    ("fault", "words", "answer_s"),
    [
        ("silence=20000", "bytes: waiting for the boot loader: nothing within 0.1 s", SILENT_S),
        ("unplug=20000", "is gone while", ANSWER_S),
        ("power-cut=20000", "is gone while", ANSWER_S),
    ],
)
@pytest.mark.timeout(30)
def test_interrupted(tmp_path, fault, words, answer_s):
    with camera(tmp_path, fault, version=OLD, starts=False) as plugged:
        with pytest.raises(DeviceError, match=words) as caught:
            flash(plugged, answer_s=answer_s)
        assert "boot loader itself is untouched" in caught.value.hint
        assert "run the same command again" in caught.value.hint
        plugged.host.ask({"faults": {}})  # plugged in again
        plugged.wait("loader")
        flash(plugged)
        plugged.wait()
        assert plugged.board.firmware[: len(IMAGE)] == IMAGE


@pytest.mark.timeout(30)
def test_a_firmware_that_is_no_loader(tmp_path):
    with camera(tmp_path, "mute-firmware") as plugged, pytest.raises(DeviceError) as caught:
        flash(plugged, answer_s=SILENT_S)
    assert "waiting for the boot loader to take the transfer" in str(caught.value)
    assert "said nothing at all" in str(caught.value)


class Says(SimulatedBoard):
    """Answers each packet with the same bytes."""

    board = "openmv-cam-h7"

    def __init__(self, folder, answers: Mapping[int, bytes]) -> None:
        super().__init__(surroundings(folder))
        self.answers, self.uart, self.erased = answers, PacketUart("ttyACM0", is_usb=True), False

    def uarts(self) -> Mapping[str, Uart]:
        return {"ttyACM0": self.uart}

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        return 0x1209, 0xABD1, "loader"

    def all_uarts(self) -> list[Uart]:
        return [self.uart]

    def boot(self) -> None:
        while True:
            packet = self.uart.read_packet(0.05)
            if packet:
                (command,) = struct.unpack_from("<I", packet)
                self.erased |= command == ERASE
                self.uart.write(self.answers.get(command, b""))


VERSION_3 = struct.pack("<I", 0xABCD0003)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({START: struct.pack("<I", 0xABCD0001)}, "calls itself 0xabcd0001, which is not known"),
        ({START: VERSION_3, LAYOUT: struct.pack("<III", 0, 0, 15)}, "a layout that cannot be"),
        ({START: VERSION_3, LAYOUT: struct.pack("<III", 1, 9, 4)}, "a layout that cannot be"),
        (
            {START: VERSION_3, LAYOUT: b"short"},
            "waiting for the boot loader: what was expected did not come within 0.1 s",
        ),
    ],
)
def test_what_a_loader_may_not_say(tmp_path, answers, words):
    board = Says(tmp_path, answers)
    with serving(board) as url, open_port(SimulatedHost(url).ports()[0].name) as line:
        with pytest.raises(DeviceError, match=words) as caught:
            flash_by_cdc(line, IMAGE, SILENT_S, print)
        assert caught.value.hint
        assert caught.value.log_tail  # the last bytes seen
    assert not board.erased


@pytest.mark.timeout(60)
def test_no_answer_is_trusted(tmp_path):
    """Whatever comes, the transfer ends, and nothing is erased below the first sector of the firmware."""
    board = Says(tmp_path, {})
    with serving(board) as url, open_port(SimulatedHost(url).ports()[0].name) as line:

        @given(start=st.binary(min_size=4, max_size=8), layout=st.binary(min_size=12, max_size=14))
        def check(start: bytes, layout: bytes) -> None:
            line.forget_input()
            board.answers = {START: start, LAYOUT: layout}
            hint, found = "", Layout(1, 2, 3)
            try:
                found = CdcLoader(line, 0.05).start()
            except DeviceError as error:
                hint = error.hint
            assert hint or found == Layout(*struct.unpack("<III", layout[:12]))
            assert 0 < found.file_system < found.first <= found.last

        check()


def test_layout_and_chunks():
    assert Layout(1, 2, 15).size_bytes == 1_835_008
    assert CHUNK_BYTES == 60
