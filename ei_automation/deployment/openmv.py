"""The OpenMV library: model, labels and a MicroPython script, laid out as Studio does.

Firmware 4.5.6 replaced the `tf` module by `ml`; a script for the one fails on the other, which is the most
frequent complaint of OpenMV's users (openmv/openmv issue 2419). The script is chosen by firmware version.
"""

from __future__ import annotations

import re
from typing import Literal

from ei_automation.deployment.contents import BuildContents, labels_file, render_template
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import BuildRequest, DeploymentTarget

DESCRIPTION = DeploymentTarget(
    format="openmv",
    name="OpenMV library",
    description="Model, labels and a MicroPython script: copy them onto the camera's drive and run the script.",
)
MODEL_NAME = "trained.tflite"
LABELS_NAME = "labels.txt"
SCRIPT_NAME = "ei_image_classification.py"

ScriptApi = Literal["ml", "tf"]
FIRST_ML_FIRMWARE = (4, 5, 6)
"""OpenMV firmware v4.5.6 (2024-07-20) is the first with `ml` in place of `tf`."""
FRAME = (320, 240)
"""QVGA, pixels: what Studio's scripts set."""


def files(request: BuildRequest, contents: BuildContents) -> dict[str, bytes]:
    """The library's files.

    Raises:
        UsageError: A float32 model or an unreadable firmware version is asked for.
    """
    if request.variant != "int8":
        raise UsageError(
            f"an OpenMV library holds the int8 model, {request.variant} was asked for",
            hint='set variant = "int8" for this deployment, or build the bundle, which holds both',
        )
    return {
        MODEL_NAME: contents.model("int8"),
        LABELS_NAME: labels_file(contents.labels),
        SCRIPT_NAME: script(script_api(request.firmware_version), contents).encode(),
    }


def script_api(firmware_version: str) -> ScriptApi:
    """Which module the script has to use.

    Args:
        firmware_version: e.g. `4.5.9` or `v4.5.9`; empty for the newest.

    Raises:
        UsageError: It is no version.
    """
    if not firmware_version:
        return "ml"
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?", firmware_version.strip())
    if match is None:
        raise UsageError(
            f"{firmware_version!r} is no OpenMV firmware version",
            hint="write it as the camera shows it, e.g. 4.5.9, or leave it out for the newest",
        )
    version = tuple(int(part or 0) for part in match.groups())
    return "ml" if version >= FIRST_ML_FIRMWARE else "tf"


def script(api: ScriptApi, contents: BuildContents) -> str:
    """The MicroPython script.

    Args:
        api: Which module of the firmware it uses.
        contents: The model it is for.
    """
    height, width, _ = contents.input_shape
    return render_template(
        f"openmv_{api}.py.j2",
        project=" ".join(contents.project.split()),
        pixel_format="RGB565" if contents.channels == "RGB" else "GRAYSCALE",
        frame_width=FRAME[0],
        frame_height=FRAME[1],
        window=window(width, height) if contents.resize_mode == "fit-short" else None,
        placement=placement(width, height, keep_aspect=contents.resize_mode == "fit-long"),
        resize_mode=contents.resize_mode,
        input_width=width,
        input_height=height,
        model_name=MODEL_NAME,
        labels_name=LABELS_NAME,
    )


def window(width: int, height: int) -> tuple[int, int]:
    """The largest centred part of a QVGA frame with the model's shape: the centre crop of fit-short.

    Args:
        width: The model's input, pixels.
        height: The model's input, pixels.

    Returns:
        Width and height, pixels.
    """
    scale = min(FRAME[0] / width, FRAME[1] / height)
    return (round(width * scale), round(height * scale))


def placement(width: int, height: int, *, keep_aspect: bool) -> tuple[int, int, float, float]:
    """Where the whole QVGA frame goes in the model's input.

    Args:
        width: The model's input, pixels.
        height: The model's input, pixels.
        keep_aspect: True for fit-long, which leaves black bars; False for squash.

    Returns:
        Left and top edge, pixels, and the two scales.
    """
    x_scale, y_scale = width / FRAME[0], height / FRAME[1]
    if not keep_aspect:
        return (0, 0, x_scale, y_scale)
    scale = min(x_scale, y_scale)
    return (int(width - FRAME[0] * scale) // 2, int(height - FRAME[1] * scale) // 2, scale, scale)
