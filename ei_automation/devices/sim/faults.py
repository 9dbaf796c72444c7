"""What can go wrong with a simulated board, on request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ei_automation.errors import UsageError
from ei_automation.schema.board import FlasherName

ALL: tuple[FlasherName, ...] = ("spresense", "openmv", "arduino")
FAULTS = {
    "nak": "every Nth XMODEM packet is answered with NAK (default 7)",
    "cancel": "the boot loader cancels the transfer at packet N (default 3)",
    "silence": "after N bytes the board says nothing more (10000); files on a camera's drive do not count",
    "garble": "the board stays at its old speed when it should change it",
    "unplug": "after N bytes of the image the cable is pulled out, and stays out (default 10000)",
    "power-cut": "after N bytes of the image the power fails; the board starts again with what it has (10000)",
    "bad-package": "the boot loader says that the package is not valid",
    "old-loader": "the boot loader is older than the firmware",
    "no-camera": "the firmware finds no camera",
    "mute-firmware": "the firmware starts and never answers",
    "endless": "the firmware does not stop when it is told to",
    "full-drive": "the drive has room for N bytes (default 1000)",
    "truncated-write": "the drive keeps N bytes of a file and reports success (default 1000)",
    "busy-drive": "the drive cannot be ejected",
    "no-bootloader": "the board does not enter its boot loader",
    "dfu-error": "the boot loader reports a write error at block N (default 2); OpenMV: from firmware 4.6 on",
    "flipped-bit": "one bit of what was written is stored wrong",
}
"""Name to what it does. N is given as `NAME=N`."""
FAMILIES: dict[str, tuple[FlasherName, ...]] = {
    "nak": ("spresense",),
    "cancel": ("spresense",),
    "silence": ALL,
    "garble": ("spresense",),
    "unplug": ALL,
    "power-cut": ALL,
    "bad-package": ("spresense",),
    "old-loader": ("spresense",),
    "no-camera": ALL,
    "mute-firmware": ALL,
    "endless": ALL,
    "full-drive": ("openmv",),
    "truncated-write": ("openmv",),
    "busy-drive": ("openmv",),
    "no-bootloader": ALL,
    "dfu-error": ("openmv", "arduino"),
    "flipped-bit": ALL,
}
"""Name to the families of boards (`BoardKind.flasher`) that it can strike."""
DEFAULTS = {
    "nak": 7,
    "cancel": 3,
    "silence": 10_000,
    "unplug": 10_000,
    "power-cut": 10_000,
    "full-drive": 1_000,
    "truncated-write": 1_000,
    "dfu-error": 2,
}


@dataclass
class Faults:
    """The faults of one simulated board. A fault can be taken away while it runs, as a cable is plugged in again.

    Attributes:
        numbers: Name to its N; 1 for those without.
    """

    numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, words: Iterable[str], family: FlasherName | None = None) -> Faults:
        """From `nak=7` or `silence`.

        Args:
            words: The faults.
            family: Of the board that they are for; None for any.

        Raises:
            UsageError: There is no such fault, it cannot strike such a board, or N is no number of 1 or more.
        """
        faults, known = cls(), [name for name in FAULTS if family is None or family in FAMILIES[name]]
        for word in words:
            name, given, value = word.partition("=")
            if name not in FAULTS:
                raise UsageError(f"there is no fault {name!r}", hint=f"there are {', '.join(known)}")
            if name not in known:
                raise UsageError(
                    f"the fault {name} does not concern this board", hint=f"there are {', '.join(known)}"
                )
            if given and (name not in DEFAULTS or not (value.isdecimal() and value.isascii() and int(value) > 0)):
                wanted = "takes no number" if name not in DEFAULTS else "takes a number of 1 or more"
                raise UsageError(f"fault {name} {wanted}, not {value!r}", hint=f"{name}: {FAULTS[name]}")
            faults.numbers[name] = int(value) if given else DEFAULTS.get(name, 1)
        return faults

    def __contains__(self, name: str) -> bool:
        return name in self.numbers

    def at(self, name: str, count: int) -> bool:
        """Whether a fault with N comes now: so many bytes, packets or blocks have come."""
        return name in self.numbers and count >= self.numbers[name]

    def every(self, name: str, count: int) -> bool:
        """Whether the count is a multiple of the fault's N."""
        return name in self.numbers and count % self.numbers[name] == 0
