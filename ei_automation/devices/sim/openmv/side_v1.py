"""The camera's side of version 1 of OpenMV's debug protocol, for simulated cameras.

It follows common/usbdbg.c and common/tinyusb_debug.c of openmv/openmv, 4.5.5 to 4.8.1, with their oddities.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from ei_automation.devices.openmv import v1
from ei_automation.devices.openmv.v1 import Command
from ei_automation.devices.sim.openmv.machine import Machine

DATA_TIMEOUT_S = 1.0
"""USBDBG_DATA_TIMEOUT: a command is given up when its bytes do not come."""
FORGETS_AT_RUNNING = (4, 8, 0)
"""The first firmware whose SCRIPT_RUNNING forgets the script, and whose SCRIPT_EXEC does not."""


class V1Side:
    """Version 1.

    Args:
        machine: What it works for.
        write: Sends bytes to the host.
    """

    def __init__(self, machine: Machine, write: Callable[[bytes], None]) -> None:
        self._machine, self._write = machine, write
        self._held, self._script = bytearray(), bytearray()
        self._command, self._missing = 0, 0  # bytes that the host still has to send
        self._last = time.monotonic()

    def feed(self, data: bytes) -> None:
        """Bytes from the host."""
        if data:
            self._last = time.monotonic()
        self._held += data
        while self._held and (self._take_data() if self._missing else self._take_header()):
            pass

    def tick(self) -> None:
        """Give up what does not come."""
        if self._missing and time.monotonic() - self._last > DATA_TIMEOUT_S:
            self._missing = 0

    def script_ended(self) -> None:
        """A script has ended: the firmware begins anew with an empty one."""
        self._script.clear()

    def _take_header(self) -> bool:
        """The next piece of six bytes; one that is no command is dropped."""
        if len(self._held) < v1.HEADER.size:
            return False
        start, command, length = v1.HEADER.unpack_from(self._held)
        del self._held[: v1.HEADER.size]
        if start == v1.START:
            self._control(command, length)
        return True

    def _take_data(self) -> bool:
        part = bytes(self._held[: self._missing])
        del self._held[: len(part)]
        self._missing -= len(part)
        if self._command == Command.SCRIPT_EXEC:
            self._script += part
            self._machine.received(len(part))
            if not self._missing:
                self._machine.execute(bytes(self._script))
        return True

    def _control(self, command: int, length: int) -> None:
        machine = self._machine
        self._command = command
        if command == Command.SCRIPT_STOP:
            machine.forget_output()
            machine.stop()
        elif command == Command.SYS_RESET:
            machine.leave("reset")
        elif command == Command.SYS_RESET_TO_BL:
            machine.leave("bootloader")
        elif command >= 0x80:
            self._write(self._answer(command, length)[:length])
        elif command != Command.SCRIPT_EXEC or not machine.is_running:
            # While a script runs another one is not read at all; what follows then is taken for commands.
            self._missing = length
            if command == Command.SCRIPT_EXEC and machine.facts.firmware_version < FORGETS_AT_RUNNING:
                self._script.clear()

    def _answer(self, command: int, length: int) -> bytes:
        machine, facts = self._machine, self._machine.facts
        if command == Command.FW_VERSION:
            return struct.pack("<3I", *facts.firmware_version)
        if command == Command.ARCH_STR:
            return f"{facts.arch} [{facts.board_type}:{facts.unique_id}]".encode().ljust(v1.ARCH_BYTES, b"\0")
        if command == Command.SCRIPT_RUNNING:
            if facts.firmware_version >= FORGETS_AT_RUNNING:
                self._script.clear()
            return struct.pack("<I", machine.is_running)
        if command == Command.TX_BUF_LEN:
            return struct.pack("<I", machine.available)
        if command == Command.TX_BUF:
            return machine.take(length)
        if command == Command.GET_STATE and facts.firmware_version >= v1.STATE_FIRMWARE:
            return self._state(length)
        return b""

    def _state(self, length: int) -> bytes:
        flags = v1.RUNNING if self._machine.is_running else 0
        flags |= v1.HAS_TEXT if self._machine.available else 0
        text = self._machine.take(max(0, min(length, 512) - v1.STATE_TEXT - 1))
        return (struct.pack("<4I", flags, 0, 0, 0) + text).ljust(length, b"\0")
