"""DFU over pyusb against simulated boot loaders: DfuSe, plain DFU, recovery, errors in words."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import usb.core
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.dfu.protocol import STATUSES, usb_errors
from ei_automation.devices.dfu.usb_device import UsbDfuDevice, find_functional, list_usb_dfu
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.dfu_device import State, Status
from ei_automation.devices.sim.server import serving
from ei_automation.errors import DeviceError
from tests.devices.dfu_board import CAMERA, NICLA, DfuBoard

IMAGE = random.Random(5).randbytes(140_000)
"""More than one page, and no whole number of blocks."""
IDS = [NICLA.usb_id, CAMERA.usb_id]


@contextmanager
def plugged_in(board: DfuBoard) -> Iterator[UsbDfuDevice]:
    """The board's device."""
    with serving(board) as url:
        (device,) = list_usb_dfu(SimulatedHost(url).usb_backend(), IDS)
        yield device


def silent(*_: object) -> None:
    """No progress."""


class TestDfuSe:
    def test_is_written_read_back_and_left(self, tmp_path: Path) -> None:
        board, told = DfuBoard(tmp_path), []
        with plugged_in(board) as device:
            assert (device.usb_id, device.serial_number, device.product) == (
                "2341:035F",
                "SIM0001",
                "a boot loader",
            )
            device.download(IMAGE, NICLA, lambda *each: told.append(each))
            assert device.read_back(len(IMAGE), NICLA, silent) == IMAGE
            assert board.left == 0
            device.leave(NICLA)
        assert board.left == 1
        assert board.flash[0x4_0000 : 0x4_0000 + len(IMAGE)] == IMAGE
        assert board.flash[:0x4_0000] == b"\xb0" * 0x4_0000
        assert told[:2] == [("erasing", 0, 2), ("erasing", 1, 2)]
        assert told[-1] == ("writing", len(IMAGE), len(IMAGE))

    def test_only_pages_of_the_image_are_erased(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        with plugged_in(board) as device:
            device.download(b"short", NICLA, silent)
        assert board.flash[0x6_0000:] == b"\xb0" * (len(board.flash) - 0x6_0000)

    def test_memory_of_another_kind_is_not_touched(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, layout="@Internal Flash/0x08000000/4*512Kg")
        with plugged_in(board) as device, pytest.raises(DeviceError, match="would erase more than the firmware"):
            device.download(IMAGE, NICLA, silent)
        assert board.dfu.requests == []
        assert board.flash == b"\xb0" * len(board.flash)

    @pytest.mark.parametrize("state", [State.ERROR, State.DNLOAD_IDLE, State.UPLOAD_IDLE, State.DNLOAD_SYNC])
    def test_a_device_left_in_the_middle_is_recovered(self, tmp_path: Path, state: State) -> None:
        board = DfuBoard(tmp_path)
        board.dfu.state, board.dfu.status = state, Status.WRITE if state is State.ERROR else Status.OK
        with plugged_in(board) as device:
            device.download(b"short", NICLA, silent)
        assert board.flash[0x4_0000:0x4_0005] == b"short"
        assert ("CLRSTATUS" in board.dfu.requests) == (state is State.ERROR)

    def test_one_that_cannot_be_read_back(self, tmp_path: Path) -> None:
        with plugged_in(DfuBoard(tmp_path, can_upload=False)) as device:
            assert device.read_back(5, NICLA, silent) is None


class TestPlainDfu:
    def test_goes_to_the_partition_of_that_name(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, dfuse=False)
        with plugged_in(board) as device:
            assert [alt.name for alt in device.alts] == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "ROMFS0"]
            device.download(IMAGE, CAMERA, silent)
            assert device.read_back(len(IMAGE), CAMERA, silent) == IMAGE
            device.leave(CAMERA)
        assert board.firmware[: len(IMAGE)] == IMAGE
        assert board.dfu.memories[0].content == b"\xb0" * 131_072
        assert board.left == 1

    def test_reading_back_ends_where_the_memory_ends(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, dfuse=False)
        del board.firmware[5000:]
        with plugged_in(board) as device:
            assert device.read_back(9000, CAMERA, silent) == b"\xff" * 5000

    def test_a_board_without_that_partition(self, tmp_path: Path) -> None:
        target = CAMERA.model_copy(update={"alt": "SPI_FLASH"})
        words = "no partition 'SPI_FLASH'; it has 0 'BOOTLOADER'"
        with plugged_in(DfuBoard(tmp_path, dfuse=False)) as device, pytest.raises(DeviceError, match=words):
            device.download(IMAGE, target, silent)


class TestErrors:
    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (
                "dfu-error",
                r"writing 4096 bytes at 0x08041000: the boot loader reports errWRITE: the device cannot",
            ),
            (
                "silence",
                r"writing 4096 bytes at 0x08042000: the boot loader says nothing",
            ),
            ("unplug", r"writing 4096 bytes at 0x08042000: the boot loader is gone"),
        ],
    )
    def test_say_where_and_what(self, tmp_path: Path, fault: str, words: str) -> None:
        with plugged_in(DfuBoard(tmp_path, fault)) as device, pytest.raises(DeviceError, match=words):
            device.download(IMAGE, NICLA, silent)

    def test_status_in_words(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        board.dfu.memories[0].writable = range(0)
        words = r"erasing the page at 0x08040000: .* errTARGET: the file is not"
        with plugged_in(board) as device, pytest.raises(DeviceError, match=words):
            device.download(IMAGE, NICLA, silent)
        assert [name for name, _ in STATUSES][int(Status.STALLED_PACKET)] == "errSTALLEDPKT"

    def test_leaving_a_device_that_is_gone(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        with plugged_in(board) as device:
            board.unplug()
            with pytest.raises(DeviceError, match="is gone"):
                device.leave(NICLA)

    @pytest.mark.parametrize(
        ("number", "code", "words", "hint"),
        [
            (errno.EACCES, -3, "may not be opened by this user", "eiauto boards"),
            (errno.EBUSY, -6, "is held by another program", "close that program"),
            (errno.ENODEV, -4, "is gone", ""),
            (errno.EPIPE, -9, "refuses the request", ""),
            (None, -12, "has no driver that libusb can use", "WinUSB"),
            (errno.EIO, -1, "cannot be reached: .*Input/Output Error", ""),
        ],
    )
    def test_of_libusb_in_words(self, number: int | None, code: int, words: str, hint: str) -> None:
        words = f"^opening: the boot loader {words}"
        with pytest.raises(DeviceError, match=words) as caught, usb_errors("opening"):
            raise usb.core.USBError("Input/Output Error", code, number)
        assert hint in caught.value.hint
        assert caught.value.exit_code == 9


class RefusingUsb:
    """A bus whose devices this user may not open: what libusb gives without a udev rule."""

    def __init__(self, backend: object) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def open_device(self, dev: object) -> object:
        raise usb.core.USBError("Access denied (insufficient permissions)", -3, errno.EACCES)


class BrokenUsb:
    """A bus that cannot be listed: what libusb gives e.g. in a container."""

    def enumerate_devices(self) -> Iterator[object]:
        raise usb.core.USBError("Other error", -99, None)


class TestFinding:
    def test_a_bus_that_cannot_be_listed(self) -> None:
        with pytest.raises(DeviceError, match=r"listing USB devices: .* cannot be reached: .*Other error"):
            list_usb_dfu(BrokenUsb(), IDS)

    def test_lists_what_is_there(self, tmp_path: Path) -> None:
        with serving(DfuBoard(tmp_path)) as url:
            backend = SimulatedHost(url).usb_backend()
            assert list_usb_dfu(backend, ["37C5:9204"]) == []
            assert [found.place for found in list_usb_dfu(backend, ["2341:035f"])] == ["1-1"]

    def test_a_device_that_may_not_be_opened(self, tmp_path: Path) -> None:
        with serving(DfuBoard(tmp_path)) as url:
            backend = RefusingUsb(SimulatedHost(url).usb_backend())
            with pytest.raises(DeviceError, match="may not be opened by this user") as caught:
                list_usb_dfu(backend, IDS)
            assert "eiauto boards" in caught.value.hint

    @settings(max_examples=100)
    @given(st.lists(st.binary(max_size=30), max_size=4))
    def test_no_descriptor_breaks_it(self, extras: list[bytes]) -> None:
        found = find_functional(extras)
        assert found is None or found[1] > 0

    def test_the_functional_descriptor_may_follow_others(self) -> None:
        assert find_functional([b"", b"\x03\x05\x00\x09\x21\x0b\xff\x00\x00\x10\x1a\x01"]) == (0x0B, 4096)
