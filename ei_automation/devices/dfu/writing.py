"""Firmware by DFU, for every flasher: what speaks it, which device, writing, proving what was written.

A flasher takes `choose_tool`, brings its board into the boot loader, takes `wait_for_dfu`, `write_and_verify`, and
`device.leave(target)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ei_automation.devices.dfu.protocol import IS_GONE
from ei_automation.devices.dfu.target import DfuDevice
from ei_automation.devices.dfu.usb_device import list_usb_dfu
from ei_automation.devices.dfu.util import find_program, list_dfu_util
from ei_automation.devices.flasher import DfuTool, Job
from ei_automation.devices.host import Host
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError, InterruptedRunError, SettingsError, UsageError, VerificationError
from ei_automation.schema.board import DfuTarget

PLUG_IN = "plug the board in again"
POLL_S = 0.05
"""How often to look whether a device has come."""
INSTALL_LIBUSB = (
    "install libusb (Debian and Ubuntu: `apt install libusb-1.0-0`; macOS: `brew install libusb`; Windows: "
    "`pip install libusb-package`), or the program dfu-util and add `--dfu-tool dfu-util`"
)
INSTALL_DFU_UTIL = (
    "install it (Debian and Ubuntu: `apt install dfu-util`; macOS: `brew install dfu-util`), "
    "or add `--dfu-tool pyusb`, which needs libusb only"
)


@dataclass(frozen=True)
class DfuSpeaker:
    """What speaks DFU here.

    Attributes:
        name: `pyusb` or `dfu-util`.
        find: Lists the devices in DFU mode with one of some USB ids.
    """

    name: str
    find: Callable[[Sequence[str]], Sequence[DfuDevice]]


def choose_tool(host: Host, wanted: DfuTool) -> DfuSpeaker:
    """What speaks DFU: pyusb where libusb is installed, dfu-util otherwise, or the one that is wanted.

    Raises:
        SettingsError: It is not installed.
        UsageError: dfu-util is wanted for a simulated board, which it cannot see.
    """
    backend = host.usb_backend()
    program = find_program()
    if wanted == "dfu-util" and getattr(backend, "is_simulated", False):
        raise UsageError(
            "dfu-util cannot see a simulated board", hint="leave out `--dfu-tool`, or say `--dfu-tool pyusb`"
        )
    if wanted != "dfu-util" and backend is not None:
        return DfuSpeaker("pyusb", lambda usb_ids: list_usb_dfu(backend, usb_ids))
    if wanted != "pyusb" and program is not None:
        return DfuSpeaker("dfu-util", lambda usb_ids: list_dfu_util(program, usb_ids))
    if wanted == "dfu-util":
        raise SettingsError("the program dfu-util is not on PATH", hint=INSTALL_DFU_UTIL)
    missing = "libusb is not installed" if wanted == "pyusb" else "neither libusb nor dfu-util is installed"
    raise SettingsError(f"nothing here speaks DFU: {missing}", hint=INSTALL_LIBUSB)


def choose_device(
    devices: Sequence[DfuDevice], serial_number: str = "", *, exact: bool = False
) -> DfuDevice | None:
    """The one that is meant: by its serial number, else the only one.

    Args:
        devices: What is there.
        serial_number: Of the board; a boot loader may write it differently from the firmware.
        exact: Whether it is the boot loader's own: no other device is meant then.

    Returns:
        None where there is none at all.

    Raises:
        DeviceError: There are several, or none with that serial number; they are listed.
    """
    wanted = serial_number.casefold()
    named = [device for device in devices if wanted and device.serial_number.casefold() == wanted]
    if exact and wanted and devices and not named:
        raise DeviceError(
            f"no board in DFU mode has the serial number {serial_number}; there is "
            f"{', '.join(_listed(device) for device in devices)}",
            hint="nothing was written; give the serial number of the one that is meant, or leave it out where "
            "only one is plugged in",
        )
    meant = named or list(devices)
    if len(meant) > 1:
        listed = ", ".join(_listed(device) for device in meant)
        raise DeviceError(
            f"{len(meant)} boards are in DFU mode: {listed}",
            hint="unplug all but the one that is meant, then run the same command again",
        )
    return meant[0] if meant else None


def _listed(device: DfuDevice) -> str:
    """A device in a list."""
    return f"{device.usb_id} serial number {device.serial_number or 'unknown'} at USB {device.place}"


def wait_for_dfu(
    speaker: DfuSpeaker,
    usb_id: str,
    deadline: Deadline,
    *,
    serial_number: str = "",
    known: Collection[str] = (),
    hint: str = "",
) -> DfuDevice:
    """Wait until a board is in DFU mode.

    Args:
        speaker: Of `choose_tool`.
        usb_id: Of its boot loader.
        deadline: By when.
        serial_number: Of the board, where it is known.
        known: Places of devices that were in DFU mode before, and are other boards.
        hint: What to try when it does not come.

    Raises:
        DeviceError: It does not come, may not be opened, or several do.
    """
    while True:
        try:
            new = [device for device in speaker.find([usb_id]) if device.place not in known]
            device = choose_device(new, serial_number)
        except DeviceError:  # in its first moments a device may be there and not yet permitted, or go again
            if deadline.passed:
                raise
            device = None
        if device is not None:
            return device
        if deadline.passed:
            raise DeviceError(f"no board came into DFU mode ({usb_id}) within {deadline.seconds:g} s", hint=hint)
        time.sleep(min(POLL_S, deadline.left_s))


def write_and_verify(job: Job, device: DfuDevice, name: str, content: bytes, *, recovery: str) -> str:
    """Write an image, read it back and compare; the firmware is not started.

    Args:
        job: Its board has a `DfuTarget`; gets the progress.
        device: Of `wait_for_dfu`.
        name: Of the image, for people.
        content: Without a DFU suffix.
        recovery: For a hint: in what state a board is whose writing was interrupted, and what to do.

    Returns:
        How it is known that the board holds what was sent, in words.

    Raises:
        DoesNotFitError: Larger than its place; nothing was erased.
        DeviceError: It failed.
        VerificationError: What the board holds is not what was sent.
        InterruptedRunError: Ctrl-C.
    """
    target = dfu_target(job)
    try:
        device.download(content, target, job.on_progress)
        held = device.read_back(len(content), target, job.on_progress)
    except DeviceError as error:
        plug_in = f"{PLUG_IN}; " if error.message.endswith(IS_GONE) else ""
        error.hint = error.hint or f"{plug_in}{recovery}"
        raise
    except KeyboardInterrupt as error:
        raise InterruptedRunError("the writing was interrupted", hint=recovery) from error
    if held is None:
        return "the boot loader took every block without an error; it does not let its memory be read back"
    compare(content, held, target, recovery)
    return f"read back by DFU: the {len(content):,} bytes are those of {name}"


def compare(sent: bytes, held: bytes, target: DfuTarget, recovery: str) -> None:
    """Compare what was sent with what the board holds.

    Raises:
        VerificationError: They differ, with the first address.
    """
    if sent == held:
        return
    differing = [place for place, (left, right) in enumerate(zip(sent, held, strict=False)) if left != right]
    place = differing[0] if differing else len(held)
    here = f"0x{held[place]:02X} instead of 0x{sent[place]:02X}" if place < len(held) else "nothing"
    raise VerificationError(
        f"the board does not hold what was sent: at 0x{target.first + place:08X} it has {here} "
        f"({len(differing) + len(sent) - len(held):,} of {len(sent):,} bytes differ)",
        hint=recovery,
    )


def dfu_target(job: Job) -> DfuTarget:
    """Where the job's board takes its firmware.

    Raises:
        UsageError: Its boot loader does not speak DFU.
    """
    if job.board.dfu is None:
        raise UsageError(f"{job.board.name} has no boot loader that speaks DFU", hint="see `eiauto boards`")
    return job.board.dfu


__all__ = [
    "DfuDevice",
    "DfuSpeaker",
    "choose_device",
    "choose_tool",
    "compare",
    "dfu_target",
    "wait_for_dfu",
    "write_and_verify",
]
