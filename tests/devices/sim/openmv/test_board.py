from __future__ import annotations

import errno
import time

import pytest

from ei_automation.devices.openmv.debug import connect_camera
from ei_automation.devices.openmv.drives import MARKER
from ei_automation.devices.openmv.room import backup_name
from ei_automation.devices.sim.drive import CLUSTER_BYTES, SimulatedDrive
from ei_automation.devices.sim.openmv.board import SimulatedOpenMv
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError, VerificationError
from tests.devices.cameras import NEW, OLD, Plugged, camera
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings

H7, PLUS = "openmv-cam-h7", "openmv-cam-h7-plus"
BUILT_IN_SCRIPT = """
import sensor, ml
sensor.reset()
net = ml.Model("trained")
labels = [line.rstrip() for line in open("labels.txt")]
while True:
    img = sensor.snapshot()
    for label, score in zip(labels, net.predict([img])[0].flatten().tolist()):
        print("%s = %f" % (label, score))
"""


@pytest.mark.parametrize(
    ("board", "version", "app", "loader"),
    [
        (H7, (4, 6, 0), "37C5:1204", "37C5:9204"),
        (PLUS, (5, 0, 0), "37C5:124A", "37C5:924A"),
        (H7, OLD, "1209:ABD1", "1209:ABD1"),
    ],
)
def test_how_it_shows_itself(tmp_path, board, version, app, loader):
    with camera(tmp_path, board=board, version=version) as plugged:
        port = plugged.port()
        assert (port.usb_id, port.serial_number) == (app, "SIM0001")
        assert plugged.board.usb_devices() == []
        assert [drive.name for drive in plugged.host.drives()] == [str(plugged.board.drive)]
    with camera(tmp_path, board=board, version=version, starts=False) as plugged:
        assert plugged.host.drives() == []
        if version == OLD:
            assert (plugged.port().usb_id, plugged.port().serial_number) == (loader, "000000000010")
            return
        assert plugged.port() is None
        (device,) = plugged.host.ask()["usb"]
        assert f"{device['vid']:04X}:{device['pid']:04X}" == loader


def partitions(folder, board, version) -> dict[str, int]:
    made = SimulatedOpenMv(surroundings(folder), board, firmware_version=version)
    return {memory.name: len(memory.content) for memory in made.dfu.memories}


def test_partitions(tmp_path):
    """devices.md 2.3 and 2.7: names and sizes differ between boards and releases."""
    assert list(partitions(tmp_path, H7, (4, 6, 0))) == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE"]
    assert partitions(tmp_path, H7, (4, 6, 0))["FIRMWARE"] == 1_835_008
    assert list(partitions(tmp_path, H7, NEW)) == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "ROMFS0"]
    assert partitions(tmp_path, H7, NEW)["FIRMWARE"] == 1_703_936
    plus = partitions(tmp_path, PLUS, NEW)
    assert list(plus) == ["BOOTLOADER", "FILESYSTEM", "FIRMWARE", "SPI_FLASH", "ROMFS0"]
    assert plus["FIRMWARE"] == 1_835_008


def test_the_boot_loader_is_read_only(tmp_path):
    made = SimulatedOpenMv(surroundings(tmp_path))
    assert not made.dfu.memories[0].may_write(0, 1)
    assert made.dfu.memories[2].may_write(0, len(made.firmware))


def test_the_drive_of_a_new_camera(tmp_path):
    with camera(tmp_path, "full-drive=1000") as plugged:
        (drive,) = plugged.host.drives()
        assert drive.names() == [MARKER, "README.txt", "main.py"]
        assert backup_name(drive, b"new") == ""  # its main.py is the factory's
        assert drive.free_bytes() == 1000
        plugged.host.ask({"faults": {}})
        (drive,) = plugged.host.drives()
        assert drive.free_bytes() == 131_072 - 2 * CLUSTER_BYTES
        assert drive.cluster_bytes == CLUSTER_BYTES


def test_an_ejected_drive_comes_back_with_the_next_start(tmp_path):
    with camera(tmp_path) as plugged:
        (drive,) = plugged.host.drives()
        drive.eject()
        assert plugged.host.drives() == []
        with pytest.raises(DeviceError, match="No such device"):
            drive.names()
        plugged.board.reset()
        assert wait_until(lambda: len(plugged.host.drives()) == 1, 5)
        assert drive.names()


def restart(plugged: Plugged) -> None:
    starts = plugged.board.starts
    plugged.board.reset()
    assert wait_until(lambda: plugged.board.starts > starts and plugged.board.mode == "firmware", 5)


def scores(plugged: Plugged) -> str:
    """What a script with the network in the firmware prints."""
    with connect_camera(plugged.host, plugged.port(), Deadline(2)) as found:
        found.run_script(BUILT_IN_SCRIPT, Deadline(2))
        printed, end = "", time.monotonic() + 5
        while printed.count("\n") < 4 and found.is_running(Deadline(2)) and time.monotonic() < end:
            printed += found.output(Deadline(2))
        return printed + found.output(Deadline(2))


def test_the_network_in_the_firmware_is_what_runs(tmp_path):
    with camera(tmp_path) as plugged:
        (plugged.board.drive / "labels.txt").write_text("\n".join(LABELS))
        assert "Traceback" in scores(plugged)
        plugged.board.firmware[1000 : 1000 + len(CLASSIFIER)] = CLASSIFIER
        plugged.board.firmware[100:108] = b"\0\0\0\0TFL3"  # looks like one and is none
        restart(plugged)
        printed = scores(plugged)
        assert "Traceback" not in printed
        assert all(f"{label} = " in printed for label in LABELS)


def test_a_boot_loader_waits_a_moment_at_each_start(tmp_path):
    with camera(tmp_path, window_s=0.2) as plugged:
        plugged.board.reset()
        plugged.wait("loader")
        assert plugged.host.ask()["usb"]
        plugged.wait("firmware")
        plugged.board.faults.numbers["no-bootloader"] = 1
        restart(plugged)


class Board:
    """A board's answers, for a drive."""

    def __init__(self, folder, kept: int = 1 << 30) -> None:
        self.folder, self.kept, self.asked = folder, kept, []

    def __call__(self, question):
        self.asked.append(question)
        return {"drives": [{"path": str(self.folder)}], "kept": self.kept}


@pytest.mark.parametrize(
    ("faults", "kept", "error", "words"),
    [
        ({"truncated-write": 3}, 1 << 30, DeviceError, "kept 3 of 10"),
        ({"flipped-bit": 1}, 1 << 30, VerificationError, "stored other bytes"),
        ({}, 4, DeviceError, "Input/output error"),
    ],
)
def test_faults_of_a_drive(tmp_path, faults, kept, error, words):
    drive = SimulatedDrive(tmp_path, 10_000, faults, Board(tmp_path, kept))
    with pytest.raises(error, match=words):
        drive.write("labels.txt", b"0123456789")
    assert drive.names() == []


def test_a_drive_that_is_full(tmp_path):
    drive = SimulatedDrive(tmp_path, 3 * CLUSTER_BYTES, {}, Board(tmp_path))
    drive.write("a", bytes(CLUSTER_BYTES + 1))
    assert drive.free_bytes() == CLUSTER_BYTES
    with pytest.raises(DeviceError, match="No space left") as caught:
        drive.write("a", bytes(CLUSTER_BYTES + 1))  # beside the old one
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert len(drive.read("a")) == CLUSTER_BYTES + 1


def test_ejecting(tmp_path):
    board = Board(tmp_path)
    SimulatedDrive(tmp_path, 1000, {}, board).eject()
    assert {"eject": str(tmp_path)} in board.asked
    with pytest.raises(DeviceError, match="target is busy"):
        SimulatedDrive(tmp_path, 1000, {"busy-drive": 1}, board).eject()
