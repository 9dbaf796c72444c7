"""A model that somebody brings along: what is said of it, and what is built of it."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.compiler.toolchain import has_zig
from ei_automation.deployment.recognise import recognise
from ei_automation.errors import UsageError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.deployment import BuildRequest
from ei_automation.studio_server import pretrained
from ei_automation.testing import RunningStudio
from tests.compiler.models import ModelBuilder
from tests.inference.tiny_models import float_model, int8_model
from tests.studio_server.trained import Caller, trained, trained_folder  # noqa: F401

SHAPE = (6, 8, 3)
WEIGHTS = np.random.default_rng(3).integers(-127, 128, (3, 144)).astype(np.int8)
FLOAT = float_model(SHAPE, WEIGHTS * np.float32(0.05))
INT8 = int8_model(SHAPE, WEIGHTS)
LABELS = ["no person", "person", "dög"]
INFO: dict[str, dict[str, Any]] = {
    "input": {"inputType": "image", "inputScaling": "0..1"},
    "model": {"modelType": "classification", "labels": LABELS},
}


@pytest.fixture
def caller(studio: RunningStudio) -> Caller:
    """Calls against an empty project."""
    return Caller(studio)


def upload(caller: Caller, content: bytes, **fields: str) -> dict[str, Any]:
    """Upload a model; the job's start."""
    form = {"modelFileName": "watch.tflite", "modelFileType": "tflite", **fields}
    answer = caller.raw(
        "POST", "{p}/pretrained-model/upload", data=form, files={"modelFile": ("watch.tflite", content)}
    )
    return dict(answer.json())


def download(caller: Caller, version: int) -> bytes:
    """A build's file."""
    return caller.raw("GET", f"{{p}}/deployment/history/{version}/download").content


def test_a_models_tensors_are_read_from_the_file(caller: Caller) -> None:
    assert caller.get("{p}/pretrained-model") == {
        "success": True,
        "specificDeviceSelected": False,
        "availableModelTypes": [],
    }
    log = caller.done(upload(caller, INT8, device="cortex-m7"))
    assert "int8 [1, 6, 8, 3]" in log
    found = caller.get("{p}/pretrained-model")
    assert (found["availableModelTypes"], found["specificDeviceSelected"]) == (["int8"], True)
    assert found["model"]["fileName"] == "watch.tflite"
    (given,), (result,) = found["model"]["inputs"], found["model"]["outputs"]
    assert (given["shape"], given["dataType"]) == ([1, 6, 8, 3], "int8")
    assert given["quantizationScale"] == pytest.approx(1 / 255)
    assert given["quantizationZeroPoint"] == -128
    assert result["shape"] == [1, 3]
    caller.done(upload(caller, FLOAT))
    found = caller.get("{p}/pretrained-model")
    assert (found["availableModelTypes"], found["specificDeviceSelected"]) == (["float32"], False)
    assert "quantizationScale" not in found["model"]["inputs"][0]


def test_performance_is_not_made_up(caller: Caller) -> None:
    assert "no pretrained model" in caller.refused("POST", "{p}/pretrained-model/profile")
    caller.done(upload(caller, INT8, device="cortex-m7"))
    assert "not measured" in caller.done(caller.post("{p}/pretrained-model/profile"))
    profile = caller.get("{p}/pretrained-model")["model"]["profileInfo"]
    assert set(profile) == {"int8", "table"}
    assert profile["int8"]["tfliteFileSizeBytes"] == len(INT8)
    assert (profile["int8"]["hasPerformance"], profile["int8"]["device"]) == (False, "cortex-m7")
    assert "not measured" in profile["int8"]["profilingError"]
    assert not {"memory", "timePerInferenceMs"} & set(profile["int8"])
    assert all(row["supported"] is False for name, row in profile["table"].items() if name != "variant")


def test_a_brought_model_is_built_with_its_labels(caller: Caller, tmp_path: Path) -> None:
    caller.done(upload(caller, INT8))
    caller.post("{p}/pretrained-model/save", INFO)
    model = pretrained.in_use(caller.running.studio, caller.running.project_id)
    assert model is not None
    assert model.info == INFO
    for wanted in ("openmv", "zip", "bundle"):
        answer = caller.post(
            "{p}/jobs/build-ondevice-model", {"engine": "tflite", "modelType": "int8"}, type=wanted
        )
        caller.done(answer)
        (tmp_path / wanted).write_bytes(download(caller, answer["deploymentVersion"]))
    found = recognise(tmp_path / "openmv")
    assert (found.labels, found.model_sha256, found.problems) == (tuple(LABELS), sha256_bytes(INT8), ())
    with zipfile.ZipFile(tmp_path / "zip") as archive:
        assert "model-parameters/model_variables.h" in archive.namelist()
        assert json.loads(archive.read("deployment-metadata.json"))["classes"] == LABELS
    with zipfile.ZipFile(tmp_path / "bundle") as archive:
        assert archive.read("model_int8.tflite") == INT8
        assert archive.read("labels.txt").decode().split("\n") == LABELS
        metadata = json.loads(archive.read("deployment-metadata.json"))
    assert metadata["impulse"] == {"inputBlocks": [], "dspBlocks": [], "learnBlocks": []}
    assert metadata["classes"] == LABELS
    assert caller.get("{p}/deployment", type="zip")["hasDeployment"]
    caller.post("{p}/pretrained-model/save", {**INFO, "model": {**INFO["model"], "labels": ["a", "b", "c"]}})
    assert not caller.get("{p}/deployment", type="zip")["hasDeployment"], "the labels changed"


def test_a_float_model_is_built_as_float_only(caller: Caller) -> None:
    caller.done(upload(caller, FLOAT))
    caller.post("{p}/pretrained-model/save", {"input": {"inputType": "other"}, "model": INFO["model"]})
    build = {"engine": "tflite", "modelType": "int8"}
    log = caller.failed(caller.post("{p}/jobs/build-ondevice-model", build, type="bundle"))
    assert "the pretrained model is float32, int8 was asked for" in log
    answer = caller.post("{p}/jobs/build-ondevice-model", {**build, "modelType": "float32"}, type="bundle")
    caller.done(answer)
    with zipfile.ZipFile(io.BytesIO(download(caller, answer["deploymentVersion"]))) as archive:
        assert archive.read("model_float32.tflite") == FLOAT
    targets = {item["format"]: item for item in caller.get("{p}/deployment/targets")["targets"]}
    disabled = {name: item["reasonTargetDisabled"] for name, item in targets.items() if item["disabledForProject"]}
    assert disabled.pop("openmv") == "The pretrained model is float32"
    pictures = "The target needs a model that takes pictures; this one is said to take other"
    assert set(disabled) == {"wasm", *(name for name in targets if name.startswith("runner-"))}
    assert set(disabled.values()) == {pictures}


def uint8_model() -> bytes:
    """Three scores of a picture, with weights of uint8, which LiteRT runs and no kernel of the compiler does."""
    builder = ModelBuilder()
    image = builder.tensor((1, 8, 8, 3), "uint8", (1 / 255, 0))
    weights = builder.tensor((3, 8, 8, 3), "uint8", (0.01, 128), np.full((3, 8, 8, 3), 130, np.uint8))
    bias = builder.tensor((3,), "int32", (0.01 / 255, 0), np.zeros(3, np.int32))
    convolved = builder.tensor((1, 1, 1, 3), "uint8", (0.1, 0))
    builder.operator("CONV_2D", [image, weights, bias], convolved, strideW=8, strideH=8)
    shape = builder.tensor((2,), "int32", data=np.array([1, 3], np.int32))
    logits = builder.tensor((1, 3), "uint8", (0.1, 0))
    builder.operator("RESHAPE", [convolved, shape], logits, newShape=[1, 3])
    scores = builder.tensor((1, 3), "uint8", (1 / 256, 0))
    builder.operator("SOFTMAX", [logits], scores, beta=1.0)
    return builder.finish(image, scores)


def test_what_cannot_be_compiled_is_not_offered(caller: Caller) -> None:
    caller.done(upload(caller, uint8_model()))
    caller.post("{p}/pretrained-model/save", INFO)
    targets = caller.get("{p}/deployment/targets")["targets"]
    reasons = {item["format"]: item.get("reasonTargetDisabled", "") for item in targets}
    assert (reasons["bundle"], reasons["openmv"]) == ("", "")
    assert reasons["zip"] == "Edge Impulse's SDK cannot run a model whose input is uint8"
    if has_zig():
        assert "is uint8; int8 and float32 are supported" in reasons["wasm"]
        assert reasons["runner-linux-x86_64"] == reasons["wasm"]
    build = {"engine": "tflite", "modelType": "int8"}
    log = caller.failed(caller.post("{p}/jobs/build-ondevice-model", build, type="zip"))
    assert reasons["zip"] in log


def test_a_model_of_no_pictures_becomes_code_without_the_image_block(caller: Caller) -> None:
    caller.done(upload(caller, INT8))
    caller.post("{p}/pretrained-model/save", {"input": {"inputType": "other"}, "model": INFO["model"]})
    answer = caller.post(
        "{p}/jobs/build-ondevice-model", {"engine": "tflite-eon", "modelType": "int8"}, type="zip"
    )
    caller.done(answer)
    with zipfile.ZipFile(io.BytesIO(download(caller, answer["deploymentVersion"]))) as archive:
        names = set(archive.namelist())
    assert {"model.c", "model.h", "labels.txt", "deployment-metadata.json"} <= names
    assert "model-parameters/model_metadata.h" not in names


def test_a_model_is_uploaded_described_and_built_in_one_job(caller: Caller) -> None:
    body = {
        "modelFileBase64": base64.b64encode(INT8).decode(),
        "modelFileType": "tflite",
        "deploymentType": "openmv",
        "modelInfo": INFO,
    }
    assert "Built deployment version 1" in caller.done(caller.post("{p}/jobs/deploy-pretrained-model", body))
    with zipfile.ZipFile(io.BytesIO(download(caller, 1))) as archive:
        assert archive.read("trained.tflite") == INT8
    assert "No deployment target 'arduino'" in caller.refused(
        "POST", "{p}/jobs/deploy-pretrained-model", {**body, "deploymentType": "arduino"}
    )
    assert "'modelFileBase64' is not base64" in caller.refused(
        "POST", "{p}/jobs/deploy-pretrained-model", {**body, "modelFileBase64": "%"}
    )


def test_features_are_classified(caller: Caller) -> None:
    caller.done(upload(caller, FLOAT))
    features = np.random.default_rng(1).random(144).astype(np.float32)
    found = caller.post("{p}/pretrained-model/test", {"features": features.tolist(), "modelInfo": INFO})["result"]
    logits = (WEIGHTS * np.float32(0.05)) @ features
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert list(found) == LABELS
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    words = caller.refused("POST", "{p}/pretrained-model/test", {"features": [0.5], "modelInfo": INFO})
    assert words == "The model takes 144 features, 1 were given"


def test_the_model_comes_back_as_it_was(caller: Caller) -> None:
    caller.done(upload(caller, INT8))
    assert caller.raw("GET", "{p}/pretrained-model/download/int8").content == INT8
    assert "no such download" in caller.refused("GET", "{p}/pretrained-model/download/float32")


def test_what_is_no_model_is_refused(caller: Caller) -> None:
    assert "takes TensorFlow Lite models" in upload(caller, INT8, modelFileType="onnx")["error"]
    assert "cannot be used" in caller.failed(upload(caller, b"no model"))
    assert "model" not in caller.get("{p}/pretrained-model")
    form = {"modelFileName": "a", "modelFileType": "tflite"}
    parts = {name: (None, value) for name, value in form.items()}
    assert "modelFile" in caller.raw("POST", "{p}/pretrained-model/upload", files=parts).json()["error"]
    caller.done(upload(caller, INT8))
    for info, words in (
        ({"input": INFO["input"], "model": {"modelType": "classification", "labels": ["a"]}}, "Expected 3 labels"),
        ({"input": INFO["input"]}, "Missing or invalid value for 'model'"),
        ({**INFO, "model": {"modelType": "classification", "labels": [1, 2, 3]}}, "'labels'"),
    ):
        assert words in caller.refused("POST", "{p}/pretrained-model/save", info)


def test_a_tflite_file_is_profiled_without_a_project_model(caller: Caller) -> None:
    body = {"tfliteFileBase64": base64.b64encode(FLOAT).decode(), "device": "cortex-m4f"}
    job = caller.post("{p}/jobs/profile-tflite", body)
    caller.done(job)
    found = caller.get(f"{{p}}/jobs/profile-tflite/{job['id']}/result")
    assert (found["variant"], found["tfliteFileSizeBytes"], found["hasPerformance"]) == (
        "float32",
        len(FLOAT),
        False,
    )
    assert caller.post(f"{{p}}/jobs/profile-tflite/{job['id']}/result") == found
    assert caller.refused("GET", "{p}/jobs/profile-tflite/99/result") == "No job with this ID found"
    failed = caller.post("{p}/jobs/profile-tflite", {**body, "tfliteFileBase64": "AAAA"})
    assert "did not finish" in caller.refused("GET", f"{{p}}/jobs/profile-tflite/{failed['id']}/result")


def test_an_impulse_set_later_takes_over_again(trained: RunningStudio) -> None:  # noqa: F811
    caller = Caller(trained)
    caller.done(upload(caller, INT8))
    assert pretrained.in_use(trained.studio, trained.project_id) is None, "nothing was said of it"
    caller.post("{p}/pretrained-model/save", INFO)
    assert pretrained.in_use(trained.studio, trained.project_id) is not None
    impulse = caller.get("{p}/impulse")["impulse"]
    caller.post("{p}/impulse", {name: impulse[name] for name in ("inputBlocks", "dspBlocks", "learnBlocks")})
    assert pretrained.in_use(trained.studio, trained.project_id) is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(INT8) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_model_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(INT8)
    for place, value in changes:
        content[place] = value
    try:
        inputs, outputs = pretrained.tensors(bytes(content))
    except VerificationError:
        return
    assert json.loads(json.dumps([*inputs, *outputs], allow_nan=False)) == [*inputs, *outputs]


def test_an_altered_model_is_not_used(caller: Caller) -> None:
    caller.done(upload(caller, INT8))
    projects, project_id = caller.running.studio.projects, caller.running.project_id
    model = pretrained.brought(projects, project_id)
    assert model is not None
    (projects.folder(project_id) / "pretrained" / f"{model.sha256}.tflite").write_bytes(FLOAT)
    with pytest.raises(VerificationError, match="not the model that was uploaded"):
        pretrained.read(projects, project_id, model)


@pytest.mark.parametrize(
    ("info", "wanted", "words"),
    [
        ({"input": {"inputType": "image", "resizeMode": "crop"}}, "openmv", "Resize mode crop is not built here"),
        ({"input": {"inputType": "other"}}, "openmv", "this one is said to take other"),
        ({"model": {"modelType": "regression"}}, "cpp", "needs a model that classifies"),
    ],
)
def test_what_cannot_be_built_of_a_model_is_said(info: dict[str, Any], wanted: str, words: str) -> None:
    inputs, outputs = pretrained.tensors(INT8)
    model = pretrained.BroughtModel("a", "", len(INT8), "", inputs, outputs, {})
    with pytest.raises(UsageError, match=words):
        pretrained.build_artifact(pretrained.say(model, {**INFO, **info}), INT8, BuildRequest(wanted), "doors")


def test_a_retraining_takes_over_again(trained: RunningStudio) -> None:  # noqa: F811
    caller = Caller(trained)
    caller.done(upload(caller, INT8))
    caller.post("{p}/pretrained-model/save", INFO)
    assert pretrained.in_use(trained.studio, trained.project_id) is not None
    caller.done(caller.post("{p}/jobs/retrain"))
    assert pretrained.in_use(trained.studio, trained.project_id) is None


@pytest.mark.parametrize("feature", [1e300, 10**400])
def test_a_feature_that_float32_does_not_have_is_refused(caller: Caller, feature: float) -> None:
    caller.done(upload(caller, FLOAT))
    body = {"features": [feature] * 144, "modelInfo": INFO}
    assert "too large for float32" in caller.refused("POST", "{p}/pretrained-model/test", body)
