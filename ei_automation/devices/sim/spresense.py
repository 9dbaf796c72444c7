"""A simulated Sony Spresense: boot loader with updater, and Edge Impulse's AT firmware on the same serial line."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ei_automation.devices.sim.at.firmware import AtFacts, AtFirmware
from ei_automation.devices.sim.board import SimulatedBoard, Surroundings
from ei_automation.devices.sim.flashed_model import with_model_in
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.sim.updater import CONSOLE_BAUD, REQUEST_S, WELCOME, SimulatedUpdater, Store

LINE = "ttyUSB0"
VID, PID = 0x10C4, 0xEA60
"""Of the CP2102N on the board."""
APPLICATION = "nuttx"
"""The package that the boot loader starts."""
WINDOW_S = 0.15
"""How long the boot loader looks for an `r`; how long the real one does is published nowhere."""
OLD_LOADER = (
    "cxd56_farapiinitialize: Mismatched version: loader(2015) != Self(20585)\r\n"
    "cxd56_farapiinitialize: Please update loader and gnssfw firmwares!!\r\n"
)
FACTS = AtFacts(
    device_type="SONY_SPRESENSE",
    hello="Hello from Edge Impulse Device SDK.\nCompiled on Jan 28 2026 10:00:00\n"
    "Type AT+HELP to see a list of commands.\n",
    max_baud=921_600,
    chunk=32,
    prompt_in_debug=True,
    blocks=False,
    smallest=(96, 64),
)


class ResetLine(Uart):
    """A line whose DTR resets the board where it falls, but not where the port is closed."""

    is_closing = False

    def close(self) -> None:
        """Let go without a reset: programs open and close the port of a board that runs on."""
        self.is_closing = True
        super().close()
        self.is_closing = False


class SimulatedSpresense(SimulatedBoard):
    """Starts its application, or stops in its updater for who presses `r` after a reset, or where there is none.

    Args:
        surroundings: What it is started with; with a model it holds an application from the start.
        window_s: How long it looks for an `r`.
        request_s: Between two requests of its updater for the first packet.
        resets_on_open: Whether opening the port resets it: not known of the real one, so both must work.
        facts: Of its firmware.

    Attributes:
        store: Its packages.
    """

    board = "sony-spresense"

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        window_s: float = WINDOW_S,
        request_s: float = REQUEST_S,
        resets_on_open: bool = False,
        facts: AtFacts = FACTS,
    ) -> None:
        super().__init__(surroundings)
        self.store = Store({}, {})
        self._window_s, self._request_s = window_s, request_s
        self._resets_on_open, self._facts = resets_on_open, facts
        self._uart = ResetLine(LINE, CONSOLE_BAUD, on_dtr=self._dtr)

    def uarts(self) -> Mapping[str, Uart]:
        """The bridge's line: it stays through resets."""
        return {LINE: self._uart} if self.is_plugged else {}

    def all_uarts(self) -> list[Uart]:
        """The only one."""
        return [self._uart]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        """The bridge's."""
        del uart
        return VID, PID, "CP2102N USB to UART Bridge Controller"

    def boot(self) -> None:
        """Look for an `r`, then start what there is.

        Raises:
            ResetError: The board was reset.
        """
        self._uart.baud = CONSOLE_BAUD
        if "no-bootloader" not in self.faults and self._is_stopped():
            self.around.log("stopped in the updater")
            return self._run_updater()
        known = self.store.packages
        if not (self.store.is_whole(APPLICATION) or (self.around.model is not None and APPLICATION not in known)):
            self.around.log("nothing to start: stays in the updater")
            return self._run_updater()
        if "old-loader" in self.faults:
            self._uart.write(OLD_LOADER)
            while True:
                self._uart.read(1.0)
        self.around.log("the application starts")
        around = with_model_in(known.get(APPLICATION, b""), self.around)
        if around is not self.around:
            self.around.log("the package holds a network")
        return AtFirmware(self._uart, around, self._facts).run()

    def _is_stopped(self) -> bool:
        """Whether somebody presses `r` in time."""
        end = time.monotonic() + self._window_s
        while (left_s := end - time.monotonic()) > 0:
            if self._uart.read_byte(left_s) == ord("r"):
                return True
        return False

    def _run_updater(self) -> None:
        self._uart.write(WELCOME)
        SimulatedUpdater(
            self._uart,
            self.store,
            faults=self.faults,
            request_s=self._request_s,
            unplug=self.unplug,
            log=self.around.log,
        ).run()

    def _dtr(self, active: bool, baud: int) -> None:
        del baud
        if self._resets_on_open if active else not self._uart.is_closing:
            self.reset()
