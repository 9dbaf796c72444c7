from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.openmv.packets import (
    LARGEST_PAYLOAD,
    Flag,
    Opcode,
    Packet,
    PacketDecoder,
    Status,
)
from ei_automation.devices.openmv.v2 import CameraV2, Link, NakError
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.side_v2 import V2Side
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError
from tests.devices.camera_board import V2, ScriptedBoard
from tests.devices.openmv.test_packets import PACKETS, Spoil, flip
from tests.devices.openmv.test_v1 import Machine
from tests.devices.surroundings import surroundings


class Line:
    """Firmware of a camera on a line that spoils packets.

    Args:
        to_host: What happens to what the camera sends.
        to_camera: What happens to what it receives.
    """

    def __init__(self, to_host: Spoil = lambda *_: None, to_camera: Spoil = lambda *_: None) -> None:
        self.machine = Machine(V2)
        self.spoilers, self.counts = (to_host, to_camera), [0, 0]
        self.side: V2Side | None = None
        self.restarts = False
        self.seen: list[Packet] = []  # from the host, as sent
        self.decoder = PacketDecoder()

    def __call__(self, uart: Uart) -> None:
        if self.side is None or self.restarts:
            self.restarts = False
            self.side = V2Side(self.machine, lambda data: uart.write(self.pass_on(0, data)), rtx_s=0.02)
        for packet in self.decoder.feed(uart.read(0.005)):
            self.seen.append(packet)
            self.side.feed(self.pass_on(1, packet.encode()))
        self.side.tick()

    def pass_on(self, way: int, data: bytes) -> bytes:
        spoilt = self.spoilers[way](self.counts[way], data)
        self.counts[way] += 1
        return data if spoilt is None else spoilt


@contextmanager
def port_of(firmware: Callable[[Uart], None], folder: Path) -> Iterator[Port]:
    """A port of a camera with this firmware, open at the debug speed."""
    with serving(ScriptedBoard(surroundings(folder), firmware)) as url:
        host = SimulatedHost(url)
        with host.open(host.ports()[0], 921_600) as port:
            yield port


def link_of(port: Port) -> Link:
    link = Link(port, lambda *_: None, answer_s=0.2)
    link.synchronize(Deadline(5))
    return link


def lose(*numbers: int) -> Spoil:
    """Lose these packets."""
    return lambda number, _: b"" if number in numbers else None


@pytest.mark.timeout(30)
@settings(max_examples=40)
@given(st.lists(st.one_of(st.binary(max_size=30), PACKETS.map(Packet.encode)), max_size=12))
def test_no_bytes_confuse_the_simulated_side(pieces: list[bytes]) -> None:
    sent = bytearray()
    side = V2Side(Machine(V2), sent.extend)
    for piece in pieces:
        side.feed(piece)
        side.tick()
    side.feed(Packet(0, 0, 0, Opcode.SYNC).encode() * (LARGEST_PAYLOAD // 10 + 3))
    assert sent.endswith(Packet(0, 0, Flag.ACK, Opcode.SYNC).encode())


def test_largest_payload_is_negotiated(tmp_path: Path) -> None:
    firmware = Line()
    with port_of(firmware, tmp_path) as port:
        assert link_of(port).max_payload == LARGEST_PAYLOAD
    caps = [packet.payload for packet in firmware.seen if packet.opcode == Opcode.SET_CAPS]
    assert caps == [struct.pack("<IH10x", 15, LARGEST_PAYLOAD)]


def test_fragments_are_acknowledged_and_joined(tmp_path: Path) -> None:
    firmware = Line()
    firmware.machine.text = text = bytes(range(256)) * 6
    with port_of(firmware, tmp_path) as port:
        link = link_of(port)
        assert link.request(Opcode.CHANNEL_READ, 2, struct.pack("<II", 0, len(text)), Deadline(5)) == text
        assert link.request(Opcode.CHANNEL_SIZE, 2, b"", Deadline(5)) == b"\0\0\0\0"
    acknowledged = [p.sequence for p in firmware.seen if p.flags & Flag.ACK and p.opcode == Opcode.CHANNEL_READ]
    assert acknowledged == [2, 3, 4]


# Packets from the camera: 0 answers SYNC, 1 GET_CAPS, 2 SET_CAPS, then come the fragments.
# Packets to it: 0 SYNC, 1 GET_CAPS, 2 an acknowledgement, 3 SET_CAPS, 4 READ, then come acknowledgements.
@pytest.mark.parametrize(
    ("to_host", "to_camera"),
    [
        (lose(3), lose()),
        (lose(4, 5), lose()),
        (flip(3), lose()),
        (flip(4, at=20), lose()),
        (flip(4, at=3), lose()),
        (lose(0), lose()),
        (lose(), lose(5)),
        (lose(), lose(6, 7)),
        (lose(), flip(4)),
        (lose(), lose(0, 2)),
    ],
    ids=[
        "a fragment is lost",
        "and its repetition",
        "a payload is changed",
        "another one",
        "a header is changed",
        "the answer to SYNC",
        "an acknowledgement is lost",
        "two of them",
        "a command is changed",
        "the first commands are lost",
    ],
)
def test_what_is_lost_or_changed_is_sent_again(tmp_path: Path, to_host: Spoil, to_camera: Spoil) -> None:
    firmware = Line(to_host, to_camera)
    firmware.machine.text = text = bytes(range(256)) * 6
    with port_of(firmware, tmp_path) as port:
        link = link_of(port)
        assert link.request(Opcode.CHANNEL_READ, 2, struct.pack("<II", 0, len(text)), Deadline(5)) == text
        assert link.request(Opcode.CHANNEL_POLL, 0, b"", Deadline(5)) == b"\0\0\0\0"


@pytest.mark.parametrize("opcode", [Opcode.CHANNEL_POLL, Opcode.VERSION])
def test_a_command_that_is_lost_leads_to_a_new_start(tmp_path: Path, opcode: Opcode) -> None:
    firmware = Line(to_camera=lose(4))
    with port_of(firmware, tmp_path) as port:
        assert link_of(port).request(opcode, 0, b"", Deadline(5))
    assert [packet.opcode for packet in firmware.seen].count(Opcode.SYNC) == 2


def test_a_camera_that_restarted_meanwhile(tmp_path: Path) -> None:
    firmware = Line()
    with port_of(firmware, tmp_path) as port:
        link = link_of(port)
        firmware.restarts = True  # it counts from 0 again, and refuses our number
        assert link.request(Opcode.CHANNEL_POLL, 0, b"", Deadline(5)) == b"\0\0\0\0"


def test_refusals(tmp_path: Path) -> None:
    with port_of(Line(), tmp_path) as port:
        link = link_of(port)
        with pytest.raises(NakError) as refused:
            link.request(Opcode.CHANNEL_SIZE, 9, b"", Deadline(5))
        assert refused.value.status == Status.INVALID
        camera = CameraV2(port, Deadline(5))
        with pytest.raises(DeviceError, match=r"refuses CHANNEL_IOCTL \(failed\)"):
            camera._start(b"", Deadline(5))  # nothing was written that could be executed


@pytest.mark.timeout(30)
def test_events_without_end_are_no_answer(tmp_path: Path) -> None:
    event = Packet(0, 2, Flag.EVENT, Opcode.CHANNEL_EVENT).encode()

    def firmware(uart: Uart) -> None:
        uart.read(0.001)
        uart.write(event * 50)

    with port_of(firmware, tmp_path) as port, pytest.raises(DeviceError, match="synchronizing"):
        Link(port, lambda *_: None, answer_s=0.05).synchronize(Deadline(0.1))


@pytest.mark.timeout(30)
def test_a_camera_without_channels_for_scripts(tmp_path: Path) -> None:
    firmware = Line()

    def rename(_: int, data: bytes) -> bytes:
        (packet,) = PacketDecoder().feed(data)
        return Packet(
            packet.sequence, packet.channel, packet.flags, packet.opcode, packet.payload.replace(b"std", b"abc")
        ).encode()

    firmware.spoilers = (rename, lambda *_: None)
    with (
        port_of(firmware, tmp_path) as port,
        pytest.raises(DeviceError, match="no channels for scripts, only usb, abcin"),
    ):
        CameraV2(port, Deadline(5))
