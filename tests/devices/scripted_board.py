"""A board whose firmware is a function of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ei_automation.devices.sim.board import SimulatedBoard
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import Port
from tests.devices.surroundings import surroundings


class ScriptedBoard(SimulatedBoard):
    """Runs a function once for each start, and then waits for a reset."""

    board = "scripted"

    def __init__(self, folder: Path, script: Callable[[Uart], None]) -> None:
        super().__init__(surroundings(folder))
        self._script = script
        self._uart = Uart("ttyUSB0")

    def uarts(self) -> Mapping[str, Uart]:
        return {"ttyUSB0": self._uart} if self.is_plugged else {}

    def all_uarts(self) -> list[Uart]:
        return [self._uart]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        return 0x10C4, 0xEA60, "scripted"

    def boot(self) -> None:
        while not self._uart.wait_open(0.1):
            pass
        self._script(self._uart)
        while True:
            self._uart.read(1.0)


@contextmanager
def port_to(folder: Path, script: Callable[[Uart], None]) -> Iterator[Port]:
    """An open port to a scripted board."""
    with serving(ScriptedBoard(folder, script)) as url:
        host = SimulatedHost(url)
        with host.open(host.ports()[0], 115_200) as port:
            yield port
