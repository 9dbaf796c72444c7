"""XMODEM-1K, the sending side: packets of 1024 bytes with CRC-16, as the Spresense's updater takes them.

A cancelled transfer ends at once: two CAN bytes in a row. Senders that take them for a bad answer send the packet
again, up to 16 times, straight into the command line that the receiver has gone back to.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable

from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError

STX, EOT, ACK, NAK, CAN, CRC_START = 0x02, 0x04, 0x06, 0x15, 0x18, 0x43
"""The bytes of the protocol (Chuck Forsberg, XMODEM/YMODEM Protocol Reference, 1988)."""
PACKET_BYTES = 1024
PAD = b"\x1a"
"""Fills the last packet."""
CANCEL = bytes([CAN, CAN])
"""Ends a transfer from either side. More of them would be input for the command line that follows."""
MOST_RESENDS = 10
"""How often one packet is sent again (the protocol reference, section 7.3: ten errors)."""


NOT_NOISE = bytes([ACK, NAK, CAN, CRC_START])
MOST_NOISE_BYTES = 24
"""So many other bytes in place of an answer are words; at another speed they cannot be read."""


class TransferCancelledError(DeviceError):
    """The receiver ended the transfer, and is back where it was before."""


class RestartedError(DeviceError):
    """So much came that is no answer to a packet that it is the first words of a board that has started anew."""


def packet(number: int, payload: bytes) -> bytes:
    """One packet.

    Args:
        number: From 1; it counts modulo 256.
        payload: At most PACKET_BYTES; a shorter one is filled.
    """
    data = payload.ljust(PACKET_BYTES, PAD)
    head = bytes([STX, number % 256, 255 - number % 256])
    return head + data + binascii.crc_hqx(data, 0).to_bytes(2, "big")


def wait_for_receiver(port: Port, deadline: Deadline) -> None:
    """Wait until the receiver asks for the first packet; its question is left to be read again.

    Raises:
        TransferCancelledError: It does not want one.
        DeviceError: It did not ask in time.
    """
    _await(port, bytes([CRC_START]), deadline, "waiting for the receiver to ask for the first packet")
    port.push_back(bytes([CRC_START]))


def send(
    port: Port,
    content: bytes,
    *,
    deadline_s: float = 20.0,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Send a file.

    Args:
        port: Where a receiver asks for the first packet, or will.
        content: The file; the receiver gets it filled up to whole packets.
        deadline_s: By when the receiver must answer, each time. It asks again by itself for what was lost, usually
            after 10 s, so that less than that gives up too early.
        on_progress: Gets how many bytes have arrived, and how many there are.

    Returns:
        How many packets had to be sent again.

    Raises:
        TransferCancelledError: The receiver ended it.
        RestartedError: The board has started anew.
        DeviceError: It did not answer in time, refused a packet too often, or the port is gone.
    """
    wait_for_receiver(port, Deadline(deadline_s))
    resent = 0
    total = -(-len(content) // PACKET_BYTES)
    for number in range(1, total + 1):
        payload = content[(number - 1) * PACKET_BYTES : number * PACKET_BYTES]
        resent += _deliver(port, packet(number, payload), f"packet {number} of {total}", deadline_s)
        on_progress(min(number * PACKET_BYTES, len(content)), len(content))
    return resent + _deliver(port, bytes([EOT]), "the end of the file", deadline_s)


def _deliver(port: Port, data: bytes, what: str, deadline_s: float) -> int:
    """Send until it is acknowledged; how often it was sent again."""
    for resent in range(MOST_RESENDS + 1):
        port.write(data)
        answer = _await(port, bytes([ACK, NAK]), Deadline(deadline_s), f"waiting for the answer to {what}")
        if answer == ACK:
            return resent
    raise DeviceError(
        f"{port.name}: {what} was refused {MOST_RESENDS + 1} times in a row",
        seen=port.seen,
        hint="the line is disturbed: try a lower speed with `--baud 115200`, a shorter cable or no USB hub",
    )


def _await(port: Port, wanted: bytes, deadline: Deadline, doing: str) -> int:
    """The next of the wanted bytes. All others are noise, but for two CANs in a row, and for whole words."""
    before, noise = None, 0
    while True:
        (value,) = port.read_exactly(1, deadline, doing)
        if deadline.passed and value not in wanted:  # noise without end must not keep us here
            raise port.late(doing, deadline)
        if value in wanted:
            return value
        noise += value not in NOT_NOISE
        if noise >= MOST_NOISE_BYTES and ACK in wanted:
            raise RestartedError(f"{port.name}: the board has started anew while {doing}", seen=port.seen)
        if value == CAN == before:
            raise TransferCancelledError(
                f"{port.name}: the receiver cancelled the transfer while {doing}", seen=port.seen
            )
        before = value
