"""Version 2 of OpenMV's debug protocol, firmware 5.0.0 and newer: packets with checksums, on named channels.

Source: docs/protocol.md, protocol/omv_protocol.{h,c} and omv_protocol_channel_stdio.c of openmv/openmv 5.0.0.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from ei_automation.devices.openmv.camera import POLL_S, RESTART_HINT, Camera, CameraInfo
from ei_automation.devices.openmv.packets import (
    ACKNOWLEDGE,
    CAPS,
    CRC,
    EVENTS,
    LARGEST_PAYLOAD,
    SEQUENCE,
    SMALLEST_PAYLOAD,
    Flag,
    Opcode,
    Packet,
    PacketDecoder,
    Status,
    Stdin,
)
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError

ANSWER_S = 1.0
"""A camera repeats an answer after 0.5 s without acknowledgement; who hears nothing for longer starts over."""
BUSY_S = 0.01
"""A busy channel is free again after that long."""
START_S = 5.0
"""By when a script must have started: the camera restarts MicroPython before."""
LARGEST_ANSWER = 1 << 20


class NakError(Exception):
    """The camera refused a command.

    Args:
        status: See `Status`.
        payload: What it had sent of the answer before.
    """

    def __init__(self, status: int, payload: bytes) -> None:
        super().__init__(status)
        self.status, self.payload = status, payload


class SilenceError(Exception):
    """No answer, or none that fits: both sides have to start over."""


class Link:
    """Commands and their answers, in sequence, over a line that may lose or damage packets.

    Args:
        port: Open at the debug speed.
        on_event: Gets channel and number of what the camera tells unasked; 0xFFFF for a mere notice.
        answer_s: After that long without an answer both sides start over; longer than the 0.5 s after which the
            camera repeats an answer.

    Attributes:
        max_payload: As negotiated.
    """

    def __init__(self, port: Port, on_event: Callable[[int, int], None], *, answer_s: float = ANSWER_S) -> None:
        self._port, self._on_event, self._answer_s = port, on_event, answer_s
        self._decoder = PacketDecoder()
        self._waiting: list[Packet] = []  # decoded, not yet looked at
        self._sequence = 0
        self.max_payload = SMALLEST_PAYLOAD

    def request(self, opcode: Opcode, channel: int, payload: bytes, deadline: Deadline) -> bytes:
        """Ask, and ask again where the answer was lost.

        Raises:
            NakError: The camera refuses.
            DeviceError: It does not answer in time.
        """
        while True:
            try:
                return self._exchange(opcode, channel, payload, deadline.within(self._answer_s))
            except SilenceError:
                self.synchronize(deadline)
            except NakError as error:
                if error.status not in (Status.BUSY, Status.CHECKSUM) or deadline.passed:
                    raise
                time.sleep(BUSY_S)
            if deadline.passed:
                raise self._port.late(f"waiting for the answer to {opcode.name}", deadline, RESTART_HINT)

    def synchronize(self, deadline: Deadline) -> None:
        """Set both sides to their start and agree on what packets hold.

        Raises:
            DeviceError: The camera does not answer in time.
        """
        while True:
            self._decoder.clear()
            self._waiting.clear()
            self._sequence = 0
            try:
                self._exchange(Opcode.SYNC, 0, b"", deadline.within(self._answer_s))
                self._sequence = 0
                self._negotiate(deadline)
            except (SilenceError, NakError):
                if deadline.passed:
                    raise self._port.late("synchronizing with the camera", deadline, RESTART_HINT) from None
            else:
                return

    def send(self, opcode: Opcode) -> None:
        """Ask for what has no answer."""
        self._port.write(Packet(self._sequence, 0, 0, opcode).encode())

    def _negotiate(self, deadline: Deadline) -> None:
        caps = self._exchange(Opcode.GET_CAPS, 0, b"", deadline.within(self._answer_s))
        if len(caps) != CAPS.size:
            raise SilenceError
        largest = min(CAPS.unpack(caps)[1], LARGEST_PAYLOAD)
        if largest < SMALLEST_PAYLOAD:
            raise SilenceError
        wanted = CAPS.pack(CRC | SEQUENCE | ACKNOWLEDGE | EVENTS, largest)
        self._exchange(Opcode.SET_CAPS, 0, wanted, deadline.within(self._answer_s))
        self.max_payload = largest

    def _exchange(self, opcode: Opcode, channel: int, payload: bytes, deadline: Deadline) -> bytes:
        """One command and its whole answer."""
        self._port.write(Packet(self._sequence, channel, 0, opcode, payload).encode())
        answer = b""
        while True:
            packet = self._next_of(opcode, deadline)
            if packet.flags & Flag.NAK:
                raise NakError(packet.status, answer)
            answer += packet.payload
            if not packet.flags & Flag.FRAGMENT:
                return answer
            if len(answer) > LARGEST_ANSWER:
                raise SilenceError

    def _next_of(self, opcode: Opcode, deadline: Deadline) -> Packet:
        """The next packet of the expected answer; all others are dealt with on the way."""
        while not deadline.passed:
            packet = self._receive(deadline)
            if packet.is_damaged:
                self._reply(packet, Flag.NAK)
            elif packet.flags & Flag.EVENT:
                self._reply(packet, Flag.ACK)
                number = struct.unpack_from("<H", packet.payload)[0] if len(packet.payload) >= 2 else 0xFFFF
                self._on_event(packet.channel, number)
            elif packet.flags & Flag.NAK and packet.opcode == opcode and packet.status == Status.SEQUENCE:
                raise SilenceError
            elif packet.sequence != self._sequence or packet.opcode != opcode:
                if packet.flags & Flag.RTX:  # our acknowledgement was lost
                    self._reply(packet, Flag.ACK)
            else:
                self._reply(packet, Flag.ACK)
                self._sequence = (self._sequence + 1) & 0xFF
                return packet
        raise SilenceError

    def _reply(self, packet: Packet, flag: Flag) -> None:
        """Acknowledge a packet, or ask for it again, where that is wanted."""
        if packet.flags & Flag.ACK_REQ:
            self._port.write(Packet(packet.sequence, packet.channel, flag, packet.opcode).encode())

    def _receive(self, deadline: Deadline) -> Packet:
        while not self._waiting:
            data = self._port.read(deadline)
            self._waiting = self._decoder.feed(data)
            if not data or (deadline.passed and not self._waiting):
                raise SilenceError
        return self._waiting.pop(0)


class CameraV2(Camera):
    """A camera with firmware 5.0.0 or newer; see `Camera`.

    Args:
        port: Open at the debug speed.
        deadline: By when it must have told its channels.
        answer_s: Of `Link`.

    Raises:
        DeviceError: It does not answer in time, or has no channels for scripts.
    """

    def __init__(self, port: Port, deadline: Deadline, *, answer_s: float = ANSWER_S) -> None:
        super().__init__(port)
        self._started = False
        self._stdin = self._stdout = -1
        self._link = Link(port, self._event, answer_s=answer_s)
        self._link.synchronize(deadline)
        listed = self._ask(Opcode.CHANNEL_LIST, 0, b"", deadline)
        names = {
            name.partition(b"\0")[0].decode("ascii", "replace"): number
            for number, _, name in struct.iter_unpack("<BB14s", listed[: len(listed) // 16 * 16])
        }
        if not {"stdin", "stdout"} <= set(names):
            raise DeviceError(
                f"{port.name}: the camera has no channels for scripts, only {', '.join(names) or 'none at all'}",
                hint="update its firmware with OpenMV IDE, or flash the project's firmware: `eiauto flash`",
            )
        self._stdin, self._stdout = names["stdin"], names["stdout"]

    def info(self, deadline: Deadline) -> CameraInfo:
        """See `Camera`."""
        version = self._exactly(Opcode.VERSION, 16, deadline)
        system = self._exactly(Opcode.SYS_INFO, 76, deadline)
        identity = struct.unpack_from("<3I", system, 4)
        usb = struct.unpack_from("<I", system, 16)[0]
        return CameraInfo(
            "V2",
            (version[6], version[7], version[8]),
            arch="",
            board_type="",
            unique_id="".join(f"{word:08X}" for word in identity),
            usb_id=f"{usb >> 16:04X}:{usb & 0xFFFF:04X}",
        )

    def is_running(self, deadline: Deadline) -> bool:
        """See `Camera`."""
        return bool(self._number(Opcode.CHANNEL_POLL, 0, deadline) >> self._stdin & 1)

    def _start(self, script: bytes, deadline: Deadline) -> None:
        self._control(Stdin.RESET, deadline)
        step = self._link.max_payload - 8
        for offset in range(0, len(script), step):
            part = script[offset : offset + step]
            self._ask(Opcode.CHANNEL_WRITE, self._stdin, struct.pack("<II", offset, len(part)) + part, deadline)
        self._started = False
        self._control(Stdin.EXEC, deadline)
        self._wait_for_start(deadline.within(START_S))

    def _wait_for_start(self, deadline: Deadline) -> None:
        """A short script may be over before it is asked for: the event, or what it printed, tells of it."""
        while not (
            self.is_running(deadline) or self._started or self._number(Opcode.CHANNEL_SIZE, self._stdout, deadline)
        ):
            if deadline.passed:
                raise self.port.late("waiting for the script to start", deadline, RESTART_HINT)
            time.sleep(POLL_S)

    def _take_output(self, deadline: Deadline) -> bytes:
        size = self._number(Opcode.CHANNEL_SIZE, self._stdout, deadline)
        if not size:
            return b""
        try:
            return self._link.request(Opcode.CHANNEL_READ, self._stdout, struct.pack("<II", 0, size), deadline)
        except NakError as error:  # the script printed so much meanwhile that the camera dropped the rest
            return error.payload

    def _ask_to_stop(self, deadline: Deadline) -> None:
        self._control(Stdin.STOP, deadline)

    def _send_reset(self, *, to_bootloader: bool) -> None:
        self._link.send(Opcode.SYS_BOOT if to_bootloader else Opcode.SYS_RESET)

    def _event(self, channel: int, number: int) -> None:
        if channel == self._stdin and number == 1:
            self._started = True

    def _control(self, request: Stdin, deadline: Deadline) -> None:
        self._ask(Opcode.CHANNEL_IOCTL, self._stdin, struct.pack("<I", request), deadline)

    def _number(self, opcode: Opcode, channel: int, deadline: Deadline) -> int:
        answer = self._ask(opcode, channel, b"", deadline)
        return int.from_bytes(answer[:4], "little")

    def _exactly(self, opcode: Opcode, size: int, deadline: Deadline) -> bytes:
        answer = self._ask(opcode, 0, b"", deadline)
        if len(answer) < size:
            raise DeviceError(
                f"{self.port.name}: the answer to {opcode.name} has {len(answer)} bytes, not {size}",
                seen=self.port.seen,
                hint="the firmware is newer than this program knows; update eiauto",
            )
        return answer

    def _ask(self, opcode: Opcode, channel: int, payload: bytes, deadline: Deadline) -> bytes:
        try:
            return self._link.request(opcode, channel, payload, deadline)
        except NakError as error:
            known = error.status in Status._value2member_map_
            reason = Status(error.status).name.lower() if known else f"status {error.status}"
            raise DeviceError(
                f"{self.port.name}: the camera refuses {opcode.name} ({reason})",
                seen=self.port.seen,
                hint=RESTART_HINT,
            ) from error
