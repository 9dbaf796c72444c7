"""The boot loader of OpenMV cameras before 4.6.0: firmware over a serial line, without checksums or answers.

Commands are little-endian words, one to a USB packet; their numbers, the 64-byte buffer and the windows of
opportunity are those of src/bootloader/src/main.c and usbd_cdc_interface.c, v4.5.5.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError, DoesNotFitError

START, RESET, ERASE, WRITE, LAYOUT = 0xABCD0001, 0xABCD0002, 0xABCD0004, 0xABCD0008, 0xABCD0010
VERSIONS = (0xABCD0002, 0xABCD0003)
"""Those that tell their layout."""
PACKET_BYTES = 64
"""Of a full-speed bulk endpoint; what follows in the next packet would be taken for a command."""
CHUNK_BYTES = PACKET_BYTES - 4
SECTOR_BYTES = 131_072
"""Of an STM32H7's flash (RM0433, section 4.3.4)."""
ASK_EVERY_BYTES = 16_384
"""How often the loader is asked for its layout while it writes: writes have no answer, this shows it lives."""
START_EVERY_S = 0.1
ERASE_S = 10.0
"""By when a sector must be erased: at most 4 s (DS12110, table 57, tERASE128KB), and some for USB."""
ANSWER_S = 5.0
STAYS_HINT = (
    "the boot loader itself is untouched and the camera stays in it: run the same command again; where the camera "
    "is not found, unplug it, run the command, and plug it in while the command waits for its boot loader"
)


@dataclass(frozen=True)
class Layout:
    """Which sectors hold what.

    Attributes:
        file_system: First sector of the drive.
        first: First sector of the firmware.
        last: Last one of it.
    """

    file_system: int
    first: int
    last: int

    @property
    def size_bytes(self) -> int:
        """Room for the firmware."""
        return (self.last - self.first + 1) * SECTOR_BYTES


class CdcLoader:
    """A camera in its boot loader.

    Args:
        port: Its serial port, open.
        answer_s: By when it must answer.
    """

    def __init__(self, port: Port, answer_s: float = ANSWER_S) -> None:
        self._port, self._answer_s = port, answer_s

    def start(self) -> Layout:
        """Take the window of opportunity: it waits a second for this, then starts the firmware.

        Raises:
            DeviceError: It does not answer, or is one that is not known.
        """
        deadline, answer, sent = Deadline(self._answer_s), b"", 0
        while not answer and not (sent and deadline.passed):
            self._send(START)
            sent += 1
            answer = self._within(4, deadline.within(START_EVERY_S))
        if not answer:
            raise self._port.late("waiting for the boot loader to take the transfer", deadline, STAYS_HINT)
        (version,) = struct.unpack("<I", answer)
        if version not in VERSIONS:
            raise DeviceError(
                f"{self._port.name}: the boot loader calls itself {version:#010x}, which is not known here",
                seen=self._port.seen,
                hint="nothing was written; update the camera with OpenMV's own IDE first",
            )
        if sent > 1:
            self._port.drain(START_EVERY_S, Deadline(1))  # each START is answered
        return self.layout()

    def layout(self) -> Layout:
        """Where the firmware lies.

        Raises:
            DeviceError: It does not answer, or what it says cannot be.
        """
        layout = Layout(*struct.unpack("<III", self._ask(self._answer_s)))
        if not 0 < layout.file_system < layout.first <= layout.last < 64:
            raise DeviceError(
                f"{self._port.name}: the boot loader gives a layout that cannot be: {layout}",
                seen=self._port.seen,
                hint=STAYS_HINT,
            )
        return layout

    def erase(self, layout: Layout, size_bytes: int, on_progress: Callable[[str, int, int], None]) -> None:
        """Erase as many sectors of the firmware as an image takes; no other: sector 0 is the boot loader.

        Raises:
            DoesNotFitError: The image is larger than the firmware's place; nothing was erased.
            DeviceError: It does not come back from it.
        """
        if size_bytes > layout.size_bytes:
            raise DoesNotFitError(
                f"the image has {size_bytes:,} bytes, the firmware's place on the camera {layout.size_bytes:,}",
                hint="nothing was written; build it with a smaller network",
            )
        count = -(-size_bytes // SECTOR_BYTES)
        for number in range(count):
            on_progress("erasing", number * SECTOR_BYTES, count * SECTOR_BYTES)
            self._send(ERASE, struct.pack("<I", layout.first + number))
            self._ask(ERASE_S, f"erasing sector {layout.first + number}: ")
        on_progress("erasing", count * SECTOR_BYTES, count * SECTOR_BYTES)

    def write(self, image: bytes, on_progress: Callable[[str, int, int], None]) -> None:
        """Send an image to erased flash.

        Raises:
            DeviceError: The camera is gone, or takes no more.
        """
        asked = 0
        for place in range(0, len(image), CHUNK_BYTES):
            self._send(WRITE, image[place : place + CHUNK_BYTES])
            done = min(place + CHUNK_BYTES, len(image))
            if done - asked >= ASK_EVERY_BYTES or done == len(image):
                self._ask(self._answer_s, f"after {done:,} of {len(image):,} bytes: ")
                on_progress("writing", done, len(image))
                asked = done

    def leave(self) -> None:
        """Have it store the last bytes and start the firmware."""
        self._send(RESET)

    def _send(self, command: int, payload: bytes = b"") -> None:
        """One packet."""
        with _stays():
            self._port.write(struct.pack("<I", command) + payload)

    def _ask(self, seconds: float, doing: str = "") -> bytes:
        """Wait until everything sent so far is done, since commands are worked on in their order; the layout."""
        self._send(LAYOUT)
        with _stays():
            return self._port.read_exactly(12, Deadline(seconds), f"{doing}waiting for the boot loader")

    def _within(self, size: int, deadline: Deadline) -> bytes:
        """So many bytes; empty where they do not come in time."""
        data = b""
        while len(data) < size:
            with _stays():
                came = self._port.read(deadline)
            if not came:
                self._port.push_back(data)
                return b""
            data += came
        self._port.push_back(data[size:])
        return data[:size]


@contextmanager
def _stays() -> Iterator[None]:
    """Say in what state a camera is left that goes away, or says nothing."""
    try:
        yield
    except DeviceError as error:
        error.hint = f"plug the camera in; {STAYS_HINT}" if " is gone while " in error.message else STAYS_HINT
        raise


def flash_by_cdc(port: Port, image: bytes, answer_s: float, on_progress: Callable[[str, int, int], None]) -> float:
    """Put an image onto a camera that is in this boot loader, and start it.

    Args:
        port: Its serial port, open.
        image: From the firmware's first byte on.
        answer_s: By when the boot loader must answer; erasing may take longer.
        on_progress: Gets what is done, bytes done, bytes in all.

    Returns:
        Seconds that erasing and writing took.

    Raises:
        DoesNotFitError: It is too large; nothing was written.
        DeviceError: The hint says in what state the camera is left.
    """
    loader = CdcLoader(port, answer_s)
    layout = loader.start()
    begun = time.monotonic()
    loader.erase(layout, len(image), on_progress)
    loader.write(image, on_progress)
    loader.leave()
    return time.monotonic() - begun
