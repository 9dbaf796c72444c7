"""The C++ library: the network as C with no dependency, an example that classifies image files, and a README."""

from __future__ import annotations

from typing import Any

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model, plan_graph
from ei_automation.compiler.emit.text import in_comment
from ei_automation.deployment import edge_impulse
from ei_automation.deployment.contents import BuildContents, labels_file, render_template
from ei_automation.deployment.model_facts import ModelFacts, TensorFacts, read_model_facts
from ei_automation.schema.deployment import MEMORY_MODES, BuildRequest, Memory

NAME = "model"
"""Prefix of the code's files and names."""
LABELS_NAME = "labels.txt"
CALLS: dict[Memory, str] = {
    "planned": f"`{NAME}_invoke(image, scores)`; the tensors lie whole in the arena",
    "streamed": f"`{NAME}_invoke(image, scores)`; the layers take turns row by row",
    "streamed-input": f"`{NAME}_invoke(read_row, context, scores)`; the image's rows are pulled by a callback",
}
STUDIO_SCALE = 1 / 255
SCALE_TOLERANCE = 1e-9
LOWEST = {"int8": -128, "uint8": 0}


def files(request: BuildRequest, contents: BuildContents) -> dict[str, bytes]:
    """The library's files.

    Raises:
        UsageError: The flavor cannot be built so.
        VerificationError: The model cannot be compiled.
    """
    if request.flavor == "edge-impulse":
        return edge_impulse.files(request, contents)
    model = contents.model(request.variant)
    facts = read_model_facts(model)
    options = CompileOptions(memory=request.memory, name=NAME, title=contents.project, labels=contents.labels)
    compiled = compile_model(model, options)
    values = _values(contents, facts, compiled)
    rendered = {
        "main.c": "cpp_main.c.j2",
        "CMakeLists.txt": "cpp_cmake.txt.j2",
        "README.md": "cpp_readme.md.j2",
    }
    return {
        **compiled.files,
        **{name: render_template(template, **values).encode() for name, template in rendered.items()},
        LABELS_NAME: labels_file(contents.labels),
    }


def arenas(compiled: CompiledModel) -> dict[Memory, int]:
    """The static RAM that a compiled model would need with each kind of memory, bytes."""
    return {mode: plan_graph(compiled.graph, compiled.calls, mode).arena_bytes for mode in MEMORY_MODES}


def _values(contents: BuildContents, facts: ModelFacts, compiled: CompiledModel) -> dict[str, Any]:
    """What the templates say."""
    _, height, width, channels = facts.input.shape
    low = LOWEST.get(facts.input.dtype, 0)
    return {
        "title": in_comment(contents.project),
        "name": NAME,
        "macro": NAME.upper(),
        "height": height,
        "width": width,
        "channels": channels,
        "quantized": facts.input.dtype in LOWEST,
        "output_quantized": facts.output.dtype in LOWEST,
        "low": low,
        "plain_input": _is_plain(facts.input, low),
        "input_words": _input_words(facts.input, low),
        "value": lambda colour: _input_value(colour, facts.input, low),
        "fomo": facts.is_fomo,
        "grid": facts.output.shape[1:3],
        "labels": contents.labels,
        "resize_mode": contents.resize_mode,
        "memory": compiled.options.memory,
        "arena_bytes": compiled.arena_bytes,
        "constant_bytes": compiled.constant_bytes,
        "modes": arenas(compiled),
        "calls": CALLS,
    }


def _is_plain(tensor: TensorFacts, low: int) -> bool:
    """Whether a colour goes in as it is, but for its sign: as Studio quantizes the input."""
    return abs(tensor.scale - STUDIO_SCALE) < SCALE_TOLERANCE and tensor.zero_point == low


def _input_words(tensor: TensorFacts, low: int) -> str:
    """What the network's input holds."""
    if tensor.dtype not in LOWEST:
        return "float32, 0..1"
    if _is_plain(tensor, low):
        return f"{tensor.dtype}, a colour 0..255{' minus 128' if low else ''}"
    return f"{tensor.dtype}, scale {tensor.scale:.9g}, zero point {tensor.zero_point}"


def _input_value(colour: str, tensor: TensorFacts, low: int) -> str:
    """C for an input value made of a colour 0..255."""
    if tensor.dtype not in LOWEST:
        return f"{colour} / 255.0f"
    cast = f"({NAME}_input_t)"
    if _is_plain(tensor, low):
        return f"{cast}({colour} - 128)" if low else f"{cast}{colour}"
    macro = NAME.upper()
    return f"{cast}((int)({colour} / 255.0f / {macro}_INPUT_SCALE + 0.5f) + {macro}_INPUT_ZERO_POINT)"
