"""What of a camera's drive must be written for a library, what is kept, and whether there is room for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ei_automation.devices.host import Drive
from ei_automation.errors import DoesNotFitError
from ei_automation.schema.firmware import FirmwareFile

AUTOSTART = "main.py"
"""MicroPython runs this file when the camera gets power."""
How = Literal["same", "new", "in-place"]
FACTORY_AUTOSTART = re.compile(
    r"(# main\.py -- put your code here!)? ?import [\w, ]+( from machine import LED)? led = [\w.]*LED\([\w\"]+\)"
    r"( usb = pyb\.USB_VCP\(\))? while [^:]+:"
    r" led\.on\(\) time\.sleep_ms\(150\) led\.off\(\) time\.sleep_ms\(100\)"
    r" led\.on\(\) time\.sleep_ms\(150\) led\.off\(\) time\.sleep_ms\(600\)"
)
"""The main.py of a fresh drive, spaces aside: v3.9.4 to v5.0.0 differ in how they name the LED (main.c, main_py.h,
_boot.py)."""


@dataclass(frozen=True)
class Change:
    """One file of the drive.

    Attributes:
        file: What it shall hold.
        name: On the drive.
        how: same: nothing is written. new: under a temporary name. in-place: the old one is deleted first.
    """

    file: FirmwareFile
    name: str
    how: How


def backup_name(drive: Drive, new: bytes) -> str:
    """What a main.py that somebody wrote shall be called; empty where it is the factory's, or from a deployment.

    One from a deployment lies on the drive a second time, under its own name.

    Args:
        drive: The camera's.
        new: The main.py that will be written.
    """
    old = drive.read(AUTOSTART)
    names = drive.names()
    scripts = [name for name in names if name.endswith(".py") and name != AUTOSTART]
    if old is None or old == new or _is_factory(old) or any(drive.read(name) == old for name in scripts):
        return ""
    kept = [f"{AUTOSTART}.bak", *(f"{AUTOSTART}.bak{number}" for number in range(2, len(names) + 3))]
    if any(name in names and drive.read(name) == old for name in kept):
        return ""
    return next(name for name in kept if name not in names)


def _is_factory(content: bytes) -> bool:
    text = " ".join(content.decode("utf-8", "replace").split())
    return FACTORY_AUTOSTART.fullmatch(text) is not None


def plan_changes(drive: Drive, files: Mapping[str, FirmwareFile], *, keeps_autostart: bool) -> tuple[Change, ...]:
    """How each file gets there: in the given order; where room is short, those that shrink first.

    An old file's room is free only once the new one has its name. Where there is no room for both, the old one has
    to be deleted first; all of these are files that a deployment wrote, or that were kept under another name.

    Args:
        drive: The camera's.
        files: What it shall hold, by name.
        keeps_autostart: Whether a main.py is kept too, before anything else is written.

    Raises:
        DoesNotFitError: All of it together is more than the drive has.
    """
    cluster = drive.cluster_bytes
    old = {name: drive.read(name) for name in files}
    growth = {name: _taken(file.content, cluster) - _taken(old[name], cluster) for name, file in files.items()}
    free = drive.free_bytes() - (_taken(drive.read(AUTOSTART), cluster) if keeps_autostart else 0)
    if sum(growth.values()) > free:
        raise _too_large(drive, files, sum(growth.values()) - free)

    def in_order(names: Iterable[str]) -> tuple[Change, ...]:
        left, changes = free, []
        for name in names:
            fits = _taken(files[name].content, cluster) <= left
            how: How = "same" if old[name] == files[name].content else "new" if fits else "in-place"
            changes.append(Change(files[name], name, how))
            left -= growth[name]
        return tuple(changes)

    changes = in_order(files)
    if any(change.how == "in-place" for change in changes):
        return in_order(sorted(files, key=lambda name: growth[name]))
    return changes


def _taken(content: bytes | None, cluster_bytes: int) -> int:
    """Room that a file takes on a drive; 0 where there is none."""
    return -(-len(content) // cluster_bytes) * cluster_bytes if content else 0


def _too_large(drive: Drive, files: Mapping[str, FirmwareFile], missing: int) -> DoesNotFitError:
    largest = max(files.values(), key=lambda file: file.size_bytes)
    total = sum(file.size_bytes for file in files.values())
    return DoesNotFitError(
        f"the drive {drive.name} lacks {missing:,} bytes: the files take {total:,}, of which {largest.name} "
        f"{largest.size_bytes:,}; {drive.free_bytes():,} are free beside what is on it",
        hint="nothing was written; put an SD card into the camera (it then runs from the card), delete what you "
        "do not need from the drive, build the OpenMV firmware with the model inside, or train a smaller model "
        "(`eiauto footprint`)",
    )
