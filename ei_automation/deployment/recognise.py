"""Read a deployment, Studio's or ours, and say what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ei_automation.deployment import bundle, openmv
from ei_automation.deployment.contents import BACKGROUND
from ei_automation.deployment.model_facts import ModelFacts, TensorFacts, read_model_facts
from ei_automation.deployment.parts import read_parts
from ei_automation.errors import NotFoundError
from ei_automation.files import sha256_bytes, storage_errors

Kind = Literal["openmv", "openmv-fomo", "bundle"]

INPUT_SCALE, INPUT_ZERO_POINT = 1 / 255, -128
"""What the firmware assumes of an int8 input: the pixel minus 128 goes in, unscaled."""
OUTPUT_SCALE, OUTPUT_ZERO_POINT = 1 / 256, -128
"""What TensorFlow Lite fixes for an int8 softmax."""
SCALE_TOLERANCE = 1e-6
COMPILED_MARKS = {
    "model-parameters/model_metadata.h": "a C++ library for Edge Impulse's inferencing SDK",
    "model.wasm": "a WebAssembly deployment",
    "model.c": "a C++ library",
}
"""Files of deployments that hold code in place of a model, and what these are."""
PROGRAM_MARK = b"\x7fELF"
"""How a Linux program begins, .eim files among them."""
ML_CALL, TF_CALL = re.compile(r"\bml\.Model\("), re.compile(r"\btf\.(load|load_builtin_model|classify)\(")


@dataclass(frozen=True)
class RecognisedDeployment:
    """What a deployment holds.

    Attributes:
        kind: openmv (image classification), openmv-fomo (object detection) or bundle.
        model: Bytes of the .tflite file; of a bundle the int8 one.
        model_sha256: Of these bytes.
        labels: Of labels.txt.
        input: The model's input tensor.
        output: The model's output tensor.
        script_api: Which module its script uses, ml (firmware 4.5.6 and newer) or tf (older); None where there
            is no script, or one that uses neither.
        problems: What would go wrong with it, one sentence each; empty when all is well.
        notes: What is unusual and harmless.
    """

    kind: Kind
    model: bytes
    model_sha256: str
    labels: tuple[str, ...]
    input: TensorFacts
    output: TensorFacts
    script_api: openmv.ScriptApi | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def recognise(path: Path) -> RecognisedDeployment:
    """Read a deployment.

    Args:
        path: The zip, or a folder with its files.

    Raises:
        NotFoundError: There is nothing, or nothing that is a known deployment.
        VerificationError: The zip or the model is corrupt.
    """
    if path.is_file():
        with storage_errors(path, "reading a deployment"), path.open("rb") as stream:
            if stream.read(len(PROGRAM_MARK)) == PROGRAM_MARK:
                raise _compiled(path, "a Linux program")
    return recognise_files(read_parts(path, _wanted), path)


def recognise_files(files: Mapping[str, bytes], path: Path) -> RecognisedDeployment:
    """What the files of a deployment are.

    Args:
        files: Its parts, by name.
        path: Where they are from, for errors.

    Raises:
        NotFoundError: They are no known deployment.
        VerificationError: The model is corrupt.
    """
    if openmv.MODEL_NAME in files:
        return _recognise_openmv(files)
    if bundle.MODEL_NAMES["int8"] in files:
        return _recognise_bundle(files)
    if words := next((words for name, words in COMPILED_MARKS.items() if name in files), ""):
        raise _compiled(path, words)
    raise NotFoundError(
        f"{path} is no deployment that is known here: it has neither {openmv.MODEL_NAME} (an OpenMV library) nor "
        f"{bundle.MODEL_NAMES['int8']} (a bundle)",
        hint="give the zip as it was downloaded, or the folder it was unpacked into",
    )


def _compiled(path: Path, words: str) -> NotFoundError:
    """The error for a deployment of compiled code."""
    return NotFoundError(
        f"{path} is {words}: its network is compiled code, there is no .tflite file in it to be read",
        hint="give the OpenMV library or the bundle of the same model",
    )


def _wanted(name: str) -> bool:
    """Whether a file at the top of a deployment is one of its parts."""
    parts = (
        openmv.MODEL_NAME,
        openmv.LABELS_NAME,
        bundle.CARD_NAME,
        bundle.METRICS_NAME,
        *bundle.MODEL_NAMES.values(),
        *COMPILED_MARKS,
    )
    return name in parts or bool(re.fullmatch(r"ei_\w+\.py", name))


def _recognise_openmv(files: Mapping[str, bytes]) -> RecognisedDeployment:
    """An OpenMV library."""
    model = files[openmv.MODEL_NAME]
    facts = read_model_facts(model)
    labels, problems, notes = labels_of(files)
    problems += _label_problems(facts, labels) + _int8_problems(facts)
    script_api, script_problems = _script(files)
    if not any(name.endswith(".py") for name in files):
        notes.append("it has no script")
    return RecognisedDeployment(
        kind="openmv-fomo" if facts.is_fomo else "openmv",
        model=model,
        model_sha256=sha256_bytes(model),
        labels=labels,
        input=facts.input,
        output=facts.output,
        script_api=script_api,
        problems=tuple(problems + script_problems),
        notes=tuple(notes),
    )


def _recognise_bundle(files: Mapping[str, bytes]) -> RecognisedDeployment:
    """A bundle of ours."""
    model = files[bundle.MODEL_NAMES["int8"]]
    facts = read_model_facts(model)
    labels, problems, notes = labels_of(files)
    problems += _label_problems(facts, labels) + _int8_problems(facts)
    for name in (bundle.MODEL_NAMES["float32"], bundle.METRICS_NAME, bundle.CARD_NAME):
        if name not in files:
            problems.append(f"{name} is missing")
    if bundle.MODEL_NAMES["float32"] in files:
        problems += _float_problems(read_model_facts(files[bundle.MODEL_NAMES["float32"]]), facts)
    return RecognisedDeployment(
        kind="bundle",
        model=model,
        model_sha256=sha256_bytes(model),
        labels=labels,
        input=facts.input,
        output=facts.output,
        script_api=None,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def labels_of(files: Mapping[str, bytes]) -> tuple[tuple[str, ...], list[str], list[str]]:
    """The labels of labels.txt, problems with the file, and notes on it."""
    if openmv.LABELS_NAME not in files:
        return (), [f"{openmv.LABELS_NAME} is missing"], []
    try:
        text = files[openmv.LABELS_NAME].decode()
    except UnicodeDecodeError:
        return (), [f"{openmv.LABELS_NAME} is no UTF-8 text"], []
    notes = []
    if text.endswith("\n"):
        # Scripts read line by line, so one newline at the end adds no label; one public deployment has it.
        notes.append(f"{openmv.LABELS_NAME} ends in a newline, which Studio does not write")
        text = text.removesuffix("\n")
    labels = tuple(line.removesuffix("\r") for line in text.split("\n"))
    problems = [f"{openmv.LABELS_NAME} has an empty line"] if "" in labels else []
    if len(set(labels)) != len(labels):
        problems.append(f"{openmv.LABELS_NAME} names a label twice")
    return labels, problems, notes


def _label_problems(facts: ModelFacts, labels: tuple[str, ...]) -> list[str]:
    """Whether the labels are those of the model's outputs."""
    if not labels:
        return []
    problems = []
    outputs = facts.output.shape[-1]
    if outputs != len(labels):
        problems.append(f"the model gives {outputs} scores, {openmv.LABELS_NAME} has {len(labels)} labels")
    if facts.is_fomo and labels[0] != BACKGROUND:
        problems.append(f"the first label of a FOMO model must be {BACKGROUND}, it is {labels[0]}")
    if not facts.is_fomo and facts.output.shape[:-1] != (1,):
        problems.append(f"the model's output is {facts.output.shape}; (1, labels) or FOMO's grid was expected")
    return problems


def _int8_problems(facts: ModelFacts) -> list[str]:
    """Whether input and output are quantized as firmware and scripts take for granted."""
    problems = []
    shape = facts.input.shape
    if len(shape) != 4 or shape[0] != 1 or shape[-1] not in (1, 3):
        problems.append(f"the model's input is {shape}; (1, height, width, 1 or 3) was expected")
    for name, tensor, scale, zero_point in (
        ("input", facts.input, INPUT_SCALE, INPUT_ZERO_POINT),
        ("output", facts.output, OUTPUT_SCALE, OUTPUT_ZERO_POINT),
    ):
        if tensor.dtype != "int8":
            problems.append(f"the model's {name} is {tensor.dtype}, not int8")
        elif abs(tensor.scale - scale) > SCALE_TOLERANCE or tensor.zero_point != zero_point:
            problems.append(
                f"the model's {name} has scale {tensor.scale:.9f} and zero point {tensor.zero_point}; "
                f"{scale:.9f} and {zero_point} were expected"
            )
    return problems


def _float_problems(floating: ModelFacts, int8: ModelFacts) -> list[str]:
    """Whether the float32 model of a bundle goes with its int8 model."""
    problems = []
    if floating.input.dtype != "float32" or floating.output.dtype != "float32":
        problems.append(f"{bundle.MODEL_NAMES['float32']} is not float32")
    if (floating.input.shape, floating.output.shape) != (int8.input.shape, int8.output.shape):
        problems.append("the two models have different inputs or outputs")
    return problems


def _script(files: Mapping[str, bytes]) -> tuple[openmv.ScriptApi | None, list[str]]:
    """Which module the script uses, and what is wrong with it."""
    scripts = [files[name].decode(errors="replace") for name in sorted(files) if name.endswith(".py")]
    text = "\n".join(scripts)
    uses_ml, uses_tf = bool(ML_CALL.search(text)), bool(TF_CALL.search(text))
    if not scripts:
        return None, []
    if uses_ml == uses_tf:
        both = "both the ml and the tf module" if uses_ml else "neither the ml nor the tf module"
        return None, [f"the script uses {both}"]
    return ("ml" if uses_ml else "tf"), []
