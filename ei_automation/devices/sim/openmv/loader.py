"""The boot loader that OpenMV cameras had before 4.6.0, as a board sees it: src/bootloader of v4.5.5."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from ei_automation.devices.sim.board import Surroundings
from ei_automation.devices.sim.uart import ResetError, Uart

START, RESET, ERASE, WRITE, LAYOUT = 0xABCD0001, 0xABCD0002, 0xABCD0004, 0xABCD0008, 0xABCD0010
VERSION = 0xABCD0003
FILE_SYSTEM, FIRST, LAST = 1, 2, 15
"""Sectors of the STM32H7: OMV_BOOT_FLASH_LAYOUT of boards OPENMV4 and OPENMV4P."""
SECTOR_BYTES = 131_072
PACKET_BYTES = BUFFER_BYTES = 64
POLL_S = 0.02
ERASED = 0xFF


class PacketUart(Uart):
    """A USB line whose packets stay apart: to this boot loader each one is a command."""

    def feed(self, data: bytes) -> None:
        """Bytes from the host, in packets of at most 64."""
        for place in range(0, len(data), PACKET_BYTES):
            packet = data[place : place + PACKET_BYTES]
            super().feed(bytes([len(packet)]) + packet)

    def read_packet(self, timeout_s: float) -> bytes:
        """The next packet; empty where none came in time.

        Raises:
            ResetError: The board was reset.
        """
        size = self.read_byte(timeout_s)
        return self.read_exactly(size, timeout_s) if size else b""


@dataclass(frozen=True)
class LoaderEvents:
    """What the board does when something happens to its boot loader.

    Attributes:
        changed: The firmware is changed for the first time.
        power_cut: The power failed.
        unplug: The cable was pulled out.
    """

    changed: Callable[[], None]
    power_cut: Callable[[], None]
    unplug: Callable[[], None]


class SimulatedLoader:
    """The boot loader at work, from one start of the board to its leaving.

    Args:
        uart: Its serial line.
        firmware: The flash from its first firmware sector on; it is written in place.
        around: For faults and log.
        events: What the board does.

    Attributes:
        erased: Sectors that were erased, in order.
    """

    def __init__(self, uart: PacketUart, firmware: bytearray, around: Surroundings, events: LoaderEvents) -> None:
        self._uart, self._firmware, self._around, self._events = uart, firmware, around, events
        self.erased: list[int] = []
        self._connected = False
        self._offset = self._received = 0
        self._buffer = b""

    def run(self, window_s: float, *, forced: bool) -> None:
        """Wait for START, then obey until RESET.

        Args:
            window_s: How long it waits.
            forced: It has no firmware to start, and waits for ever.

        Raises:
            ResetError: The board was reset.
        """
        end = time.monotonic() + window_s
        while self._connected or forced or time.monotonic() < end:
            packet = self._uart.read_packet(POLL_S)
            if len(packet) >= 4 and not self._obey(packet):
                return

    def _obey(self, packet: bytes) -> bool:
        """Do what a packet says; False where it leaves."""
        (command,) = struct.unpack_from("<I", packet)
        if command == START:
            self._connected, self._offset, self._buffer = True, 0, b""
            self._say(struct.pack("<I", VERSION))
        elif command == LAYOUT:
            self._say(struct.pack("<III", FILE_SYSTEM, FIRST, LAST))
        elif command == ERASE and len(packet) >= 8:
            self._erase(*struct.unpack_from("<I", packet, 4))
        elif command == WRITE:
            self._write(packet[4:])
        elif command == RESET:
            self._program(self._buffer.ljust(BUFFER_BYTES, b"\xff") if self._buffer else b"")
            self._around.log("the boot loader starts the firmware")
            return False
        return True

    def _say(self, data: bytes) -> None:
        if not self._around.faults.at("silence", self._received):
            self._uart.write(data)

    def _erase(self, sector: int) -> None:
        self._events.changed()
        self.erased.append(sector)
        self._around.log(f"sector {sector} erased")
        start = (sector - FIRST) * SECTOR_BYTES
        if FIRST <= sector <= LAST:
            self._firmware[start : start + SECTOR_BYTES] = bytes([ERASED]) * SECTOR_BYTES

    def _write(self, data: bytes) -> None:
        faults = self._around.faults
        self._events.changed()
        self._received += len(data)
        if faults.at("unplug", self._received):
            self._events.unplug()
            raise ResetError
        if faults.at("power-cut", self._received):
            del faults.numbers["power-cut"]  # it comes back
            self._events.power_cut()
            raise ResetError
        self._buffer += data
        while len(self._buffer) >= BUFFER_BYTES:
            self._program(self._buffer[:BUFFER_BYTES])
            self._buffer = self._buffer[BUFFER_BYTES:]

    def _program(self, data: bytes) -> None:
        """Write to flash: bits only go from 1 to 0."""
        place = slice(self._offset, self._offset + len(data))
        if "flipped-bit" in self._around.faults and self._offset == 0 and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        self._firmware[place] = bytes(old & new for old, new in zip(self._firmware[place], data, strict=False))
        self._offset += len(data)
