"""Tags learn and jobs: a model that somebody brings along, its facts, and what is built of it.

RAM, ROM and latency of a model are not measured here; every answer that has a place for them says so.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ei_automation.studio_server import build, deployment_targets, pretrained
from ei_automation.studio_server.call import Call, File, RefusalError, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.pretrained import UNKNOWN, BroughtModel

if TYPE_CHECKING:
    from ei_automation.studio_server.workshop import JobTalk

CATEGORY_KEY = "pretrained-model"
PROFILE = "profile-tflite"
NO_MODEL = "There is no pretrained model. Upload one first"
KINDS = {
    "lowEndMcu": "Low-end MCU",
    "highEndMcu": "High-end MCU",
    "highEndMcuPlusAccelerator": "High-end MCU with accelerator",
    "mpu": "Microprocessor",
    "gpuOrMpuAccelerator": "GPU or accelerator",
}
"""Kinds of devices in the API's table."""
WITHOUT_REASON = ("mpu", "gpuOrMpuAccelerator")
"""Those whose schema has no field for a reason; it stands in their description."""


@serves("upload_pretrained_model")
def upload_pretrained_model(call: Call) -> dict[str, Any]:
    """Start looking into a model."""
    _only_tflite(call.form.get("modelFileType", ""))
    files = [upload for upload in call.uploads if upload.field == "modelFile"]
    if not files:
        raise RefusalError("Missing or invalid value for 'modelFile'")
    content, device = files[0].content, call.form.get("device", "")
    name = call.form.get("modelFileName") or files[0].filename
    has_features = any(upload.field == "representativeFeatures" for upload in call.uploads)

    def work(talk: JobTalk) -> None:
        _bring(call, talk, content, name, device)
        if has_features:
            talk.line("The representative features are not used: a .tflite file is quantized or it is not", "warn")

    return ok(id=_start(call, "Inspecting pretrained model", "upload", work))


@serves("get_pretrained_model_info")
def get_pretrained_model_info(call: Call) -> dict[str, Any]:
    """What is known of the model.

    `modelInfo` is optional and left out: the official Python client names a class for it that it does not have.
    """
    model = pretrained.brought(call.studio.projects, call.project_id)
    if model is None:
        return ok(specificDeviceSelected=False, availableModelTypes=[])
    facts = {
        "fileName": model.file_name,
        "inputs": model.inputs,
        "outputs": model.outputs,
        "supportsTFLite": True,
        **({"profileInfo": {model.variant: profile(model), "table": _table(model)}} if model.profiled else {}),
    }
    return ok(
        specificDeviceSelected=bool(model.device),
        availableModelTypes=[model.variant],
        model=facts,
    )


@serves("profile_pretrained_model")
def profile_pretrained_model(call: Call) -> dict[str, Any]:
    """Start what would measure the model; its size is all that it finds."""
    model = _model(call)

    def work(talk: JobTalk) -> None:
        talk.line(f"The {model.variant} model has {model.size_bytes} bytes")
        talk.line(f"{UNKNOWN}.", "warn")
        pretrained.keep(call.studio.projects, call.project_id, replace(model, profiled=True))

    return ok(id=_start(call, "Profiling pretrained model", "profile", work))


@serves("save_pretrained_model_parameters")
def save_pretrained_model_parameters(call: Call) -> dict[str, Any]:
    """Say what the model takes and gives; from now on builds are of it."""
    model = pretrained.say(_model(call), _info(call.body))
    pretrained.keep(call.studio.projects, call.project_id, model)
    return ok()


@serves("test_pretrained_model")
def test_pretrained_model(call: Call) -> dict[str, Any]:
    """Run the model over raw features."""
    model = pretrained.say(_model(call), _info(call.wanted("modelInfo", Mapping)))
    features = call.wanted("features", list)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in features):
        raise RefusalError("Missing or invalid value for 'features'")
    if len(model.outputs) != 1 or len(model.inputs) != 1:
        raise RefusalError("A model with several inputs or outputs is not tested here")
    scores = pretrained.classify(pretrained.read(call.studio.projects, call.project_id, model), features)
    names = model.labels or (("value",) if len(scores) == 1 else ())
    if len(names) != len(scores):
        return ok(freeformResult={"outputs": [scores]})
    return ok(result=dict(zip(names, scores, strict=True)))


@serves("download_pretrained_model")
def download_pretrained_model(call: Call) -> File:
    """The model's file."""
    model = _model(call)
    if call.path["pretrainedModelDownloadType"] != model.variant:
        raise RefusalError(f"There is no such download, the model is {model.variant}")
    content = pretrained.read(call.studio.projects, call.project_id, model)
    return File(content, "application/octet-stream", f"trained.{model.variant}.tflite")


@serves("start_deploy_pretrained_model_job")
def start_deploy_pretrained_model_job(call: Call) -> dict[str, Any]:
    """Take a model and build a deployment of it, in one job."""
    _only_tflite(call.body.get("modelFileType", ""))
    content = _base64(call.wanted("modelFileBase64"), "modelFileBase64")
    info, wanted = _info(call.wanted("modelInfo", Mapping)), call.wanted("deploymentType")
    engine, chosen = call.body.get("engine") or "tflite", call.body.get("deployModelType")
    project_id, studio = call.project_id, call.studio
    deployment_targets.wanted_target(wanted, engine, chosen)

    def work(talk: JobTalk) -> None:
        model = pretrained.say(_bring(call, talk, content, "model.tflite", ""), info)
        pretrained.keep(studio.projects, project_id, model)
        body = {"engine": engine, "modelType": chosen or model.variant}
        build.run(studio, project_id, wanted, body, talk)

    return ok(id=_start(call, "Deploying pretrained model", "deploy", work))


@serves("start_profile_tflite_job")
def start_profile_tflite_job(call: Call) -> dict[str, Any]:
    """Start what would measure a model that no project keeps."""
    content = _base64(call.wanted("tfliteFileBase64"), "tfliteFileBase64")
    device, project_id, projects = call.wanted("device"), call.project_id, call.studio.projects

    def work(talk: JobTalk) -> None:
        inputs, outputs = pretrained.tensors(content)
        model = BroughtModel("model.tflite", "", len(content), device, inputs, outputs, {})
        projects.set(project_id, f"{PROFILE}-{talk.job_id}", profile(model))
        talk.line(f"The {model.variant} model has {model.size_bytes} bytes")
        talk.line(f"{UNKNOWN}.", "warn")

    job_id = call.studio.workshop.start(
        project_id, category="Profiling model", category_key=PROFILE, key=PROFILE, work=work
    )
    return ok(id=job_id)


@serves("get_profile_tflite_job_result")
@serves("get_profile_tflite_job_result_via_post_request")
def get_profile_tflite_job_result(call: Call) -> dict[str, Any]:
    """What that job found."""
    job = call.studio.workshop.job(call.number("jobId"))
    if job is None or job.project_id != call.project_id or job.category_key != PROFILE:
        raise RefusalError("No job with this ID found")
    if job.finished is None:
        raise RefusalError("Job is still running")
    found = call.studio.projects.get(call.project_id, f"{PROFILE}-{job.job_id}")
    if found is None:
        raise RefusalError("Job did not finish successfully")
    return ok(**found)


def profile(model: BroughtModel) -> dict[str, Any]:
    """A model's performance as far as it is known, of schema ProfileModelInfo: its size."""
    return {
        "variant": model.variant,
        "device": model.device,
        "tfliteFileSizeBytes": model.size_bytes,
        "isSupportedOnMcu": False,
        "mcuSupportError": UNKNOWN,
        "customMetrics": [],
        "hasPerformance": False,
        "profilingError": UNKNOWN,
    }


def _table(model: BroughtModel) -> dict[str, Any]:
    """Kinds of devices, none of which a model was measured for; of schema ProfileModelTable."""
    table: dict[str, Any] = {"variant": model.variant}
    for kind, name in KINDS.items():
        if kind in WITHOUT_REASON:
            table[kind] = {"description": f"{name}. {UNKNOWN}", "supported": False}
        else:
            table[kind] = {"description": name, "supported": False, "mcuSupportError": UNKNOWN}
    return table


def _bring(call: Call, talk: JobTalk, content: bytes, name: str, device: str) -> BroughtModel:
    """Look into a model, keep it, and say what it is."""
    model = pretrained.bring(call.studio.projects, call.project_id, content, file_name=name, device=device)
    for word, tensors in (("Input", model.inputs), ("Output", model.outputs)):
        for tensor in tensors:
            talk.line(f"{word} {tensor['name']}: {tensor['dataType']} {tensor['shape']}")
    return model


def _start(call: Call, category: str, key: str, work: Any) -> int:
    return call.studio.workshop.start(
        call.project_id, category=category, category_key=CATEGORY_KEY, key=f"{CATEGORY_KEY}-{key}", work=work
    )


def _model(call: Call) -> BroughtModel:
    model = pretrained.brought(call.studio.projects, call.project_id)
    if model is None:
        raise RefusalError(NO_MODEL)
    return model


def _info(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a model takes and gives, as far as its two kinds are named."""
    given = {"input": body.get("input"), "model": body.get("model")}
    for part, field in (("input", "inputType"), ("model", "modelType")):
        value = given[part]
        if not isinstance(value, Mapping) or not isinstance(value.get(field), str):
            raise RefusalError(f"Missing or invalid value for '{part}'")
    labels = dict(given["model"] or {}).get("labels")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise RefusalError("Missing or invalid value for 'labels'")
    return given


def _only_tflite(kind: str) -> None:
    if kind != "tflite":
        raise RefusalError(f"This local Studio takes TensorFlow Lite models, not {kind or 'a model of no type'}")


def _base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError(f"'{name}' is not base64") from None
