"""What a deployment holds that can be put onto a board, and what flashing it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FirmwareKind = Literal["spresense", "openmv-library", "openmv-firmware", "arduino"]
"""spresense: a .spk package. openmv-library: model, labels and script for a drive. openmv-firmware: an image of
OpenMV's firmware with the model inside. arduino: an image of Edge Impulse's firmware (.ino.bin)."""


@dataclass(frozen=True)
class FirmwareFile:
    """A file that goes onto a board.

    Attributes:
        name: In the deployment.
        content: Its bytes.
        sha256: Of these bytes.
    """

    name: str
    content: bytes
    sha256: str

    @property
    def size_bytes(self) -> int:
        """Of the content."""
        return len(self.content)


@dataclass(frozen=True)
class Firmware:
    """What a deployment holds for boards.

    Attributes:
        kind: What it is.
        source: Name of the zip or folder.
        images: Board id to the image for it; of a library empty. A package that does not say for which board it is
            has an entry for each one that its kind runs on.
        files: Of a library: trained.tflite, labels.txt and the script, by name; of OpenMV's firmware its script.
        labels: Of the model; empty where they are not known.
        model: The .tflite file: of a library, or found inside an image; None where there is none to be found.
        script_api: Of the script: `ml` or `tf`; None where there is no script.
        script_name: Of the script; empty where there is none.
        deploy_version: Studio's number of the build, from the zip's name; None where it does not tell.
        project: Name in the zip's name; empty where it does not tell.
        problems: What would go wrong with it.
        notes: What is unusual and harmless.
    """

    kind: FirmwareKind
    source: str
    images: Mapping[str, FirmwareFile] = field(default_factory=dict)
    files: Mapping[str, FirmwareFile] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    model: bytes | None = None
    script_api: Literal["ml", "tf"] | None = None
    script_name: str = ""
    deploy_version: int | None = None
    project: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Write:
    """One thing that is written to a board.

    Attributes:
        what: e.g. `edge_impulse_firmware.spk`.
        where: e.g. `package nuttx, by XMODEM-1K at 921600 baud` or `0x08040000, by DFU`.
        size_bytes: How much.
        sha256: Of the bytes.
    """

    what: str
    where: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class FlashPlan:
    """What flashing will do.

    Attributes:
        board: Its id.
        method: In words, e.g. `XMODEM-1K to the updater of the boot loader`.
        writes: In their order.
        steps: What happens around them, in their order, a short sentence each: resets, ejects.
        port: The serial port, or empty where there is none yet.
        serial_number: Of the device; empty where it is not known.
        notes: What the user should know before.
    """

    board: str
    method: str
    writes: tuple[Write, ...]
    steps: tuple[str, ...] = ()
    port: str = ""
    serial_number: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlashResult:
    """What flashing came to.

    Attributes:
        verified: How it is known that the board holds what was sent, in words.
        seconds: What the transfer took.
        port: Where the board is now; empty where it has no port.
        serial_number: Of the device; empty where it is not known.
        firmware_version: Of the firmware that runs on it, where it was asked; empty otherwise.
        notes: What the user should know.
    """

    verified: str
    seconds: float
    port: str = ""
    serial_number: str = ""
    firmware_version: str = ""
    notes: tuple[str, ...] = ()
