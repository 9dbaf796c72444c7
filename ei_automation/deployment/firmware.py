"""Recognises what a deployment, Studio's or ours, holds for a board: a package, an image, a library."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ei_automation.deployment import bundle, openmv
from ei_automation.deployment.embedded import find_model, find_models
from ei_automation.deployment.parts import MAX_FILE_BYTES, ZIP_STARTS, read_parts
from ei_automation.deployment.recognise import (
    COMPILED_MARKS,
    ML_CALL,
    PROGRAM_MARK,
    TF_CALL,
    labels_of,
    recognise_files,
)
from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.files import sha256_bytes, storage_errors
from ei_automation.schema.board import BoardKind, find_board, known_boards
from ei_automation.schema.firmware import Firmware, FirmwareFile, FirmwareKind

__all__ = ["find_model", "recognise_firmware"]

SPK_MAGIC, ESPK_MAGIC = b"\xefMOD", b"ESPK"
"""How Sony's packages begin: programs (mkspk.c), and the encrypted ones of the boot loader."""
ARDUINO_SUFFIX = ".ino.bin"
"""Of what arduino-cli builds; beside it lies `.ino.with_bootloader.bin`, which must not go where this one goes."""
OPENMV_IMAGE = re.compile(r"edge_impulse_firmware_\w+\.bin", re.IGNORECASE)
"""Names in Studio's "OpenMV firmware" zips; `firmware_files` in boards.toml says which one is for which board."""
NAMES = re.compile(
    r"(?:ei-)?(?P<project>.+?)-(?:openmv|sony-spresense|spresense|(?:arduino-)?(?:nicla-vision|portenta-h7))"
    r"-v(?P<version>\d+)(?:-impulse-#?\d+)?(?: ?\(\d+\))?",
    re.IGNORECASE,
)
"""Names that Studio gives its zips. Seen: `ei-NAME-openmv-v10`, `NAME-portenta-h7-v4`, and
`NAME-FORMAT-v8-impulse-#4`; `(1)` is a browser's."""
ASK = (
    'ask Studio for "Sony Spresense", "OpenMV library", "OpenMV firmware" or "Arduino Nicla Vision" under '
    "Deployment, or build with `eiauto deploy PROJECT --target openmv`"
)
OTHERS = {
    **COMPILED_MARKS,
    "library.properties": "an Arduino library: sources for the Arduino IDE, no firmware",
    "edge-impulse-standalone.wasm": "a WebAssembly deployment, for phones and browsers",
    "edge-impulse-standalone.js": "a WebAssembly deployment, for phones and browsers",
    bundle.MODEL_NAMES["int8"]: "a bundle: models and their card, no script for a board",
}
"""Files of deployments that go onto no board, and what these are; a path of two parts is matched whole."""


def recognise_firmware(path: Path) -> Firmware:
    """Read what goes onto a board.

    Args:
        path: A zip as it was downloaded or built, the folder it was unpacked into, a `.spk` or a `.bin`.

    Returns:
        What it holds. A package or image that names no board has an entry for each one that it may be for, and a
        note that says so.

    Raises:
        NotFoundError: There is nothing, or nothing that goes onto a board; the hint says what to ask for.
        VerificationError: It is damaged, ambiguous, or would harm who unpacks it.
        StorageError: It cannot be read.
    """
    start = _start(path)
    if path.is_file() and not start.startswith(ZIP_STARTS) and path.suffix.lower() != ".zip":
        files = {path.name: _single(path, start)}
    else:
        files = _without_folder(read_parts(path, _is_wanted, is_strict=True))
    if packages := {name: files[name] for name in files if name.lower().endswith(".spk")}:
        return _spresense(path, files, packages)
    if images := {name: files[name] for name in files if name.lower().endswith(".bin")}:
        return _images(path, files, images)
    if openmv.MODEL_NAME in files:
        return _library(path, files)
    raise _refused(path, files)


# Reading


def _start(path: Path) -> bytes:
    """The first bytes of a file; empty of a folder, or where there is nothing."""
    if not path.is_file():
        return b""
    with storage_errors(path, "reading a deployment"), path.open("rb") as stream:
        return stream.read(4)


def _is_wanted(name: str) -> bool:
    """Whether a file is one that tells what a deployment is; at its top, or in a folder there."""
    path = PurePosixPath(name)
    if len(path.parts) > 2 or path.parts[0] == "__MACOSX" or path.name.startswith("."):
        return False
    known = (openmv.MODEL_NAME, openmv.LABELS_NAME)
    is_image = path.name.lower().endswith((".spk", ARDUINO_SUFFIX)) or bool(OPENMV_IMAGE.fullmatch(path.name))
    return (
        is_image or path.name in known or _other_words(name) != "" or bool(re.fullmatch(r"ei_\w+\.py", path.name))
    )


def _other_words(name: str) -> str:
    """What a deployment with such a file is; empty where that is not known."""
    return OTHERS.get(name) or OTHERS.get(PurePosixPath(name).name, "")


def _without_folder(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files under their own names where all lie in one folder, as who zips a folder makes it."""
    folders = {name.rpartition("/")[0] for name in files}
    if len(folders) == 1 and not any(name in OTHERS for name in files):
        return {PurePosixPath(name).name: content for name, content in files.items()}
    return dict(files)


def _single(path: Path, start: bytes) -> bytes:
    """The content of a file that is itself the firmware.

    Raises:
        NotFoundError: It is something else.
        VerificationError: It is too large for any board.
    """
    words = ""
    if start == PROGRAM_MARK:
        words = "a Linux program (.eim), for computers and not for a board"
    elif start == ESPK_MAGIC:
        words = "a package of the Spresense's boot loader, which is Sony's to install"
    elif path.suffix.lower() not in (".spk", ".bin"):
        words = "neither a zip nor an image (.spk, .bin)"
    if words:
        raise NotFoundError(f"{path} is {words}", hint=ASK)
    with storage_errors(path, "reading a deployment"):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise VerificationError(f"{path} has {path.stat().st_size:,} bytes; no board takes as much")
        return path.read_bytes()


def _refused(path: Path, files: Mapping[str, bytes]) -> NotFoundError:
    """The error for what goes onto no board."""
    words = next((words for name in files if (words := _other_words(name))), "")
    if words:
        return NotFoundError(f"{path} is {words}: it goes onto no board as it is", hint=ASK)
    return NotFoundError(
        f"{path} holds nothing that goes onto a board: no .spk, no firmware image, no {openmv.MODEL_NAME}",
        hint=ASK,
    )


# The kinds


def _spresense(path: Path, files: Mapping[str, bytes], packages: Mapping[str, bytes]) -> Firmware:
    """The one package of a Spresense deployment."""
    sound = [name for name, content in packages.items() if content.startswith(SPK_MAGIC)]
    if not sound:
        name, content = next(iter(packages.items()))
        raise VerificationError(
            f"{path}: {name} is no Spresense package: it begins with {content[:4].hex(' ') or 'nothing'}, "
            f"not with {SPK_MAGIC.hex(' ')}",
            hint="download or build it again",
        )
    if len(sound) > 1:
        raise VerificationError(
            f"{path} holds {len(sound)} Spresense packages: {', '.join(sorted(sound))}",
            hint="give the .spk of the application alone; those of the boot loader are Sony's to install",
        )
    boards = [board for board in known_boards() if board.flasher == "spresense"]
    image = _file(sound[0], packages[sound[0]])
    return _firmware("spresense", path, files, {board.id: image for board in boards}, [])


def _images(path: Path, files: Mapping[str, bytes], images: Mapping[str, bytes]) -> Firmware:
    """Images of OpenMV's or Edge Impulse's firmware.

    Raises:
        VerificationError: Two are for the same board, or both kinds are there.
        NotFoundError: They are for boards that are not known.
    """
    kinds: set[FirmwareKind] = set()
    notes: list[str] = []
    found: dict[str, FirmwareFile] = {}
    for name, content in sorted(images.items()):
        plain = PurePosixPath(name).name
        is_openmv = OPENMV_IMAGE.fullmatch(plain) is not None
        boards, note = _boards_of(plain, is_openmv)
        if note and not is_openmv and (cameras := _cameras_in(content)):
            boards, note, is_openmv = cameras, "", True
        notes += [note] if note else []
        kinds |= {"openmv-firmware" if is_openmv else "arduino"} if boards else set()
        for board in boards:
            if board.id in found:
                raise VerificationError(
                    f"{path} holds two images for {board.name}: {found[board.id].name}, {name}"
                )
            found[board.id] = _file(name, content)
    if not found:
        raise NotFoundError(
            f"{path} holds firmware for boards that are not known here: {', '.join(sorted(images))}", hint=ASK
        )
    if len(kinds) > 1:
        raise VerificationError(f"{path} holds OpenMV's and Edge Impulse's firmware; give the one that is meant")
    firmware = _firmware(kinds.pop(), path, files, found, list(dict.fromkeys(notes)))
    return _with_script(firmware, files) if firmware.kind == "openmv-firmware" else firmware


def _with_script(firmware: Firmware, files: Mapping[str, bytes]) -> Firmware:
    """OpenMV's firmware with the script that uses the model in it, where one lies beside the images."""
    scripts = sorted(name for name in files if name.endswith(".py"))
    if not scripts:
        return firmware
    script = _file(scripts[0], files[scripts[0]])
    text = script.content.decode(errors="replace")
    uses_ml, uses_tf = bool(ML_CALL.search(text)), bool(TF_CALL.search(text))
    return replace(
        firmware,
        files={script.name: script},
        script_name=script.name,
        script_api=None if uses_ml == uses_tf else "ml" if uses_ml else "tf",
    )


def _boards_of(name: str, is_openmv: bool) -> tuple[list[BoardKind], str]:
    """The boards that an image may be for, and a note."""
    named = [board for board in known_boards() if board.names_firmware(name)]
    if named:
        return named, ""
    if is_openmv:
        return [], f"{name} is for a board that is not known here"
    boards = [board for board in known_boards() if board.flasher == "arduino"]
    names = " or ".join(board.name for board in boards)
    return boards, f"{name} does not say for which board it is; {names} would take it"


def _library(path: Path, files: Mapping[str, bytes]) -> Firmware:
    """Model, labels and script for OpenMV's firmware."""
    found = recognise_files(files, path)
    scripts = sorted(name for name in files if name.endswith(".py"))
    project, version = _named(path)
    return Firmware(
        kind="openmv-library",
        source=path.name,
        files={
            name: _file(name, files[name])
            for name in (openmv.MODEL_NAME, openmv.LABELS_NAME, *scripts)
            if name in files
        },
        labels=found.labels,
        model=found.model,
        script_api=found.script_api,
        script_name=scripts[0] if scripts else "",
        deploy_version=version,
        project=project,
        problems=found.problems,
        notes=found.notes,
    )


# What they share


def _firmware(
    kind: FirmwareKind,
    path: Path,
    files: Mapping[str, bytes],
    images: Mapping[str, FirmwareFile],
    notes: list[str],
) -> Firmware:
    """A firmware of images, with the model inside where there is one."""
    models = dict.fromkeys(
        model
        for image in {each.sha256: each for each in images.values()}.values()
        for model in find_models(image.content)
    )
    problems = _no_programs(images)
    if len(models) > 1:
        notes.append(f"{len(models)} different .tflite files are inside; which one is the project's is not known")
    if kind == "openmv-firmware":
        problems += [problem for board, image in images.items() if (problem := _other_camera(image, board))]
    project, version = _named(path)
    labels = labels_of(files)[0] if openmv.LABELS_NAME in files else ()
    return Firmware(
        kind=kind,
        source=path.name,
        images=dict(images),
        labels=labels,
        model=next(iter(models)) if len(models) == 1 else None,
        deploy_version=version,
        project=project,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _file(name: str, content: bytes) -> FirmwareFile:
    return FirmwareFile(PurePosixPath(name).name, content, sha256_bytes(content))


def _named(path: Path) -> tuple[str, int | None]:
    """Project and version that a zip's or folder's name tells; empty and None where it does not."""
    match = NAMES.fullmatch(path.name.removesuffix(".zip"))
    return (match["project"], int(match["version"])) if match else ("", None)


def _no_programs(images: Mapping[str, FirmwareFile]) -> list[str]:
    """A sentence for each image that can be started by none of its boards."""
    problems = []
    for sha256 in dict.fromkeys(image.sha256 for image in images.values()):
        meant = [find_board(board) for board, image in images.items() if image.sha256 == sha256]
        image = images[meant[0].id]
        if not image.content:
            problems.append(f"{image.name} is empty")
        elif not any(_is_program(image, board) for board in meant):
            names = " or ".join(board.name for board in meant)
            problems.append(f"{image.name} does not begin as a program for {names} does")
    return problems


def _is_program(image: FirmwareFile, board: BoardKind) -> bool:
    """Whether an image begins as a Cortex-M's program must: second word = where it starts, odd, inside itself.

    Source: ARMv7-M Architecture Reference Manual, B1.5.3, the vector table.
    """
    if board.dfu is None:
        return True
    reset = struct.unpack_from("<I", image.content, 4)[0] if image.size_bytes >= 8 else 0
    return bool(reset & 1) and reset in board.dfu.allowed


def _other_camera(image: FirmwareFile, board: str) -> str:
    """Why an image of OpenMV's firmware is for another camera than its name says; empty where nothing says so.

    The firmware tells its architecture when it is asked, so the text is in the image.
    """
    inside = _cameras_in(image.content)
    if not inside or board in [each.id for each in inside]:
        return ""
    return f"{image.name} says that it is for {inside[0].name}, not for {find_board(board).name}"


def _cameras_in(image: bytes) -> list[BoardKind]:
    """The boards whose architecture an image names as OpenMV's firmware does."""
    return [board for board in known_boards() if board.openmv_arch and board.openmv_arch.encode() in image]
