"""What every command with a board begins with: which board, where it is plugged in, what belongs onto it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import list2cmdline
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from ei_automation.errors import (
    DeviceError,
    EiautoError,
    NotFoundError,
    StorageError,
    UsageError,
    VerificationError,
)
from ei_automation.files import ensure_folder, fingerprint, sha256_file, storage_errors
from ei_automation.schema.board import BoardKind, find_board
from ei_automation.schema.firmware import Firmware, FirmwareKind
from ei_automation.schema.lock import MAIN_SPLIT
from ei_automation.settings import Settings
from ei_automation.workflow.project import Session

if TYPE_CHECKING:
    from ei_automation.devices.host import Host, SerialPort

FOLDER = "deployments"
"""Of a project: what was built or downloaded."""
SUFFIXES = frozenset({".zip", ".bin", ".spk"})
"""Of files there that may be for a board."""
KINDS: dict[str | None, tuple[FirmwareKind, ...]] = {
    "spresense": ("spresense",),
    "openmv": ("openmv-library", "openmv-firmware"),
    "arduino": ("arduino", "openmv-firmware", "openmv-library"),
}
"""Flasher to what its boards take, the best first: what replaces least, or what the board's own firmware takes."""


@dataclass(frozen=True)
class Deployment:
    """A deployment that can go onto a board.

    Attributes:
        path: The zip, folder or image.
        firmware: What it holds.
    """

    path: Path
    firmware: Firmware


@dataclass(frozen=True)
class PluggedBoard:
    """A board at a machine's serial port.

    Attributes:
        host: The machine.
        port: The port.
        board: What kind it is; None where that is not known.
    """

    host: Host
    port: SerialPort
    board: BoardKind | None = None

    @property
    def is_simulated(self) -> bool:
        """Whether it is no real one."""
        from ei_automation.devices.host import SIMULATED

        return self.port.name.startswith(SIMULATED)


def wanted_board(session: Session | None, name: str | None) -> BoardKind | None:
    """The kind of board that a command is about.

    Args:
        session: The project; None for none.
        name: What `--board` says; None to go by the project's manifest.

    Returns:
        None where neither says.

    Raises:
        NotFoundError: No board of the table is called that.
        UsageError: The manifest names several.
    """
    if name:
        return find_board(name)
    boards = {board.id: board for board in _manifest_boards(session)} if session else {}
    if len(boards) > 1:
        raise UsageError(
            f"the manifest names {len(boards)} boards: {', '.join(boards)}", hint="choose one with --board"
        )
    return next(iter(boards.values()), None)


def _manifest_boards(session: Session) -> list[BoardKind]:
    """Those of the manifest that the table has; a manifest may name others, e.g. a Raspberry Pi."""
    found = []
    for wish in session.manifest.boards:
        try:
            found.append(find_board(wish.name))
        except NotFoundError as error:
            session.note(f"the manifest's board is left out: {error}")
    return found


def plugged_board(wanted: str | None, board: BoardKind | None) -> PluggedBoard:
    """The serial port to talk to.

    Args:
        wanted: Path, glob, VID:PID, serial number or URL, as `--port` takes it; None for the only board there.
        board: Its kind; None where any will do.

    Raises:
        SettingsError: The extra `devices` is not installed.
        UsageError: Several ports match; the error lists them.
        DeviceError: None does.
    """
    from ei_automation.devices.choose import choose_port, open_host

    host = open_host(wanted)
    try:
        port = choose_port(host, wanted=wanted, board=board)
    except DeviceError as error:
        raise _in_loader(host, wanted, board) or error from None
    return PluggedBoard(host, port, board)


def loader_error(where: str, words: str) -> DeviceError:
    """The error for a board that cannot run anything now.

    Args:
        where: Its port, or what was asked for; empty for none.
        words: Which board it is.
    """
    return DeviceError(
        f"{f'{where}: ' if where else ''}{words} is in its boot loader, no firmware runs",
        hint="flash it again with `eiauto flash`, or press its RESET button",
    )


def _in_loader(host: Host, wanted: str | None, board: BoardKind | None) -> DeviceError | None:
    """The error where the board has no port because it is in its boot loader; None where none is in one."""
    from ei_automation.devices.choose import LOADER_MODES, boards_plugged_in

    for each in boards_plugged_in(host):
        if each.mode in LOADER_MODES and (board is None or board.id in each.boards):
            return loader_error(f"no port matches {wanted!r}" if wanted else "", each.words)
    return None


@contextmanager
def alone_with(device: str, settings: Settings) -> Iterator[None]:
    """Hold a device for one flashing: between touch, boot loader and firmware no port is open all the time.

    Args:
        device: Which one.
        settings: Say where the cache is; where that cannot be written, nothing is held.

    Raises:
        DeviceError: Another run is flashing it; nothing was written.
    """
    path = settings.cache_folder / "devices" / f"{fingerprint(device)}.lock"
    guard = FileLock(path)
    with suppress(StorageError), storage_errors(path, "holding a device"):
        ensure_folder(path.parent, "holding a device")
        try:
            guard.acquire(timeout=0)
        except Timeout:
            raise DeviceError(
                f"another run of eiauto is flashing {device}",
                hint="nothing was written by this one; wait for the other one, then run the same command again",
            ) from None
    try:
        yield
    finally:
        guard.release()


def as_typed(path: Path) -> str:
    """A path as it can be pasted into a command: from the current folder where it lies in it."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return shlex.quote(text) if os.name == "posix" else list2cmdline([text])


def suits(firmware: Firmware, board: BoardKind) -> bool:
    """Whether a deployment can go onto a board: it has an image for it, or is a library for its scripts."""
    if firmware.kind == "openmv-library":
        return board.openmv is not None
    return board.id in firmware.images


def given_deployment(path: Path) -> Deployment:
    """What `--from` names.

    Raises:
        NotFoundError: There is nothing, or nothing for a board.
        VerificationError: It is damaged.
    """
    from ei_automation.deployment.firmware import recognise_firmware

    return Deployment(path, recognise_firmware(path))


def deployment_for(
    session: Session,
    board: BoardKind,
    *,
    kinds: Sequence[FirmwareKind] = (),
    script_api: Literal["ml", "tf"] | None = None,
) -> Deployment:
    """The project's deployment for a board: a recorded one, else one that was laid into its folder.

    Args:
        session: The project.
        board: The board.
        kinds: Which to take, the best first; as the board's flasher likes it where empty.
        script_api: Of libraries only those whose script uses this module; any where None. Firmware with a model
            brings the module of its script.

    Raises:
        NotFoundError: There is none.
        UsageError: There are several of the best kind; the error lists them.
        VerificationError: The recorded file is not what was built.
    """
    kinds = kinds or KINDS.get(board.flasher, ())
    found = _readable(_recorded(session))
    usable = [each for each in found if _is_usable(each, board, kinds, script_api)]
    if not usable:
        others = [path for path in _lying(session) if path not in {each.path for each in found}]
        usable = [each for each in _readable(others) if _is_usable(each, board, kinds, script_api)]
    if not usable:
        raise _none_for(session, board, [*_missing(session), *_unreadable(session)])
    best = min(kinds.index(each.firmware.kind) for each in usable)
    usable = [each for each in usable if kinds.index(each.firmware.kind) == best]
    if len(usable) > 1:
        listed = ", ".join(as_typed(each.path) for each in usable)
        raise UsageError(
            f"{session.manifest.name} has {len(usable)} deployments for {board.name}: {listed}",
            hint="choose one with --from",
        )
    return usable[0]


def with_model(session: Session, board: BoardKind | None) -> Deployment:
    """A recorded deployment that holds the project's model as a .tflite file.

    Args:
        session: The project.
        board: Those for it go first; None for any.

    Raises:
        NotFoundError: There is none.
        UsageError: They hold different models.
        VerificationError: The recorded file is not what was built.
    """
    found = [each for each in _readable(_recorded(session)) if each.firmware.model is not None]
    found = [each for each in found if board is not None and suits(each.firmware, board)] or found
    if not found:
        raise NotFoundError(
            f"no deployment of {session.manifest.name} holds a .tflite file",
            hint=f"run `eiauto deploy {as_typed(session.folder)} --target openmv`, or give the model with"
            " --model FILE",
        )
    if len({each.firmware.model for each in found}) > 1:
        listed = ", ".join(as_typed(each.path) for each in found)
        raise UsageError(
            f"deployments of {session.manifest.name} hold different models: {listed}",
            hint="choose one with --from",
        )
    return found[0]


def _is_usable(each: Deployment, board: BoardKind, kinds: Sequence[FirmwareKind], script_api: str | None) -> bool:
    if each.firmware.kind not in kinds or not suits(each.firmware, board):
        return False
    return (
        each.firmware.kind != "openmv-library"
        or script_api is None
        or each.firmware.script_api in (script_api, None)
    )


def _recorded(session: Session) -> list[Path]:
    """The deployments of the lock that are there, in its order.

    Raises:
        VerificationError: One is not what was built.
    """
    split = session.read_lock().splits.get(MAIN_SPLIT)
    paths = []
    for record in split.deployments if split else []:
        path = session.folder / record.file
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        with storage_errors(path, "reading a deployment"):
            if sha256_file(path) != record.sha256:
                raise VerificationError(
                    f"{record.file} is not the file that was built: its SHA-256 differs from the lock's",
                    hint=f"build it again with `eiauto deploy {as_typed(session.folder)}`, or give it with --from"
                    " if that is meant",
                )
        paths.append(path)
    return paths


def _missing(session: Session) -> list[str]:
    """Recorded deployments that are not there, e.g. in a fresh checkout."""
    split = session.read_lock().splits.get(MAIN_SPLIT)
    return [
        f"recorded and not there: {record.file}"
        for record in (split.deployments if split else [])
        if not (session.folder / record.file).exists()
    ]


def _lying(session: Session) -> list[Path]:
    """Files of the folder that may be deployments, recorded or not."""
    folder = session.folder / FOLDER
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES) if folder.is_dir() else []


def _readable(paths: Sequence[Path]) -> list[Deployment]:
    """Those that hold something for a board."""
    found = []
    for path in paths:
        try:
            found.append(given_deployment(path))
        except EiautoError:  # for another machine, e.g. a C++ library; `_none_for` says what was looked for
            continue
    return found


def _unreadable(session: Session) -> list[str]:
    """Why files of the folder may be for the board and cannot be used: damaged, ambiguous, not permitted."""
    reasons = []
    for path in _lying(session):
        try:
            given_deployment(path)
        except NotFoundError:  # sound, and for no board
            continue
        except EiautoError as error:
            reasons.append(error.message)
    return reasons


def _none_for(session: Session, board: BoardKind, reasons: Sequence[str]) -> NotFoundError:
    """The error where a project has nothing for a board."""
    wanted = " or ".join(KINDS.get(board.flasher, ())) or "firmware"
    why = "; ".join([f"{wanted} was looked for", *reasons])
    name = as_typed(session.folder)
    build = f"build it with `eiauto deploy {name} --target openmv`"
    if board.openmv is None:
        build = f"Studio builds it: wish it under [[deployments]] and run `eiauto deploy {name} --backend studio`"
    return NotFoundError(
        f"{session.folder / FOLDER} holds nothing for {board.name} ({why})",
        hint=f"{build}, or give the zip that Studio built with --from ZIP",
    )
