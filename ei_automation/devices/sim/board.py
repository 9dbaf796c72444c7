"""What every simulated board is: things to plug into, a thread that is its firmware, faults."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ei_automation.devices.sim.faults import Faults
from ei_automation.devices.sim.uart import ResetError, Uart

Image = NDArray[np.uint8]


class SimulatedModel(Protocol):
    """A network that a simulated board runs; who starts the board brings it."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""

    def run(self, image: Image) -> NDArray[np.float32]:
        """Scores of an image.

        Args:
            image: uint8, (H, W, 3), RGB, of any size; it is resized as the firmware does.

        Returns:
            float32, 0..1: (labels,), or (rows, columns, labels) of a FOMO network, background first.
        """

    def run_features(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of raw features: one 0xRRGGBB for each pixel, (H * W,)."""


LoadModel = Callable[[bytes], SimulatedModel]
"""Makes one of a .tflite file's bytes; raises VerificationError where it is none."""


@dataclass(frozen=True)
class Surroundings:
    """What a simulated board is started with.

    Attributes:
        load_model: How a .tflite file becomes something that classifies.
        model: The network its firmware holds from the start; None for none.
        labels: Of its outputs; empty for numbers.
        images: What its camera sees, one after the other; never empty.
        faults: What goes wrong.
        folder: Where it keeps its drive.
        serial_number: Of the USB device.
        project: What its firmware says it is of; empty where it does not say.
        deploy_version: Of the build that its firmware says it is; 0 where it does not say.
        log: Gets a line for each thing that happens to it.
    """

    load_model: LoadModel
    images: tuple[Image, ...]
    folder: Path
    faults: Faults
    model: bytes | None = None
    labels: tuple[str, ...] = ()
    serial_number: str = "SIM0001"
    project: str = ""
    deploy_version: int = 0
    log: Callable[[str], None] = lambda _: None


class UsbDevice(Protocol):
    """A USB device of a simulated board, as far as DFU needs it."""

    def describe(self) -> dict[str, Any]:
        """Descriptors, as `sim.usb_backend` reads them."""

    def control(
        self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes | None:
        """A control transfer.

        Args:
            request_type: bmRequestType.
            request: bRequest.
            value: wValue.
            index: wIndex.
            data: What the host sends; empty for reads.
            length: wLength.

        Returns:
            What the device sends; None for a stall.

        Raises:
            TimeoutError: It does not answer.
            ConnectionError: It is gone.
        """


class SimulatedBoard(ABC):
    """A board. Subclasses say what is plugged in now, and what the firmware does.

    Args:
        surroundings: What it is started with.

    Attributes:
        board: Its id in the table of boards.
        around: The same surroundings.
        faults: Those of the surroundings.
        is_plugged: False after the cable was pulled out: nothing is there any more.
    """

    board: str = ""

    def __init__(self, surroundings: Surroundings) -> None:
        self.around, self.faults = surroundings, surroundings.faults
        self.is_plugged = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"simulated {self.board}", daemon=True)

    # What a host sees; called from any thread

    @abstractmethod
    def uarts(self) -> Mapping[str, Uart]:
        """The serial lines that are there now, by name; none while it is unplugged or restarts."""

    @abstractmethod
    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        """Vendor, product and description of a line's USB device."""

    def serial_number(self, uart: str) -> str:
        """Of a line's USB device; boot loaders may have another one."""
        del uart
        return self.around.serial_number

    def usb_devices(self) -> list[UsbDevice]:
        """USB devices beyond serial lines that are there now."""
        return []

    def is_up(self) -> bool:
        """Whether it has started, so that a host sees what it will see."""
        return bool(self.uarts() or self.usb_devices())

    def drives(self) -> list[dict[str, Any]]:
        """Drives that are mounted now: `{"path": ..., "capacity_bytes": ...}`."""
        return []

    def stored(self, size: int) -> int:
        """So many bytes are being written to a drive of it; how many of them it takes before a fault strikes."""
        return size

    def ejected(self, path: str) -> None:
        """A drive was unmounted by the host."""
        self.around.log(f"{path} was ejected")

    # What it does

    @abstractmethod
    def boot(self) -> None:
        """Start and run until reset. May return: it is started anew; raise nothing but `ResetError`."""

    def start(self) -> None:
        """Give it power."""
        self._thread.start()

    def end(self) -> None:
        """Take its power away, for good."""
        self._stopping.set()
        self.reset()

    def stop(self) -> None:
        """Take its power away, and wait until its firmware has ended."""
        self.end()
        self._thread.join(5)

    def reset(self) -> None:
        """Press its reset button."""
        for uart in self.all_uarts():
            uart.reset()

    @abstractmethod
    def all_uarts(self) -> list[Uart]:
        """Every line that its firmware may be waiting at."""

    def unplug(self) -> None:
        """Pull the cable out."""
        self.around.log("the cable was pulled out")
        self.is_plugged = False
        self.reset()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self.is_plugged:
                    self.boot()
                else:
                    self._stopping.wait(0.01)
            except ResetError:
                continue
