"""An OpenMV camera with nothing but its debug port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ei_automation.devices.openmv.debug import Camera, connect_camera
from ei_automation.devices.sim.board import SimulatedBoard, Surroundings
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.debug import CameraFacts, DebugFirmware
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import Deadline
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings

V1_OLD, V1, V2 = (4, 5, 5), (4, 8, 1), (5, 0, 0)


class DebugBoard(SimulatedBoard):
    """A camera whose restarts are counted.

    Attributes:
        left: Where each restart went to.
    """

    board = "openmv-cam-h7"

    def __init__(self, around: Surroundings, version: tuple[int, int, int], **options: object) -> None:
        super().__init__(around)
        self.uart = Uart("ttyACM0", 921_600, is_usb=True)
        self.version, self.options, self.left = version, options, list[str]()

    def uarts(self) -> Mapping[str, Uart]:
        return {"ttyACM0": self.uart}

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        return 0x37C5, 0x1204, "OpenMV Cam H7"

    def all_uarts(self) -> list[Uart]:
        return [self.uart]

    def boot(self) -> None:
        facts = CameraFacts(self.version)
        drive = self.around.folder
        self.left.append(DebugFirmware(self.uart, self.around, facts, drive, **self.options).run())


class ScriptedBoard(DebugBoard):
    """A camera whose firmware is a function of a test.

    Args:
        around: Its surroundings.
        firmware: Gets the serial line; is called again when it returns.
    """

    def __init__(self, around: Surroundings, firmware: Callable[[Uart], None]) -> None:
        super().__init__(around, V2)
        self.firmware = firmware

    def boot(self) -> None:
        self.firmware(self.uart)


def drive(folder: Path, model: bytes | None = CLASSIFIER, labels: tuple[str, ...] = LABELS) -> Path:
    """Put a network and its labels onto a drive."""
    if model is not None:
        (folder / "trained.tflite").write_bytes(model)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return folder


@contextmanager
def camera(
    folder: Path, version: tuple[int, int, int], *faults: str, model: bytes | None = None, **options: object
) -> Iterator[Camera]:
    """A connection to a simulated camera whose pictures take a millisecond.

    Args:
        folder: Its drive.
        version: Of its firmware.
        faults: What goes wrong with it.
        model: Of its firmware.
        options: Of DebugFirmware.
    """
    around = surroundings(folder, *faults, model=model, labels=LABELS if model else ())
    with serving(DebugBoard(around, version, **{"image_s": 0.001, **options})) as url:
        host = SimulatedHost(url)
        with connect_camera(host, host.ports()[0], Deadline(5)) as connected:
            yield connected
