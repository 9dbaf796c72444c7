"""A model that somebody brings along: what is said of it is read with the interpreter, nothing is made up."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from ei_automation.deployment.bundle import DESCRIPTION as BUNDLE_TARGET
from ei_automation.deployment.bundle import MODEL_NAMES
from ei_automation.deployment.contents import BuildContents, DatasetSummary, labels_file, make_zip
from ei_automation.deployment.targets import CPP, build, problem
from ei_automation.errors import NotFoundError, UsageError, VerificationError
from ei_automation.files import fingerprint, sha256_bytes, storage_errors, write_atomically
from ei_automation.inference.interpreter import Quantization, open_interpreter
from ei_automation.schema.impulse import ResizeMode

if TYPE_CHECKING:
    from pathlib import Path

    from ei_automation.schema.deployment import BuildRequest
    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.studio_server.projects import Projects
    from ei_automation.studio_server.studio import Studio

SETTING = "pretrained-model"
DOING = "storing a pretrained model"
UNKNOWN = "RAM, ROM and latency are not measured by this local Studio"
TENSOR_TYPES = ("int8", "uint8", "float32")
TRAINING_KEYS = ("keras-", "retrain")
"""How the keys of training jobs begin."""
DEFAULT_RESIZE_MODE: ResizeMode = "squash"
"""Where nothing is said of a model's pictures."""


@dataclass(frozen=True)
class BroughtModel:
    """A project's pretrained model.

    Attributes:
        file_name: As uploaded.
        sha256: Of the .tflite file.
        size_bytes: Of the .tflite file.
        device: The MCU that was asked about; empty for none.
        inputs: Tensors of schema PretrainedModelTensor.
        outputs: Tensors of schema PretrainedModelTensor.
        info: What it takes and gives, as `{"input": ..., "model": ...}` of the API; empty until it is said.
        said: When that was, seconds since 1970.
        profiled: Whether somebody asked for its performance.
    """

    file_name: str
    sha256: str
    size_bytes: int
    device: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    info: Mapping[str, Any]
    said: float = 0.0
    profiled: bool = False

    @property
    def variant(self) -> ModelVariant:
        """float32 or int8, by its input."""
        return "float32" if self.inputs[0]["dataType"] == "float32" else "int8"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its outputs; empty where they have none."""
        return tuple(self.info["model"].get("labels", ())) if self.info else ()

    @property
    def made_of(self) -> str:
        """Fingerprint of what a deployment of it depends on."""
        return fingerprint({"model": self.sha256, "info": dict(self.info)})


def tensors(model: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs of a .tflite file, of schema PretrainedModelTensor.

    Args:
        model: Its bytes.

    Raises:
        VerificationError: The bytes are no model that LiteRT can run, or it has tensors of a type that the API
            has no word for.
    """
    interpreter = open_interpreter(model)
    try:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except UnicodeDecodeError as error:
        raise VerificationError(f"a tensor's name in the .tflite model is no text: {error}") from error
    if not inputs or not outputs:
        raise VerificationError(f"the .tflite model has {len(inputs)} inputs and {len(outputs)} outputs")
    return [_tensor(details) for details in inputs], [_tensor(details) for details in outputs]


def _tensor(details: dict[str, Any]) -> dict[str, Any]:
    quantization = Quantization.of(details)
    if quantization.dtype not in TENSOR_TYPES:
        raise VerificationError(
            f"tensor {details['name']} is of type {quantization.dtype}; {', '.join(TENSOR_TYPES)} can be used"
        )
    if not math.isfinite(quantization.scale):
        raise VerificationError(f"tensor {details['name']} has the scale {quantization.scale}")
    tensor: dict[str, Any] = {
        "dataType": quantization.dtype,
        "name": details["name"],
        "shape": [int(side) for side in details["shape"]],
    }
    if quantization.dtype != "float32":
        tensor["quantizationScale"] = quantization.scale
        tensor["quantizationZeroPoint"] = quantization.zero_point
    return tensor


def bring(projects: Projects, project_id: int, content: bytes, *, file_name: str, device: str) -> BroughtModel:
    """Keep a model as the project's pretrained model, in place of any earlier one.

    Args:
        projects: Of the server.
        project_id: Whose it becomes.
        content: The .tflite file.
        file_name: As uploaded.
        device: The MCU that is asked about; empty for none.

    Raises:
        VerificationError: It is no model that can be used.
    """
    inputs, outputs = tensors(content)
    model = BroughtModel(file_name, sha256_bytes(content), len(content), device, inputs, outputs, {})
    write_atomically(_place(projects, project_id, model), content, doing=DOING)
    keep(projects, project_id, model)
    return model


def keep(projects: Projects, project_id: int, model: BroughtModel) -> None:
    """Remember what is known of a project's pretrained model."""
    projects.set(project_id, SETTING, asdict(model))


def brought(projects: Projects, project_id: int) -> BroughtModel | None:
    """A project's pretrained model; None where there is none."""
    value = projects.get(project_id, SETTING)
    return BroughtModel(**value) if value else None


def read(projects: Projects, project_id: int, model: BroughtModel) -> bytes:
    """The .tflite file of a project's pretrained model.

    Raises:
        VerificationError: It is not what was uploaded.
    """
    place = _place(projects, project_id, model)
    with storage_errors(place, "reading a pretrained model"):
        content = place.read_bytes() if place.is_file() else b""
    if sha256_bytes(content) != model.sha256:
        raise VerificationError(f"{place} is not the model that was uploaded", hint="upload it again")
    return content


def say(model: BroughtModel, info: Mapping[str, Any]) -> BroughtModel:
    """Say what a model takes and gives.

    Args:
        model: Which.
        info: `{"input": {"inputType": ...}, "model": {"modelType": ...}}` of the API.

    Raises:
        UsageError: The model is not of this kind.
    """
    kind, labels = info["model"]["modelType"], info["model"].get("labels")
    scores = ([1] + model.outputs[0]["shape"])[-1]
    if kind == "classification" and (len(model.outputs) != 1 or labels is None or len(labels) != scores):
        raise UsageError(f"Expected {scores} labels for this model, got {len(labels or ())}")
    if info["input"]["inputType"] == "image" and len(model.inputs[0]["shape"]) != 4:
        raise UsageError(f"The model's input {model.inputs[0]['shape']} is no image")
    return replace(model, info={"input": info["input"], "model": info["model"]}, said=time.time())


def in_use(studio: Studio, project_id: int) -> BroughtModel | None:
    """The pretrained model where it is what the project builds: no impulse was set and nothing trained since."""
    model = brought(studio.projects, project_id)
    if model is None or not model.info or studio.impulses.modified(project_id) > model.said:
        return None
    trained = any(
        job.successful and (job.finished or 0) > model.said and job.key.startswith(TRAINING_KEYS)
        for job in studio.workshop.jobs(project_id)
    )
    return None if trained else model


def classify(content: bytes, features: Sequence[float]) -> list[float]:
    """Run a model over one set of features.

    Args:
        content: The .tflite file.
        features: As many real numbers as the input has.

    Returns:
        The output's real numbers.

    Raises:
        UsageError: There are more or fewer features than the model takes, or numbers that float32 does not have.
    """
    interpreter = open_interpreter(content)
    given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shape = tuple(int(side) for side in given["shape"])
    if len(features) != int(np.prod(shape)):
        raise UsageError(f"The model takes {int(np.prod(shape))} features, {len(features)} were given")
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(features, np.float32).reshape(shape)
    except OverflowError:
        values = np.full(shape, np.inf, np.float32)
    if not np.isfinite(values).all():
        raise UsageError("A feature is too large for float32")
    interpreter.set_tensor(given["index"], Quantization.of(given).quantize(values))
    interpreter.invoke()
    output = Quantization.of(result).dequantize(interpreter.get_tensor(result["index"]))
    if not np.isfinite(output).all():
        raise UsageError("The model's output for these features is not a finite number")
    return [float(value) for value in output.reshape(-1)]


def build_artifact(model: BroughtModel, content: bytes, request: BuildRequest, project: str) -> bytes:
    """Build a deployment of a pretrained model.

    Args:
        model: Which.
        content: Its file.
        request: A target of `deployment.targets`.
        project: The project's name.

    Raises:
        NotFoundError: The model is not of the variant.
        UsageError: It cannot be built so.
    """
    if request.variant != model.variant:
        raise NotFoundError(
            f"the pretrained model is {model.variant}, {request.variant} was asked for",
            hint=f"build it as {model.variant}; a .tflite file cannot be quantized afterwards",
        )
    if request.format == BUNDLE_TARGET.format:
        labels = {"labels.txt": labels_file(model.labels)} if model.labels else {}
        return make_zip({MODEL_NAMES[model.variant]: content, **labels})
    reason = not_built(model, content, request)
    if reason:
        raise UsageError(reason, hint="build the bundle, which holds any model")
    return build(_flavored(model, request), _image_contents(model, content, project))


def _flavored(model: BroughtModel, request: BuildRequest) -> BuildRequest:
    """The request; of no pictures without the flavor, for the SDK's image block would come between."""
    return request if model.info["input"]["inputType"] == "image" else replace(request, flavor="")


def not_built(model: BroughtModel, content: bytes, request: BuildRequest) -> str:
    """Why a target cannot be built of a model; empty where it can.

    Args:
        model: Which.
        content: Its file.
        request: A target of `deployment.targets` other than the bundle.
    """
    given, shape = model.info["input"], model.inputs[0]["shape"]
    if model.info["model"]["modelType"] != "classification" or not model.labels:
        return "The target needs a model that classifies"
    if len(shape) != 4 or shape[-1] not in (1, 3):
        return f"The target needs a model that takes pictures; this one takes {shape}"
    if given["inputType"] != "image" and request.format != CPP.format:
        return f"The target needs a model that takes pictures; this one is said to take {given['inputType']}"
    resize_mode = given.get("resizeMode", DEFAULT_RESIZE_MODE)
    if resize_mode not in get_args(ResizeMode):
        return f"Resize mode {resize_mode} is not built here. Use {', '.join(get_args(ResizeMode))}"
    return problem(_flavored(model, request), _image_contents(model, content, ""))


def _image_contents(model: BroughtModel, content: bytes, project: str) -> BuildContents:
    """For a model that takes pictures."""
    shape = model.inputs[0]["shape"]
    return BuildContents(
        project=project,
        labels=model.labels,
        models={model.variant: content},
        input_shape=cast("tuple[int, int, int]", tuple(shape[1:])),
        resize_mode=model.info["input"].get("resizeMode", DEFAULT_RESIZE_MODE),
        channels="RGB" if shape[-1] == 3 else "Grayscale",
        dataset=DatasetSummary(origin="", split_method="", counts={}),
    )


def _place(projects: Projects, project_id: int, model: BroughtModel) -> Path:
    return projects.folder(project_id) / "pretrained" / f"{model.sha256}.tflite"
