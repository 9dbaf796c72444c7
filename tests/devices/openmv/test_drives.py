from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from ei_automation.devices.openmv.drives import (
    MARKER,
    TEMPORARY,
    MountedDrive,
    MountPoint,
    board_drives,
    mount_points,
)
from ei_automation.devices.openmv.mounts import linux_mounts, unmount, usb_serial_number
from ei_automation.errors import DeviceError, VerificationError


class WatchedDrive(MountedDrive):
    """Writes down what it does; can be told to go wrong."""

    def __init__(self, path: Path, **spoils: int) -> None:
        super().__init__(path)
        self.steps: list[str] = []
        self.spoils = spoils

    def read(self, name: str) -> bytes | None:
        self.steps.append(f"read {name}")
        return super().read(name)

    def _store(self, path: Path, content: bytes) -> None:
        self.steps.append(f"store {path.name}")
        if number := self.spoils.get("error"):
            path.write_bytes(content[:1])
            raise OSError(number, os.strerror(number))
        if "flip" in self.spoils:
            content = content[:-1] + bytes([content[-1] ^ 1])
        super()._store(path, content[: self.spoils.get("keep", len(content))])

    def _replace(self, temporary: Path, path: Path) -> None:
        self.steps.append(f"{temporary.name} becomes {path.name}")
        super()._replace(temporary, path)

    def _sync_folder(self) -> None:
        self.steps.append("sync the folder")
        super()._sync_folder()


def test_a_file_is_whole_before_it_has_its_name(tmp_path):
    drive = WatchedDrive(tmp_path)
    drive.write("labels.txt", b"a\nb\n")
    assert drive.steps == [
        f"store {TEMPORARY}",
        f"read {TEMPORARY}",
        f"{TEMPORARY} becomes labels.txt",
        "sync the folder",
    ]
    assert (tmp_path / "labels.txt").read_bytes() == b"a\nb\n"
    assert drive.names() == ["labels.txt"]


@pytest.mark.parametrize(
    ("spoils", "kind", "words", "hint"),
    [
        ({"keep": 3}, DeviceError, "of labels.txt the drive kept 3 of 8 bytes", "format it"),
        ({"flip": 1}, VerificationError, "the drive stored other bytes of labels.txt", "another cable"),
        ({"error": errno.ENOSPC}, DeviceError, "writing labels.txt failed: No space left", "SD card"),
        ({"error": errno.EIO}, DeviceError, "writing labels.txt failed: Input/output error", "plug the board in"),
        ({"error": errno.EROFS}, DeviceError, "Read-only file system", "repair or format"),
        ({"error": errno.EACCES}, DeviceError, "Permission denied", "udisksctl mount"),
    ],
)
def test_what_goes_wrong_leaves_the_old_file(tmp_path, spoils, kind, words, hint):
    (tmp_path / "labels.txt").write_bytes(b"old")
    with pytest.raises(kind, match=words) as caught:
        WatchedDrive(tmp_path, **spoils).write("labels.txt", b"new text")
    assert hint in caught.value.hint
    assert (tmp_path / "labels.txt").read_bytes() == b"old"
    assert not (tmp_path / TEMPORARY).exists()


def test_room(tmp_path):
    drive = MountedDrive(tmp_path)
    before = drive.free_bytes()
    assert drive.cluster_bytes == os.statvfs(tmp_path).f_frsize
    (tmp_path / TEMPORARY).write_bytes(b"x" * (1 << 20))  # of an interrupted write: written over by the next one
    assert drive.free_bytes() >= before - (1 << 19)


def test_reading_and_deleting(tmp_path):
    drive = MountedDrive(tmp_path)
    assert drive.read("none") is None
    (tmp_path / "a").write_bytes(b"1")
    assert drive.read("a") == b"1"
    drive.remove("a")
    drive.remove("a")
    assert drive.names() == []


def test_a_drive_that_is_gone(tmp_path):
    drive = MountedDrive(tmp_path / "gone")
    for act in (drive.names, lambda: drive.read("a"), drive.free_bytes, lambda: drive.write("a", b"")):
        with pytest.raises(DeviceError, match="No such file") as caught:
            act()
        assert "plug the board in again" in caught.value.hint


def test_drives_are_found_by_the_marker(tmp_path):
    for name, has_marker in (("OPENMV", False), ("NO NAME", True)):
        (tmp_path / name).mkdir()
        if has_marker:
            (tmp_path / name / MARKER).touch()
    points = [MountPoint(tmp_path / name, "/dev/sda1", "SN") for name in ("OPENMV", "NO NAME", "not there")]
    found = board_drives(points)
    assert [(drive.name, drive.serial_number) for drive in found] == [(str(tmp_path / "NO NAME"), "SN")]


TABLE = r"""
22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
28 1 8:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
29 28 8:2 /home/me/x /bind rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
90 28 8:17 / /media/me/NO\040NAME rw,nosuid,nodev shared:50 master:3 - vfat /dev/sdb1 rw,uid=1000
91 28 8:17 / /run/same/again rw,nosuid - vfat /dev/sdb1 rw
92 28 0:50 / /net rw - nfs server:/files rw
93 28 8:33 / /mnt/tab\011and\134slash rw - vfat /dev/sdc1 rw
94 28 8:49 / /mnt/hidden rw - vfat /dev/sdd1 rw
95 28 0:60 / /mnt/hidden rw - tmpfs tmpfs rw
a line that is none
96 28 - short
"""


def test_linux_mounts(tmp_path):
    points = linux_mounts(TABLE, tmp_path)
    assert [(str(point.path), point.device) for point in points] == [
        ("/", "/dev/nvme0n1p2"),
        ("/media/me/NO NAME", "/dev/sdb1"),
        ("/mnt/tab\tand\\slash", "/dev/sdc1"),
    ]


def test_mounts_with_octal_escapes_hold_drives(tmp_path):
    place = tmp_path / "with a space"
    place.mkdir()
    (place / MARKER).touch()
    written = str(place).replace(" ", r"\040")
    (drive,) = board_drives(linux_mounts(f"90 28 8:17 / {written} rw shared:5 - vfat /dev/sdb1 rw\n", tmp_path))
    assert drive.name == str(place)


def test_serial_number_of_the_usb_device(tmp_path):
    device = tmp_path / "devices/pci0/usb1/1-2"
    block = device / "1-2:1.2/host6/block/sdb/sdb1"
    block.mkdir(parents=True)
    (device / "idVendor").write_text("37c5\n")
    (device / "serial").write_text("0123456789AB\n")
    (tmp_path / "class/block").mkdir(parents=True)
    (tmp_path / "class/block/sdb1").symlink_to(block)
    (point,) = linux_mounts("90 28 8:17 / /x rw - vfat /dev/sdb1 rw", tmp_path)
    assert point.serial_number == "0123456789AB"
    (device / "serial").unlink()
    assert usb_serial_number("/dev/sdb1", tmp_path) == ""
    assert usb_serial_number("/dev/nothing", tmp_path) == ""


def test_this_machine_has_mounts():
    assert all(point.path.is_absolute() for point in mount_points())


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A PATH with nothing but what a test puts there; the programs write down how they are called."""
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name: str, says: str = "", code: int = 0) -> None:
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{log}"\necho "{says}" >&2\nexit {code}\n')
        path.chmod(0o755)

    return add, lambda: log.read_text().splitlines() if log.exists() else []


def test_eject_on_linux(programs, tmp_path):
    add, calls = programs
    add("udisksctl")
    unmount(MountPoint(tmp_path, "/dev/sdb1"), "linux")
    # Not powered off: that would take away the serial port too, which is the same USB device.
    assert calls() == ["udisksctl unmount --no-user-interaction -b /dev/sdb1"]


def test_eject_that_is_refused(programs, tmp_path):
    add, calls = programs
    add("udisksctl", "Error unmounting /dev/sdb1: target is busy", 1)
    add("umount", "umount: target is busy.", 32)
    with pytest.raises(DeviceError, match=r"cannot be ejected: .*target is busy") as caught:
        unmount(MountPoint(tmp_path, "/dev/sdb1"), "linux")
    assert caught.value.exit_code == 9
    assert "nothing is lost" in caught.value.hint
    assert f"sudo umount '{tmp_path}'" in caught.value.hint
    assert len(calls()) == (2 if os.geteuid() == 0 else 1)


@pytest.mark.skipif(os.name != "posix", reason="there is no such user")
def test_eject_without_any_program(programs, tmp_path):
    with pytest.raises(DeviceError, match="no program of the system may do it"):
        MountedDrive(tmp_path).eject()


def test_eject_on_a_mac(programs, tmp_path):
    add, calls = programs
    add("diskutil")
    unmount(MountPoint(tmp_path), "darwin")
    assert calls() == [f"diskutil eject {tmp_path}"]


@pytest.mark.skipif(os.name == "nt", reason="this is another system")
def test_eject_elsewhere_says_what_to_do(tmp_path):
    with pytest.raises(DeviceError) as caught:
        unmount(MountPoint(tmp_path), "win32")
    assert "Explorer" in caught.value.hint


@pytest.fixture
def mounted(tmp_path):
    """A small ext4 file system in a file, mounted; needs root and loop devices."""
    image, place = tmp_path / "image", tmp_path / "mounted here"
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    image.write_bytes(bytes(1 << 20))
    place.mkdir()
    for command in (["mkfs.ext4", "-q", "-F", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"mounting a file system needs {command[0]}")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def test_a_real_file_system(mounted):
    (mounted / MARKER).touch()
    (drive,) = [each for each in board_drives(mount_points()) if each.name == str(mounted)]
    drive.write("trained.tflite", b"model" * 1000)
    assert drive.read("trained.tflite") == b"model" * 1000
    with pytest.raises(DeviceError, match="No space left") as caught:
        drive.write("trained.tflite", bytes(4 << 20))
    assert "untouched" in caught.value.hint
    assert drive.read("trained.tflite") == b"model" * 1000
    drive.eject()
    assert not mounted.is_mount()
    assert not (mounted / MARKER).exists()
