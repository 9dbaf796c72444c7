"""The camera's side of version 2 of OpenMV's debug protocol, for simulated cameras.

It follows protocol/omv_protocol.c and omv_protocol_channel_stdio.c of openmv/openmv 5.0.0.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import replace

from ei_automation.devices.openmv.packets import (
    CAPS,
    LARGEST_PAYLOAD,
    SMALLEST_PAYLOAD,
    Flag,
    Opcode,
    Packet,
    PacketDecoder,
    Status,
    Stdin,
)
from ei_automation.devices.sim.openmv.machine import Machine

RTX_S, RTX_RETRIES = 0.5, 3
STDIN, STDOUT = 1, 2
CHANNELS = ((0, 0x43, b"usb"), (STDIN, 0x06, b"stdin"), (STDOUT, 0x01, b"stdout"), (3, 0x19, b"stream"))
"""Number, flags, name."""
READ_BYTES = 512
"""`stdout` is read in fragments of at most that."""


class V2Side:
    """Version 2.

    Args:
        machine: What it works for.
        write: Sends bytes to the host.
        rtx_s: After that long without acknowledgement an answer is repeated; doubled each time.
    """

    def __init__(self, machine: Machine, write: Callable[[bytes], None], *, rtx_s: float = RTX_S) -> None:
        self._machine, self._write, self._rtx_s = machine, write, rtx_s
        self._decoder = PacketDecoder()
        self._script = bytearray()
        self._was_running = False
        self._restart()

    def _restart(self) -> None:
        self._sequence, self._max_payload, self._has_events = 0, LARGEST_PAYLOAD, True
        self._outgoing: list[Packet] = []  # the first is sent and waits for its acknowledgement
        self._requests: list[Packet] = []  # came meanwhile
        self._retries, self._due = RTX_RETRIES, 0.0

    def feed(self, data: bytes) -> None:
        """Bytes from the host."""
        for packet in self._decoder.feed(data):
            if packet.opcode == Opcode.SYNC and packet.channel == 0 and not packet.flags & (Flag.ACK | Flag.NAK):
                self._restart()
                self._status(packet)
                self._sequence = 0
            elif packet.flags & (Flag.ACK | Flag.NAK):
                self._acknowledged(packet)
            elif self._outgoing:
                self._requests.append(packet)
            else:
                self._request(packet)

    def tick(self) -> None:
        """Repeat what was not acknowledged; tell of a script that has started."""
        if self._machine.is_running != self._was_running:
            self._was_running = self._machine.is_running
            self._event(STDIN, struct.pack("<H", self._was_running))
        if not self._outgoing or time.monotonic() < self._due:
            return
        if self._retries:
            self._repeat()
        else:
            self._restart()

    def script_ended(self) -> None:
        """A script has ended."""
        self._script.clear()
        self.tick()

    # Packets

    def _acknowledged(self, packet: Packet) -> None:
        if not self._outgoing:
            return
        first = self._outgoing[0]
        if (packet.opcode, packet.sequence) != (first.opcode, first.sequence):
            return
        if packet.flags & Flag.NAK:
            self._due = 0.0
            return
        self._outgoing.pop(0)
        if self._outgoing:
            self._transmit()
        while self._requests and not self._outgoing:
            self._request(self._requests.pop(0))

    def _transmit(self) -> None:
        self._retries, self._due = RTX_RETRIES, time.monotonic() + self._rtx_s
        self._write(self._outgoing[0].encode())

    def _repeat(self) -> None:
        self._retries -= 1
        self._due = time.monotonic() + self._rtx_s * 2 ** (RTX_RETRIES - self._retries)
        self._outgoing[0] = replace(self._outgoing[0], flags=self._outgoing[0].flags | Flag.RTX)
        self._write(self._outgoing[0].encode())

    def _answer(self, request: Packet, *parts: bytes) -> None:
        """Answer with data: every packet has to be acknowledged before the next one is sent."""
        pieces = [
            part[start : start + self._max_payload]
            for part in parts
            for start in range(0, len(part), self._max_payload)
        ]
        for number, piece in enumerate(pieces, 1):
            flags = Flag.ACK_REQ | (Flag.FRAGMENT if number < len(pieces) else 0)
            self._outgoing.append(Packet(self._sequence, request.channel, flags, request.opcode, piece))
            self._sequence = (self._sequence + 1) & 0xFF
        self._transmit()

    def _status(self, request: Packet, status: int = 0) -> None:
        flag, payload = (Flag.NAK, struct.pack("<H", status)) if status else (Flag.ACK, b"")
        self._write(Packet(self._sequence, request.channel, flag, request.opcode, payload).encode())
        self._sequence = (self._sequence + 1) & 0xFF

    def _event(self, channel: int, payload: bytes) -> None:
        if self._has_events:
            opcode = Opcode.CHANNEL_EVENT if channel else Opcode.SYS_EVENT
            self._write(Packet(self._sequence, channel, Flag.EVENT, opcode, payload).encode())

    # Commands

    def _request(self, packet: Packet) -> None:
        if packet.is_damaged:
            self._status(packet, Status.CHECKSUM)
        elif packet.sequence != self._sequence:
            self._status(packet, Status.SEQUENCE)
        elif len(packet.payload) > self._max_payload:
            self._status(packet, Status.OVERFLOW)
        elif packet.opcode < Opcode.CHANNEL_LIST:
            self._system(packet)
        else:
            self._channel(packet)

    def _system(self, packet: Packet) -> None:
        facts = self._machine.facts
        if packet.opcode == Opcode.GET_CAPS:
            self._answer(packet, CAPS.pack(15 if self._has_events else 7, self._max_payload))
        elif packet.opcode == Opcode.SET_CAPS:
            self._set_caps(packet)
        elif packet.opcode == Opcode.VERSION:
            self._answer(packet, bytes((1, 0, 2, 1, 0, 0, *facts.firmware_version)).ljust(16, b"\0"))
        elif packet.opcode == Opcode.SYS_INFO:
            self._answer(packet, self._system_info())
        elif packet.opcode in (Opcode.SYS_RESET, Opcode.SYS_BOOT):
            self._machine.leave("reset" if packet.opcode == Opcode.SYS_RESET else "bootloader")
        else:
            self._status(packet, Status.INVALID)

    def _set_caps(self, packet: Packet) -> None:
        if len(packet.payload) != CAPS.size:
            self._status(packet, Status.INVALID)
            return
        flags, largest = CAPS.unpack(packet.payload)
        if not SMALLEST_PAYLOAD <= largest <= LARGEST_PAYLOAD:
            self._status(packet, Status.INVALID)
            return
        self._status(packet)
        self._max_payload, self._has_events = largest, bool(flags & 8)

    def _system_info(self) -> bytes:
        facts = self._machine.facts
        vendor, product = (int(part, 16) for part in facts.usb_id.split(":"))
        identity = [int(facts.unique_id[start : start + 8], 16) for start in (0, 8, 16)]
        cpu_cortex_m7 = 0x411FC271
        return struct.pack("<5I", cpu_cortex_m7, *identity, vendor << 16 | product).ljust(76, b"\0")

    def _channel(self, packet: Packet) -> None:
        machine, opcode, channel = self._machine, packet.opcode, packet.channel
        if opcode == Opcode.CHANNEL_LIST:
            self._answer(packet, b"".join(struct.pack("<BB14s", *entry) for entry in CHANNELS))
        elif opcode == Opcode.CHANNEL_POLL:
            flags = machine.is_running << STDIN | bool(machine.available) << STDOUT
            self._answer(packet, struct.pack("<I", flags))
        elif opcode == Opcode.CHANNEL_SIZE and channel == STDOUT:
            self._answer(packet, struct.pack("<I", machine.available))
        elif opcode == Opcode.CHANNEL_READ and channel == STDOUT and len(packet.payload) == 8:
            self._read(packet)
        elif opcode == Opcode.CHANNEL_WRITE and channel == STDIN and len(packet.payload) > 8:
            self._store(packet)
        elif opcode == Opcode.CHANNEL_IOCTL and channel == STDIN and len(packet.payload) == 4:
            self._control(packet)
        else:
            self._status(packet, Status.INVALID)

    def _read(self, packet: Packet) -> None:
        (size,) = struct.unpack_from("<I", packet.payload, 4)
        data = self._machine.take(size)
        if len(data) < size or not size:
            self._status(packet, Status.FAILED)
            return
        self._answer(packet, *(data[start : start + READ_BYTES] for start in range(0, size, READ_BYTES)))

    def _store(self, packet: Packet) -> None:
        offset, size = struct.unpack_from("<II", packet.payload)
        if not offset:
            self._script.clear()
        part = packet.payload[8 : 8 + size]
        self._script += part
        self._machine.received(len(part))
        self._status(packet)

    def _control(self, packet: Packet) -> None:
        (request,) = struct.unpack("<I", packet.payload)
        if request == Stdin.RESET:
            self._script.clear()
        elif request not in (Stdin.STOP, Stdin.EXEC) or (request == Stdin.EXEC and not self._script):
            self._status(packet, Status.FAILED)
            return
        self._status(packet)
        if request == Stdin.STOP:
            self._machine.stop()
        elif request == Stdin.EXEC:
            self._machine.execute(bytes(self._script))
