"""A simulated USB device in DFU mode: the states of DFU 1.1, and ST's extension DfuSe with addresses.

The requests and states are those of the USB DFU 1.1 specification, the commands of DfuSe those of ST's UM0424; in
what order the official dfu-util sends them was measured with its release 0.11.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ei_automation.devices.sim.board import Surroundings

STANDARD_TO_INTERFACE, SET_INTERFACE = 0x01, 11
CLASS_OUT, CLASS_IN = 0x21, 0xA1
DETACH, DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT = range(7)
SET_ADDRESS, ERASE = 0x21, 0x41
"""Commands of DfuSe: the first byte of a DNLOAD with block number 0, before a little-endian address."""
CAN_DOWNLOAD, CAN_UPLOAD, IS_TOLERANT, WILL_DETACH = 1, 2, 4, 8
FLIPPED_BYTE = 1000
"""Offset in the image at which the fault flipped-bit strikes; a shorter image is struck in its last byte."""
DETACH_TIMEOUT_MS = 1000


class State(IntEnum):
    """bState: USB DFU 1.1, section 6.1.2."""

    IDLE = 2
    DNLOAD_SYNC = 3
    DNBUSY = 4
    DNLOAD_IDLE = 5
    MANIFEST_SYNC = 6
    MANIFEST = 7
    UPLOAD_IDLE = 9
    ERROR = 10


class Status(IntEnum):
    """bStatus: USB DFU 1.1, section 6.1.2."""

    OK = 0x00
    TARGET = 0x01
    WRITE = 0x03
    ERASE = 0x04
    ADDRESS = 0x08
    STALLED_PACKET = 0x0F


@dataclass
class DfuMemory:
    """What one alternate setting gives access to.

    Attributes:
        name: Of the setting; with DfuSe ST's memory layout, e.g. `@Internal Flash /0x08000000/16*128Kg`.
        content: Its bytes, in place.
        address: Of its first byte; 0 without DfuSe.
        page_bytes: What one erase command erases; with DfuSe only.
        writable: Addresses, or offsets without DfuSe, that may be written; None for all of it.
    """

    name: str
    content: bytearray
    address: int = 0
    page_bytes: int = 131_072
    writable: range | None = None

    def may_write(self, address: int, size: int) -> bool:
        """Whether so many bytes from an address on lie where it may be written."""
        allowed = self.writable
        if allowed is None:
            allowed = range(self.address, self.address + len(self.content))
        return allowed.start <= address and address + size <= allowed.stop


@dataclass(frozen=True)
class DfuFacts:
    """What tells one kind of DFU device from another.

    Attributes:
        usb_id: `2341:035F`.
        product: Its name.
        dfuse: Whether it takes addresses.
        transfer_bytes: wTransferSize, the most that one transfer carries.
        can_upload: Whether its memory can be read back.
        poll_ms: bwPollTimeout while it writes.
    """

    usb_id: str
    product: str
    dfuse: bool = False
    transfer_bytes: int = 4096
    can_upload: bool = True
    poll_ms: int = 0


def _nothing() -> None:
    """For events that nobody waits for."""


@dataclass(frozen=True)
class DfuEvents:
    """What the board does when something happens to its boot loader.

    Attributes:
        leave: It was told to start the firmware: DfuSe's leave, or DETACH.
        power_cut: The power failed: fault power-cut.
        unplug: The cable was pulled out: fault unplug.
        write: The memory is changed for the first time since `leave`.
    """

    leave: Callable[[], None] = _nothing
    power_cut: Callable[[], None] = _nothing
    unplug: Callable[[], None] = _nothing
    write: Callable[[], None] = _nothing


@dataclass
class SimulatedDfu:
    """A device in DFU mode, `sim.board.UsbDevice`.

    Attributes:
        facts: Its kind.
        memories: One for each alternate setting, in their order.
        around: Its board's surroundings: serial number, faults, log.
        events: What the board does.
        state: bState; a test may leave it in State.ERROR.
        status: bStatus.
        requests: What came, the names of the requests in short, e.g. `DNLOAD 2 (4096)`, for tests.
    """

    facts: DfuFacts
    memories: list[DfuMemory]
    around: Surroundings
    events: DfuEvents = field(default_factory=DfuEvents)
    state: State = State.IDLE
    status: Status = Status.OK
    requests: list[str] = field(default_factory=list)
    _alt: int = 0
    _address: int = 0
    _block: tuple[int, bytes] | None = None  # what came and is not yet executed
    _received: int = 0  # bytes of the image
    _blocks: int = 0
    _is_silent: bool = False

    def describe(self) -> dict[str, Any]:
        """Descriptors, as `sim.usb_backend` reads them."""
        vid, pid = (int(part, 16) for part in self.facts.usb_id.split(":"))
        return {
            "vid": vid,
            "pid": pid,
            "bcd_device": 0x0200,
            "manufacturer": "simulated",
            "product": self.facts.product,
            "serial_number": self.around.serial_number,
            "alts": [memory.name for memory in self.memories],
            "functional": self.functional_descriptor().hex(),
        }

    def functional_descriptor(self) -> bytes:
        """The DFU functional descriptor: USB DFU 1.1, section 4.1.3."""
        upload = CAN_UPLOAD if self.facts.can_upload else 0
        attributes = CAN_DOWNLOAD | upload | (WILL_DETACH if self.facts.dfuse else IS_TOLERANT)
        version = 0x011A if self.facts.dfuse else 0x0110
        return struct.pack("<BBBHHH", 9, 0x21, attributes, DETACH_TIMEOUT_MS, self.facts.transfer_bytes, version)

    def control(
        self, request_type: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes | None:
        """A control transfer.

        Returns:
            What the device sends; None for a stall.

        Raises:
            TimeoutError: It says nothing: fault silence.
            ConnectionError: It is gone: faults unplug and power-cut.
        """
        del index  # there is one interface
        if self._is_silent and "silence" in self.around.faults:
            raise TimeoutError
        self._is_silent = False
        if (request_type, request) == (STANDARD_TO_INTERFACE, SET_INTERFACE):
            return self._set_alt(value)
        if request_type == CLASS_OUT:
            return self._out(request, value, data)
        if request_type == CLASS_IN:
            return self._in(request, value, length)
        return None

    def restart(self) -> None:
        """The boot loader starts anew: what it was told is forgotten, what it wrote is not."""
        self.state, self.status, self._block, self._is_silent = State.IDLE, Status.OK, None, False
        self._alt, self._address = 0, self.memories[0].address
        self._received = self._blocks = 0

    @property
    def _memory(self) -> DfuMemory:
        return self.memories[self._alt]

    def _set_alt(self, number: int) -> bytes | None:
        if number >= len(self.memories):
            return None
        self._alt, self._address = number, self.memories[number].address
        self._received = self._blocks = 0
        return b""

    def _out(self, request: int, value: int, data: bytes) -> bytes | None:
        if request == DNLOAD:
            self.requests.append(f"DNLOAD {value} ({len(data)})")
            return self._download(value, data)
        if request == CLRSTATUS:
            self.requests.append("CLRSTATUS")
            if self.state is not State.ERROR:
                return self._refuse(Status.STALLED_PACKET)
            self.state, self.status = State.IDLE, Status.OK
            return b""
        if request == ABORT:
            self.requests.append("ABORT")
            if self.state not in (State.IDLE, State.DNLOAD_IDLE, State.UPLOAD_IDLE):
                return self._refuse(Status.STALLED_PACKET)
            self.state = State.IDLE
            return b""
        if request == DETACH:
            self.requests.append("DETACH")
            self.events.leave()
            return b""
        return self._refuse(Status.STALLED_PACKET)

    def _in(self, request: int, value: int, length: int) -> bytes | None:
        if request == GETSTATUS:
            self.requests.append("GETSTATUS")
            return self._tell_status()[:length]
        if request == GETSTATE:
            self.requests.append("GETSTATE")
            return bytes([self.state])[:length]
        if request == UPLOAD:
            self.requests.append(f"UPLOAD {value} ({length})")
            return self._upload(value, length)
        return self._refuse(Status.STALLED_PACKET)

    def _refuse(self, status: Status) -> bytes | None:
        """A stall, and the state for it."""
        self.state, self.status = State.ERROR, status
        return None

    def _download(self, block: int, data: bytes) -> bytes | None:
        startable = State.IDLE, State.DNLOAD_IDLE
        if self.state not in startable or len(data) > self.facts.transfer_bytes:
            return self._refuse(Status.STALLED_PACKET)
        if not data:
            if self.state is State.IDLE and not self.facts.dfuse:
                return self._refuse(Status.STALLED_PACKET)
            self.state = State.MANIFEST_SYNC
            return b""
        is_command = self.facts.dfuse and block == 0
        if not is_command:
            self._count(data)
        self.state, self._block = State.DNLOAD_SYNC, (block, data)
        return b""

    def _count(self, data: bytes) -> None:
        """More of the image has come: faults that strike after so much of it."""
        faults = self.around.faults
        self._received += len(data)
        self._blocks += 1
        if faults.at("unplug", self._received):
            self.events.unplug()
            raise ConnectionResetError
        if faults.at("power-cut", self._received):
            del faults.numbers["power-cut"]  # it comes back
            self.events.power_cut()
            raise ConnectionResetError
        if faults.at("silence", self._received):
            self._is_silent = True
            raise TimeoutError

    def _tell_status(self) -> bytes:
        """The answer to GETSTATUS, and what the device does then: USB DFU 1.1, appendix A."""
        poll_ms, leaving = 0, False
        if self.state is State.DNLOAD_SYNC and self._block is not None:
            self.state, poll_ms = State.DNBUSY, self.facts.poll_ms
            answer = self._status_bytes(poll_ms)
            self._execute(*self._block)
            self._block = None
            return answer
        if self.state is State.DNLOAD_SYNC:
            self.state = State.DNLOAD_IDLE
        elif self.state is State.MANIFEST_SYNC:
            self.state, leaving = State.MANIFEST, self.facts.dfuse
        elif self.state is State.MANIFEST:
            self.state = State.IDLE
        answer = self._status_bytes(poll_ms)
        if leaving:
            self.events.leave()
        return answer

    def _status_bytes(self, poll_ms: int) -> bytes:
        return bytes([self.status]) + poll_ms.to_bytes(3, "little") + bytes([self.state, 0])

    def _execute(self, block: int, data: bytes) -> None:
        """Do what a DNLOAD asked for; the next GETSTATUS tells how it went."""
        self.state = State.DNLOAD_SYNC
        if self.facts.dfuse and block == 0:
            self._command(data)
        elif self.around.faults.at("dfu-error", self._blocks):
            self._refuse(Status.WRITE)
        else:
            step = block - 2 if self.facts.dfuse else block
            self._write(self._address + step * self.facts.transfer_bytes, data)

    def _command(self, data: bytes) -> None:
        """A command of DfuSe."""
        if len(data) != 5 or data[0] not in (SET_ADDRESS, ERASE):
            self._refuse(Status.STALLED_PACKET)
            return
        (address,) = struct.unpack_from("<I", data, 1)
        memory = self._memory
        if data[0] == SET_ADDRESS:
            self._address = address
        elif not memory.may_write(address, 1):
            self._refuse(Status.TARGET)
        else:
            self.events.write()
            self.around.log(f"0x{address:08X}: page erased")
            page = (address - memory.address) // memory.page_bytes * memory.page_bytes
            stop = min(page + memory.page_bytes, len(memory.content))
            memory.content[page:stop] = b"\xff" * (stop - page)

    def _write(self, address: int, data: bytes) -> None:
        memory = self._memory
        if not memory.may_write(address, len(data)):
            self._refuse(Status.ADDRESS)
            return
        self.events.write()
        place = slice(address - memory.address, address - memory.address + len(data))
        if self.facts.dfuse:  # flash that was not erased keeps its zeros; plain DFU erases by itself
            data = bytes(old & new for old, new in zip(memory.content[place], data, strict=True))
        memory.content[place] = self._with_flipped_bit(data)

    def _with_flipped_bit(self, data: bytes) -> bytes:
        """The bytes, one bit of them changed where that fault strikes."""
        faults, before = self.around.faults, self._received - len(data)
        is_short_end = len(data) < self.facts.transfer_bytes and self._received <= FLIPPED_BYTE
        if "flipped-bit" not in faults or not (before <= FLIPPED_BYTE < self._received or is_short_end):
            return data
        place = min(FLIPPED_BYTE - before, len(data) - 1)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    def _upload(self, block: int, length: int) -> bytes | None:
        if not self.facts.can_upload or self.state not in (State.IDLE, State.UPLOAD_IDLE):
            return self._refuse(Status.STALLED_PACKET)
        if self.facts.dfuse and block == 0:
            self.state = State.IDLE
            return bytes([0, SET_ADDRESS, ERASE])[:length]
        step = block - 2 if self.facts.dfuse else block
        start = self._address - self._memory.address + step * self.facts.transfer_bytes
        if start < 0:
            return self._refuse(Status.ADDRESS)
        data = bytes(self._memory.content[start : start + length])
        self.state = State.UPLOAD_IDLE if len(data) == length else State.IDLE
        return data
