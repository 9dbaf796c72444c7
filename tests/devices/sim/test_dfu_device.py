"""The simulated boot loader: the states of DFU 1.1 and DfuSe, request by request, and its faults."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import usb.core
import usb.util

from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.dfu_device import SimulatedDfu, State, Status
from ei_automation.devices.sim.server import serving
from tests.devices.dfu_board import FLASH, LAYOUT, DfuBoard

OUT, IN = 0x21, 0xA1
DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT = range(1, 7)
FIRMWARE = FLASH + 0x4_0000


def ask(dfu: SimulatedDfu) -> tuple[int, int]:
    """GETSTATUS: status and state."""
    answer = dfu.control(IN, GETSTATUS, 0, 0, b"", 6)
    assert answer is not None
    assert len(answer) == 6
    return answer[0], answer[4]


def send(dfu: SimulatedDfu, block: int, data: bytes) -> list[int]:
    """DNLOAD, and the states until it is done."""
    assert dfu.control(OUT, DNLOAD, block, 0, data, len(data)) == b""
    states = [ask(dfu)[1]]
    while states[-1] in (State.DNBUSY, State.MANIFEST) and len(states) < 4:
        states.append(ask(dfu)[1])
    return states


def command(dfu: SimulatedDfu, code: int, address: int) -> list[int]:
    return send(dfu, 0, struct.pack("<BI", code, address))


class TestDfuSe:
    def test_the_sequence_that_dfu_util_sends(self, tmp_path: Path) -> None:
        """As measured with dfu-util 0.11: erase, set address, data, abort, set address, leave."""
        board = DfuBoard(tmp_path)
        dfu = board.dfu
        assert ask(dfu) == (0, State.IDLE)
        assert command(dfu, 0x41, FIRMWARE) == [State.DNBUSY, State.DNLOAD_IDLE]
        for offset in range(0, 8192, 4096):
            assert command(dfu, 0x21, FIRMWARE + offset) == [State.DNBUSY, State.DNLOAD_IDLE]
            assert send(dfu, 2, bytes([offset >> 12]) * 4096) == [State.DNBUSY, State.DNLOAD_IDLE]
        assert dfu.control(OUT, ABORT, 0, 0, b"", 0) == b""
        assert ask(dfu) == (0, State.IDLE)
        command(dfu, 0x21, FIRMWARE)
        assert dfu.control(OUT, DNLOAD, 2, 0, b"", 0) == b""
        assert board.left == 0
        assert ask(dfu) == (0, State.MANIFEST)
        assert board.left == 1
        held = board.flash[0x4_0000:]
        assert held[:4096] == b"\x00" * 4096
        assert held[4096:8192] == b"\x01" * 4096
        assert held[8192:131_072] == b"\xff" * (131_072 - 8192)
        assert held[131_072:] == b"\xb0" * (len(held) - 131_072)

    def test_block_numbers_count_from_the_address(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        command(board.dfu, 0x41, FIRMWARE)
        command(board.dfu, 0x21, FIRMWARE)
        for number in range(3):
            send(board.dfu, 2 + number, bytes([number]) * 4096)
        assert board.flash[0x4_0000:0x4_3000:4096] == bytes([0, 1, 2])

    def test_flash_that_was_not_erased_keeps_its_zeros(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        command(board.dfu, 0x21, FIRMWARE)
        send(board.dfu, 2, b"\x0f")
        assert board.flash[0x4_0000] == 0xB0 & 0x0F

    def test_upload_begins_at_the_address(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        board.flash[0x4_0000:0x4_0010] = bytes(range(16))
        command(board.dfu, 0x21, FIRMWARE)
        board.dfu.control(OUT, ABORT, 0, 0, b"", 0)
        assert board.dfu.control(IN, UPLOAD, 2, 0, b"", 16) == bytes(range(16))
        assert board.dfu.state is State.UPLOAD_IDLE

    def test_upload_of_block_0_names_the_commands(self, tmp_path: Path) -> None:
        assert DfuBoard(tmp_path).dfu.control(IN, UPLOAD, 0, 0, b"", 64) == bytes([0x00, 0x21, 0x41])

    def test_an_address_beside_the_memory_is_an_error(self, tmp_path: Path) -> None:
        dfu = DfuBoard(tmp_path).dfu
        command(dfu, 0x21, 0x2000_0000)
        assert send(dfu, 2, b"code") == [State.DNBUSY, State.ERROR]
        assert ask(dfu) == (Status.ADDRESS, State.ERROR)
        assert dfu.control(OUT, CLRSTATUS, 0, 0, b"", 0) == b""
        assert ask(dfu) == (0, State.IDLE)

    def test_a_command_that_is_none_is_an_error(self, tmp_path: Path) -> None:
        assert send(DfuBoard(tmp_path).dfu, 0, b"\x99\x00\x00\x00\x08")[-1] == State.ERROR


class TestPlainDfu:
    def test_blocks_then_manifestation_then_idle(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, dfuse=False)
        assert board.dfu.control(0x01, 11, 2, 0, b"", 0) == b""  # SET_INTERFACE: FIRMWARE
        for number in range(2):
            assert send(board.dfu, number, bytes([number + 1]) * 4096) == [State.DNBUSY, State.DNLOAD_IDLE]
        assert send(board.dfu, 2, b"") == [State.MANIFEST, State.IDLE]
        assert board.firmware[:8192] == b"\x01" * 4096 + b"\x02" * 4096
        assert board.left == 0

    def test_detach_starts_the_firmware(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, dfuse=False)
        assert board.dfu.control(OUT, 0, 1000, 0, b"", 0) == b""
        assert board.left == 1

    def test_the_boot_loader_is_read_only(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, dfuse=False)
        assert send(board.dfu, 0, b"code")[-1] == State.ERROR
        assert board.dfu.memories[0].content == b"\xb0" * 131_072

    def test_an_end_without_data_is_refused(self, tmp_path: Path) -> None:
        dfu = DfuBoard(tmp_path, dfuse=False).dfu
        assert dfu.control(OUT, DNLOAD, 0, 0, b"", 0) is None
        assert ask(dfu) == (Status.STALLED_PACKET, State.ERROR)


class TestRefusals:
    @pytest.mark.parametrize(
        ("request_type", "request_number", "value", "data"),
        [
            (OUT, DNLOAD, 2, b"x" * 4097),
            (OUT, CLRSTATUS, 0, b""),
            (OUT, 9, 0, b""),
            (IN, 9, 0, b""),
            (0x40, 0, 0, b""),
            (0x01, 11, 1, b""),
        ],
    )
    def test_is_a_stall(
        self, tmp_path: Path, request_type: int, request_number: int, value: int, data: bytes
    ) -> None:
        dfu = DfuBoard(tmp_path).dfu
        assert dfu.control(request_type, request_number, value, 0, data, len(data)) is None

    def test_a_block_while_one_is_busy(self, tmp_path: Path) -> None:
        dfu = DfuBoard(tmp_path).dfu
        dfu.control(OUT, DNLOAD, 2, 0, b"x", 1)
        assert dfu.control(OUT, DNLOAD, 3, 0, b"x", 1) is None
        assert dfu.control(IN, GETSTATE, 0, 0, b"", 1) == bytes([State.ERROR])

    def test_upload_where_it_cannot(self, tmp_path: Path) -> None:
        assert DfuBoard(tmp_path, can_upload=False).dfu.control(IN, UPLOAD, 2, 0, b"", 16) is None


class TestFaults:
    def test_a_write_error_at_block_n(self, tmp_path: Path) -> None:
        dfu = DfuBoard(tmp_path, "dfu-error=2").dfu
        command(dfu, 0x21, FIRMWARE)
        assert send(dfu, 2, b"one") == [State.DNBUSY, State.DNLOAD_IDLE]
        assert send(dfu, 3, b"two") == [State.DNBUSY, State.ERROR]
        assert ask(dfu)[0] == Status.WRITE

    def test_a_flipped_bit_is_one_bit(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, "flipped-bit")
        command(board.dfu, 0x41, FIRMWARE)
        command(board.dfu, 0x21, FIRMWARE)
        send(board.dfu, 2, b"\x00" * 4096)
        send(board.dfu, 3, b"\x00" * 4096)
        assert sum(byte.bit_count() for byte in board.flash[0x4_0000 : 0x4_0000 + 8192]) == 1

    def test_a_flipped_bit_in_a_short_image(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, "flipped-bit")
        command(board.dfu, 0x41, FIRMWARE)
        command(board.dfu, 0x21, FIRMWARE)
        send(board.dfu, 2, b"\x00" * 10)
        assert sum(byte.bit_count() for byte in board.flash[0x4_0000:0x4_000A]) == 1

    def test_silence_lasts_until_it_is_taken_away(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path, "silence=5")
        with pytest.raises(TimeoutError):
            send(board.dfu, 2, b"12345")
        with pytest.raises(TimeoutError):
            ask(board.dfu)
        del board.faults.numbers["silence"]
        board.dfu.restart()
        assert ask(board.dfu) == (0, State.IDLE)

    @pytest.mark.parametrize("fault", ["unplug=5", "power-cut=5"])
    def test_a_board_that_goes(self, tmp_path: Path, fault: str) -> None:
        board = DfuBoard(tmp_path, fault)
        with pytest.raises(ConnectionError):
            send(board.dfu, 2, b"12345")
        assert board.usb_devices() == []


class TestOverPyusb:
    def test_a_device_shows_its_descriptors(self, tmp_path: Path) -> None:
        with serving(DfuBoard(tmp_path)) as url:
            device = usb.core.find(backend=SimulatedHost(url).usb_backend(), idVendor=0x2341)
            (setting,) = device.get_active_configuration()
            assert usb.util.get_string(device, setting.iInterface) == LAYOUT
            assert (device.idProduct, device.serial_number, device.product) == (0x035F, "SIM0001", "a boot loader")
            assert bytes(setting.extra_descriptors) == bytes.fromhex("09210be80300101a01")
            assert f"{setting.bInterfaceClass:02x}{setting.bInterfaceSubClass:02x}" == "fe01"
            assert "DEVICE ID 2341:035f" in str(device)
            assert not device.is_kernel_driver_active(0)

    def test_plain_dfu_has_a_setting_for_each_partition(self, tmp_path: Path) -> None:
        with serving(DfuBoard(tmp_path, dfuse=False)) as url:
            device = usb.core.find(backend=SimulatedHost(url).usb_backend())
            names = [usb.util.get_string(device, each.iInterface) for each in device.get_active_configuration()]
            assert names == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "ROMFS0"]

    @pytest.mark.parametrize(
        ("faults", "breaks", "number"),
        [
            (("silence=1",), lambda device: device.ctrl_transfer(OUT, DNLOAD, 2, 0, b"x"), 110),
            (("unplug=1",), lambda device: device.ctrl_transfer(OUT, DNLOAD, 2, 0, b"x"), 19),
            ((), lambda device: device.ctrl_transfer(OUT, 9, 0, 0, b""), 32),
            ((), lambda device: usb.util.get_string(device, 99, 0x0409), 32),
        ],
        ids=["silence", "unplugged", "stall", "no such string"],
    )
    def test_errors_are_those_of_libusb(
        self, tmp_path: Path, faults: tuple[str, ...], breaks: Callable[[usb.core.Device], object], number: int
    ) -> None:
        with serving(DfuBoard(tmp_path, *faults)) as url:
            device = usb.core.find(backend=SimulatedHost(url).usb_backend())
            with pytest.raises(usb.core.USBError) as caught:
                breaks(device)
            assert caught.value.errno == number

    def test_a_device_that_is_gone(self, tmp_path: Path) -> None:
        board = DfuBoard(tmp_path)
        with serving(board) as url:
            backend = SimulatedHost(url).usb_backend()
            device = usb.core.find(backend=backend)
            board.unplug()
            with pytest.raises(usb.core.USBError, match="No such device"):
                device.ctrl_transfer(IN, GETSTATUS, 0, 0, 6)
            assert usb.core.find(backend=backend) is None
