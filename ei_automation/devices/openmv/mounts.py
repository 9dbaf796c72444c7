"""Where the system has mounted drives, and how it lets go of one: Linux, macOS, Windows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ei_automation.errors import DeviceError

MOUNT_TABLE = Path("/proc/self/mountinfo")
MAC_VOLUMES = Path("/Volumes")
SYS_FOLDER = Path("/sys")
EJECT_S = 30.0
"""By when the system's program must have unmounted a drive; a slow flash chip needs seconds for what is left."""
OCTAL = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes a space, tab, newline or backslash (proc(5))."""


@dataclass(frozen=True)
class MountPoint:
    """A drive that is mounted.

    Attributes:
        path: Where.
        device: Of the system, e.g. `/dev/sda1`; empty where it is not known.
        serial_number: Of the USB device that it belongs to; empty where it is none, or not known.
    """

    path: Path
    device: str = ""
    serial_number: str = ""


def mount_points() -> list[MountPoint]:
    """The drives that are mounted now, as far as a board's drive could be among them."""
    if sys.platform == "win32":
        return _windows_mounts()
    if sys.platform == "darwin":
        return [MountPoint(path) for path in sorted(MAC_VOLUMES.glob("*")) if path.is_mount()]
    if not MOUNT_TABLE.exists():
        return []
    return linux_mounts(MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape"))


def linux_mounts(table: str, sys_folder: Path = SYS_FOLDER) -> list[MountPoint]:
    """Mounted block devices in the text of `/proc/self/mountinfo`.

    Network file systems are left out: looking for a file on one whose server is gone would hang.

    Args:
        table: `36 35 98:0 / /mnt/x rw,noatime shared:1 - vfat /dev/sda1 rw` a line, as proc(5) says; other lines
            are left out.
        sys_folder: Where sysfs is.

    Returns:
        One for each device and each place: of a device that is mounted twice the first, of two at one place the
        last, which hides the other.
    """
    places: dict[str, MountPoint] = {}
    for line in table.splitlines():
        mount, found, kind = line.partition(" - ")
        head, tail = mount.split(" "), kind.split(" ")
        if not found or len(head) < 6 or len(tail) < 2:
            continue
        root, place, device = head[3], _plain(head[4]), _plain(tail[1])
        places.pop(place, None)
        if root == "/" and device.startswith("/dev/"):
            places[place] = MountPoint(Path(place), device)
    devices: dict[str, MountPoint] = {}
    for point in places.values():
        devices.setdefault(point.device, point)
    return [
        MountPoint(point.path, device, usb_serial_number(device, sys_folder)) for device, point in devices.items()
    ]


def usb_serial_number(device: str, sys_folder: Path = SYS_FOLDER) -> str:
    """Serial number of the USB device behind a Linux block device; empty where there is none.

    Args:
        device: e.g. `/dev/sda1`.
        sys_folder: Where sysfs is.
    """
    link = sys_folder / "class" / "block" / Path(device).name
    if not link.exists():
        return ""
    for folder in link.resolve().parents:
        if (folder / "idVendor").exists():
            serial = folder / "serial"
            return serial.read_text(encoding="utf-8", errors="replace").strip() if serial.exists() else ""
    return ""


def unmount(point: MountPoint, system: str = sys.platform) -> None:
    """Have the system write what is left to a drive and let go of it.

    The USB device is not powered off: the drive and the serial port are one device, and the port is still needed.

    Args:
        point: The drive.
        system: `linux`, `darwin` or `win32`.

    Raises:
        DeviceError: Something holds it, or this user may not; the hint says how to do it by hand.
    """
    if system == "win32":
        _windows_eject(point)
        return
    if system == "darwin":
        _run([["diskutil", "eject", str(point.path)]], point, f"run `diskutil eject {point.path}`")
        return
    os.sync()  # Everything of ours is on the drive already; this is for what others wrote.
    ways = [["udisksctl", "unmount", "--no-user-interaction", "-b", point.device]] if point.device else []
    if os.geteuid() == 0:
        ways.append(["umount", str(point.path)])
    by_hand = f"run `sudo umount '{point.path}'`, or eject it in the file manager"
    _run(ways, point, by_hand)


def _run(ways: Sequence[Sequence[str]], point: MountPoint, by_hand: str) -> None:
    """Run the first of the programs that is installed and succeeds."""
    said = "no program of the system may do it for you"
    for program, *arguments in ways:
        path = shutil.which(program)
        if path is None:
            continue
        try:
            done = subprocess.run(
                [path, *arguments], capture_output=True, text=True, errors="replace", timeout=EJECT_S, check=False
            )
        except subprocess.TimeoutExpired:
            said = f"{program} did not end within {EJECT_S:g} s"
            continue
        if done.returncode == 0:
            return
        said = f"{program}: {' '.join((done.stderr or done.stdout).split()) or f'exit code {done.returncode}'}"
    raise DeviceError(
        f"the drive {point.path} cannot be ejected: {said}",
        hint=f"the files are written and nothing is lost; close what uses the drive, {by_hand}, "
        "press the board's reset button, then run the same command again: it compares the files",
    )


def _plain(field: str) -> str:
    """A field of mountinfo without its octal escapes."""
    return OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def _windows_mounts() -> list[MountPoint]:
    """Removable drives by their letters (GetLogicalDrives, GetDriveTypeW: 2 is DRIVE_REMOVABLE)."""
    if sys.platform != "win32":
        return []
    import ctypes

    letters = ctypes.windll.kernel32.GetLogicalDrives()
    roots = [f"{chr(ord('A') + bit)}:\\" for bit in range(26) if letters >> bit & 1]
    return [MountPoint(Path(root)) for root in roots if ctypes.windll.kernel32.GetDriveTypeW(root) == 2]


def _windows_eject(point: MountPoint) -> None:
    """Lock, dismount and eject a volume.

    Source of the codes: winioctl.h, FSCTL_LOCK_VOLUME, FSCTL_DISMOUNT_VOLUME, IOCTL_STORAGE_EJECT_MEDIA; of
    CreateFileW's: GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, OPEN_EXISTING.
    """
    done = False
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.CreateFileW.restype = ctypes.c_void_p
        handle = kernel.CreateFileW(f"\\\\.\\{point.path.drive}", 0xC000_0000, 3, None, 3, 0, None)
        if handle not in (None, ctypes.c_void_p(-1).value):
            volume, got = ctypes.c_void_p(handle), ctypes.c_uint32()
            done = all(
                kernel.DeviceIoControl(volume, code, None, 0, None, 0, ctypes.byref(got), None)
                for code in (0x0009_0018, 0x0009_0020, 0x002D_4808)
            )
            kernel.CloseHandle(volume)
    if not done:
        raise DeviceError(
            f"the drive {point.path} cannot be ejected: a program has a file on it open",
            hint="the files are written and nothing is lost; close what uses the drive, choose Eject in the "
            "Explorer, press the board's reset button, then run the same command again: it compares the files",
        )
