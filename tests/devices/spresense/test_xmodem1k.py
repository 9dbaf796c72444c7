"""Our sender of XMODEM-1K against a receiver, against wrong answers, and against noise."""

from __future__ import annotations

import binascii

import pytest
import serial
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ei_automation.devices.sim.faults import Faults
from ei_automation.devices.sim.updater import Receiver
from ei_automation.devices.spresense import xmodem1k
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError
from tests.devices.scripted_board import port_to

CONTENT = bytes(range(1, 256)) * 20
"""5,100 bytes: five packets, the last one not full."""
ACK, NAK, CAN, START = b"\x06", b"\x15", b"\x18", b"C"
PACKET = 3 + 1024 + 2


def exchange(folder, *faults, content=CONTENT, **how):
    """Send to a receiver with faults; packets sent again, what it got, and the progress."""
    got, progress = [], []

    def receive(uart):
        got.append(Receiver(uart, Faults.parse(faults), lambda: None).receive())

    with port_to(folder, receive) as port:
        resent = xmodem1k.send(port, content, deadline_s=5, on_progress=lambda *done: progress.append(done), **how)
    return resent, got, progress


def test_a_file_arrives(tmp_path):
    resent, got, progress = exchange(tmp_path)
    assert (resent, got) == (0, [CONTENT])
    assert progress == [(1024, 5100), (2048, 5100), (3072, 5100), (4096, 5100), (5100, 5100)]


def test_more_packets_than_a_byte_counts(tmp_path):
    content = b"\x01" * (300 * 1024)
    assert exchange(tmp_path, content=content)[:2] == (0, [content])


def test_packets_that_are_refused_are_sent_again(tmp_path):
    resent, got, _ = exchange(tmp_path, "nak=2")
    assert (resent, got) == (4, [CONTENT])


def test_a_packet_has_its_number_and_its_checksum():
    """CRC-16 with polynomial 1021 from 0: 31C3 for `123456789` (the catalogue's CRC-16/XMODEM)."""
    made = xmodem1k.packet(257, b"123456789")
    assert made[:12] == b"\x02\x01\xfe123456789"
    assert made[12:-2] == b"\x1a" * 1015
    assert binascii.crc_hqx(b"123456789", 0) == 0x31C3
    assert int.from_bytes(made[-2:], "big") == binascii.crc_hqx(made[3:-2], 0)


def test_one_that_always_refuses_ends_it(tmp_path):
    packets = []

    def refuse(uart):
        uart.write(START)
        while True:
            if data := uart.read_exactly(PACKET, 1.0):
                packets.append(data)
                uart.write(NAK)

    with port_to(tmp_path, refuse) as port, pytest.raises(DeviceError, match="refused 11 times") as caught:
        xmodem1k.send(port, CONTENT, deadline_s=5)
    assert len(packets) == 11
    assert set(packets) == {xmodem1k.packet(1, CONTENT[:1024])}
    assert "lower speed" in caught.value.hint
    assert caught.value.exit_code == 9


def test_a_cancelled_transfer_ends_at_once_and_nothing_more_is_sent(tmp_path):
    after = []

    def cancel(uart):
        uart.write(START)
        uart.read_exactly(PACKET, 1.0)
        uart.write(CAN + CAN)
        after.append(uart.read(0.1))

    with port_to(tmp_path, cancel) as port:
        with pytest.raises(xmodem1k.TransferCancelledError, match=r"cancelled .* while .* packet 1 of 5"):
            xmodem1k.send(port, CONTENT, deadline_s=5)
        port.read(Deadline(0.15))
    assert after == [b""]


def test_one_can_and_other_noise_are_none(tmp_path):
    def noisy(uart):
        uart.write(b"\x18\xff\x18 noise " + START + START)
        for _ in range(5):
            uart.read_exactly(PACKET, 1.0)
            uart.write(b"C\x18\x00\x18" + ACK)
        uart.read(1.0)
        uart.write(NAK)
        uart.read(1.0)
        uart.write(ACK)

    with port_to(tmp_path, noisy) as port:
        assert xmodem1k.send(port, CONTENT, deadline_s=5) == 1


@pytest.mark.parametrize(
    ("said", "doing"),
    [
        (
            b"",
            "waiting for the receiver to ask for the first packet: nothing within 0.05 s; the board said nothing",
        ),
        (b"no such command", "ask for the first packet: what was expected did not come within 0.05 s"),
        (START, "waiting for the answer to packet 1 of 5: nothing within 0.05 s"),
        (START + ACK * 5, "waiting for the answer to the end of the file: nothing within 0.05 s"),
    ],
)
def test_silence_ends_it_and_the_last_bytes_are_shown(said, doing, tmp_path):
    with port_to(tmp_path, lambda uart: uart.write(said)) as port, pytest.raises(DeviceError) as caught:
        xmodem1k.send(port, CONTENT, deadline_s=0.05)
    assert doing in caught.value.message
    assert bool(caught.value.log_tail) == bool(said)


class Canned(serial.SerialBase):
    """A line from which given bytes come."""

    def __init__(self, data: bytes, *, is_endless: bool = False) -> None:
        super().__init__(timeout=0.001)
        self.data, self.is_endless = data, is_endless

    @property
    def in_waiting(self):
        return len(self.data)

    def read(self, size=1):
        data = self.data[:size]
        if not self.is_endless:
            self.data = self.data[size:]
        return data

    def write(self, data):
        return len(data)

    def reset_input_buffer(self):
        """Nothing that comes is thrown away."""


@pytest.mark.timeout(30)
@given(st.lists(st.sampled_from([b"C", ACK, NAK, CAN, b"\x04", b"\xff", b"updater# "])).map(b"".join))
@examples(max_examples=40)
def test_any_answers_end_in_success_or_an_error(answers):
    resent, problem = 0, ""
    try:
        resent = xmodem1k.send(Port(Canned(answers), "canned"), CONTENT[:1500], deadline_s=0.002)
    except DeviceError as error:
        problem = error.message
    assert problem.startswith("canned: ") or (answers.count(ACK) >= 3 and resent <= answers.count(NAK))


@pytest.mark.timeout(30)
def test_noise_without_end_ends_it():
    with pytest.raises(DeviceError, match="waiting for the receiver"):
        xmodem1k.send(Port(Canned(b"\xff" * 50, is_endless=True), "canned"), CONTENT, deadline_s=0.05)
