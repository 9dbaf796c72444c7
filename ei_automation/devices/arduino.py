"""Arduino Nicla Vision and Portenta H7: a touch at 1200 baud, DFU behind the boot loader, leave.

Edge Impulse's firmware and OpenMV's take the same way. The boot loader's own flash is never written: a board whose
writing was interrupted can always be flashed again.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

from ei_automation.devices.dfu.target import DfuDevice, require_fit, without_suffix
from ei_automation.devices.dfu.writing import (
    choose_device,
    choose_tool,
    dfu_target,
    wait_for_dfu,
    write_and_verify,
)
from ei_automation.devices.flasher import Job
from ei_automation.devices.host import Host, SerialPort
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError, UsageError
from ei_automation.files import sha256_bytes
from ei_automation.schema.firmware import FirmwareFile, FlashPlan, FlashResult, Write

TOUCH_BAUD = 1200
"""A port that is closed at this speed resets the board into its boot loader: ArduinoCore-mbed, USBSerial.cpp."""
POLL_S = 0.05
KINDS = ("arduino", "openmv-firmware")
DOUBLE_TAP = "press the board's RESET button twice, quickly: its green LED fades in and out in DFU mode"
RECOVERY = (
    "the boot loader is untouched and the board can always be flashed again: it stays in DFU mode, or comes back "
    f"into it when you {DOUBLE_TAP}; then run the same command again"
)
WRITTEN = (
    "the firmware is written and was compared; press the board's RESET button once, or plug it in again; where it "
    f"does not start, {DOUBLE_TAP}, then run the same command again"
)


def touch(host: Host, port: SerialPort) -> None:
    """Ask a board's firmware to restart in its boot loader.

    Raises:
        DeviceError: The port cannot be opened.
    """
    with host.open(port, TOUCH_BAUD) as opened, suppress(DeviceError):  # the board may go at once
        opened.set_dtr(False)


class ArduinoFlasher:
    """Puts an image behind the boot loader.

    Args:
        bootloader_s: By when the board must be in DFU mode after the touch.
        firmware_s: By when its port must be there after the firmware was started.
    """

    def __init__(self, bootloader_s: float = 10.0, firmware_s: float = 10.0) -> None:
        self._bootloader_s, self._firmware_s = bootloader_s, firmware_s

    def plan(self, job: Job) -> FlashPlan:
        """What `flash` would do; nothing is written and no board is reset.

        Raises:
            UsageError: The firmware is for another kind of board, or damaged.
            DoesNotFitError: It is larger than its place on the board.
            DeviceError: The board is not there.
            SettingsError: Nothing here speaks DFU.
        """
        image, content = _image(job)
        target, speaker, port = dfu_target(job), choose_tool(job.host, job.dfu_tool), _port_to_touch(job)
        serial_number = port.serial_number if port else self._in_dfu_mode(job).serial_number
        touched = (f"touch {port.name} at {TOUCH_BAUD} baud: the board restarts in DFU mode",) if port else ()
        notes = ["the DFU suffix at the file's end is not written"] if len(content) < image.size_bytes else []
        waiting = speaker.find([target.usb_id]) if port else []
        if waiting:
            listed = ", ".join(device.serial_number or f"USB {device.place}" for device in waiting)
            notes.append(f"what is in DFU mode already is another board and left as it is: {listed}")
        return FlashPlan(
            board=job.board.id,
            method=f"DFU with addresses, by {speaker.name}",
            writes=(Write(image.name, f"0x{target.first:08X}, by DFU", len(content), sha256_bytes(content)),),
            steps=(
                *touched,
                f"wait for {target.usb_id}",
                "erase, write, read back and compare",
                "start the firmware and wait for its port",
            ),
            port=port.name if port else "",
            serial_number=serial_number,
            notes=tuple(notes),
        )

    def flash(self, job: Job) -> FlashResult:
        """Do what was planned.

        Raises:
            DeviceError: It failed: the hint says in what state the board is left and how to recover it.
            VerificationError: What the board holds is not what was sent.
        """
        image, content = _image(job)
        target = dfu_target(job)
        device = self._enter_dfu(job)
        before = {port.name for port in job.host.ports()}
        began = time.monotonic()
        job.on_step(f"writing {len(content):,} bytes to 0x{target.first:08X} by DFU")
        verified = write_and_verify(job, device, image.name, content, recovery=RECOVERY)
        seconds = time.monotonic() - began
        job.on_step("starting the firmware")
        try:
            device.leave(target)
        except DeviceError as error:
            error.hint = error.hint or WRITTEN
            raise
        port = self._wait_for_port(job, before, job.port.serial_number if job.port else device.serial_number)
        return FlashResult(
            verified=verified,
            seconds=seconds,
            port=port.name,
            serial_number=port.serial_number or device.serial_number,
        )

    def _enter_dfu(self, job: Job) -> DfuDevice:
        """The board in DFU mode; it is brought there where it has a port."""
        port = _port_to_touch(job)
        if port is None:
            return self._in_dfu_mode(job)
        speaker, usb_id = choose_tool(job.host, job.dfu_tool), dfu_target(job).usb_id
        known = {device.place for device in speaker.find([usb_id])}
        job.on_step(f"touching {port.name} at {TOUCH_BAUD} baud")
        touch(job.host, port)
        return wait_for_dfu(
            speaker,
            usb_id,
            Deadline(self._bootloader_s),
            serial_number=port.serial_number,
            known=known,
            hint=f"nothing was written; {DOUBLE_TAP}, then run the same command again",
        )

    def _in_dfu_mode(self, job: Job) -> DfuDevice:
        """The board that is in DFU mode now."""
        usb_id = dfu_target(job).usb_id
        there = choose_tool(job.host, job.dfu_tool).find([usb_id])
        device = choose_device(there, job.port.serial_number if job.port else "", exact=True)
        if device is None:
            raise DeviceError(
                f"no {job.board.name} is plugged in: no port of it, and none in DFU mode ({usb_id})",
                hint=f"plug it in; where its port does not appear, {DOUBLE_TAP}",
            )
        return device

    def _wait_for_port(self, job: Job, before: Collection[str], serial_number: str) -> SerialPort:
        """The port of the board's new firmware: one that was not there while the board was in DFU mode."""
        deadline = Deadline(self._firmware_s)
        while True:
            new = [
                port
                for port in job.host.ports()
                if port.name not in before and job.board.usb_as(port.usb_id, port.serial_number)
            ]
            named = [port for port in new if port.serial_number == serial_number]
            if named or new:  # a firmware of another kind writes the serial number differently
                return (named or new)[0]
            if deadline.passed:
                raise DeviceError(
                    f"the firmware was written and started, and no port of the {job.board.name} appeared within "
                    f"{deadline.seconds:g} s",
                    hint=f"press RESET once; if no port appears then, the firmware does not run: {DOUBLE_TAP}, "
                    "and flash another one",
                )
            time.sleep(min(POLL_S, deadline.left_s))


def _port_to_touch(job: Job) -> SerialPort | None:
    """The board's port; None where the board is in its boot loader, which has none."""
    port = job.port
    return None if port is None or port.usb_id == dfu_target(job).usb_id else port


def _image(job: Job) -> tuple[FirmwareFile, bytes]:
    """The image for the board, and its bytes without a DFU suffix.

    Raises:
        UsageError: There is none, or it is for another device or damaged.
        DoesNotFitError: It is too large.
    """
    target, firmware = dfu_target(job), job.firmware
    image = firmware.images.get(job.board.id)
    if image is None or firmware.kind not in KINDS:
        meant = ", ".join(firmware.images) or "no board in particular"
        raise UsageError(
            f"{firmware.source} ({firmware.kind}) holds no image for {job.board.name}; it is for {meant}",
            hint=f"build or download the deployment for {job.board.name}",
        )
    content = without_suffix(image.content, target.usb_id, image.name)
    require_fit(len(content), target)
    return image, content
