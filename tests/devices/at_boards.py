"""Simulated boards that are nothing but a line with firmware, or something else that talks, behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ei_automation.devices.sim.at.firmware import AtFacts, AtFirmware
from ei_automation.devices.sim.board import SimulatedBoard, Surroundings
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import Port
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings

SPRESENSE = AtFacts(
    "SONY_SPRESENSE",
    "Hello from Edge Impulse Device SDK.\nType AT+HELP to see a list of commands.\n",
    max_baud=921_600,
    chunk=32,
    prompt_in_debug=True,
    blocks=False,
    project_author="somebody",
    project_id=1234,
    pause_s=0.05,
    turn_s=0.002,
    baud_pause_s=0.02,
)
"""With short pauses."""
NICLA = replace(
    SPRESENSE, device_type="ARDUINO_NICLA_VISION", max_baud=115_200, chunk=128, prompt_in_debug=False, blocks=True
)
Talk = Callable[[Uart], None]


class LineBoard(SimulatedBoard):
    """A board of one line.

    Args:
        around: What it is started with.
        talk: What it does; raises `ResetError`, or returns to be started anew.
        is_usb: Whether its line is a CDC port.
    """

    board = "line"

    def __init__(self, around: Surroundings, talk: Talk, *, is_usb: bool = False) -> None:
        super().__init__(around)
        self._talk, self.uart = talk, Uart("tty0", is_usb=is_usb)

    def uarts(self) -> Mapping[str, Uart]:
        return {"tty0": self.uart} if self.is_plugged else {}

    def all_uarts(self) -> list[Uart]:
        return [self.uart]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        return 0x10C4, 0xEA60, "a line"

    def boot(self) -> None:
        self._talk(self.uart)


@contextmanager
def plugged_in(board: LineBoard, baud: int = 115_200) -> Iterator[Port]:
    """The board's line, open."""
    with serving(board) as url:
        host = SimulatedHost(url)
        with host.open(host.ports()[0], baud) as port:
            yield port


def firmware(
    folder: Path,
    facts: AtFacts,
    *faults: str,
    model: bytes | None = CLASSIFIER,
    labels: tuple[str, ...] = LABELS,
) -> LineBoard:
    """A board with AT firmware."""
    around = surroundings(folder, *faults, model=model, labels=labels)
    return LineBoard(around, lambda uart: AtFirmware(uart, around, facts).run(), is_usb=facts.blocks)


def talking(folder: Path, talk: Talk) -> LineBoard:
    """A board with something else."""
    return LineBoard(surroundings(folder), talk)


def answering(*, hello: bytes = b"", to_return: bytes = b"") -> Talk:
    """Says something to who has opened its line, and something at every return key."""

    def talk(uart: Uart) -> None:
        while not uart.wait_open(1):
            pass
        uart.write(hello)
        while True:
            if b"\r" in uart.read(1):
                uart.write(to_return)

    return talk
