"""Flashing a simulated Nicla Vision and Portenta H7, with everything that can go wrong."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ei_automation.devices.arduino import ArduinoFlasher, touch
from ei_automation.devices.at.console import AtConsole
from ei_automation.devices.flasher import Job
from ei_automation.devices.host import SerialPort
from ei_automation.devices.sim.arduino import SimulatedArduino, SimulatedNicla, SimulatedPortenta
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.faults import Faults
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError, DoesNotFitError, EiautoError, UsageError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.board import BoardKind, find_board
from ei_automation.schema.firmware import Firmware, FirmwareFile, FirmwareKind
from ei_automation.workflow.simulated_model import load_model
from tests.devices.dfu.test_target import with_suffix
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings

NICLA = find_board("arduino-nicla-vision")
IMAGE = random.Random(1).randbytes(9000) + CLASSIFIER + random.Random(2).randbytes(4_000)
"""As a real one: code, somewhere in it the network, more code."""
PLACE = 0x4_0000
QUICK = ArduinoFlasher(bootloader_s=0.1, firmware_s=0.1)
PATIENT = ArduinoFlasher(bootloader_s=5, firmware_s=5)


def firmware(content: bytes = IMAGE, board: str = NICLA.id, kind: FirmwareKind = "arduino") -> Firmware:
    file = FirmwareFile("firmware.ino.bin", content, sha256_bytes(content))
    return Firmware(kind, "deployment.zip", images={board: file})


@contextmanager
def plugged_in(board: SimulatedArduino) -> Iterator[Job]:
    """A job for the board, whose firmware has started."""
    with serving(board) as url:
        host = SimulatedHost(url)
        assert wait_until(lambda: bool(host.ports() or board.usb_devices()), 5)
        ports = host.ports()
        kind = find_board(board.board)
        yield Job(host, kind, firmware(board=kind.id), ports[0] if ports else None)


class TestFlashing:
    @pytest.mark.parametrize("kind", [SimulatedNicla, SimulatedPortenta])
    def test_touch_write_verify_leave(self, tmp_path: Path, kind: Callable[..., SimulatedArduino]) -> None:
        log: list[str] = []
        board = kind(surroundings(tmp_path, log=log.append))
        steps: list[str] = []
        told: set[str] = set()
        with plugged_in(board) as job:
            assert job.port is not None
            job = dataclasses.replace(job, on_step=steps.append, on_progress=lambda text, *_: told.add(text))
            result = PATIENT.flash(job)
            assert result.port == job.port.name
        assert board.flash[PLACE : PLACE + len(IMAGE)] == IMAGE
        assert board.flash[:PLACE] == b"\xb0" * PLACE
        assert result.verified == f"read back by DFU: the {len(IMAGE):,} bytes are those of firmware.ino.bin"
        assert result.serial_number == "SIM0001"
        assert [step.split()[0] for step in steps] == ["touching", "writing", "starting"]
        assert told == {"erasing", "writing", "reading back"}
        assert log[:2] == ["touched: restarts in the boot loader", "in DFU mode"]

    def test_the_flashed_network_is_what_runs(self, tmp_path: Path) -> None:
        features = np.arange(64, dtype=np.float32) * 0x01_02_03
        with plugged_in(SimulatedNicla(surroundings(tmp_path, labels=LABELS))) as job:
            port = PATIENT.flash(job).port
            with job.host.open(SerialPort(port), 115_200) as opened:
                console = AtConsole(opened, pace_s=0)
                console.connect(Deadline(5))
                result = console.run_static(features, deadline=Deadline(5))
        wanted = load_model(CLASSIFIER).run_features(features)
        assert [result.classification[label] for label in LABELS] == pytest.approx(wanted, abs=1e-5)

    def test_openmv_images_take_the_same_way(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:
            PATIENT.flash(dataclasses.replace(job, firmware=firmware(kind="openmv-firmware")))
        assert board.flash[PLACE : PLACE + len(IMAGE)] == IMAGE

    @pytest.mark.parametrize("has_port", [True, False])
    def test_a_board_that_is_in_dfu_mode_already(self, tmp_path: Path, has_port: bool) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:
            assert job.port is not None
            touch(job.host, job.port)
            assert wait_until(lambda: board.mode == "dfu", 5)
            there = SerialPort("", 0x2341, 0x035F, "SIM0001") if has_port else None
            waiting = dataclasses.replace(job, port=there)
            plan = PATIENT.plan(waiting)
            assert (plan.port, plan.serial_number) == ("", "SIM0001")
            assert "touch" not in " ".join(plan.steps)
            assert PATIENT.flash(waiting).port == job.port.name

    def test_a_suffix_is_not_written(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:
            suffixed = dataclasses.replace(job, firmware=firmware(with_suffix(IMAGE, 0x2341, 0x035F)))
            assert PATIENT.plan(suffixed).writes[0].sha256 == sha256_bytes(IMAGE)
            assert "suffix" in PATIENT.plan(suffixed).notes[0]
            PATIENT.flash(suffixed)
        assert board.flash[PLACE + len(IMAGE) : PLACE + len(IMAGE) + 16] == b"\xff" * 16


class TestPlan:
    def test_says_what_will_be_done_and_does_nothing(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:
            assert job.port is not None
            plan = QUICK.plan(job)
            assert board.mode == "sketch"
            assert plan.port == job.port.name
        (write,) = plan.writes
        assert (write.where, write.size_bytes, write.sha256) == (
            "0x08040000, by DFU",
            len(IMAGE),
            sha256_bytes(IMAGE),
        )
        assert plan.method == "DFU with addresses, by pyusb"
        assert plan.serial_number == "SIM0001"
        assert "1200 baud" in plan.steps[0]
        assert board.dfu.requests == []

    @pytest.mark.parametrize(
        ("given", "kind", "words"),
        [
            (
                firmware(board="arduino-portenta-h7"),
                UsageError,
                "no image for Arduino Nicla Vision; it is for arduino",
            ),
            (firmware(kind="spresense"), UsageError, "holds no image for Arduino Nicla Vision"),
            (firmware(b""), UsageError, "is empty"),
            (firmware(b"x" * 1_835_009), DoesNotFitError, "1,835,009 bytes, and the board has 1,835,008"),
            (firmware(with_suffix(IMAGE, 0x2341, 0x035B)), UsageError, "for the device 2341:035B"),
            (firmware(with_suffix(IMAGE, 0x2341, 0x035F)[1:]), UsageError, "is damaged"),
        ],
    )
    def test_what_is_not_for_this_board(self, given: Firmware, kind: type[EiautoError], words: str) -> None:
        """Refused before the board, or anything else, is touched: there is none behind this address."""
        job = Job(SimulatedHost("sim://127.0.0.1:1"), NICLA, given, SerialPort("sim://127.0.0.1:1/ttyACM0"))
        with pytest.raises(kind, match=words):
            QUICK.plan(job)
        with pytest.raises(kind, match=words):
            QUICK.flash(job)

    def test_another_board_in_dfu_mode_is_not_the_one_that_was_named(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:
            assert job.port is not None
            touch(job.host, job.port)
            assert wait_until(lambda: board.mode == "dfu", 5)
            named = dataclasses.replace(job, port=SerialPort("", 0x2341, 0x035F, "SIM0002"))
            for do in (QUICK.plan, QUICK.flash):
                with pytest.raises(
                    DeviceError, match="no board in DFU mode has the serial number SIM0002"
                ) as caught:
                    do(named)
            assert "SIM0001" in str(caught.value)
            assert QUICK.plan(dataclasses.replace(named, port=SerialPort("", 0x2341, 0x035F, "sim0001")))
            assert "another board and left as it is: SIM0001" in QUICK.plan(job).notes[0]
        assert board.flash[PLACE : PLACE + 9] == b"the firmw"

    def test_no_board(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:
            board.unplug()
            with pytest.raises(DeviceError, match="no Arduino Nicla Vision is plugged in") as caught:
                QUICK.plan(dataclasses.replace(job, port=None))
        assert "RESET button twice" in caught.value.hint

    def test_a_board_without_dfu(self, tmp_path: Path) -> None:
        spresense: BoardKind = find_board("spresense")
        job = Job(SimulatedHost("sim://"), spresense, firmware(board=spresense.id))
        with pytest.raises(UsageError, match="Sony Spresense has no boot loader that speaks DFU"):
            QUICK.plan(job)


class TestFaults:
    """Each fault with its exit code, the main words of its sentence, and its hint."""

    @pytest.mark.parametrize(
        ("fault", "kind", "code", "words", "hints"),
        [
            ("no-bootloader", DeviceError, 9, "no board came into DFU mode", ["nothing was written", "RESET"]),
            ("dfu-error", DeviceError, 9, "0x08041000: the boot loader reports errWRITE", []),
            ("silence", DeviceError, 9, "writing 4096 bytes at 0x08042000: the boot loader says nothing", []),
            ("unplug", DeviceError, 9, "08042000: the boot loader is gone", ["plug the board in again", "twice"]),
            ("power-cut", DeviceError, 9, "writing 4096 bytes at 0x08042000: the boot loader is gone", []),
            ("flipped-bit", VerificationError, 8, "does not hold what was sent: at 0x080403E8 it has", []),
        ],
    )
    def test_is_said_and_the_board_can_be_recovered(
        self, tmp_path: Path, fault: str, kind: type[EiautoError], code: int, words: str, hints: list[str]
    ) -> None:
        board = SimulatedNicla(surroundings(tmp_path, fault))
        with plugged_in(board) as job:
            flasher = QUICK if fault == "no-bootloader" else PATIENT
            with pytest.raises(kind, match=words) as caught:
                flasher.flash(job)
            assert caught.value.exit_code == code
            wanted = hints or ["the boot loader is untouched", "stays in DFU mode", "RESET button twice", "again"]
            assert [hint for hint in wanted if hint not in caught.value.hint] == []
            assert board.flash[:PLACE] == b"\xb0" * PLACE

            self._mend(job)
            assert wait_until(lambda: board.mode in ("sketch", "dfu") and board.is_plugged, 5)
            ports = job.host.ports()
            again = dataclasses.replace(job, port=ports[0] if ports else None)
            assert PATIENT.flash(again).port
        assert board.flash[PLACE : PLACE + len(IMAGE)] == IMAGE

    @staticmethod
    def _mend(job: Job) -> None:
        """Plug the cable in again, and take the faults away, as `eiauto sim` does when it is told to."""
        assert isinstance(job.host, SimulatedHost)
        job.host.ask({"faults": {}})

    def test_a_board_that_goes_before_its_firmware_is_started(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        with plugged_in(board) as job:

            def unplug(text: str) -> None:
                if text == "starting the firmware":
                    board.unplug()

            with pytest.raises(DeviceError, match="the boot loader is gone") as caught:
                PATIENT.flash(dataclasses.replace(job, on_step=unplug))
        assert "is written and was compared; press the board's RESET button once" in caught.value.hint

    def test_a_firmware_that_says_nothing(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path, "mute-firmware"))
        with plugged_in(board) as job:
            port = PATIENT.flash(job).port
            (plugged,) = (each for each in job.host.ports() if each.name == port)
            opened = job.host.open(plugged, 115_200)
            with opened, pytest.raises(DeviceError, match="says nothing") as caught:
                AtConsole(opened, pace_s=0).connect(Deadline(0.2))
        assert caught.value.exit_code == 9
        assert "SD card" not in caught.value.hint

    def test_a_firmware_without_a_port(self, tmp_path: Path) -> None:
        board = SimulatedNicla(surroundings(tmp_path))
        erased = b"\xff" * 5000  # the boot loader finds nothing to start, and stays
        with plugged_in(board) as job, pytest.raises(DeviceError, match="no port of the Arduino") as caught:
            ArduinoFlasher(5, 0.1).flash(dataclasses.replace(job, firmware=firmware(erased)))
        assert "press RESET once" in caught.value.hint

    def test_a_port_that_is_in_use(self, tmp_path: Path) -> None:
        with plugged_in(SimulatedNicla(surroundings(tmp_path))) as job:
            assert job.port is not None
            with job.host.open(job.port, 115_200), pytest.raises(DeviceError, match="in use") as caught:
                PATIENT.flash(job)
        assert "close the other program" in caught.value.hint

    def test_faults_of_the_table_are_known(self) -> None:
        named = ["no-bootloader", "dfu-error", "silence", "unplug", "power-cut", "flipped-bit", "mute-firmware"]
        assert list(Faults.parse(named).numbers) == named
