"""OpenMV's firmware, with a model inside, onto a camera: by DFU, or by the boot loader before 4.6.0."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ei_automation.devices.dfu.target import require_fit, without_suffix
from ei_automation.devices.dfu.writing import DfuDevice, choose_device, choose_tool, write_and_verify
from ei_automation.devices.flasher import Job
from ei_automation.devices.host import SerialPort
from ei_automation.devices.openmv.debug import CameraInfo
from ei_automation.devices.openmv.loader import STAYS_HINT, flash_by_cdc
from ei_automation.devices.openmv.restart import (
    Waits,
    camera_info,
    firmware_port,
    port_mode,
    ports_in_mode,
    restart,
    version_text,
    wait_for,
)
from ei_automation.errors import DeviceError, InterruptedRunError, UsageError
from ei_automation.files import sha256_bytes
from ei_automation.schema.board import DfuTarget
from ei_automation.schema.firmware import FlashPlan, FlashResult, Write

FIRST_DFU_FIRMWARE = (4, 6, 0)
"""The first whose boot loader speaks DFU (openmv/openmv: boot/ is new in v4.6.0, src/bootloader gone)."""
LOADER_BAUD = 921_600
"""The boot loader is USB alone and takes any speed."""
REPLUG = "unplug the camera and plug it in again now: its boot loader answers for a second at each start"
IDE_NOTE = "decline when OpenMV's IDE offers to upgrade the firmware: that would remove the model"

Loader = DfuDevice | SerialPort
Way = Literal["dfu", "cdc"]
WAYS: dict[Way, str] = {
    "dfu": "DFU to the partition {alt}",
    "cdc": "the serial boot loader of firmware before 4.6.0",
}


@dataclass(frozen=True)
class ImagePlan:
    """What will be done.

    Attributes:
        image: What is written.
        name: Of its file.
        target: Where it goes.
        way: How; `flash_image` takes what the camera shows after its restart.
        port: Of the running firmware; None where it does not run, or is not there.
        info: What the firmware says of itself; None where it says nothing.
        notes: What the user should know.
    """

    image: bytes
    name: str
    target: DfuTarget
    way: Way
    port: SerialPort | None
    info: CameraInfo | None
    notes: tuple[str, ...]


def plan_image(job: Job, waits: Waits) -> ImagePlan:
    """See what is there, and refuse what would not work.

    Raises:
        UsageError: The image is for another kind of board, or the camera is.
        DoesNotFitError: The image is larger than its partition.
        DeviceError: The camera is not there.
    """
    name, image, target = _image(job)
    port = job.port if job.port is not None and port_mode(job.board, job.port) != "loader" else None
    if port is None:
        loader = _wait_for_loader(job, waits.plug, f"Waiting for the boot loader of {job.board.name}; {REPLUG}")
        if loader is None:
            raise DeviceError(
                f"{job.board.name} is not there: neither its serial port nor its boot loader",
                hint=f"plug it in; if its firmware does not start, run the same command again, and while it waits "
                f"{REPLUG}",
            )
        if isinstance(loader, SerialPort):
            unknown = f"this boot loader does not say which camera it is: see that it is {job.board.name}"
            return ImagePlan(image, name, target, "cdc", None, None, (unknown, IDE_NOTE))
        return ImagePlan(image, name, target, "dfu", None, None, (IDE_NOTE,))
    try:
        info = camera_info(job, port, waits.answer)
    except DeviceError as error:
        notes = (
            f"its firmware does not answer ({error.message}): you will be asked to plug it in again",
            IDE_NOTE,
        )
        return ImagePlan(image, name, target, "dfu", port, None, notes)
    way: Way = "dfu" if info.firmware_version >= FIRST_DFU_FIRMWARE else "cdc"
    if way == "dfu":
        choose_tool(job.host, job.dfu_tool)  # what is missing is said before anything is restarted
    return ImagePlan(image, name, target, way, port, info, (IDE_NOTE,))


def shown_plan(job: Job, plan: ImagePlan) -> FlashPlan:
    """The plan for people."""
    target = plan.target
    where = f"0x{target.first:08X}..0x{target.first + len(plan.image):08X}, partition {target.alt}"
    enter = ["restart the camera into its boot loader"] if plan.port else []
    check = ["read the image back"] if plan.way == "dfu" else []
    return FlashPlan(
        job.board.id,
        WAYS[plan.way].format(alt=target.alt),
        (Write(plan.name, where, len(plan.image), sha256_bytes(plan.image)),),
        (*enter, *check, "start the firmware", "ask it for its version"),
        plan.port.name if plan.port else "",
        plan.port.serial_number if plan.port else "",
        plan.notes,
    )


def flash_image(job: Job, plan: ImagePlan, waits: Waits) -> FlashResult:
    """Write the image and see that its firmware answers.

    Raises:
        DeviceError: It failed; the hint says in what state the camera is left.
        VerificationError: The flash holds other bytes than were sent.
    """
    loader = _enter_loader(job, plan, waits)
    others = ports_in_mode(job, "openmv")  # the camera itself has no such port now
    if isinstance(loader, SerialPort):
        seconds = _by_cdc(job, plan, loader, waits)
        verified = "the boot loader took all of it; it cannot be read back"
    else:
        seconds, verified = _by_dfu(job, plan, loader)
    job.on_step("Waiting for the new firmware")
    port, info = _started(job, plan, others, waits)
    return FlashResult(
        verified,
        seconds,
        port.name,
        port.serial_number,
        version_text(info),
    )


def _image(job: Job) -> tuple[str, bytes, DfuTarget]:
    """What goes onto the camera, and where.

    Raises:
        UsageError: It is for other boards.
        DoesNotFitError: It is larger than the partition.
    """
    board, firmware = job.board, job.firmware
    if board.flasher != "openmv" or board.dfu is None:
        raise UsageError(
            f"OpenMV's firmware for {board.name} goes through {board.name}'s own boot loader, not OpenMV's",
            hint="`eiauto flash` takes the Arduino flasher for it; OpenMV IDE can do it too",
        )
    file = firmware.images.get(board.id)
    if file is None:
        raise UsageError(
            f"{firmware.source} holds no firmware for {board.name}, only for {', '.join(firmware.images)}",
            hint="name the board that it is for with --board, or build the deployment for this one",
        )
    image = without_suffix(file.content, board.dfu.usb_id, file.name)
    require_fit(len(image), board.dfu)
    return file.name, image, board.dfu


def _loaders(job: Job, way: Way | None, known: Collection[str] = ()) -> tuple[list[SerialPort], list[DfuDevice]]:
    """Cameras that are in their boot loader now: those on serial lines, and those that speak DFU.

    Args:
        job: Names the board.
        way: Only this one; None for any, of which those on serial lines are looked for first.
        known: Ports, and places at USB, of others.
    """
    ports = [] if way == "dfu" else [each for each in ports_in_mode(job, "loader") if each.name not in known]
    if ports or way == "cdc" or job.board.dfu is None:
        return ports, []
    devices = choose_tool(job.host, job.dfu_tool).find([job.board.dfu.usb_id])
    return [], [each for each in devices if each.place not in known]


def _loader_now(job: Job, way: Way | None, known: Collection[str] = ()) -> Loader | None:
    """The camera in its boot loader, as far as it is there now.

    Args:
        job: Names the board.
        way: Only this one; None for any.
        known: Ports, and places at USB, of other cameras.

    Raises:
        UsageError: Several boot loaders are on serial lines.
        DeviceError: Several speak DFU.
        SettingsError: Nothing here speaks DFU.
    """
    ports, devices = _loaders(job, way, known)
    ports = [port for port in ports if job.port and port.name == job.port.name] or ports
    if len(ports) > 1:
        listed = ", ".join(port.name for port in ports)
        raise UsageError(
            f"{len(ports)} cameras are in their boot loader: {listed}", hint="unplug all but the one that is meant"
        )
    return ports[0] if ports else choose_device(devices, job.port.serial_number if job.port else "")


def _wait_for_loader(job: Job, seconds: float, step: str, known: Collection[str] = ()) -> Loader | None:
    """Wait for the boot loader of a camera that somebody plugs in; None where it does not come."""
    loader = _loader_now(job, None, known)
    if loader is not None:
        return loader
    job.on_step(step)
    return _await_loader(job, seconds, None, known)


def _await_loader(job: Job, seconds: float, way: Way | None, known: Collection[str]) -> Loader | None:
    """Look for the boot loader until it is there; None where it does not come.

    Raises:
        DeviceError: It may not be opened, or several came: in its first moments it may be not yet permitted.
    """
    refusals: list[DeviceError] = []

    def look() -> Loader | None:
        refusals.clear()
        try:
            return _loader_now(job, way, known)
        except DeviceError as error:
            refusals.append(error)
            return None

    loader = wait_for(look, seconds)
    if refusals:
        raise refusals[0]
    return loader


def _enter_loader(job: Job, plan: ImagePlan, waits: Waits) -> Loader:
    """Bring the camera into its boot loader.

    Raises:
        DeviceError: It does not get there; nothing was written.
    """
    way = plan.way if plan.info else None
    known: set[str] = set()
    if plan.port is not None:  # its firmware runs: what is in a boot loader is another camera
        ways: tuple[Way, ...] = (way,) if way else ("cdc", "dfu")
        for ports, devices in (_loaders(job, each) for each in ways):
            known |= {port.name for port in ports} | {device.place for device in devices}
    if plan.port is not None and plan.info is not None:
        restart(job, plan.port, waits.answer, into_loader=True)
        job.on_step("Waiting for the boot loader")
        loader = _await_loader(job, waits.loader, way, known)
    else:
        loader = _wait_for_loader(job, waits.plug, f"Waiting for the boot loader; {REPLUG}", known)
    if loader is None:
        seconds = waits.loader if plan.info else waits.plug
        raise DeviceError(
            f"{job.board.name} did not enter its boot loader within {seconds:g} s",
            hint="nothing was written, and the camera still has its old firmware; `eiauto boards` says whether "
            "you may use its boot loader (udev rule); run the same command again, and while it waits unplug the "
            "camera and plug it in",
        )
    return loader


def _by_cdc(job: Job, plan: ImagePlan, port: SerialPort, waits: Waits) -> float:
    """Seconds that the older boot loader took."""
    job.on_step(f"Writing {plan.name} by the serial boot loader; keep the camera plugged in")
    try:
        with job.host.open(port, LOADER_BAUD) as line:
            return flash_by_cdc(line, plan.image, waits.answer, job.on_progress)
    except KeyboardInterrupt as error:
        raise InterruptedRunError("the writing was interrupted", hint=STAYS_HINT) from error


def _by_dfu(job: Job, plan: ImagePlan, device: DfuDevice) -> tuple[float, str]:
    """Write, read back, start; seconds and how it is known that the flash holds the image."""
    job.on_step(f"Writing {plan.name} to {plan.target.alt} by DFU; keep the camera plugged in")
    begun = time.monotonic()
    verified = write_and_verify(job, device, plan.name, plan.image, recovery=STAYS_HINT)
    seconds = time.monotonic() - begun
    try:
        device.leave(plan.target)
    except DeviceError as error:
        error.hint = error.hint or STAYS_HINT
        raise
    return seconds, verified


def _started(
    job: Job, plan: ImagePlan, others: Collection[SerialPort], waits: Waits
) -> tuple[SerialPort, CameraInfo]:
    """The port of the new firmware, which is none of the others, and what it says of itself."""
    port = wait_for(lambda: firmware_port(job, plan.port, others), waits.back)
    if port is None:
        raise DeviceError(
            f"{plan.name} is written, and its firmware did not start within {waits.back:g} s",
            hint="press the camera's reset button; if it does not start then, flash it again, or another image: "
            "the boot loader is untouched and answers for a second whenever the camera is plugged in",
        )
    try:
        return port, camera_info(job, port, waits.answer)
    except (DeviceError, UsageError) as error:
        raise DeviceError(
            f"{plan.name} is written, and its firmware does not answer as it should: {error.message}",
            hint="press the camera's reset button and ask it with `eiauto run`; if it stays mute, flash it again, "
            "or another image: the boot loader is untouched",
        ) from error
