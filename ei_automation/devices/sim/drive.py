"""The drive of a simulated board: a real folder that holds no more than the board's chip would."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ei_automation.devices.openmv.drives import TEMPORARY, MountedDrive
from ei_automation.errors import DeviceError

CLUSTER_BYTES = 512
"""What MicroPython's FAT gives out on a small chip."""
Ask = Callable[[dict[str, Any] | None], dict[str, Any]]
"""Puts a question to a simulated board: `sim.client.SimulatedHost.ask`."""


def taken_bytes(folder: Path) -> int:
    """Room that a drive's files take, whole clusters each."""
    sizes = [each.stat().st_size for each in folder.iterdir() if each.is_file()]
    return sum(-(-size // CLUSTER_BYTES) * CLUSTER_BYTES for size in sizes)


class SimulatedDrive(MountedDrive):
    """A folder that behaves as a board's drive, with its faults.

    Args:
        path: The folder.
        capacity_bytes: What all files together may take.
        faults: Those of the board: truncated-write, flipped-bit and busy-drive are meant for drives.
        ask: Puts a question to the board.
    """

    def __init__(self, path: Path, capacity_bytes: int, faults: Mapping[str, int], ask: Ask) -> None:
        super().__init__(path)
        self._capacity, self._faults, self._ask = capacity_bytes, faults, ask

    @property
    def cluster_bytes(self) -> int:
        """A file takes a multiple of it."""
        return CLUSTER_BYTES

    def eject(self) -> None:
        """Unmount.

        Raises:
            DeviceError: Something holds it: fault busy-drive.
        """
        if "busy-drive" in self._faults:
            raise DeviceError(
                f"the drive {self.path} cannot be ejected: target is busy",
                hint="the files are written and nothing is lost; close what uses the drive, eject it by hand, "
                "press the board's reset button, then run the same command again: it compares them",
            )
        self._ask({"eject": str(self.path)})

    def _store(self, path: Path, content: bytes) -> None:
        path.unlink(missing_ok=True)
        if -(-len(content) // CLUSTER_BYTES) * CLUSTER_BYTES > self._free():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        kept = int(self._ask({"stored": len(content)})["kept"])
        super()._store(path, self._spoiled(content[:kept]))
        if kept < len(content):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _spoiled(self, content: bytes) -> bytes:
        """What the chip makes of it."""
        content = content[: self._faults.get("truncated-write", len(content))]
        if "flipped-bit" in self._faults and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        return content

    def _free(self) -> int:
        return max(0, self._capacity - taken_bytes(self.path))

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """As for any drive; one that is not mounted any more is gone."""
        with super()._errors(doing):
            if str(self.path) not in [drive["path"] for drive in self._ask(None)["drives"]]:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            yield


__all__ = ["CLUSTER_BYTES", "TEMPORARY", "SimulatedDrive", "taken_bytes"]
