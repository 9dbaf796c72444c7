"""`eiauto flash`: put a deployment onto a board, check that it is there, and record it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ei_automation.devices.arduino import ArduinoFlasher
from ei_automation.devices.choose import choose_port, open_host
from ei_automation.devices.flasher import DfuTool, Flasher, Job
from ei_automation.devices.host import SIMULATED, Host, SerialPort
from ei_automation.devices.openmv.flasher import OpenMvFlasher
from ei_automation.devices.spresense.flasher import SpresenseFlasher
from ei_automation.errors import DeviceError, InterruptedRunError, UsageError, VerificationError
from ei_automation.files import fingerprint, sha256_bytes
from ei_automation.schema.board import BoardKind
from ei_automation.schema.firmware import Firmware, FirmwareKind, FlashPlan, FlashResult
from ei_automation.schema.lock import MAIN_SPLIT, FlashRecord, SplitRecord
from ei_automation.settings import Settings
from ei_automation.workflow.board_session import (
    Deployment,
    alone_with,
    as_typed,
    deployment_for,
    given_deployment,
    suits,
    wanted_board,
)
from ei_automation.workflow.camera_script import camera_version, fitting_deployment
from ei_automation.workflow.flash_watch import FlashWatch
from ei_automation.workflow.project import Event, Session
from ei_automation.workflow.prove import ANSWER_S, Proof, prove
from ei_automation.workflow.stale import stale_data, stale_training

Tell = Callable[[Event], None]
FLASHERS: dict[str, type[Flasher]] = {
    "spresense": SpresenseFlasher,
    "openmv": OpenMvFlasher,
    "arduino": ArduinoFlasher,
}
"""Family of boards to its flasher; a new family is a module and a line here."""
KIND_WORDS: dict[FirmwareKind, str] = {
    "spresense": "a package for the Sony Spresense",
    "openmv-library": "an OpenMV library: a model and a script for OpenMV's firmware",
    "openmv-firmware": "OpenMV's firmware with a model inside",
    "arduino": "Edge Impulse's firmware for an Arduino board",
}


@dataclass(frozen=True)
class FlashRequest:
    """What is asked for.

    Attributes:
        board: Id or name of the board; empty for the manifest's only one.
        source: The deployment; None for the project's own.
        port: As `--port` takes it; None for the one that is there.
        baud: For the transfer; None for the flasher's own choice.
        dfu_tool: What speaks DFU.
        skip_fit: Whether to flash what is thought not to fit.
    """

    board: str = ""
    source: Path | None = None
    port: str | None = None
    baud: int | None = None
    dfu_tool: DfuTool = "auto"
    skip_fit: bool = False


@dataclass(frozen=True)
class Prepared:
    """A board that is about to be flashed.

    Attributes:
        job: For the flasher.
        flasher: That will do it.
        plan: What it will do.
        source: Where the firmware is from.
        device: Which one it is, of all that this machine or a simulation has.
    """

    job: Job
    flasher: Flasher
    plan: FlashPlan
    source: Path
    device: str


@dataclass(frozen=True)
class Flashed:
    """What flashing came to.

    Attributes:
        plan: What was done.
        result: What the flasher says.
        proof: What the firmware says of itself.
        record: For the lock.
    """

    plan: FlashPlan
    result: FlashResult
    proof: Proof
    record: FlashRecord


def prepare(session: Session | None, request: FlashRequest, tell: Tell) -> Prepared:
    """Recognise what is to be flashed, find the board, check that they belong together; nothing is written.

    Args:
        session: The project; None where only a deployment is given.
        request: What is asked for.
        tell: Gets what happens.

    Raises:
        UsageError: It is for another board, or what it holds is damaged.
        NotFoundError: There is no such deployment or board.
        VerificationError: The project's deployment is not what was built, or older than its model.
        DoesNotFitError: It takes more than the board has.
        DeviceError: The board is not there.
    """
    board = _board(session, request.board)
    deployment = _deployment(session, request, board, tell)
    source, firmware = deployment.path, deployment.firmware
    if firmware.problems:
        problems = "; ".join(firmware.problems)
        raise UsageError(f"{source} cannot be flashed: {problems}", hint="download or build it again")
    flasher = FLASHERS[_family(board, firmware)]()
    for note in firmware.notes:
        tell(Event("note", note))
    if not request.skip_fit:
        _require_fit(board, firmware, tell)
    host = open_host(request.port)
    job = Job(
        host,
        board,
        firmware,
        _port(host, board, request),
        request.baud,
        request.dfu_tool,
        on_step=lambda text: tell(Event("step", text)),
        on_progress=lambda text, done, total: tell(Event("progress", text, done, total)),
        on_note=lambda text: tell(Event("note", text)),
    )
    plan = flasher.plan(job)
    machine = "/".join((request.port or "").split("/")[:3]) if (request.port or "").startswith(SIMULATED) else ""
    return Prepared(job, flasher, plan, source, f"{machine} {board.id} {plan.serial_number}".strip())


def flash(session: Session | None, prepared: Prepared, answer_s: float = ANSWER_S) -> Flashed:
    """Flash the board, ask its firmware what it is, and record it.

    Args:
        session: The project, whose lock gets the record; None for none.
        prepared: Of `prepare`.
        answer_s: By when the firmware must say what it is.

    Raises:
        DeviceError: It failed: the hint says in what state the board is left; or another run is flashing it.
        VerificationError: The board does not hold what was sent, or runs something else.
        InterruptedRunError: Ctrl-C; the hint says in what state the board is left.
    """
    with alone_with(prepared.device, session.settings if session else Settings.from_env()):
        return _flash(session, prepared, answer_s)


def _flash(session: Session | None, prepared: Prepared, answer_s: float) -> Flashed:
    """See `flash`."""
    job = prepared.job
    begun = FlashRecord(
        board=job.board.id,
        serial_number=prepared.plan.serial_number,
        file=_name(session, prepared.source),
        image_sha256=image_sha256(prepared.plan),
        model_sha256=sha256_bytes(job.firmware.model) if job.firmware.model else "",
        verified="",
        simulated=prepared.device.startswith(SIMULATED),
    )
    watch = FlashWatch(job, lambda: _record(session, begun))
    with watch.stoppable():
        result = prepared.flasher.flash(watch.job)
    serial_number = result.serial_number or begun.serial_number
    record = begun.model_copy(update={"serial_number": serial_number, "verified": result.verified})
    _record(session, record, begun)  # it is on the board, whatever the firmware says now
    job.on_step("Asking the firmware what it is")
    trained = session.read_lock().trained_sha256 if session else ()
    try:
        proof = prove(job, result, answer_s, trained=trained)
    except DeviceError as error:
        error.hint = (
            f"what was sent is on the board ({result.verified}), its firmware does not answer: {error.hint}"
        )
        raise
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(
            "stopped while the firmware was asked what it is",
            hint="the board was flashed: ask it with `eiauto run`",
        ) from stop
    record = record.model_copy(update={"proof": proof.text})
    _record(session, record)
    return Flashed(prepared.plan, result, proof, record)


def image_sha256(plan: FlashPlan) -> str:
    """Hash of what is written: of one image its own, of several files a fingerprint over names and hashes."""
    if len(plan.writes) == 1:
        return plan.writes[0].sha256
    return fingerprint({write.what: write.sha256 for write in plan.writes})


def _board(session: Session | None, name: str) -> BoardKind:
    """The kind of board.

    Raises:
        UsageError: Nobody says which one.
    """
    board = wanted_board(session, name)
    if board is None:
        raise UsageError(
            "which board?", hint="name it with --board; `eiauto boards` lists those that are known and plugged in"
        )
    return board


def _deployment(session: Session | None, request: FlashRequest, board: BoardKind, tell: Tell) -> Deployment:
    """What goes onto it.

    Raises:
        UsageError: Nothing is named.
        NotFoundError: There is nothing.
        VerificationError: The project's is older than its model.
    """
    if request.source is not None:
        return given_deployment(request.source)
    if session is None:
        raise UsageError("there is nothing to flash", hint="name a project, or a deployment with --from ZIP")
    try:
        found = deployment_for(session, board)
    except UsageError:  # several: the firmware on a camera may decide
        if board.openmv is None:
            raise
        host = open_host(request.port)
        version = camera_version(host, _port(host, board, request), board)
        found = fitting_deployment(session, board, version)
    return replace(found, firmware=_as_recorded(session, found, tell))


def _as_recorded(session: Session, found: Deployment, tell: Tell) -> Firmware:
    """A project's deployment with what the lock knows of it.

    Raises:
        VerificationError: It holds an older model than the project's.
    """
    lock = session.read_lock()
    split = lock.splits.get(MAIN_SPLIT, SplitRecord())
    record = next((each for each in split.deployments if session.folder / each.file == found.path), None)
    if record is None:
        return found.firmware
    if training := split.training:
        trained = {model.sha256 for model in training.models.values()}
        if record.model_sha256 and record.model_sha256 not in trained:
            raise VerificationError(
                f"{record.file} was built from an older model than the project's",
                hint=f"run `eiauto deploy {as_typed(session.folder)}` first, or give the older one with --from",
            )
        if reason := stale_data(session, lock) or stale_training(session, MAIN_SPLIT, training):
            tell(Event("note", f"{record.file}: {reason}"))
    firmware = found.firmware
    return firmware if firmware.deploy_version else replace(firmware, deploy_version=record.version)


def _family(board: BoardKind, firmware: Firmware) -> str:
    """Which flasher puts it onto the board.

    Raises:
        UsageError: It is for other boards.
    """
    words = KIND_WORDS[firmware.kind]
    if board.flasher is None:
        raise UsageError(
            f"{board.name} cannot be flashed by eiauto", hint="`eiauto boards` lists the boards that can"
        )
    if not suits(firmware, board):
        meant = f" ({', '.join(firmware.images)})" if firmware.images else ""
        raise UsageError(
            f"{firmware.source} is {words}{meant}, and not for {board.name}",
            hint=f"build the deployment for {board.name}, or name the board it is for with --board",
        )
    return "openmv" if firmware.kind == "openmv-library" else board.flasher


def _require_fit(board: BoardKind, firmware: Firmware, tell: Tell) -> None:
    """Refuse a library whose model takes more than the board has; what an image may take, its flasher knows.

    Raises:
        DoesNotFitError: Says by how much, and what would fit.
    """
    if firmware.kind == "openmv-library" and firmware.model is not None:
        from ei_automation.workflow.fit import require_fit

        for note in require_fit([board.id], "openmv", firmware.model, "planned"):
            tell(Event("note", note))


def _port(host: Host, board: BoardKind, request: FlashRequest) -> SerialPort | None:
    """The board's serial port; None where it has none now: it may be in its boot loader.

    Raises:
        DeviceError: The port that was named is not there.
        UsageError: Several could be meant.
    """
    try:
        return choose_port(host, wanted=request.port, board=board)
    except DeviceError:
        if board.dfu is None:
            raise
        # It may be in its boot loader: the flasher looks for that, and says so where it is not there either.
        if request.port is None or request.port.startswith(SIMULATED):
            return None
        if board.flasher != "arduino" or not request.port.isalnum():
            raise
        vid, pid = (int(part, 16) for part in board.dfu.usb_id.split(":"))
        return SerialPort("", vid, pid, request.port)


def _name(session: Session | None, source: Path) -> str:
    """A deployment's name that says nothing of this machine."""
    if session is not None and source.resolve().is_relative_to(session.folder):
        return source.resolve().relative_to(session.folder).as_posix()
    return source.name


def _record(session: Session | None, record: FlashRecord, begun: FlashRecord | None = None) -> None:
    """Write what a device holds now into the lock, in place of what it held before.

    Args:
        session: The project; None for none.
        record: What it holds.
        begun: What was recorded when writing began: in its boot loader a device may tell no serial number.
    """
    if session is None:
        return
    lock = session.read_lock()
    device = {(each.board, each.serial_number) for each in (record, begun or record)}
    others = [other for other in lock.flashed if (other.board, other.serial_number) not in device]
    flashed = sorted([*others, record], key=lambda each: (each.board, each.serial_number))
    step = f"flash {record.board} {record.serial_number}".rstrip()
    session.write_lock(lock.model_copy(update={"flashed": flashed}), step)


__all__ = ["DfuTool", "FlashRequest", "Flashed", "Prepared", "flash", "prepare"]
