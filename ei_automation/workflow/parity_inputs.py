"""What a board is held against: a model, and images brought to its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ei_automation.dataset.readers import CATEGORY_FOLDERS
from ei_automation.dataset.readers.base import sort_out, walk
from ei_automation.dataset.readers.image_folder import read_image_folder
from ei_automation.deployment.model_facts import read_model_facts
from ei_automation.dsp.image import UnusableImageError, decode, resize
from ei_automation.errors import DatasetError, NotFoundError, UsageError, VerificationError
from ei_automation.files import storage_errors
from ei_automation.inference.interpreter import read_model
from ei_automation.schema.board import BoardKind
from ei_automation.schema.impulse import InputBlock, ResizeMode
from ei_automation.workflow.board_session import given_deployment, with_model
from ei_automation.workflow.project import Event, Session

Pixels = NDArray[np.uint8]

NAMED = 5
"""How many images a sentence names."""


@dataclass(frozen=True)
class ParityModel:
    """The model that the board should run.

    Attributes:
        content: The .tflite file.
        source: Where it is from, for people.
        labels: Of its outputs, in their order; empty where only the board knows them.
        resize_mode: How images come to the network's size: squash, fit-short or fit-long.
    """

    content: bytes
    source: str
    labels: tuple[str, ...] = ()
    resize_mode: ResizeMode = "squash"


@dataclass(frozen=True)
class LabelledImage:
    """One image to ask about.

    Attributes:
        path: The file.
        name: Below the folder that was given.
        label: Its true label; empty where that is not known.
    """

    path: Path
    name: str
    label: str = ""


def parity_model(
    session: Session | None,
    board: BoardKind | None,
    *,
    model: Path | None = None,
    given: Path | None = None,
    on_event: Callable[[Event], None],
) -> ParityModel:
    """The model that the board is held against: a file, that of a deployment, or the project's.

    Args:
        session: The project; its labels and its resize mode count.
        board: Whose deployment to take, where the project has one; None for any.
        model: `--model`.
        given: `--from`.
        on_event: Gets notes.

    Raises:
        UsageError: Nothing names a model, or it finds objects.
        NotFoundError: What is named is not there, or holds no .tflite file.
        VerificationError: The model is damaged, or has another input than the project's impulse.
    """
    content, source, labels = _content(session, board, model, given)
    facts = read_model_facts(content)
    if facts.is_fomo:
        raise UsageError(
            f"the model of {source} finds objects: the firmware prints boxes that it has merged from the network's"
            " cells, and not the cells' scores, so there is nothing that could be compared fairly",
            hint="watch the board with `eiauto run`, and judge the model itself with `eiauto test`",
        )
    if session is None:
        on_event(Event("note", "without PROJECT images are squashed to the model's size"))
        return ParityModel(content, source, labels)
    impulse = session.manifest.impulse
    if facts.input.shape[1:] != impulse.input_shape:
        raise VerificationError(
            f"the model of {source} takes {facts.input.shape[1:]} (height, width, channels), the impulse of"
            f" {session.manifest.name} gives {impulse.input_shape}",
            hint="give the deployment that was built from this impulse",
        )
    return ParityModel(content, source, labels, impulse.input_block.resize_mode)


def _content(
    session: Session | None, board: BoardKind | None, model: Path | None, given: Path | None
) -> tuple[bytes, str, tuple[str, ...]]:
    """Bytes, source and labels of the model."""
    project_labels: tuple[str, ...] = ()
    if session is not None and (dataset := session.read_lock().dataset) is not None:
        project_labels = tuple(dataset.labels)
    if model is not None:
        return read_model(model), str(model), project_labels
    if given is not None:
        found = given_deployment(given)
    elif session is not None:
        found = with_model(session, board)
    else:
        raise UsageError(
            "nothing says which model the board should run",
            hint="give PROJECT, or its deployment with --from ZIP, or the .tflite file with --model FILE",
        )
    if found.firmware.model is None:
        raise NotFoundError(
            f"there is no .tflite file to be found in {found.path}: its network is compiled code",
            hint="give the .tflite file of the same training with --model FILE",
        )
    return found.firmware.model, str(found.path), found.firmware.labels or project_labels


def listed_images(
    folder: Path, *, count: int | None = None, mapping: Mapping[str, str] | None = None
) -> list[LabelledImage]:
    """The images of a folder; its class folders give the true labels.

    Args:
        folder: `LABEL/FILE`, `testing/LABEL/FILE`, or files alone, which have no label.
        count: How many at most, spread evenly over the folder; all where None.
        mapping: Folder name to label, where they differ.

    Raises:
        NotFoundError: There is no such folder.
        DatasetError: There is no image in it.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint="give a folder with images: --images DIR")
    files = list(walk(folder))
    found = read_image_folder(folder, files, frozenset(CATEGORY_FOLDERS)).found
    known = {item.file.path: item.label for item in found}
    images = [LabelledImage(file.path, file.name, known.get(file.path, "")) for file in sort_out(files, {})]
    if not images:
        raise DatasetError(f"there are no images in {folder}", hint="give a folder with image files")
    labels = mapping or {}
    images = [LabelledImage(each.path, each.name, labels.get(each.label, each.label)) for each in images]
    if count is None or count >= len(images):
        return images
    return [images[place * len(images) // count] for place in range(count)]


def packed(pixels: Pixels) -> NDArray[np.float32]:
    """Raw features of an image, as Edge Impulse's firmware takes them.

    Args:
        pixels: uint8, (H, W, 3), 0..255, RGB.

    Returns:
        float32, (H * W,): one 0xRRGGBB a pixel, which a float32 holds exactly.
    """
    wide = pixels.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.float32).reshape(-1)


def input_pixels(images: Sequence[LabelledImage], shape: tuple[int, ...], mode: ResizeMode) -> list[Pixels]:
    """Images at the network's size.

    Args:
        images: The files.
        shape: Of the network's input, (height, width, channels).
        mode: Resize mode.

    Returns:
        uint8, (height, width, 3), 0..255, RGB, each.

    Raises:
        DatasetError: Some cannot be used.
        StorageError: One cannot be read.
    """
    # A model from elsewhere may have another size than a manifest allows.
    block = InputBlock.model_construct(image_height=shape[0], image_width=shape[1], resize_mode=mode)
    found, problems = [], []
    for image in images:
        with storage_errors(image.path, "reading an image"):
            data = image.path.read_bytes()
        try:
            found.append(resize(np.asarray(decode(data)[0]), block))
        except UnusableImageError as error:
            problems.append(f"{image.name} ({error})")
    if problems:
        more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise DatasetError(
            f"{len(problems)} of {len(images)} images cannot be used: {', '.join(problems[:NAMED])}{more}",
            hint="repair them or take them out of the folder",
        )
    return found
