"""Which script an OpenMV camera is to run, and whether its firmware can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ei_automation.errors import NotFoundError, UsageError
from ei_automation.files import storage_errors
from ei_automation.schema.board import BoardKind
from ei_automation.workflow.board_session import KINDS, Deployment, deployment_for, given_deployment
from ei_automation.workflow.project import Session


@dataclass(frozen=True)
class ScriptWish:
    """Where the script for an OpenMV camera comes from; the first that is there.

    Attributes:
        file: A script.
        given: A deployment.
        session: The project, whose deployment has one.
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


def camera_script(wish: ScriptWish, board: BoardKind | None, firmware_version: str) -> CameraScript:
    """The script to run on an OpenMV camera, if its firmware has the module that the script uses.

    Args:
        wish: Where it comes from.
        board: The camera; a project's deployment is for a board.
        firmware_version: Of the camera, e.g. `4.8.1`.

    Raises:
        UsageError: There is no script to run, or it is for other firmware.
        NotFoundError: The file or the deployment is not there, or holds no script.
    """
    from ei_automation.deployment.openmv import script_api
    from ei_automation.deployment.recognise import ML_CALL, TF_CALL

    api = script_api(firmware_version)
    script = _script(wish, board, api)
    uses = {module for module, call in (("ml", ML_CALL), ("tf", TF_CALL)) if call.search(script.text)}
    if uses and api not in uses:
        raise UsageError(
            f"{script.name} uses the module {min(uses)}, and the camera's firmware {firmware_version} has {api}"
            " instead (ml: 4.5.6 and newer, tf: older)",
            hint=f'build the deployment for this firmware: firmware_version = "{firmware_version}" under'
            " [[deployments]], then `eiauto deploy` and `eiauto flash`",
        )
    return script


def _script(wish: ScriptWish, board: BoardKind | None, api: Literal["ml", "tf"]) -> CameraScript:
    """The script, whatever it uses."""
    if wish.file is not None:
        if not wish.file.is_file():
            raise NotFoundError(f"there is no script {wish.file}", hint="check --script")
        with storage_errors(wish.file, "reading a script"):
            return CameraScript(wish.file.name, wish.file.read_text(encoding="utf-8", errors="replace"))
    if wish.given is not None:
        found = given_deployment(wish.given)
    elif wish.session is not None and board is not None:
        found = _deployment_with_script(wish.session, board, api)
    else:
        raise UsageError(
            "an OpenMV camera runs a script, and none was named",
            hint="give PROJECT, whose deployment has one, or --from ZIP, or --script FILE",
        )
    script = found.firmware.files.get(found.firmware.script_name)
    if script is None:
        raise NotFoundError(f"{found.path} holds no script", hint="give one with --script FILE")
    return CameraScript(script.name, script.content.decode(errors="replace"), found.firmware.labels)


def _deployment_with_script(session: Session, board: BoardKind, api: Literal["ml", "tf"]) -> Deployment:
    """The one for this firmware; where there is none, the one for other firmware, which is refused in words."""
    kinds = KINDS["openmv"]
    try:
        return deployment_for(session, board, kinds=kinds, script_api=api)
    except NotFoundError:
        return deployment_for(session, board, kinds=kinds)
