"""Flashing a Sony Spresense: its package goes to the updater of the boot loader, by XMODEM-1K.

Nothing here can brick a board: only application packages are taken (`spk.read_spk` refuses the boot loader's own),
and the updater, which is not touched, stays reachable by a reset.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ei_automation.devices.flasher import Job
from ei_automation.devices.host import SerialPort
from ei_automation.devices.spresense.spk import SpkInfo, read_spk
from ei_automation.devices.spresense.updater import CONSOLE_BAUD, GREETING, MISMATCH, WELCOME, Updater, Waits
from ei_automation.errors import (
    DeviceError,
    DoesNotFitError,
    InterruptedRunError,
    UsageError,
    VerificationError,
)
from ei_automation.schema.firmware import FirmwareFile, FlashPlan, FlashResult, Write

UPDATER_BAUDS = (115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000)
"""What the board's Arduino package offers (spresense-arduino-compatible, boards.txt, menu.UploadSpeed)."""
FASTEST_USUAL_BAUD = 921_600
"""What Edge Impulse's script for Windows uses."""
AGAIN = "the updater is not touched by this and stays reachable by RESET: run the same command again"
UNTOUCHED = "nothing was written: the board has its old firmware, and RESET starts it"
UNSAVED = (
    "by its messages the updater saves a package only when all of it has come and was checked: the board should "
    f"still have its old firmware, if it had one; {AGAIN}"
)
WAITING = "it waits in its updater: RESET starts the firmware that it has"
UNCHECKED = (
    "all of the package was sent, and the updater may save it by itself: whether the board has the old firmware "
    f"or the new one is not known; {WAITING}; {AGAIN}"
)
REFUSED = f"whether the board keeps its old firmware then is not known; {WAITING}; {AGAIN}, with a whole package"
SAVING = f"the package was being stored: the board may have neither the old firmware nor the new one; {AGAIN}"
STORED = "the package is stored: press RESET to start it"
LOADER_REMEDY = (
    "update the boot loader with the Arduino IDE: install the Spresense boards package, choose the port and "
    "Tools > Burn Bootloader; Sony's licence is shown, and accepted by you, there"
)
LOADER_OR_DAMAGE = (
    f"run the same command again, in case it was stored damaged; else the boot loader is too old: {LOADER_REMEDY}"
)


class SpresenseFlasher:
    """Puts a .spk package onto a Spresense; a `Flasher`.

    Args:
        waits: How long the board is given.
    """

    def __init__(self, waits: Waits | None = None) -> None:
        self._waits = waits or Waits()

    def plan(self, job: Job) -> FlashPlan:
        """What `flash` would do.

        Raises:
            UsageError: The deployment holds no package, or there is no such speed.
            VerificationError: The package is damaged.
            DoesNotFitError: It takes more memory than the board has.
            DeviceError: The board is not there.
        """
        image, info = _package(job)
        port, baud = _port(job), _baud(job)
        where = f'package "{info.save_name}", by XMODEM-1K at {baud} baud'
        return FlashPlan(
            board=job.board.id,
            method="XMODEM-1K to the updater of the boot loader",
            writes=(Write(image.name, where, image.size_bytes, image.sha256),),
            steps=(
                "reset by DTR, and `r` until the boot loader stops in its updater",
                f"`install -b {baud}`: the updater takes the package, checks and saves it",
                "`sync` and `reboot`, then the first words of the firmware are read",
            ),
            port=port.name,
            serial_number=port.serial_number,
            notes=job.firmware.notes,
        )

    def flash(self, job: Job) -> FlashResult:
        """Do what was planned.

        Raises:
            DeviceError: It failed: the hint says in what state the board is left and how to recover it.
            VerificationError: The updater did not get what was sent, or does not take it.
            InterruptedRunError: Ctrl-C; with the same hint.
        """
        port = _port(job)
        self.plan(job)
        with job.host.open(port, CONSOLE_BAUD) as line:
            updater = Updater(line, self._waits, job.on_note)
            seconds, verified = self._install(job, updater)
            with _left("restarting the board", [STORED]):
                job.on_step("restarting the board")
                words = updater.reboot()
        started, notes = _started(words, port.name)
        return FlashResult(
            verified=f"{verified}{started}",
            seconds=seconds,
            port=port.name,
            serial_number=port.serial_number,
            notes=notes,
        )

    def _install(self, job: Job, updater: Updater) -> tuple[float, str]:
        """Everything up to `sync`; the transfer's seconds, and how it is known that the package is there."""
        image, info = _package(job)
        with _left("reaching the updater", [UNTOUCHED]):
            job.on_step("resetting the board into its updater")
            updater.enter()
        states = [UNSAVED]

        def tell(done: int, total: int) -> None:
            if done == total:  # the end of the file is next, and then the updater goes on without us
                states.append(UNCHECKED)
            job.on_progress("sending", done, total)

        with _left("sending the package", states):
            job.on_step(f"sending {image.name}, {image.size_bytes:,} bytes")
            start = time.monotonic()
            baud, resent = updater.send_package(image.content, _baud(job), tell)
            seconds = time.monotonic() - start
            if resent:
                job.on_note(f"{resent} packets were sent again: the line is disturbed")
            verdict = updater.read_verdict()
        _check_received(verdict, image)
        with _left("saving the package", [SAVING]):
            _check_saved(updater.wait_saved(), info)
            # Edge Impulse's own scripts do not send `set bootable M0P` (flash_writer's -n) either: the board is
            # left as it is configured to start.
            updater.command("sync", self._waits.save_s)
        return seconds, (
            f"the updater received all {image.size_bytes:,} bytes at {baud} baud, found the package valid and "
            f'saved it as "{info.save_name}"'
        )


def _package(job: Job) -> tuple[FirmwareFile, SpkInfo]:
    """The package for the board, checked."""
    image = job.firmware.images.get(job.board.id)
    if image is None:
        raise UsageError(
            f"{job.firmware.source} holds no package (.spk) for {job.board.name}",
            hint="choose the board that the deployment was built for, or build one for this board",
        )
    info = read_spk(image.content, image.name)
    if info.memory_bytes > job.board.ram_bytes:
        raise DoesNotFitError(
            f"{image.name} takes {info.memory_bytes:,} bytes of memory, "
            f"{job.board.name} has {job.board.ram_bytes:,}",
            hint="use a smaller model, or an int8 one",
        )
    return image, info


def _port(job: Job) -> SerialPort:
    if job.port is None:
        raise DeviceError(
            f"no serial port of a {job.board.name} is there",
            hint="plug the board in at its own USB socket, not the extension board's; see `eiauto boards`",
        )
    return job.port


def _baud(job: Job) -> int:
    baud = job.baud or FASTEST_USUAL_BAUD
    if baud not in UPDATER_BAUDS:
        raise UsageError(
            f"the updater of a {job.board.name} cannot go to {baud} baud",
            hint=f"it can go to {', '.join(map(str, UPDATER_BAUDS))}",
        )
    return baud


def _check_received(verdict: str, image: FirmwareFile) -> None:
    """Compare what the updater says it got; anything but its words of success is a failure.

    Raises:
        VerificationError: It got something else, or finds it not valid.
    """
    loaded = re.search(r"(\d+) bytes loaded\.", verdict)
    if loaded is None or int(loaded[1]) != image.size_bytes:
        got = f"got {int(loaded[1]):,} bytes" if loaded else "does not say how many bytes it got"
        raise _refused(f"the updater {got} of the {image.size_bytes:,} of {image.name}", verdict)
    if "Package validation is OK." not in verdict:
        raise _refused(f"the updater found {image.name} not valid", verdict)
    if "Saving package to" not in verdict:
        raise _refused(f"the updater found {image.name} valid but did not save it", verdict)


def _check_saved(words: str, info: SpkInfo) -> None:
    """Compare the name that the updater saved the package under.

    Raises:
        VerificationError: It is another one.
    """
    saved = re.match(r'\s*"([^"]*)"', words)
    if saved is None or saved[1] != info.save_name:
        name = f'as "{saved[1]}"' if saved else "without saying its name"
        raise _refused(f'the updater saved the package "{info.save_name}" {name}', words)


def _refused(problem: str, words: str) -> VerificationError:
    """The error for a package that the updater did not take; with its words."""
    said = " ".join(words.split())[-200:]
    return VerificationError(f"{problem}; it said: {said or 'nothing'}", hint=REFUSED)


def _started(words: str, port: str) -> tuple[str, tuple[str, ...]]:
    """What the first words after the restart say: for `verified`, and notes.

    Raises:
        DeviceError: The boot loader does not start the firmware, or is too old for it.
    """
    mismatch = re.search(r"Mismatched version: ([^\r\n]*)", words)
    detail = f" ({mismatch[1]})" if mismatch else ""
    if GREETING.decode() in words:
        old = f"the boot loader is older than the firmware wants{detail}, which runs all the same; to be safe, "
        return "; the firmware started", (old + LOADER_REMEDY,) if mismatch else ()
    if MISMATCH.decode() in words:
        raise DeviceError(
            f"{port}: the firmware is stored, but the board's boot loader is too old for it{detail}",
            seen=words.encode()[-200:],
            hint=f"{LOADER_REMEDY}; then run the same command again",
        )
    if WELCOME.decode() in words:
        raise DeviceError(
            f"{port}: the firmware is stored, but the boot loader does not start it: it stops in its updater",
            seen=words.encode()[-200:],
            hint=LOADER_OR_DAMAGE,
        )
    said = " ".join(words.split())[:100]
    what = f"what the board said after its restart is no greeting of Edge Impulse's: {said!r}"
    silent = "the board said nothing after its restart"
    unknown = "whether the firmware runs is not known; some need an SD card to start"
    return "", (f"{what if said else silent}; {unknown}",)


@contextmanager
def _left(doing: str, states: Sequence[str]) -> Iterator[None]:
    """Say in the hint of an error, or of Ctrl-C, in what state the board is left: the last of those so far."""
    try:
        yield
    except (DeviceError, InterruptedRunError) as error:
        error.hint = f"{error.hint}; {states[-1]}" if error.hint else states[-1]
        raise
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(f"stopped while {doing}", hint=states[-1]) from stop
