"""The official dfu-util judges the simulated boot loader, and ours works with the official dfu-util.

Optional: skipped where dfu-util or a C compiler is missing.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ei_automation.devices.dfu.util import list_dfu_util
from ei_automation.devices.sim.dfu_device import SimulatedDfu
from ei_automation.errors import DeviceError
from tests.devices.dfu_board import CAMERA, LAYOUT, NICLA, DfuBoard
from tests.devices.real_dfu_util import build, plugged_into_dfu_util

IMAGE = random.Random(7).randbytes(9_000)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fake_libusb"))


def silent(*_: object) -> None:
    """No progress."""


class Cable(SimulatedDfu):
    """A device whose cable can be pulled out.

    Args:
        device: As it is.
    """

    is_out = False

    def __init__(self, device: SimulatedDfu) -> None:
        super().__init__(device.facts, device.memories, device.around)

    def control(self, *request: Any) -> bytes | None:
        if self.is_out:
            raise ConnectionResetError
        return super().control(*request)


@pytest.mark.timeout(60)
class TestRealDfuUtil:
    def test_dfuse(self, tmp_path: Path, library: Path) -> None:
        board, told = DfuBoard(tmp_path), set()
        with plugged_into_dfu_util(board.dfu, tmp_path, library) as program:
            (device,) = list_dfu_util(program, [NICLA.usb_id])
            assert (device.serial_number, device.alts[0].name) == ("SIM0001", LAYOUT)
            device.download(IMAGE, NICLA, lambda text, *_: told.add(text))
            written = list(board.dfu.requests)
            assert device.read_back(len(IMAGE), NICLA, silent) == IMAGE
            assert board.left == 0
            device.leave(NICLA)
        assert board.left == 1
        assert board.flash[0x4_0000 : 0x4_0000 + len(IMAGE)] == IMAGE
        assert board.flash[:0x4_0000] == b"\xb0" * 0x4_0000
        assert told == {"erasing", "writing"}
        busy = ["GETSTATUS", "GETSTATUS"]
        block = ["DNLOAD 0 (5)", *busy, "DNLOAD 2 (4096)", *busy]
        last = ["DNLOAD 0 (5)", *busy, "DNLOAD 2 (808)", *busy]
        assert written == [
            "GETSTATUS",
            *("DNLOAD 0 (5)", *busy),
            *block,
            *block,
            *last,
            *("ABORT", "GETSTATUS"),
        ]

    @pytest.mark.slow
    @pytest.mark.ci
    def test_plain_dfu(self, tmp_path: Path, library: Path) -> None:
        board = DfuBoard(tmp_path, dfuse=False)  # dfu-util itself sleeps a second at the end of such a transfer
        with plugged_into_dfu_util(board.dfu, tmp_path, library) as program:
            (device,) = list_dfu_util(program, [CAMERA.usb_id])
            assert [alt.name for alt in device.alts] == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "ROMFS0"]
            device.download(IMAGE, CAMERA, silent)
            assert device.read_back(len(IMAGE), CAMERA, silent) == IMAGE
            device.leave(CAMERA)
        assert board.firmware[: len(IMAGE)] == IMAGE
        assert board.left == 1

    def test_reading_back(self, tmp_path: Path, library: Path) -> None:
        """A board that cannot be read is not one that is gone."""
        cable = Cable(DfuBoard(tmp_path, can_upload=False).dfu)
        with plugged_into_dfu_util(cable, tmp_path, library) as program:
            (device,) = list_dfu_util(program, [NICLA.usb_id])
            assert device.read_back(9, NICLA, silent) is None
            cable.is_out = True
            with pytest.raises(DeviceError, match=r"reading back: dfu-util ended with 74: .*NO_DEVICE"):
                device.read_back(9, NICLA, silent)

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("dfu-error", "dfu-util ended with 74: the boot loader reports: .*write memory"),
            ("silence=5000", "dfu-util ended with 74: "),
            ("unplug=5000", "dfu-util ended with 74: "),
        ],
    )
    def test_faults(self, tmp_path: Path, library: Path, fault: str, words: str) -> None:
        board = DfuBoard(tmp_path, fault)
        with plugged_into_dfu_util(board.dfu, tmp_path, library) as program:
            (device,) = list_dfu_util(program, [NICLA.usb_id])
            with pytest.raises(DeviceError, match=words) as caught:
                device.download(IMAGE, NICLA, silent)
        assert caught.value.log_tail
        assert board.flash[:0x4_0000] == b"\xb0" * 0x4_0000
