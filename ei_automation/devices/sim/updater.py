"""The simulated Spresense's updater: its command line, and the receiving side of XMODEM.

Wording and order are those of a published transcript; what the real one says of a failure is published nowhere,
and is our own here. Delays are shorter than the real ones.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass

from ei_automation.devices.sim.faults import Faults
from ei_automation.devices.sim.uart import ResetError, Uart
from ei_automation.devices.spresense.spk import read_spk
from ei_automation.errors import VerificationError

SOH, STX, EOT, ACK, NAK, CAN, CRC_START = 0x01, 0x02, 0x04, 0x06, 0x15, 0x18, 0x43
SIZES = {SOH: 128, STX: 1024}
WELCOME, PROMPT = "Welcome to nash\r\n", "updater# "
WAITING = "Waiting for XMODEM (CRC or 1K) transfer. Ctrl-X to cancel.\r\n"
CONSOLE_BAUD = 115_200
FASTEST_BAUD = 3_000_000
"""Of the board's bridge, a CP2102N (its data sheet)."""
REQUEST_S = 0.3
"""Between two requests for the first packet; real receivers wait for seconds. Some senders take a second request
for a bad answer to their first packet."""
PACKET_S = 2.0
"""By when a packet must come, or is asked for again."""
REQUESTS = 300
"""After so many in vain the transfer is given up."""
BACK_S = 0.5
"""At most so long it waits, after a transfer, for the other side to go back to the old speed."""
LONGEST_LINE = 256


@dataclass
class Store:
    """The board's flash memory.

    Attributes:
        packages: Name to content, as stored.
        accepted: Name to content, as it came; it differs where a bit was stored wrong.
    """

    packages: dict[str, bytes]
    accepted: dict[str, bytes]

    def is_whole(self, name: str) -> bool:
        """Whether a package is there and what was accepted."""
        return name in self.packages and self.packages[name] == self.accepted[name]


class SimulatedUpdater:
    """The command line of the boot loader.

    Args:
        uart: The line.
        store: Where packages go.
        faults: What goes wrong.
        request_s: Between two requests for the first packet.
        unplug: Pulls the cable out.
        log: Gets a line for each thing that happens.
    """

    def __init__(
        self,
        uart: Uart,
        store: Store,
        *,
        faults: Faults,
        request_s: float,
        unplug: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._uart, self._store, self._faults, self._request_s = uart, store, faults, request_s
        self._unplug, self._log = unplug, log
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "install": self._install,
            "rm": self._remove,
            "set": lambda words: self._log(f"configured: {' '.join(words)}"),
            "sync": lambda _: self._uart.sleep(0.005),
        }

    def run(self) -> None:
        """Serve until `reboot`.

        Raises:
            ResetError: The board was reset.
        """
        self._uart.write(PROMPT)
        while (words := self._line().split()) != ["reboot"]:
            if words and words[0] in self._commands:
                self._commands[words[0]](words[1:])
            elif words:
                self._uart.write(f"{words[0]}: command not found\r\n")
            self._uart.write(PROMPT)
        self._log("reboot")

    def _line(self) -> str:
        """A line, echoed."""
        line = b""
        while not line.endswith(b"\n"):
            data = self._uart.read_byte(1.0)
            if data is None or data == 0x0D:
                continue
            byte = bytes([data])
            self._uart.write(b"\r\n" if byte == b"\n" else byte)
            line = (line + byte)[-LONGEST_LINE:]
        return line.decode("ascii", "replace")

    def _remove(self, words: list[str]) -> None:
        for name in words:
            self._store.packages.pop(name, None)
            self._log(f"removed {name}")

    def _install(self, words: list[str]) -> None:
        """Receive a package, check it and save it."""
        number = words[words.index("-b") + 1] if "-b" in words[:-1] else ""
        baud = int(number) if number.isdecimal() and number.isascii() else CONSOLE_BAUD
        if not 0 < baud <= FASTEST_BAUD:
            self._uart.write(f"{number}: no such speed\r\n")
            return
        self._uart.write(WAITING)
        if "garble" not in self._faults:
            self._uart.baud = baud
        content = Receiver(self._uart, self._faults, self._unplug, request_s=self._request_s).receive()
        self._back()
        if content is None:
            self._log("the transfer was cancelled")
            self._uart.write("\r\nTransfer cancelled.\r\n")
            return
        self._uart.write(f"\r\n{len(content)} bytes loaded.\r\n")
        try:
            name = read_spk(content).save_name
        except VerificationError as error:
            self._log(f"not valid: {error}")
            name = ""
        if not name or "bad-package" in self._faults:
            self._uart.write("Package validation is NG.\r\n")
            return
        self._save(name, content)

    def _save(self, name: str, content: bytes) -> None:
        self._uart.write(f'Package validation is OK.\r\nSaving package to "{name}"\r\n')
        stored = bytearray(content)
        if "flipped-bit" in self._faults:
            stored[len(stored) // 2] ^= 1
        self._store.packages[name], self._store.accepted[name] = bytes(stored), content
        self._log(f'saved "{name}", {len(content)} bytes')

    def _back(self) -> None:
        """Go to the old speed once the other side has: the real one is busy meanwhile."""
        self._uart.baud = CONSOLE_BAUD
        for _ in range(int(BACK_S / 0.01)):
            if self._uart.host_baud == CONSOLE_BAUD:
                return
            self._uart.sleep(0.01)


class Receiver:
    """The receiving side of XMODEM with CRC, packets of 128 or 1024 bytes.

    Args:
        uart: The line.
        faults: nak, cancel, silence, unplug, power-cut.
        unplug: Pulls the cable out.
        request_s: Between two requests for the first packet.
    """

    def __init__(
        self, uart: Uart, faults: Faults, unplug: Callable[[], None], *, request_s: float = REQUEST_S
    ) -> None:
        self._uart, self._faults, self._unplug, self._request_s = uart, faults, unplug, request_s
        self._data = b""
        self._packets, self._next = 0, 1

    def receive(self) -> bytes | None:
        """The file without what fills the last packet; None where it was cancelled, or gave up.

        Raises:
            ResetError: The board was reset.
        """
        for _ in range(REQUESTS):
            if not self._packets:
                self._answer(CRC_START)
            first = self._uart.read_byte(PACKET_S if self._packets else self._request_s)
            while first in SIZES:
                self._packets += 1
                if not self._take(SIZES[first]):
                    return None
                first = self._uart.read_byte(PACKET_S)
            if first == EOT:
                self._answer(ACK)
                return self._data.rstrip(b"\x1a")
            if first == CAN and self._uart.read_byte(PACKET_S) == CAN:
                return None
            if self._packets:
                self._answer(NAK)
        return None

    def _take(self, size: int) -> bool:
        """One packet; False where the receiver cancels."""
        body = self._uart.read_exactly(size + 4, PACKET_S)
        data = body[2:-2]
        is_whole = (
            len(body) == size + 4
            and body[0] + body[1] == 255
            and binascii.crc_hqx(data, 0).to_bytes(2, "big") == body[-2:]
        )
        if not is_whole or self._faults.every("nak", self._packets):
            self._answer(NAK)
            return True
        if body[0] not in (self._next % 256, (self._next - 1) % 256) or self._faults.at("cancel", self._packets):
            self._uart.write(bytes([CAN, CAN]))
            return False
        if body[0] == self._next % 256:  # else the one before, again: its answer was lost
            self._data, self._next = self._data + data, self._next + 1
        self._strike()
        self._answer(ACK)
        return True

    def _strike(self) -> None:
        """The faults that come after so many bytes."""
        size = len(self._data)
        if self._faults.at("unplug", size):
            self._unplug()
        if self._faults.at("power-cut", size):
            raise ResetError
        while self._faults.at("silence", size):
            self._uart.read(1.0)

    def _answer(self, byte: int) -> None:
        self._uart.write(bytes([byte]))
