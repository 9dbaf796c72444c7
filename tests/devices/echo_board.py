"""The smallest simulated board: it says hello, and gives back what it gets."""

from __future__ import annotations

from collections.abc import Mapping

from ei_automation.devices.sim.board import SimulatedBoard, Surroundings
from ei_automation.devices.sim.uart import Uart

HELLO = b"hello\n"


class EchoBoard(SimulatedBoard):
    """Reset by DTR; `faster` makes it change to 921600 baud, `quit` pulls its cable out."""

    board = "echo"

    def __init__(self, surroundings: Surroundings, *, is_usb: bool = False) -> None:
        super().__init__(surroundings)
        self.uart = Uart("ttyUSB0", is_usb=is_usb, on_dtr=lambda active, _: self.reset() if not active else None)
        self.boots = 0

    def uarts(self) -> Mapping[str, Uart]:
        return {"ttyUSB0": self.uart} if self.is_plugged else {}

    def all_uarts(self) -> list[Uart]:
        return [self.uart]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        return (0x10C4, 0xEA60, f"an echo at {uart}")

    def boot(self) -> None:
        self.boots += 1
        self.uart.baud = 115_200
        self.uart.write(HELLO)
        while True:
            heard = self.uart.read(0.5)
            if heard == b"quit":
                self.unplug()
            elif heard:
                self.uart.write(heard)
            if heard == b"faster":
                self.uart.baud = 921_600
