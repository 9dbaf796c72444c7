"""`eiauto sim`: a simulated board that every command can be tried against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image as Pillow

from ei_automation.deployment.firmware import recognise_firmware
from ei_automation.devices.sim.arduino import SimulatedNicla, SimulatedPortenta
from ei_automation.devices.sim.board import Image, SimulatedBoard, Surroundings
from ei_automation.devices.sim.faults import FAMILIES, FAULTS, Faults
from ei_automation.devices.sim.openmv.board import SimulatedOpenMv
from ei_automation.devices.sim.pty import PtyDoor
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.spresense import SimulatedSpresense
from ei_automation.dsp.image import UnusableImageError, decode
from ei_automation.errors import NotFoundError, StorageError, UsageError
from ei_automation.files import ensure_folder
from ei_automation.schema.board import find_board
from ei_automation.workflow.compile import read_labels, read_model
from ei_automation.workflow.simulated_model import load_model

Log = Callable[[str], None]
SPRESENSE, NICLA, PORTENTA = "sony-spresense", "arduino-nicla-vision", "arduino-portenta-h7"
OPENMV = ("openmv-cam-h7", "openmv-cam-h7-plus")
SIMULATED = (SPRESENSE, *OPENMV, NICLA, PORTENTA)
"""Ids of the boards that can be simulated."""
SHOWN_SIDE_PX, SHOWN_IMAGES = 240, 8
MOST_IMAGES = 256


@dataclass(frozen=True)
class SimulationRequest:
    """What is asked for.

    Attributes:
        board: Id or name.
        tcp_port: On loopback; 0 for a free one.
        model: A .tflite file, or a deployment that holds one: what the firmware classifies with; None for none.
        labels: A file with one label a line, or labels with commas between; empty for those of the deployment.
        images: A folder with what the camera sees; None for made pictures.
        faults: e.g. `nak=7`.
        pty: Whether there is a pseudo terminal too, for other programs.
        folder: Where the board keeps its drive; None for one that is deleted at the end.
        firmware_version: Of an OpenMV camera.
        project: What Edge Impulse's firmware says it is of; empty where it shall not say.
        deploy_version: Of the build that it says it is; 0 where it shall not say.
    """

    board: str
    tcp_port: int = 0
    model: Path | None = None
    labels: str = ""
    images: Path | None = None
    faults: tuple[str, ...] = ()
    pty: bool = False
    folder: Path | None = None
    firmware_version: tuple[int, int, int] = (4, 8, 1)
    project: str = ""
    deploy_version: int = 0


@dataclass(frozen=True)
class Running:
    """A simulated board that is there.

    Attributes:
        board: Its id.
        url: What `--port` and EIAUTO_PORT take.
        pty: Path of the pseudo terminal; empty where there is none.
        faults: What goes wrong, in words.
    """

    board: str
    url: str
    pty: str
    faults: tuple[str, ...]


@contextmanager
def simulation(request: SimulationRequest, log: Log) -> Iterator[Running]:
    """Start a simulated board, and stop it at the end.

    Args:
        request: What is asked for.
        log: Gets a line for each thing that happens to the board.

    Raises:
        UsageError: The board cannot be simulated, or a fault is not known.
        NotFoundError: There is no such board, model or picture.
        StorageError: The TCP port is in use, or the folder cannot be written.
    """
    kind = find_board(request.board)
    if kind.id not in SIMULATED:
        raise UsageError(f"{kind.name} cannot be simulated", hint=f"there are {', '.join(SIMULATED)}")
    faults = Faults.parse(request.faults, kind.flasher)
    model, labels = _model(request)
    with ExitStack() as stack:
        folder = request.folder or Path(stack.enter_context(TemporaryDirectory(prefix="eiauto-sim-")))
        around = Surroundings(
            load_model,
            _images(request.images),
            ensure_folder(folder, "keeping the simulated board's drive"),
            faults,
            model,
            labels,
            project=request.project,
            deploy_version=request.deploy_version,
            log=log,
        )
        board = _make(kind.id, around, request)
        try:
            url = stack.enter_context(serving(board, request.tcp_port))
        except OSError as error:
            raise StorageError(
                f"the simulated board cannot listen on port {request.tcp_port}: {error.strerror}",
                hint="another one may be running: stop it, or give another port with --listen; 0 takes a free one",
            ) from error
        pty = ""
        if request.pty:
            door = PtyDoor(board, board.all_uarts()[0].name)
            door.start()
            stack.callback(door.stop)
            pty = door.path
        shown = tuple(f"{name}={number}" for name, number in faults.numbers.items())
        yield Running(kind.id, url, pty, shown)


def _make(board: str, around: Surroundings, request: SimulationRequest) -> SimulatedBoard:
    """The board itself."""
    if board == SPRESENSE:
        return SimulatedSpresense(around)
    if board == NICLA:
        return SimulatedNicla(around)
    if board == PORTENTA:
        return SimulatedPortenta(around)
    return SimulatedOpenMv(around, board, firmware_version=request.firmware_version)


def _model(request: SimulationRequest) -> tuple[bytes | None, tuple[str, ...]]:
    """The network that the firmware holds from the start, and its labels."""
    labels = read_labels(request.labels) if request.labels else ()
    if request.model is None:
        return None, labels
    content, known = _model_of(request.model)
    classes = load_model(content).output_count  # refuses what is no model of images, before the board starts
    if labels and len(labels) != classes:
        raise UsageError(f"{len(labels)} labels were given, the network has {classes}", hint="check --labels")
    return content, labels or known


def _model_of(source: Path) -> tuple[bytes, tuple[str, ...]]:
    """The network and the labels of a .tflite file, of a deployment with one, or of what `flash` takes.

    Raises:
        NotFoundError: It holds none.
    """
    try:
        firmware = recognise_firmware(source) if source.suffix.lower() != ".tflite" else None
    except NotFoundError:
        firmware = None  # nothing for a board, e.g. a bundle
    if firmware is None:
        return read_model(source)
    if firmware.model is None:
        raise NotFoundError(
            f"{source} holds no .tflite file: its network is compiled code",
            hint="give the .tflite file, or an OpenMV library or a bundle of the same model",
        )
    return firmware.model, firmware.labels


def _images(folder: Path | None) -> tuple[Image, ...]:
    """What the camera sees: the pictures of a folder, in the order of their names, or made ones."""
    if folder is None:
        return made_images()
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint="check --images")
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file())[:MOST_IMAGES]:
        try:
            found.append(np.asarray(decode(path.read_bytes())[0].convert("RGB"), np.uint8))
        except UnusableImageError:
            continue  # labels and notes stand beside pictures
    if not found:
        raise NotFoundError(f"{folder} holds no pictures", hint="give a folder with JPEG or PNG files")
    return tuple(found)


def made_images() -> tuple[Image, ...]:
    """Pictures for a camera that has nothing to see: a bright square that wanders over a coloured slope.

    Returns:
        uint8, (240, 240, 3), 0..255 each.
    """
    slope = Pillow.linear_gradient("L").resize((SHOWN_SIDE_PX, SHOWN_SIDE_PX))
    base = np.stack([np.asarray(slope), np.asarray(slope.rotate(90)), np.asarray(slope.rotate(180))], -1)
    pictures = []
    for number in range(SHOWN_IMAGES):
        picture = base.astype(np.uint8).copy()
        start = number * (SHOWN_SIDE_PX - 60) // SHOWN_IMAGES
        picture[start : start + 60, start : start + 60] = (250, 240, 60)
        pictures.append(picture)
    return tuple(pictures)


__all__ = ["FAMILIES", "FAULTS", "SIMULATED", "Running", "SimulationRequest", "made_images", "simulation"]
