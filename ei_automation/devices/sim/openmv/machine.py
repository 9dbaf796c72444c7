"""What the parts of a simulated OpenMV camera know of one another: its facts, and what a protocol asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ei_automation.devices.sim.faults import Faults

V2_FIRMWARE = (5, 0, 0)
Leaving = Literal["reset", "bootloader"]
"""Where a restart goes to."""


@dataclass(frozen=True)
class CameraFacts:
    """Which camera this is.

    Attributes:
        firmware_version: (major, minor, patch); from 5.0.0 on it speaks V2.
        arch: e.g. `OMV4 H7 1024`.
        board_type: e.g. `H7`.
        usb_id: As `37C5:1204`.
        unique_id: 24 hexadecimal digits.
    """

    firmware_version: tuple[int, int, int] = (4, 8, 1)
    arch: str = "OMV4 H7 1024"
    board_type: str = "H7"
    usb_id: str = "37C5:1204"
    unique_id: str = "002E00173433510A37333231"

    @property
    def protocol(self) -> Literal["V1", "V2"]:
        """Which version it speaks."""
        return "V2" if self.firmware_version >= V2_FIRMWARE else "V1"


class Machine(Protocol):
    """What a side works for; `sim.openmv.debug.DebugFirmware` is one."""

    facts: CameraFacts
    faults: Faults
    is_running: bool

    def execute(self, script: bytes) -> None:
        """Start a script."""

    def received(self, count: int) -> None:
        """So many bytes of a script have come."""

    def stop(self) -> None:
        """Stop it."""

    def leave(self, to: Leaving) -> None:
        """Restart."""

    def forget_output(self) -> None:
        """Drop what was printed."""

    @property
    def available(self) -> int:
        """Bytes that were printed and not taken."""

    def take(self, size: int) -> bytes:
        """The oldest of them."""
