"""DFU by the program dfu-util: a stand-in on PATH that records how it is called and prints what 0.11 prints."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import serial
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ei_automation.devices.arduino import TOUCH_BAUD, ArduinoFlasher
from ei_automation.devices.dfu.util import DfuUtilDevice, find_program, list_dfu_util, parse_listing
from ei_automation.devices.flasher import Job
from ei_automation.devices.host import Drive, SerialPort
from ei_automation.devices.transport import Port
from ei_automation.errors import DeviceError, DoesNotFitError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.board import find_board
from ei_automation.schema.firmware import Firmware, FirmwareFile
from tests.devices.dfu_board import CAMERA, LAYOUT, NICLA

NICLA_LINE = (
    'Found DFU: [2341:035f] ver=0200, devnum=4, cfg=1, intf=0, path="1-1", alt=0, '
    f'name="{LAYOUT}", serial="003E00"\n'
)
CAMERA_LINES = "".join(
    f'Found DFU: [37c5:9204] ver=0200, devnum=9, cfg=1, intf=0, path="1-2.4", alt={number}, '
    f'name="{name}", serial="UNKNOWN"\n'
    for number, name in enumerate(["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "ROMFS0"])
)
BANNER = "dfu-util 0.11\n\nCopyright 2005-2009 Weston Schmidt, Harald Welte and OpenMoko Inc.\n\n"
WARNING = "dfu-util: Warning: Invalid DFU suffix signature\n"
BARS = (
    "\rErase   \t[                         ]   0%            0 bytes"
    "\rErase   \t[=========================] 100%         9000 bytes\nErase    done.\n"
    "\rDownload\t[===========              ]  45%         4096 bytes"
    "\rDownload\t[=========================] 100%         9000 bytes\nDownload done.\n"
    "File downloaded successfully\n"
)
BROKEN = (
    "\rDownload\t[===========              ]  45%         4096 bytes failed!\n"
    "DFU state(10) = dfuERROR, status(3) = Device is unable to write memory\n"
)
SCRIPT = """#!/bin/sh
cd {folder} || exit 1
echo "$*" >> called
how=none
for word in "$@"; do
  case "$how" in
    -D) cp "$word" held; cat download; exit $(cat code) ;;
    -U) [ -f held ] || exit 74; cp held "$word"; exit 0 ;;
  esac
  case "$word" in
    -l) [ -f away ] || cat listing; exit $(cat code) ;;
    -e|*:leave) touch away; cat leaving; exit $(cat leaving_code) ;;
    hang) exec sleep 60 ;;
  esac
  how="$word"
done
exit 64
"""
UPLOADS = """  case "$*" in *:4:leave*) exit 0 ;; esac
"""
"""Before the stand-in looks at `:leave`."""


@dataclass
class StandIn:
    """The program, and what it does."""

    folder: Path

    def says(self, **files: str) -> StandIn:
        for name, text in files.items():
            (self.folder / name).write_text(text)
        return self

    @property
    def calls(self) -> list[str]:
        return (self.folder / "called").read_text().splitlines()

    @property
    def path(self) -> str:
        return str(self.folder / "dfu-util")

    def device(self, usb_id: str = NICLA.usb_id) -> DfuUtilDevice:
        (device,) = list_dfu_util(self.path, [usb_id])
        return device


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A dfu-util for which a Nicla Vision and a camera are plugged in, and everything works."""
    program = tmp_path / "dfu-util"
    program.write_text(SCRIPT.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return StandIn(tmp_path).says(
        listing=BANNER + NICLA_LINE + CAMERA_LINES,
        download=BANNER + WARNING + BARS,
        leaving="Submitting leave request...\n",
        code="0",
        leaving_code="0",
    )


def silent(*_: object) -> None:
    """No progress."""


class TestListing:
    def test_devices_with_their_settings(self, stand_in: StandIn) -> None:
        assert find_program() == stand_in.path
        nicla, camera = list_dfu_util(stand_in.path, [NICLA.usb_id, CAMERA.usb_id])
        assert (nicla.usb_id, nicla.serial_number, nicla.place) == ("2341:035F", "003E00", "1-1")
        assert [(alt.number, alt.name) for alt in nicla.alts] == [(0, LAYOUT)]
        assert (camera.serial_number, camera.place) == ("", "1-2.4")
        assert [alt.name for alt in camera.alts] == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "ROMFS0"]

    def test_others_and_those_in_run_time_are_left_out(self) -> None:
        text = NICLA_LINE.replace("Found DFU", "Found Runtime") + CAMERA_LINES
        assert parse_listing("dfu-util", text, [NICLA.usb_id]) == []

    def test_two_of_a_kind_are_two(self) -> None:
        text = NICLA_LINE + NICLA_LINE.replace("1-1", "1-3").replace("003E00", "004F11")
        found = parse_listing("dfu-util", text, [NICLA.usb_id])
        assert [device.serial_number for device in found] == ["003E00", "004F11"]

    def test_one_that_may_not_be_opened(self) -> None:
        text = "dfu-util: Cannot open DFU device 2341:035f found on devnum 4 (LIBUSB_ERROR_ACCESS)\n"
        with pytest.raises(DeviceError, match="this user may not open it") as caught:
            parse_listing("dfu-util", text, [NICLA.usb_id])
        assert "eiauto boards" in caught.value.hint
        assert parse_listing("dfu-util", text, [CAMERA.usb_id]) == []

    def test_the_second_that_may_not_be_opened(self) -> None:
        text = "".join(
            f"dfu-util: Cannot open DFU device {usb_id} found on devnum 4 (LIBUSB_ERROR_ACCESS)\n"
            for usb_id in ("0483:df11", "2341:035f")
        )
        with pytest.raises(DeviceError, match="this user may not open it"):
            parse_listing("dfu-util", text, [NICLA.usb_id])

    def test_a_program_that_does_not_work(self, stand_in: StandIn) -> None:
        stand_in.says(code="70", listing="dfu-util: unable to initialize libusb\n")
        with pytest.raises(
            DeviceError, match="listing boards: dfu-util ended with 70: unable to initialize libusb"
        ):
            stand_in.device()

    def test_a_program_that_cannot_be_started(self, tmp_path: Path) -> None:
        with pytest.raises(DeviceError, match="cannot be started"):
            list_dfu_util(str(tmp_path), [NICLA.usb_id])

    @settings(max_examples=50)
    @given(st.one_of(st.text(max_size=80), st.from_regex(r"Found DFU: \[[0-9a-g:]{0,10}\][ -~]{0,60}")))
    def test_no_output_breaks_it(self, text: str) -> None:
        assert parse_listing("dfu-util", text, [NICLA.usb_id]) == []


class TestWriting:
    def test_with_addresses(self, stand_in: StandIn) -> None:
        told: list[tuple[str, int, int]] = []
        device = stand_in.device()
        device.download(b"x" * 9000, NICLA, lambda *each: told.append(each))
        assert device.read_back(9000, NICLA, silent) == b"x" * 9000
        device.leave(NICLA)
        download, upload, leave = stand_in.calls[1:]
        assert download.startswith("-d 2341:035f -S 003E00 -a 0 -s 0x08040000 -D ")
        assert upload.startswith("-d 2341:035f -S 003E00 -a 0 -s 0x08040000:9000 -U ")
        assert leave == "-d 2341:035f -S 003E00 -a 0 -s 0x08040000:leave"
        assert ("erasing", 9000, 9000) in told
        assert ("writing", 4096, 9000) in told
        assert told[-1] == ("writing", 9000, 9000)

    def test_to_a_partition(self, stand_in: StandIn) -> None:
        device = stand_in.device(CAMERA.usb_id)
        device.download(b"x" * 9000, CAMERA, silent)
        assert device.read_back(9000, CAMERA, silent) == b"x" * 9000
        device.leave(CAMERA)
        download, upload, leave = stand_in.calls[1:]
        assert download.startswith("-d 37c5:9204 -p 1-2.4 -a 2 -D ")
        assert upload.startswith("-d 37c5:9204 -p 1-2.4 -a 2 -Z 9000 -U ")
        assert leave == "-d 37c5:9204 -p 1-2.4 -a 2 -e"

    def test_an_error_of_the_device(self, stand_in: StandIn) -> None:
        device = stand_in.device()
        stand_in.says(code="74", download=BANNER + BROKEN)
        with pytest.raises(
            DeviceError, match=r"writing: dfu-util ended with 74: .*unable to write memory"
        ) as caught:
            device.download(b"code", NICLA, silent)
        assert "dfuERROR" in caught.value.log_tail[0]
        assert caught.value.exit_code == 9

    def test_success_that_is_none(self, stand_in: StandIn) -> None:
        device = stand_in.device()
        stand_in.says(download=BANNER)
        with pytest.raises(DeviceError, match="writing: dfu-util ended with 0"):
            device.download(b"code", NICLA, silent)

    @pytest.mark.parametrize(
        ("size", "layout", "kind"),
        [(1_835_009, LAYOUT, DoesNotFitError), (9, "@Flash/0x08000000/4*512Kg", DeviceError)],
    )
    def test_what_is_refused_is_never_given_to_it(
        self, stand_in: StandIn, size: int, layout: str, kind: type[Exception]
    ) -> None:
        stand_in.says(listing=NICLA_LINE.replace(LAYOUT, layout))
        device = stand_in.device()
        with pytest.raises(kind):
            device.download(b"x" * size, NICLA, silent)
        assert stand_in.calls == ["-l"]

    def test_memory_that_cannot_be_read(self, stand_in: StandIn) -> None:
        assert stand_in.device().read_back(9, NICLA, silent) is None

    def test_a_release_that_starts_nothing_without_a_transfer(self, stand_in: StandIn) -> None:
        """Before 0.11: `-s ADDRESS:leave` alone is refused, with an upload it is not."""
        device = stand_in.device()
        device.download(b"code", NICLA, silent)
        stand_in.says(
            leaving_code="64", leaving="You need to specify one of -D or -U\nUsage: dfu-util [options]\n"
        )
        program = stand_in.folder / "dfu-util"
        program.write_text(program.read_text().replace('  case "$word" in', UPLOADS + '  case "$word" in'))
        device.leave(NICLA)
        assert stand_in.calls[-1].startswith("-d 2341:035f -S 003E00 -a 0 -s 0x08040000:4:leave -U ")

    def test_a_board_that_goes_while_it_leaves(self, stand_in: StandIn) -> None:
        """Published logs: `Error during download get_status`, 74, and the firmware runs."""
        device = stand_in.device()
        stand_in.says(leaving_code="74")
        device.leave(NICLA)
        stand_in.says(leaving="dfu-util: No DFU capable USB device available\n")
        with pytest.raises(DeviceError, match="starting the firmware: dfu-util ended with 74: No DFU capable"):
            device.leave(NICLA)

    @pytest.mark.timeout(30)
    def test_a_program_that_hangs_is_ended(self, stand_in: StandIn) -> None:
        hanging = DfuUtilDevice(stand_in.path, "hang", "", "1-1", stand_in.device().alts, quiet_s=0.2)
        with pytest.raises(DeviceError, match=r"dfu-util says nothing for 0\.2 s and was ended"):
            hanging.download(b"code", NICLA, silent)

    @settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(st.binary(max_size=200))
    def test_no_output_of_it_breaks_it(self, stand_in: StandIn, output: bytes) -> None:
        (stand_in.folder / "download").write_bytes(output + b"\rDownload done.")
        stand_in.device().download(b"code", NICLA, silent)
        assert (stand_in.folder / "held").read_bytes() == b"code"


@dataclass
class Bench:
    """A machine without libusb; a touch brings its board into DFU mode. Files of the stand-in say where it is."""

    stand_in: StandIn
    port: SerialPort

    def ports(self) -> list[SerialPort]:
        return [self.port] if (self.stand_in.folder / "away").exists() else []

    def open(self, port: SerialPort, baud: int) -> Port:
        assert baud == TOUCH_BAUD
        (self.stand_in.folder / "away").unlink()
        return Port(serial.serial_for_url("loop://", baudrate=baud, timeout=0.02), port.name)

    def drives(self) -> list[Drive]:
        return []

    def usb_backend(self) -> Any:
        return None


class TestFlasher:
    @pytest.fixture
    def job(self, stand_in: StandIn) -> Job:
        stand_in.says(away="")
        port = SerialPort("/dev/ttyACM0", 0x2341, 0x025F, "003E00")
        image = FirmwareFile("a.bin", b"code" * 99, sha256_bytes(b"code" * 99))
        firmware = Firmware("arduino", "a.zip", images={"arduino-nicla-vision": image})
        return Job(Bench(stand_in, port), find_board("nicla vision"), firmware, port)

    def test_by_dfu_util(self, job: Job, stand_in: StandIn) -> None:
        flasher = ArduinoFlasher(2, 2)
        assert flasher.plan(job).method == "DFU with addresses, by dfu-util"
        result = flasher.flash(job)
        assert result.verified == "read back by DFU: the 396 bytes are those of a.bin"
        assert result.port == "/dev/ttyACM0"
        assert (stand_in.folder / "held").read_bytes() == b"code" * 99

    @pytest.mark.parametrize(
        ("change", "kind", "words"),
        [
            (lambda it: it.says(download=BROKEN), DeviceError, "unable to write memory"),
            (lambda it: it.says(listing=BANNER), DeviceError, "no board came into DFU mode"),
        ],
    )
    def test_failures_say_what_to_do(
        self, job: Job, stand_in: StandIn, change: Callable[[StandIn], object], kind: type[Exception], words: str
    ) -> None:
        change(stand_in)
        with pytest.raises(DeviceError, match=words) as caught:
            ArduinoFlasher(0.1, 0.1).flash(job)
        assert "RESET button twice" in caught.value.hint

    def test_what_was_not_written_is_seen(self, job: Job, stand_in: StandIn) -> None:
        script = stand_in.folder / "dfu-util"
        script.write_text(script.read_text().replace('cp "$word" held', 'tr c k < "$word" > held'))
        with pytest.raises(VerificationError, match="at 0x08040000 it has 0x6B instead of 0x63"):
            ArduinoFlasher(2, 2).flash(job)
