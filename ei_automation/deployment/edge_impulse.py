"""The C++ library in the shape that Edge Impulse's inferencing SDK compiles: run_classifier() runs our code.

Written from the interfaces of the open SDK (github.com/edgeimpulse/inferencing-sdk-cpp, BSD-3-Clause-Clear), whose
generated headers carry a licence of their own that forbids copying: nothing of them is here. The SDK itself is the
user's to bring; `sdk.py` puts the two together.
"""

from __future__ import annotations

from typing import Any

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.compiler.emit.text import c_string, in_comment, number
from ei_automation.deployment.contents import BuildContents, labels_file, render_template
from ei_automation.deployment.model_facts import ModelFacts, read_model_facts
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import ResizeMode

SDK_VERSION = "1.93.20"
"""The release whose interfaces these files have; `model_variables.h` of another one may not compile."""
SDK_FOLDER = "edge-impulse-sdk"
PROJECT_ID, DSP_ID, LEARN_ID = 1, 2, 3
"""Studio numbers the input block 1 and goes on; a local project has no number of its own."""
STEM = f"tflite_learn_{PROJECT_ID}_{LEARN_ID}"
"""Name of the network's functions and files, as Studio makes it."""
CODE_NAME = f"{STEM}_model"
METADATA_NAME = "model-parameters/model_metadata.h"
VARIABLES_NAME = "model-parameters/model_variables.h"
COMPILED_NAME = f"tflite-model/{STEM}_compiled.cpp"
EXAMPLE_NAME = "example/main.cpp"
LABELS_NAME = "labels.txt"
RESIZE_MACROS: dict[ResizeMode, str] = {
    "squash": "EI_CLASSIFIER_RESIZE_SQUASH",
    "fit-short": "EI_CLASSIFIER_RESIZE_FIT_SHORTEST",
    "fit-long": "EI_CLASSIFIER_RESIZE_FIT_LONGEST",
}
DATATYPES = {"float32": 1, "int8": 9}
"""TfLiteType."""
DETECTION_THRESHOLD = 0.5
"""Studio's for object detection; an application may set another one at run time."""
DETECTION_COUNT = 10
"""Boxes that a result has room for at least, as Studio sets it."""
CONFIDENCE = 0.6
"""Studio's minimum confidence of a classification, where nothing was tested with another one."""


def files(request: BuildRequest, contents: BuildContents) -> dict[str, bytes]:
    """The library's files; the SDK belongs beside them as `edge-impulse-sdk`.

    Raises:
        UsageError: The SDK cannot run such a model, or not with this kind of memory.
        VerificationError: The model cannot be compiled.
    """
    model = contents.model(request.variant)
    facts = read_model_facts(model)
    check_runs(request, facts)
    options = CompileOptions(memory=request.memory, name=CODE_NAME, title=contents.project, labels=contents.labels)
    compiled = compile_model(model, options)
    values = _values(contents, facts, compiled)
    code = dict(compiled.files)
    network = code.pop(f"{CODE_NAME}.c") + render_template("edge_impulse_compiled.cpp.j2", **values).encode()
    rendered = {
        METADATA_NAME: "edge_impulse_metadata.h.j2",
        VARIABLES_NAME: "edge_impulse_variables.h.j2",
        f"tflite-model/{STEM}_compiled.h": "edge_impulse_compiled.h.j2",
        "tflite-model/trained_model_ops_define.h": "edge_impulse_ops_define.h.j2",
        EXAMPLE_NAME: "edge_impulse_main.cpp.j2",
        "example/CMakeLists.txt": "edge_impulse_cmake.txt.j2",
        "README.md": "edge_impulse_readme.md.j2",
    }
    return {
        **{f"tflite-model/{name}": content for name, content in code.items()},
        COMPILED_NAME: network,
        LABELS_NAME: labels_file(contents.labels),
        **{name: render_template(template, **values).encode() for name, template in rendered.items()},
    }


def object_labels(contents: BuildContents, facts: ModelFacts) -> tuple[str, ...]:
    """The labels of a result: FOMO's background, its first output, is none."""
    return contents.labels[1:] if facts.is_fomo else contents.labels


def check_runs(request: BuildRequest, facts: ModelFacts) -> None:
    """Refuse what the SDK cannot run.

    Raises:
        UsageError: Says what, and what to change.
    """
    if request.memory == "streamed-input":
        raise UsageError(
            "Edge Impulse's SDK writes the whole image into the network's input: it cannot pull rows",
            hint='use memory = "streamed" with this flavor, or the stand-alone C++ library',
        )
    for place, tensor in (("input", facts.input), ("output", facts.output)):
        if tensor.dtype not in DATATYPES or tensor.dtype != facts.input.dtype:
            raise UsageError(
                f"Edge Impulse's SDK cannot run a model whose {place} is {tensor.dtype}",
                hint="quantize it with int8 input and output, or give a float32 model",
            )
    height, width = facts.output.shape[1:3] if facts.is_fomo else (1, 1)
    if height != width:
        raise UsageError(
            f"Edge Impulse's SDK reads FOMO's grid as a square, this one has {height} x {width} cells",
            hint="make image_width and image_height equal",
        )


def _values(contents: BuildContents, facts: ModelFacts, compiled: CompiledModel) -> dict[str, Any]:
    """What the templates say."""
    _, height, width, channels = facts.input.shape
    output = facts.output
    return {
        "title": in_comment(contents.project),
        "project": c_string(contents.project),
        "sdk": SDK_VERSION,
        "sdk_folder": SDK_FOLDER,
        "version": SDK_VERSION.split("."),
        "project_id": PROJECT_ID,
        "dsp_id": DSP_ID,
        "learn_id": LEARN_ID,
        "stem": STEM,
        "code": CODE_NAME,
        "macro": CODE_NAME.upper(),
        "height": height,
        "width": width,
        "channels": channels,
        "resize": RESIZE_MACROS[contents.resize_mode],
        "resize_mode": contents.resize_mode,
        "labels": [c_string(label) for label in object_labels(contents, facts)],
        "names": object_labels(contents, facts),
        "quantized": facts.input.dtype == "int8",
        "datatype": DATATYPES[facts.input.dtype],
        "fomo": facts.is_fomo,
        "grid": output.shape[1:3],
        "output_count": compiled.graph.tensor(compiled.graph.output).count,
        "detections": DETECTION_COUNT,
        "detection_threshold": number(DETECTION_THRESHOLD),
        "threshold": number(_confidence(contents)),
        "arena_bytes": compiled.arena_bytes,
        "constant_bytes": compiled.constant_bytes,
        "memory": compiled.options.memory,
        "shapes": {"input": facts.input.shape, "output": output.shape},
        "input": facts.input,
        "output": output,
        "number": number,
    }


def _confidence(contents: BuildContents) -> float:
    """The minimum confidence that the model was tested with."""
    tested = (metrics.with_threshold for metrics in contents.metrics)
    return next((found.threshold for found in tested if found is not None), CONFIDENCE)
