"""DFU by the program dfu-util (0.9 and newer): its lines become devices, progress and errors."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ei_automation.devices.dfu.target import DfuAlt, Progress, find_alt, pages_to_erase
from ei_automation.devices.transport import SEEN_BYTES, Deadline
from ei_automation.errors import DeviceError
from ei_automation.schema.board import DfuTarget

PROGRAM = "dfu-util"
LIST_S = 15.0
"""By when it has listed what is plugged in."""
QUIET_S = 30.0
"""It says something for every page and block; one that is quiet for so long hangs."""
ENDED_S = 5.0
"""By when its output has ended after it was ended."""
FOUND = re.compile(
    r'Found DFU: \[([0-9a-fA-F]{4}):([0-9a-fA-F]{4})\][^\n]*?path="([^"]*)", alt=(\d+), '
    r'name="([^"\n]*)", serial="([^"\n]*)"'
)
NO_ACCESS = re.compile(r"Cannot open[^\n]*(?:LIBUSB_ERROR_ACCESS|Access denied|insufficient permissions)")
BAR = re.compile(r"(Erase|Download|Upload)\s*\[[= ]*\]\s*\d+%\s+(\d+) bytes")
STATUS = re.compile(r"status\([1-9]\d*\) = ([^\n]+)")
WORDS = {"Erase": "erasing", "Download": "writing", "Upload": "reading back"}
UNKNOWN = ("UNKNOWN", "UNDEFINED")
"""What it prints for a string that cannot be read."""
WRITTEN, LEAVING = "Download done", "Submitting leave request"
NEEDS_TRANSFER = "one of -D or -U"
"""What releases before 0.11 say where they shall start the firmware and nothing else."""
BROKEN_OFF = re.compile(r"LIBUSB_ERROR_(?:NO_DEVICE|IO|TIMEOUT|NOT_FOUND|ACCESS|BUSY)|No DFU capable|Lost device")
"""A transfer that failed for another reason than that the device has no such request."""


@dataclass(frozen=True)
class DfuUtilDevice:
    """A device in DFU mode, by dfu-util.

    Attributes:
        program: Path of dfu-util.
        usb_id: As `2341:035F`.
        serial_number: Of the USB device; empty where it has none.
        place: Bus and ports.
        alts: Its alternate settings.
        quiet_s: dfu-util must say something within that time.
    """

    program: str
    usb_id: str
    serial_number: str
    place: str
    alts: tuple[DfuAlt, ...]
    quiet_s: float = QUIET_S

    def download(self, content: bytes, target: DfuTarget, on_progress: Progress) -> None:
        """Erase where that is needed, and write. The firmware is not started.

        Raises:
            DoesNotFitError: Larger than its place; nothing was erased.
            DeviceError: What would be erased is not allowed, and nothing was; or dfu-util failed.
        """
        alt = find_alt(self.alts, target)
        pages_to_erase(alt, len(content), target)  # dfu-util finds the pages itself, and refuses none
        address = [] if target.address is None else ["-s", f"0x{target.address:08x}"]
        with tempfile.TemporaryDirectory(prefix="eiauto-") as folder:
            image = Path(folder) / "firmware.bin"
            image.write_bytes(content)
            run = _run(
                [*self._chosen(alt), *address, "-D", str(image)], _tell(on_progress, len(content)), self.quiet_s
            )
        if run.code or WRITTEN not in run.text:
            raise run.error("writing")

    def read_back(self, size: int, target: DfuTarget, on_progress: Progress) -> bytes | None:
        """The first bytes of what the device holds there; None where it does not let them be read.

        Raises:
            DeviceError: The device is gone or says nothing, or dfu-util hangs.
        """
        address = ["-Z", str(size)] if target.address is None else ["-s", f"0x{target.address:08x}:{size}"]
        with tempfile.TemporaryDirectory(prefix="eiauto-") as folder:
            image = Path(folder) / "held.bin"
            chosen = self._chosen(find_alt(self.alts, target))
            run = _run([*chosen, *address, "-U", str(image)], _tell(on_progress, size), self.quiet_s)
            if run.code and BROKEN_OFF.search(run.text):
                raise run.error("reading back")
            return image.read_bytes()[:size] if run.code == 0 and image.is_file() else None

    def leave(self, target: DfuTarget) -> None:
        """Start the firmware. A device may be gone before dfu-util has its answer.

        Raises:
            DeviceError: dfu-util failed.
        """
        chosen = self._chosen(find_alt(self.alts, target))
        how = ["-e"] if target.address is None else ["-s", f"0x{target.address:08x}:leave"]
        run = _run([*chosen, *how], lambda _: None, self.quiet_s)
        if run.code and NEEDS_TRANSFER in run.text and target.address is not None:
            with tempfile.TemporaryDirectory(prefix="eiauto-") as folder:
                read = ["-s", f"0x{target.address:08x}:4:leave", "-U", str(Path(folder) / "held.bin")]
                run = _run([*chosen, *read], lambda _: None, self.quiet_s)
        if run.code and LEAVING not in run.text and target.address is not None:
            raise run.error("starting the firmware")

    def _chosen(self, alt: DfuAlt) -> list[str]:
        """The command's begin: which device and which alternate setting."""
        which = ["-S", self.serial_number] if self.serial_number else ["-p", self.place]
        return [self.program, "-d", self.usb_id.lower(), *which, "-a", str(alt.number)]


@dataclass(frozen=True)
class _Run:
    """What a call of dfu-util came to.

    Attributes:
        code: Its exit code.
        text: All that it printed.
    """

    code: int
    text: str

    def error(self, doing: str) -> DeviceError:
        """The error for a call that failed."""
        return DeviceError(
            f"{doing}: dfu-util ended with {self.code}: {_telling(self.text)}",
            seen=self.text.encode()[-SEEN_BYTES:],
        )


def find_program() -> str | None:
    """The path of dfu-util; None where it is not installed."""
    return shutil.which(PROGRAM)


def list_dfu_util(program: str, usb_ids: Sequence[str]) -> list[DfuUtilDevice]:
    """The devices in DFU mode that are there now.

    Args:
        program: Path of dfu-util.
        usb_ids: Which to look for, as `2341:035F`.

    Raises:
        DeviceError: One of them may not be opened, or dfu-util does not work.
    """
    run = _run([program, "-l"], lambda _: None, LIST_S)
    if run.code:
        raise run.error("listing boards")
    return parse_listing(program, run.text, usb_ids)


def parse_listing(program: str, text: str, usb_ids: Sequence[str]) -> list[DfuUtilDevice]:
    """Read what `dfu-util -l` prints.

    Args:
        program: Path of dfu-util, for what is done with the devices.
        text: Its output.
        usb_ids: Which to look for, as `2341:035F`.

    Raises:
        DeviceError: One may not be opened.
    """
    wanted = {usb_id.upper() for usb_id in usb_ids}
    found: dict[tuple[str, str, str], set[tuple[int, str]]] = {}
    for vid, pid, place, number, name, serial_number in FOUND.findall(text):
        usb_id = f"{vid}:{pid}".upper()
        if usb_id in wanted:
            key = usb_id, _known(serial_number), place
            found.setdefault(key, set()).add((int(number), _known(name)))
    refusals = [line for line in NO_ACCESS.findall(text) if any(each.lower() in line.lower() for each in wanted)]
    if refusals and not found:
        raise DeviceError(
            "the boot loader is there, and this user may not open it",
            seen=refusals[0].encode(),
            hint="run `eiauto boards`: it prints the udev rule that gives you the permission",
        )
    return [
        DfuUtilDevice(program, usb_id, serial_number, place, tuple(DfuAlt(*alt) for alt in sorted(alts)))
        for (usb_id, serial_number, place), alts in found.items()
    ]


def _known(text: str) -> str:
    """A string of a device, empty where dfu-util could not read it."""
    return "" if text in UNKNOWN else text


def _tell(on_progress: Progress, size: int) -> Callable[[str], None]:
    """Turn dfu-util's bars into progress."""

    def told(text: str) -> None:
        for word, done in BAR.findall(text):
            on_progress(WORDS[word], min(int(done), size), size)

    return told


def _run(command: list[str], on_text: Callable[[str], None], quiet_s: float) -> _Run:
    """Run dfu-util to its end.

    Args:
        command: Program and arguments.
        on_text: Gets its output, cut at lines and bars.
        quiet_s: It must say something within that time.

    Raises:
        DeviceError: It cannot be started, or is quiet for too long.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise DeviceError(f"{command[0]} cannot be started: {error}", hint="install dfu-util anew") from error
    assert process.stdout is not None
    pieces: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, pieces), daemon=True)
    reader.start()
    text = ""
    try:
        while (piece := pieces.get(timeout=quiet_s)) is not None:
            text += piece
            on_text(piece)
        return _Run(process.wait(Deadline(quiet_s).left_s), text)
    except (queue.Empty, subprocess.TimeoutExpired) as error:
        raise DeviceError(
            f"dfu-util says nothing for {quiet_s:g} s and was ended", seen=text.encode()[-SEEN_BYTES:]
        ) from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(ENDED_S)
        if not reader.is_alive():  # else something that it started holds its output open
            process.stdout.close()


def _read(stream: IO[bytes], pieces: queue.Queue[str | None]) -> None:
    """Cut the program's output at lines and bars; None at its end."""
    held = ""
    while data := stream.read1(4096):  # type: ignore[attr-defined]
        held += data.decode(errors="replace").replace("\r", "\n")
        whole, newline, held = held.rpartition("\n")
        if newline:
            pieces.put(whole + "\n")
    pieces.put(held)
    pieces.put(None)


def _telling(text: str) -> str:
    """The device's own words for what went wrong, else the last line that says something."""
    statuses = STATUS.findall(text)
    if statuses:
        return f"the boot loader reports: {statuses[-1].strip()}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("dfu-util: ") if lines else "it said nothing"
