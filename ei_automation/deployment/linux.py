"""The Linux program: one static executable, .eim, that Edge Impulse's Linux clients start and speak to.

The messages are those of Edge Impulse's Python and Node.js packages for Linux. The executable carries its C
library (musl) and depends on nothing but the kernel.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping

from ei_automation.compiler.emit.text import c_string
from ei_automation.compiler.toolchain import build, zig
from ei_automation.deployment.contents import BuildContents
from ei_automation.deployment.impulse_code import (
    EXACT_FLOATS,
    found_labels,
    impulse_code,
    templates,
)
from ei_automation.deployment.model_facts import ModelFacts, read_model_facts
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import ARCHITECTURES, Architecture, BuildRequest
from ei_automation.schema.impulse import ResizeMode

ZIG_TARGETS: dict[Architecture, tuple[str, str]] = {
    "x86_64": ("x86_64-linux-musl", ""),
    "aarch64": ("aarch64-linux-musl", ""),
    # The oldest processor with NEON: every board that Edge Impulse names for ARMv7 has as much.
    "armv7": ("arm-linux-musleabihf", "cortex_a8"),
}
"""Architecture to zig's triple and processor; empty for the triple's baseline."""
MACHINES: dict[str, Architecture] = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7",
}
"""What the system calls a machine, in lower case, to architecture."""
ARGUMENTS = (
    *("-std=gnu99", "-O3", EXACT_FLOATS, "-static", "-s", "-I.", "eim.c", "model.c", "-lm"),
    "-DNN_PORTABLE",  # the kernels' assembly is for Cortex-M; here the compiler vectorises the plain C
)
RESIZE_MODE_NAMES: dict[ResizeMode, str] = {
    "squash": "squash",
    "fit-short": "fit-shortest",
    "fit-long": "fit-longest",
}
"""The runners' names of the resize modes."""
CAMERA, TFLITE = 3, 2
"""Numbers of the protocol: the sensor, and the engine (TensorFlow Lite for microcontrollers, EON among it)."""


def program(request: BuildRequest, contents: BuildContents) -> bytes:
    """Build the executable.

    Args:
        request: Variant, memory and architecture; an empty architecture is this machine's.
        contents: The model and its impulse.

    Returns:
        The same bytes for the same request and contents, with the same version of the C compiler.

    Raises:
        UsageError: This machine's architecture is none that is built for, or the memory mode does not fit.
        NotFoundError: There is no model of the variant.
        VerificationError: The model cannot be compiled.
        SettingsError: The C compiler is not installed.
    """
    triple, cpu = ZIG_TARGETS[request.architecture or this_architecture()]
    compiler = zig(triple, cpu)
    files = source_files(request, contents)
    return build(compiler, files, ARGUMENTS, "model.eim", doing="building the Linux program")


def source_files(request: BuildRequest, contents: BuildContents) -> dict[str, bytes]:
    """The program's sources: `eim.c` and `model.c` are the ones to compile.

    Args:
        request: Variant and memory.
        contents: The model and its impulse.
    """
    facts = read_model_facts(contents.model(request.variant))
    code = impulse_code(request, contents, _macros(contents, facts))
    return {**code.files, **templates("linux")}


def this_architecture(machine: str | None = None) -> Architecture:
    """The architecture of a machine.

    Args:
        machine: What its system calls it; None for this one.

    Raises:
        UsageError: It is none that is built for.
    """
    name = platform.machine() if machine is None else machine
    found = MACHINES.get(name.lower())
    if found is None:
        raise UsageError(
            f"a Linux program cannot be built for {name or 'this machine'}",
            hint=f"name the architecture: {', '.join(ARCHITECTURES)}",
        )
    return found


def _macros(contents: BuildContents, facts: ModelFacts) -> dict[str, str]:
    """What the program says of itself, as C strings of JSON."""
    labels = found_labels(contents, facts)
    project = {"id": "0", "owner": _json(""), "name": _json(contents.project), "deploy_version": "1"}
    return {
        "PROJECT": c_string(_members(project)),
        "MODEL_PARAMETERS": c_string(_members(_model_parameters(contents, facts, labels))),
        "ENGINE": c_string(_members({"inferencing_engine": str(TFLITE), "properties": "[]"})),
        "LABELS_JSON": ", ".join(c_string(_json(label)) for label in labels),
    }


def _model_parameters(contents: BuildContents, facts: ModelFacts, labels: tuple[str, ...]) -> dict[str, str]:
    """The parameters of a hello, without the thresholds; as edge-impulse-linux 1.25.2 describes them."""
    _, height, width, channels = facts.input.shape
    return {
        "axis_count": "1",
        "frequency": "0",
        "has_anomaly": "0",
        "has_object_tracking": "false",
        "has_performance_calibration": "false",
        "image_channel_count": str(channels),
        "image_input_frames": "1",
        "image_input_height": str(height),
        "image_input_width": str(width),
        "image_resize_mode": _json(RESIZE_MODE_NAMES[contents.resize_mode]),
        "inferencing_engine": str(TFLITE),
        "input_features_count": str(height * width),
        "interval_ms": "1",
        "label_count": str(len(labels)),
        "labels": f"[{','.join(_json(label) for label in labels)}]",
        "model_type": _json("constrained_object_detection" if facts.is_fomo else "classification"),
        "sensor": str(CAMERA),
        "slice_size": str(height * width // 4),
        "use_continuous_mode": "false",
    }


def _members(values: Mapping[str, str]) -> str:
    """The members of an object; the values are JSON."""
    return ",".join(f"{_json(name)}:{value}" for name, value in values.items())


def _json(text: str) -> str:
    """A JSON string in ASCII without a brace: the clients find the end of a reply by counting braces."""
    return json.dumps(text).replace("{", "\\u007b").replace("}", "\\u007d")
