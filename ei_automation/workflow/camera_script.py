"""Which script an OpenMV camera is to run, and whether its firmware can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ei_automation.devices.choose import boards_plugged_in
from ei_automation.devices.host import Drive, Host, SerialPort
from ei_automation.devices.openmv.debug import connect_camera
from ei_automation.devices.openmv.room import AUTOSTART
from ei_automation.devices.transport import Deadline
from ei_automation.errors import NotFoundError, UsageError
from ei_automation.files import storage_errors
from ei_automation.schema.board import BoardKind
from ei_automation.schema.firmware import FirmwareKind
from ei_automation.workflow.board_session import (
    KINDS,
    Deployment,
    PluggedBoard,
    as_typed,
    deployment_for,
    given_deployment,
)
from ei_automation.workflow.project import Event, Session

WHERE_FROM = (
    'such a script is in the zip that Studio gives as "OpenMV library", and in what'
    " `eiauto deploy PROJECT --target openmv` builds; `eiauto flash` puts it onto the camera's drive"
)
"""Of a script for an OpenMV camera."""


@dataclass(frozen=True)
class ScriptWish:
    """Where the script for an OpenMV camera comes from; the first that is there.

    Attributes:
        file: A script.
        given: A deployment.
        session: The project that should run on the board, whose deployment has one.
    """

    file: Path | None = None
    given: Path | None = None
    session: Session | None = None


@dataclass(frozen=True)
class CameraScript:
    """What runs on an OpenMV camera.

    Attributes:
        name: Of the file.
        text: MicroPython.
        labels: That it prints; empty where they are not known.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ()


def camera_script(
    wish: ScriptWish,
    board: BoardKind | None,
    firmware_version: str,
    on_camera: Callable[[], CameraScript | None] = lambda: None,
) -> CameraScript:
    """The script to run on an OpenMV camera, if its firmware has the module that the script uses.

    Args:
        wish: Where it comes from.
        board: The camera; a project's deployment is for a board.
        firmware_version: Of the camera, e.g. `4.8.1`.
        on_camera: Gives the script that is on its drive: asked where nothing is named.

    Raises:
        UsageError: There is no script to run, or it is for other firmware.
        NotFoundError: The file or the deployment is not there, or holds no script.
    """
    from ei_automation.deployment.openmv import script_api
    from ei_automation.deployment.recognise import ML_CALL, TF_CALL

    api = script_api(firmware_version)
    script = _script(wish, board, firmware_version, on_camera)
    uses = {module for module, call in (("ml", ML_CALL), ("tf", TF_CALL)) if call.search(script.text)}
    if uses and api not in uses:
        project = as_typed(wish.session.folder) if wish.session else "PROJECT"
        raise UsageError(
            f"{script.name} uses the module {min(uses)}, and the camera's firmware {firmware_version} has {api}"
            " instead (ml: 4.5.6 and newer, tf: older)",
            hint=f'build the deployment for this firmware: firmware_version = "{firmware_version}" under'
            f" [[deployments]], then `eiauto deploy {project}` and `eiauto flash {project}`",
        )
    return script


def _script(
    wish: ScriptWish,
    board: BoardKind | None,
    firmware_version: str,
    on_camera: Callable[[], CameraScript | None],
) -> CameraScript:
    """The script, whatever it uses."""
    if wish.file is not None:
        if not wish.file.is_file():
            raise NotFoundError(f"there is no script {wish.file}", hint="check --script")
        with storage_errors(wish.file, "reading a script"):
            return CameraScript(wish.file.name, wish.file.read_text(encoding="utf-8", errors="replace"))
    if wish.given is not None:
        found = given_deployment(wish.given)
    elif wish.session is not None:
        if board is None:
            raise UsageError("which OpenMV camera this is, it does not say", hint="name it with --board")
        found = fitting_deployment(wish.session, board, firmware_version, kinds=KINDS["openmv"])
    elif (kept := on_camera()) is not None:
        return kept
    else:
        raise UsageError(
            "an OpenMV camera runs a script; none was named, and its drive has none that loads a model",
            hint=f"give PROJECT, whose deployment has one, or --from ZIP, or --script FILE; {WHERE_FROM}",
        )
    script = found.firmware.files.get(found.firmware.script_name)
    if script is None:
        raise NotFoundError(f"{found.path} holds no script", hint="give one with --script FILE")
    return CameraScript(script.name, script.content.decode(errors="replace"), found.firmware.labels)


def camera_version(host: Host, port: SerialPort | None, board: BoardKind, answer_s: float = 5.0) -> str:
    """Version of the OpenMV firmware that runs on a board; empty where none does, or no port is there.

    Raises:
        DeviceError: The camera does not answer.
    """
    usb = board.usb_as(port.usb_id, port.serial_number) if port is not None else None
    if port is None or usb is None or usb.mode != "openmv":
        return ""
    with connect_camera(host, port, Deadline(answer_s)) as camera:
        return ".".join(map(str, camera.info(Deadline(answer_s)).firmware_version))


def fitting_deployment(
    session: Session, board: BoardKind, firmware_version: str, *, kinds: Sequence[FirmwareKind] = ()
) -> Deployment:
    """The project's deployment for a camera with this firmware; where none is for it, the one for another.

    Args:
        session: The project.
        board: The camera.
        firmware_version: Of the camera, e.g. `4.8.1`; empty where it is not known.
        kinds: Which to take, the best first; as the board's flasher likes it where empty.

    Raises:
        NotFoundError: There is none.
        UsageError: There are several of the best kind that fit, or none fits and there are several.
        VerificationError: The recorded file is not what was built.
    """
    from ei_automation.deployment.openmv import script_api

    if firmware_version:
        try:
            return deployment_for(session, board, kinds=kinds, script_api=script_api(firmware_version))
        except NotFoundError:
            pass  # what is for other firmware is refused in words by who uses it
    return deployment_for(session, board, kinds=kinds)


def script_on(plug: PluggedBoard, tell: Callable[[Event], None]) -> CameraScript | None:
    """The script that a camera starts by itself, if it loads a model.

    Args:
        plug: The camera.
        tell: Gets a note where there is one.

    Raises:
        DeviceError: Its drive cannot be read.
    """
    from ei_automation.deployment.openmv import LABELS_NAME
    from ei_automation.deployment.recognise import ML_CALL, TF_CALL

    drive = _drive_of(plug)
    text = ((drive.read(AUTOSTART) if drive else None) or b"").decode(errors="replace")
    if drive is None or not (ML_CALL.search(text) or TF_CALL.search(text)):
        return None
    tell(Event("note", f"no script was named; running {AUTOSTART} of the camera's drive {drive.name}"))
    listed = drive.read(LABELS_NAME) if LABELS_NAME in text else None
    labels = (listed or b"").decode(errors="replace").splitlines()
    return CameraScript(AUTOSTART, text, tuple(label for label in labels if label))


def _drive_of(plug: PluggedBoard) -> Drive | None:
    """The camera's drive; None where none is mounted, or several could be meant."""
    places = {each.port: each.drive for each in boards_plugged_in(plug.host) if each.drive}
    place = places.get(plug.port.name)
    return next((drive for drive in plug.host.drives() if drive.name == place), None)
