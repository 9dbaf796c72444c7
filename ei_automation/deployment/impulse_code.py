"""What the Linux program and the WebAssembly module share: the model as C, and C that knows the impulse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as resource_files

from ei_automation.compiler.compiling import CompileOptions, compile_model
from ei_automation.compiler.toolchain import EXTRA, has_zig
from ei_automation.deployment.contents import BuildContents
from ei_automation.deployment.model_facts import ModelFacts, TensorFacts, read_model_facts
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import ResizeMode

NAME = "model"
"""Prefix of the compiled model's files and functions; the templates use it."""
FOMO_THRESHOLD = 0.5
"""Least score of a cell with an object: Studio's default for object detection."""
LEARN_BLOCK_ID = 3
"""Studio numbers a new impulse's blocks so: 1 the input, 2 the image block, 3 the learn block."""
RESIZE_MODES: dict[ResizeMode, str] = {
    "squash": "IMPULSE_SQUASH",
    "fit-short": "IMPULSE_FIT_SHORT",
    "fit-long": "IMPULSE_FIT_LONG",
}
LOWEST = {"int8": -128, "uint8": 0}
"""The least value of a quantized tensor."""
EXACT_FLOATS = "-ffp-contract=off"
"""No fused multiply-add, which rounds once where the reference rounds twice."""


@dataclass(frozen=True)
class ImpulseCode:
    """The C of an impulse.

    Attributes:
        files: Name to content: the model, what surrounds it, and impulse.h.
        facts: The model's input and output.
        labels: Of what it can find or tell; FOMO's background is none of them.
    """

    files: Mapping[str, bytes]
    facts: ModelFacts
    labels: tuple[str, ...]


def missing_compiler() -> str:
    """Why neither a Linux program nor a WebAssembly module can be built here; empty where both can."""
    return "" if has_zig() else f"It needs a C compiler that is not installed: {EXTRA}"


def impulse_code(request: BuildRequest, contents: BuildContents, macros: Mapping[str, str]) -> ImpulseCode:
    """Compile the model and write what surrounds it.

    Args:
        request: Variant and memory.
        contents: The model and its impulse.
        macros: More lines of impulse.h: name without its IMPULSE_ to C text.

    Raises:
        UsageError: The memory mode has no whole image to take.
        NotFoundError: There is no model of the variant.
        VerificationError: The model cannot be compiled.
    """
    if request.memory == "streamed-input":
        raise UsageError(
            f"target {request.format} gets whole pictures, memory streamed-input pulls them row by row",
            hint='leave memory out, or set it to "streamed" or "planned"',
        )
    model = contents.model(request.variant)
    facts = read_model_facts(model)
    options = CompileOptions(memory=request.memory, name=NAME, title=contents.project, labels=contents.labels)
    compiled = compile_model(model, options)
    labels = found_labels(contents, facts)
    header = _header({**_tensor_macros(facts), **_impulse_macros(contents, facts, labels), **macros})
    return ImpulseCode({**compiled.files, **templates("impulse"), "impulse.h": header}, facts, labels)


def found_labels(contents: BuildContents, facts: ModelFacts) -> tuple[str, ...]:
    """The labels that a result can name: of FOMO all but the background."""
    return contents.labels[1:] if facts.is_fomo else contents.labels


def templates(folder: str) -> dict[str, bytes]:
    """The files of a folder of templates that are used as they are."""
    place = resource_files("ei_automation.deployment") / "templates" / folder
    return {
        entry.name: entry.read_bytes()
        for entry in sorted(place.iterdir(), key=lambda entry: entry.name)
        if entry.is_file() and not entry.name.endswith(".j2")
    }


def _header(macros: Mapping[str, str]) -> bytes:
    """impulse.h."""
    lines = [f"#define IMPULSE_{name} {value}" for name, value in macros.items()]
    guard = "IMPULSE_IMPULSE_H"
    return "\n".join([f"#ifndef {guard}", f"#define {guard}", "", *lines, "", "#endif", ""]).encode()


def _impulse_macros(contents: BuildContents, facts: ModelFacts, labels: tuple[str, ...]) -> dict[str, str]:
    """What the impulse does with a picture, and what comes out."""
    _, height, width, channels = facts.input.shape
    grid_height, grid_width = facts.output.shape[1:3] if facts.is_fomo else (1, 1)
    modes = {name.removeprefix("IMPULSE_"): str(number) for number, name in enumerate(RESIZE_MODES.values())}
    return {
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "CHANNELS": str(channels),
        **modes,
        "RESIZE_MODE": RESIZE_MODES[contents.resize_mode],
        "LABELS": str(len(labels)),
        "IS_FOMO": str(int(facts.is_fomo)),
        "GRID_WIDTH": str(grid_width),
        "GRID_HEIGHT": str(grid_height),
        "THRESHOLD": f"{FOMO_THRESHOLD}f",
        "BLOCK": str(LEARN_BLOCK_ID),
    }


def _tensor_macros(facts: ModelFacts) -> dict[str, str]:
    """How the model's input and output are stored."""
    given, result = facts.input, facts.output
    return {
        **_stored("INPUT", given),
        "INPUT_LOWEST": f"({LOWEST.get(given.dtype, 0)})",
        **_stored("OUTPUT", result),
    }


def _stored(prefix: str, tensor: TensorFacts) -> dict[str, str]:
    is_float = tensor.dtype not in LOWEST
    return {
        f"{prefix}_IS_FLOAT": str(int(is_float)),
        f"{prefix}_SCALE": "1.0f" if is_float else f"{tensor.scale!r}f",
        f"{prefix}_ZERO_POINT": f"({tensor.zero_point})",
    }
