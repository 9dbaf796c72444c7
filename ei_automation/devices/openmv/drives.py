"""Drives that boards have mounted: found by OpenMV's marker file, written so that nothing is half there."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ei_automation.devices.openmv.mounts import MountPoint, mount_points, unmount
from ei_automation.errors import DeviceError, VerificationError
from ei_automation.files import sha256_bytes

__all__ = ["MARKER", "MountPoint", "MountedDrive", "board_drives", "mount_points"]

MARKER = ".openmv_disk"
"""OpenMV's firmware makes this file, empty, at the top of its drive (ports/stm32/main.c; _boot.py since 5.0.0)."""
TEMPORARY = "EIAUTO.TMP"
"""What a file is called until it is whole; in capitals and short, so that FAT needs one directory entry for it."""
WINDOWS_CLUSTER_BYTES = 4096
"""Taken where the system does not say in which units a drive gives room: of drives below 8 GB at most this."""


class MountedDrive:
    """A folder that a board's drive is mounted at.

    Args:
        path: Where.
        device: Of the system; empty where it is not known.
        serial_number: Of the board; empty where the system does not tell.
    """

    def __init__(self, path: Path, *, device: str = "", serial_number: str = "") -> None:
        self.path, self._device, self._serial_number = path, device, serial_number

    @property
    def name(self) -> str:
        """Where it is mounted."""
        return str(self.path)

    @property
    def serial_number(self) -> str:
        """Of the board; empty where the system does not tell."""
        return self._serial_number

    @property
    def cluster_bytes(self) -> int:
        """The unit in which room is given: a file takes a multiple of it."""
        with self._errors("asking for its room"):
            return os.statvfs(self.path).f_frsize if hasattr(os, "statvfs") else WINDOWS_CLUSTER_BYTES

    def names(self) -> list[str]:
        """Names of the files at its top, sorted.

        Raises:
            DeviceError: The drive is gone.
        """
        with self._errors("listing its files"):
            return sorted(each.name for each in self.path.iterdir() if each.is_file())

    def read(self, name: str) -> bytes | None:
        """A file's content, from the drive and not from the system's memory of it where that can be had.

        Returns:
            None where there is no such file.

        Raises:
            DeviceError: The drive is gone, or cannot be read.
        """
        with self._errors(f"reading {name}"):
            try:
                with (self.path / name).open("rb", buffering=0) as stream:
                    _forget_cached(stream.fileno())
                    return stream.readall()
            except FileNotFoundError:
                if not self.path.is_dir():
                    raise
                return None

    def free_bytes(self) -> int:
        """Room that is left; what an interrupted write left behind counts as room."""
        with self._errors("asking for its room"):
            free = self._free()
            left_behind = self.path / TEMPORARY
            return free + (left_behind.stat().st_size if left_behind.exists() else 0)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all: temporary name, fsync, compare, rename, fsync of the folder.

        Raises:
            DeviceError: The drive is full, cut the file short, or is gone; the old file is untouched.
            VerificationError: The drive stored other bytes than were sent; the old file is untouched.
        """
        temporary = self.path / TEMPORARY
        with self._errors(f"writing {name}"):
            try:
                self._store(temporary, content)
                self._compare(name, content, self.read(TEMPORARY) or b"")
                self._replace(temporary, self.path / name)
                self._sync_folder()
            except BaseException:
                with suppress(OSError):  # the drive may be gone, and the first error is the one to be told
                    temporary.unlink(missing_ok=True)
                raise

    def remove(self, name: str) -> None:
        """Delete a file; nothing where there is none.

        Raises:
            DeviceError: The drive is gone, or read-only.
        """
        with self._errors(f"deleting {name}"):
            (self.path / name).unlink(missing_ok=True)
            self._sync_folder()

    def eject(self) -> None:
        """Unmount, so that nothing is left unwritten.

        Raises:
            DeviceError: Something holds it; nothing is lost, the hint says how to do it by hand.
        """
        unmount(MountPoint(self.path, self._device))

    # The steps of a write, in their order; a subclass may stand between

    def _store(self, path: Path, content: bytes) -> None:
        """Write bytes and have them on the drive when this returns."""
        with path.open("wb", buffering=0) as stream:
            view = memoryview(content)
            while view:
                view = view[stream.write(view) or 0 :]
            _sync_file(stream.fileno())

    def _replace(self, temporary: Path, path: Path) -> None:
        """Give a whole file its name, in place of the old one."""
        temporary.replace(path)

    def _sync_folder(self) -> None:
        """Have the names on the drive when this returns."""
        if os.name != "posix":
            return  # Windows opens no folders; it writes their entries through to removable drives
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _free(self) -> int:
        """What the file system says is free."""
        return shutil.disk_usage(self.path).free

    def _compare(self, name: str, sent: bytes, stored: bytes) -> None:
        """Refuse what was stored otherwise than sent."""
        kept = "the old file is untouched" if (self.path / name).exists() else f"there is no {name} on it"
        if len(stored) != len(sent):
            raise DeviceError(
                f"{self.name}: of {name} the drive kept {len(stored)} of {len(sent)} bytes",
                hint=f"{kept}; the drive's file system is damaged: format it, or use an SD card",
            )
        if sha256_bytes(stored) != sha256_bytes(sent):
            raise VerificationError(
                f"{self.name}: the drive stored other bytes of {name} than were sent",
                hint=f"{kept}; run the same command again, then try another cable or SD card",
            )

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Say in words what the system says of a drive."""
        try:
            yield
        except OSError as error:
            hint = HINTS.get(error.errno or 0, GONE_HINT)
            raise DeviceError(f"{self.name}: {doing} failed: {error.strerror or error}", hint=hint) from error


GONE_HINT = (
    "each file on the drive is the old one or the new one, whole; plug the board in again, wait for its drive, "
    "then run the same command again: it writes what is missing"
)
HINTS = {
    errno.ENOSPC: "an old file of that name is untouched; delete what you do not need from the drive, or use an "
    "SD card",
    errno.EROFS: "the system has found an error on the drive and writes no more: eject it, press the board's "
    "reset button, and repair or format the drive when it comes again",
    errno.EACCES: "mount the drive so that your user may write to it, e.g. `udisksctl mount -b DEVICE`",
    errno.EPERM: "mount the drive so that your user may write to it, e.g. `udisksctl mount -b DEVICE`",
}
"""The system's error number to what to do next."""


def board_drives(mounts: Iterable[MountPoint]) -> list[MountedDrive]:
    """Those mount points that hold OpenMV's marker file.

    The label of the volume is not asked: it differs between firmware versions, and users change it.
    """
    return [
        MountedDrive(point.path, device=point.device, serial_number=point.serial_number)
        for point in mounts
        if _has_marker(point.path)
    ]


def _has_marker(path: Path) -> bool:
    """Whether the marker is there; no where the place cannot be looked into."""
    try:
        return (path / MARKER).is_file()
    except OSError:
        return False


def _sync_file(descriptor: int) -> None:
    """Have a file's bytes on the drive, not only on their way to it."""
    if sys.platform == "darwin":  # there fsync does not wait for the drive (fsync(2) of macOS)
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _forget_cached(descriptor: int) -> None:
    """Have the next read of a file come from the drive, where the system has a way to say so."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_NOCACHE, 1)
    elif sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
