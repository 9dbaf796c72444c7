"""The WebAssembly deployment: a module without imports, a small interface to it, and a page that works offline."""

from __future__ import annotations

import base64
import json

from ei_automation.compiler.toolchain import build, zig
from ei_automation.deployment.contents import BuildContents, labels_file, render_template
from ei_automation.deployment.impulse_code import (
    EXACT_FLOATS,
    FOMO_THRESHOLD,
    ImpulseCode,
    impulse_code,
    templates,
)
from ei_automation.schema.deployment import BuildRequest

MODULE_NAME, SCRIPT_NAME, PAGE_NAME = "model.wasm", "model.js", "index.html"
LABELS_NAME, README_NAME = "labels.txt", "README.md"
ARGUMENTS = ("-std=gnu99", "-O2", EXACT_FLOATS, "-s", "-I.", "wasm.c", "model.c", "-Wl,--no-entry")


def files(request: BuildRequest, contents: BuildContents) -> dict[str, bytes]:
    """The deployment's files.

    Args:
        request: Variant and memory.
        contents: The model and its impulse.

    Raises:
        UsageError: The memory mode does not fit.
        NotFoundError: There is no model of the variant.
        VerificationError: The model cannot be compiled, or a label cannot stand in labels.txt.
        SettingsError: The C compiler is not installed.
    """
    compiler = zig("wasm32-freestanding")
    labels = labels_file(contents.labels)
    code = impulse_code(request, contents, {})
    static = templates("wasm")
    page = static.pop(PAGE_NAME)
    module = build(
        compiler, {**code.files, **static}, ARGUMENTS, MODULE_NAME, doing="building the WebAssembly module"
    )
    script = render_template(
        f"wasm/{SCRIPT_NAME}.j2",
        facts=json.dumps(_facts(contents, code), indent=4, sort_keys=True),
        module_base64=base64.b64encode(module).decode(),
    )
    return {
        MODULE_NAME: module,
        SCRIPT_NAME: script.encode(),
        PAGE_NAME: page,
        LABELS_NAME: labels,
        README_NAME: _readme(request, contents, code, len(module)).encode(),
    }


def _readme(request: BuildRequest, contents: BuildContents, code: ImpulseCode, wasm_bytes: int) -> str:
    """How to use it."""
    _, height, width, _ = code.facts.input.shape
    return render_template(
        f"wasm/{README_NAME}.j2",
        project=contents.project,
        wasm_bytes=wasm_bytes,
        width=width,
        height=height,
        resize_mode=contents.resize_mode,
        variant=request.variant,
        channels=contents.channels,
        labels=code.labels,
        is_fomo=code.facts.is_fomo,
        threshold=FOMO_THRESHOLD,
    )


def _facts(contents: BuildContents, code: ImpulseCode) -> dict[str, object]:
    """What the script says of the model."""
    _, height, width, channels = code.facts.input.shape
    return {
        "project": " ".join(contents.project.split()),
        "labels": code.labels,
        "width": width,
        "height": height,
        "channels": channels,
        "resizeMode": contents.resize_mode,
        "findsObjects": code.facts.is_fomo,
        "threshold": FOMO_THRESHOLD,
    }
