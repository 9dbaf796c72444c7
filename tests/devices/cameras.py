"""Simulated OpenMV cameras, plugged in and ready, and what is put onto them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ei_automation.devices.flasher import Job
from ei_automation.devices.host import Drive, SerialPort
from ei_automation.devices.openmv.flasher import OpenMvFlasher, Waits
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.board import SimulatedOpenMv
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.files import sha256_bytes
from ei_automation.schema.board import find_board
from ei_automation.schema.firmware import Firmware, FirmwareFile
from tests.devices.surroundings import CLASSIFIER, surroundings

WAITS = Waits(answer=1.0, gone=0.5, back=5.0, drive=2.0, loader=2.0, plug=0.3)
IMAGE = bytes(range(256)) * 100 + b"the end"
SCRIPT_NAME = "ei_image_classification.py"
SCRIPT = b"import ml\nprint('script')\n"
OLD, NEW = (4, 5, 5), (4, 8, 1)


@dataclass
class Plugged:
    """A camera at a simulated machine.

    Attributes:
        board: The camera.
        host: The machine.
        said: Steps and notes.
        progress: What was reported.
    """

    board: SimulatedOpenMv
    host: SimulatedHost
    said: list[str] = field(default_factory=list)
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def port(self) -> SerialPort | None:
        return next(iter(self.host.ports()), None)

    def wait(self, mode: str = "firmware") -> None:
        assert wait_until(lambda: self.board.mode == mode, 5)

    def job(self, firmware: Firmware, *, board: str = "", port: SerialPort | str | None = "any") -> Job:
        return Job(
            self.host,
            find_board(board or self.board.board),
            firmware,
            self.port() if isinstance(port, str) else port,
            on_step=self.said.append,
            on_note=self.said.append,
            on_progress=lambda *what: self.progress.append(what),
        )

    def flasher(self) -> OpenMvFlasher:
        return OpenMvFlasher(WAITS)


@contextmanager
def camera(
    folder: Path,
    *faults: str,
    version: tuple[int, int, int] = NEW,
    board: str = "openmv-cam-h7",
    window_s: float = 0.01,
    starts: bool = True,
) -> Iterator[Plugged]:
    """A camera that is up; one that does not start stays in its boot loader."""
    simulated = SimulatedOpenMv(
        surroundings(folder, *faults), board, firmware_version=version, restart_s=0.025, window_s=window_s
    )
    if not starts:
        simulated.firmware[:8] = b"\xff" * 8
    with serving(simulated) as url:
        plugged = Plugged(simulated, SimulatedHost(url))
        plugged.wait("firmware" if starts else "loader")
        yield plugged


def file(name: str, content: bytes) -> FirmwareFile:
    return FirmwareFile(name, content, sha256_bytes(content))


def library(contents: Mapping[str, bytes] | None = None, api: str = "ml") -> Firmware:
    """What a library deployment holds."""
    contents = contents or {"trained.tflite": CLASSIFIER, "labels.txt": b"a\nb\nc\n", SCRIPT_NAME: SCRIPT}
    return Firmware(
        "openmv-library",
        "ei-x-openmv-v1.zip",
        files={name: file(name, content) for name, content in contents.items()},
        model=contents.get("trained.tflite"),
        script_api="tf" if api == "tf" else "ml",
        script_name=SCRIPT_NAME if SCRIPT_NAME in contents else "",
    )


def image(content: bytes = IMAGE, board: str = "openmv-cam-h7") -> Firmware:
    """What a firmware deployment holds."""
    return Firmware("openmv-firmware", "ei-x-openmv-fw-v1.zip", images={board: file("edge.bin", content)})


class TwoDrives:
    """A machine at which two drives could be meant.

    Args:
        host: The machine, as it is.
        drives: What is mounted.
    """

    def __init__(self, host: SimulatedHost, drives: list[Drive]) -> None:
        self._drives = drives
        self.ports, self.open, self.usb_backend = host.ports, host.open, host.usb_backend

    def drives(self) -> list[Drive]:
        return self._drives
