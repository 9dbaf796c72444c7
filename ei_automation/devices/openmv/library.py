"""A model and its script onto the drive of an OpenMV camera, whose own firmware runs them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ei_automation.devices.flasher import Job
from ei_automation.devices.host import Drive, SerialPort
from ei_automation.devices.openmv.debug import CameraInfo
from ei_automation.devices.openmv.restart import (
    Waits,
    camera_info,
    camera_ports,
    firmware_port,
    port_mode,
    restart,
    version_text,
    wait_for,
    wait_gone,
)
from ei_automation.devices.openmv.room import AUTOSTART, Change, How, backup_name, plan_changes
from ei_automation.errors import DeviceError, InterruptedRunError, UsageError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.firmware import Firmware, FirmwareFile, FlashPlan, FlashResult, Write

INTERRUPTED_HINT = (
    "each file on the drive is the old one or the new one, whole, or was deleted to make room; run the same "
    "command again before the camera is used: it writes what is missing"
)
FIRST_ML_FIRMWARE = (4, 5, 6)
"""The first with `ml` in place of `tf` (openmv/openmv, src/omv/modules: py_tf.c until v4.5.5, then py_ml.c)."""
WHOLE = "write each file under a temporary name, compare it, then give it its name"
HOW: dict[How, str] = {
    "same": ": already there",
    "new": "",
    "in-place": ": the old one is deleted first",
}


@dataclass(frozen=True)
class LibraryPlan:
    """What will be done.

    Attributes:
        drive: The camera's.
        info: What its firmware says; None where it was not asked.
        changes: All files, in the order in which they are written.
        backup: What a main.py of the user will be called; empty where there is none to be kept.
        notes: What the user should know.
    """

    drive: Drive
    info: CameraInfo | None
    changes: tuple[Change, ...]
    backup: str
    notes: tuple[str, ...]


def plan_library(job: Job, waits: Waits) -> LibraryPlan:
    """See what is there, and refuse what would not work.

    Raises:
        UsageError: The script is for another firmware, the camera of another kind, or several drives are there.
        DoesNotFitError: The drive has no room for it.
        DeviceError: There is no drive, or the camera does not answer.
    """
    files = _files(job.firmware)
    drive = _choose_drive(job)
    notes = []
    if job.port is None:
        info = None
        notes.append(
            "no serial port of the camera is there: whether its firmware suits the script was not checked, "
            "and its reset button has to be pressed at the end"
        )
    else:
        info = camera_info(job, job.port, waits.answer)
        _require_api(job.firmware, info)
    backup = backup_name(drive, files[AUTOSTART].content) if AUTOSTART in files else ""
    changes = plan_changes(drive, files, keeps_autostart=bool(backup))
    if backup:
        notes.append(f"the {AUTOSTART} that is on the drive is not from a deployment: it is kept as {backup}")
    late = [change.name for change in changes if change.how == "in-place"]
    if late:
        notes.append(
            f"the drive has no room for old and new at once: the old {', '.join(late)} is deleted before the new "
            "one is written; if that is interrupted, run the same command again"
        )
    return LibraryPlan(drive, info, changes, backup, tuple(notes))


def shown_plan(job: Job, plan: LibraryPlan) -> FlashPlan:
    """The plan for people."""
    name = plan.drive.name
    steps = [f"keep {AUTOSTART} as {plan.backup}"] if plan.backup else []
    steps += [WHOLE] if any(change.how != "same" for change in plan.changes) else []
    steps += [f"eject {name}"]
    if job.port is not None:
        starts = f", which then runs {AUTOSTART}: the script" if job.firmware.script_name else ""
        steps += [f"restart the camera{starts}", "read the files back"]
    return FlashPlan(
        job.board.id,
        "files to the drive of the camera",
        tuple(
            Write(change.name, f"{name}{HOW[change.how]}", change.file.size_bytes, change.file.sha256)
            for change in plan.changes
        ),
        tuple(steps),
        job.port.name if job.port else "",
        _serial_number(job, plan.drive),
        plan.notes,
    )


def flash_library(job: Job, plan: LibraryPlan, waits: Waits) -> FlashResult:
    """Write the files, let go of the drive, restart the camera, and read the files back.

    Raises:
        DeviceError: The drive is full, damaged or gone, or the camera does not come back.
        VerificationError: The drive holds other bytes than were sent.
    """
    begun = time.monotonic()
    try:
        _write(job, plan)
    except KeyboardInterrupt as error:
        raise InterruptedRunError("the writing was interrupted", hint=INTERRUPTED_HINT) from error
    seconds = time.monotonic() - begun
    _compare(plan, plan.drive, "before it was ejected")
    job.on_step(f"Ejecting {plan.drive.name}")
    plan.drive.eject()
    version = version_text(plan.info) if plan.info else ""
    serial_number = _serial_number(job, plan.drive)
    if job.port is None:
        note = "press the camera's reset button: it reads its drive anew only then"
        return FlashResult(_verified(plan, "before it was ejected"), seconds, "", serial_number, version, (note,))
    job.on_step("Restarting the camera")
    port = _restarted(job, job.port, waits)
    when, notes = _read_back(job, plan, waits)
    return FlashResult(_verified(plan, when), seconds, port.name, serial_number, version, notes)


def _choose_drive(job: Job) -> Drive:
    """The drive of this camera."""
    drives = job.host.drives()
    if not drives and job.port is not None and port_mode(job.board, job.port) not in ("openmv", None):
        raise DeviceError(
            f"the {job.board.name} at {job.port.name} does not run OpenMV's firmware, which runs the library's "
            "script and shows the drive that it goes to",
            hint="nothing was written; put OpenMV's firmware onto the board first, with OpenMV's IDE or by "
            "`eiauto flash` of an OpenMV firmware deployment, or flash this board's own deployment",
        )
    if not drives:
        raise DeviceError(
            f"no drive of {job.board.name} is mounted: none holds OpenMV's file .openmv_disk",
            hint="plug the camera in and wait until its drive shows; on a system without a file manager mount it, "
            "e.g. `udisksctl mount -b /dev/sda1`; a camera with a new SD card has to be restarted once",
        )
    serial_number = job.port.serial_number if job.port else ""
    others = [port for port in camera_ports(job.host) if not _is_meant(job, port)]
    known = [drive for drive in drives if serial_number and drive.serial_number == serial_number]
    theirs = {port.serial_number for port in others}
    possible = known or [
        drive
        for drive in drives
        if not (serial_number and drive.serial_number)
        and not (drive.serial_number and drive.serial_number in theirs)
    ]
    if not possible:
        owner = f"the serial port of another one, {serial_number}" if job.port else f"which is no {job.board.name}"
        raise DeviceError(
            f"the drive {drives[0].name} is of the camera {drives[0].serial_number}, {owner}",
            hint="mount the drive of the camera that is meant, or name its port with --port",
        )
    if others and not all(drive.serial_number for drive in possible):
        listed = ", ".join(port.name for port in others)
        raise UsageError(
            f"the drive {possible[0].name} may be that of another camera, which is plugged in too: {listed}",
            hint="nothing was written; unplug all cameras but the one that the files shall go to",
        )
    if len(possible) > 1:
        listed = ", ".join(drive.name for drive in possible)
        raise UsageError(
            f"{len(possible)} drives could be meant: {listed}",
            hint="eject all but the one that the files shall go to; a camera with an SD card runs from that card",
        )
    return possible[0]


def _is_meant(job: Job, port: SerialPort) -> bool:
    """Whether a port is the camera's; without one in the job, whether it may be."""
    return port.name == job.port.name if job.port else port_mode(job.board, port) is not None


def _serial_number(job: Job, drive: Drive) -> str:
    """Of the camera; empty where nothing tells it."""
    return (job.port.serial_number if job.port else "") or drive.serial_number


def _require_api(firmware: Firmware, info: CameraInfo) -> None:
    """Refuse a script whose module the camera's firmware does not have."""
    wanted = "ml" if info.firmware_version >= FIRST_ML_FIRMWARE else "tf"
    if firmware.script_api in (None, wanted):
        return
    version = version_text(info)
    needs = "4.5.6 or newer" if firmware.script_api == "ml" else "4.5.5 or older"
    update = ", or update the camera's firmware with OpenMV's IDE" if firmware.script_api == "ml" else ""
    raise UsageError(
        f"{firmware.script_name} uses the module {firmware.script_api}, which needs firmware {needs}; "
        f"the camera has {version}",
        hint=f'nothing was written; set firmware_version = "{version}" for this deployment in project.toml and '
        f"run `eiauto deploy` again{update}",
    )


def _files(firmware: Firmware) -> dict[str, FirmwareFile]:
    """What the drive shall hold: the library's files, and the script once more as main.py.

    Under its own name it is the file that the deployment's instructions speak of; as main.py it runs at power-up.
    """
    if not firmware.files or any(Path(name).name != name for name in firmware.files):
        named = ", ".join(firmware.files) or "none"
        raise UsageError(
            f"{firmware.source} holds no files for the top of a drive: {named}",
            hint="build the OpenMV library again",
        )
    files = dict(firmware.files)
    if firmware.script_name:
        files[AUTOSTART] = files[firmware.script_name]
    return files


def _write(job: Job, plan: LibraryPlan) -> None:
    """Put the files onto the drive."""
    kept = plan.drive.read(AUTOSTART) if plan.backup else None
    if kept is not None:
        job.on_step(f"Keeping {AUTOSTART} as {plan.backup}")
        plan.drive.write(plan.backup, kept)
    total = sum(change.file.size_bytes for change in plan.changes)
    done = 0
    job.on_step(f"Writing to {plan.drive.name}")
    for change in plan.changes:
        if change.how == "in-place":
            _write_in_place(plan.drive, change)
        elif change.how == "new":
            plan.drive.write(change.name, change.file.content)
        done += change.file.size_bytes
        job.on_progress(change.name, done, total)


def _write_in_place(drive: Drive, change: Change) -> None:
    """Delete the old file, then write the new one.

    Raises:
        DeviceError: As of any write; here the old file is gone.
        VerificationError: The same.
    """
    drive.remove(change.name)
    try:
        drive.write(change.name, change.file.content)
    except (DeviceError, VerificationError) as error:
        error.hint = (
            f"{change.name} had to be deleted before, so that there is none now and the script cannot run; plug "
            "the camera in again and run the same command again; if it stays so, use an SD card"
        )
        raise


def _compare(plan: LibraryPlan, drive: Drive, when: str) -> None:
    """Read every file, and refuse one that is not as it was sent."""
    for change in plan.changes:
        content = drive.read(change.name)
        if content is None or sha256_bytes(content) != change.file.sha256:
            what = "is not there" if content is None else "holds other bytes than were sent"
            raise VerificationError(
                f"{drive.name}: {change.name} {what}, read {when}",
                hint="eject the drive, press the camera's reset button, then run the same command again; if it "
                "stays so, format the drive or use another SD card",
            )


def _verified(plan: LibraryPlan, when: str) -> str:
    return f"{len(plan.changes)} files read back from the drive {when}: SHA-256 as sent"


def _restarted(job: Job, port: SerialPort, waits: Waits) -> SerialPort:
    """Restart the camera and wait for its port."""
    others = [each for each in job.host.ports() if each != port]
    restart(job, port, waits.answer)
    wait_gone(job, port, waits.gone)
    back = wait_for(lambda: firmware_port(job, port, others), waits.back)
    if back is None:
        raise DeviceError(
            f"{job.board.name} did not come back within {waits.back:g} s of its restart",
            hint="the files are written and compared; press its reset button, or unplug it and plug it in again",
        )
    return back


def _read_back(job: Job, plan: LibraryPlan, waits: Waits) -> tuple[str, tuple[str, ...]]:
    """Compare the files once more, as the restarted camera shows them."""

    def same_drive() -> Drive | None:
        drives = job.host.drives()
        named = [drive for drive in drives if drive.name == plan.drive.name]
        owned = [drive for drive in drives if job.port and drive.serial_number == job.port.serial_number != ""]
        return next(iter([*named, *owned]), None)

    job.on_step("Waiting for the drive, to read it back")
    drive = wait_for(same_drive, waits.drive)
    if drive is None:
        note = (
            f"{plan.drive.name} was not mounted again after the restart: its files were compared before that only"
        )
        return "before it was ejected", (note,)
    _compare(plan, drive, "after the restart")
    return "after the restart", ()
