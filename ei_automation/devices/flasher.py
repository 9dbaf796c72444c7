"""What every flasher gives: a plan that writes nothing, and the flashing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ei_automation.devices.host import Host, SerialPort
from ei_automation.schema.board import BoardKind
from ei_automation.schema.firmware import Firmware, FlashPlan, FlashResult

DfuTool = Literal["auto", "pyusb", "dfu-util"]
"""auto: pyusb where libusb is installed, dfu-util otherwise."""


def _silent(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Job:
    """One board to be flashed.

    Attributes:
        host: The machine that it is plugged into.
        board: Its kind.
        firmware: What goes onto it; `firmware.images[board.id]` or its files.
        port: Its serial port; None where it has none now, e.g. because it is in its boot loader.
        baud: For the transfer; None for the flasher's own choice.
        dfu_tool: What speaks DFU.
        on_step: Gets a sentence when something begins.
        on_progress: Gets a text, what is done and how much there is, bytes.
        on_note: Gets a sentence that the user should know.
    """

    host: Host
    board: BoardKind
    firmware: Firmware
    port: SerialPort | None = None
    baud: int | None = None
    dfu_tool: DfuTool = "auto"
    on_step: Callable[[str], None] = field(default=_silent)
    on_progress: Callable[[str, int, int], None] = field(default=_silent)
    on_note: Callable[[str], None] = field(default=_silent)


class Flasher(Protocol):
    """Puts firmware onto one family of boards."""

    def plan(self, job: Job) -> FlashPlan:
        """What `flash` would do; nothing is written and no board is reset.

        Raises:
            UsageError: The firmware is for another kind of board, or damaged.
            DoesNotFitError: It is larger than its place on the board.
            DeviceError: The board is not there.
        """

    def flash(self, job: Job) -> FlashResult:
        """Do what was planned.

        Raises:
            DeviceError: It failed: the hint says in what state the board is left and how to recover it.
            VerificationError: What the board holds is not what was sent.
        """
