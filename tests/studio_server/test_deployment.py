"""Deployments over HTTP: targets, builds by version, what Studio puts inside, and when a build is out of date."""

from __future__ import annotations

import io
import json
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ei_automation.deployment.recognise import recognise
from ei_automation.errors import VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.studio_server.job_rows import JobRow
from ei_automation.testing import RunningStudio
from tests.deployment.zig_builds import zig_cache, zig_folder  # noqa: F401
from tests.studio_server.trained import (  # noqa: F401
    LEARN_ID,
    PROJECT,
    Caller,
    images,
    trained,
    trained_folder,
)

OPENMV = {"engine": "tflite", "modelType": "int8"}


@pytest.fixture
def caller(trained: RunningStudio) -> Caller:  # noqa: F811
    """Calls against the trained project."""
    return Caller(trained)


def build(caller: Caller, deployment_format: str = "openmv", **body: Any) -> int:
    """Build; gives the deployment's version."""
    answer = caller.post("{p}/jobs/build-ondevice-model", {**OPENMV, **body}, type=deployment_format)
    caller.done(answer)
    return int(answer["deploymentVersion"])


def download(caller: Caller, version: int) -> bytes:
    """A build's file."""
    answer = caller.raw("GET", f"{{p}}/deployment/history/{version}/download")
    assert answer.headers["content-type"] == "application/zip"
    return answer.content


def files_of(content: bytes) -> dict[str, bytes]:
    """Name to content of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_targets_say_what_they_are(caller: Caller) -> None:
    targets = {target["format"]: target for target in caller.get("{p}/deployment/targets")["targets"]}
    assert set(targets) == {
        *("openmv", "bundle", "zip", "wasm"),
        *("runner-linux-x86_64", "runner-linux-aarch64", "runner-linux-armv7"),
    }
    assert targets["openmv"]["name"] == "OpenMV library"
    assert (targets["zip"]["name"], targets["runner-linux-armv7"]["name"]) == ("C++ library", "Linux (ARMv7)")
    assert all("in place of" not in target["name"] + target["description"] for target in targets.values())
    assert [item["variant"] for item in targets["openmv"]["modelVariants"] if item["supported"]] == ["int8"]
    for name, target in targets.items():
        compiled = name not in ("openmv", "bundle")
        assert target["supportedEngines"] == (["tflite-eon", "tflite"] if compiled else ["tflite"])
        assert (target["preferredEngine"], target["hasEonCompiler"]) == (target["supportedEngines"][0], compiled)
        assert not target["disabledForProject"]
    assert caller.get("{p}/deployment/targets/data-sources")["targets"] == list(targets.values())
    assert [target["format"] for target in caller.get("deployment/targets")["targets"]] == list(targets)


def test_a_build_has_the_trained_model_and_studios_description(caller: Caller, tmp_path: Path) -> None:
    version = build(caller)
    content = download(caller, version)
    (tmp_path / "openmv.zip").write_bytes(content)
    found = recognise(tmp_path / "openmv.zip")
    assert (found.problems, found.kind, found.labels) == ((), "openmv", ("green", "red"))
    metadata = json.loads(files_of(content)["deployment-metadata.json"])
    impulse = caller.get("{p}/impulse")["impulse"]
    assert metadata["deployCounter"] == version == 1
    assert metadata["classes"] == ["green", "red"]
    assert (metadata["samplesPerInference"], metadata["axesCount"], metadata["sensor"]) == (144, 1, "camera")
    project = {"id": caller.running.project_id, "apiKey": caller.running.api_key, "impulseId": impulse["id"]}
    assert metadata["project"] == metadata["project"] | project
    assert metadata["impulse"]["inputBlocks"] == impulse["inputBlocks"]
    assert metadata["impulse"]["dspBlocks"][0]["metadata"]["dspConfig"]["options"] == {"channels": "RGB"}
    (model,) = metadata["tfliteModels"]
    assert model["inputFrameSize"] == 12 * 12 * 3
    assert model["details"]["modelType"] == "int8"
    assert model["details"]["inputs"][0]["shape"] == [1, 12, 12, 3]
    assert "arenaSize" not in model, "it is not known here"


def test_versions_count_every_start_and_history_only_successes(caller: Caller) -> None:
    first = build(caller)
    second = build(caller, "zip", modelType="float32")
    assert (first, second) == (1, 2)
    listed = caller.get("{p}/deployment/history")
    assert [item["deploymentVersion"] for item in listed["deployments"]] == [2, 1]
    assert listed["totalDeploymentCount"] == 2
    assert [item["deploymentFormat"] for item in listed["deployments"]] == ["zip", "openmv"]
    page = caller.get("{p}/deployment/history", limit=1, offset=1)
    assert [item["deploymentVersion"] for item in page["deployments"]] == [1]
    assert page["totalDeploymentCount"] == 2
    only = caller.get("{p}/deployment/history", deploymentFormat="zip")
    assert [item["deploymentVersion"] for item in only["deployments"]] == [2]
    one = caller.get("{p}/deployment/history/2")["deployment"]
    assert one["downloadUrl"].endswith("/deployment/history/2/download")
    assert not one["impulseHasChangedSinceDeployment"]
    assert caller.refused("GET", "{p}/deployment/history/3") == "No deployment of this version"


def test_a_failed_build_takes_a_number_and_leaves_nothing(caller: Caller) -> None:
    model_folder = caller.running.studio.projects.folder(caller.running.project_id) / "local"
    hidden = model_folder.rename(model_folder.with_name("hidden"))
    kept = hidden.parent / "models"
    kept.rename(kept.with_name("hidden-models"))
    answer = caller.post("{p}/jobs/build-ondevice-model", OPENMV, type="openmv")
    assert "Job failed" in caller.failed(answer)
    assert caller.get("{p}/deployment/history")["deployments"] == []
    assert not caller.get("{p}/deployment", type="openmv")["hasDeployment"]
    kept.with_name("hidden-models").rename(kept)
    assert build(caller) == 2


def test_builds_started_at_the_same_time_have_numbers_of_their_own(caller: Caller) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: build(Caller(caller.running)), range(4)))
    assert sorted(numbers) == [1, 2, 3, 4]
    contents = [files_of(download(caller, number))["deployment-metadata.json"] for number in numbers]
    assert [json.loads(content)["deployCounter"] for content in contents] == numbers


def test_the_same_build_again_is_a_new_version_with_the_same_model(caller: Caller) -> None:
    first, second = (files_of(download(caller, build(caller))) for _ in range(2))
    assert first["trained.tflite"] == second["trained.tflite"]
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {"deployment-metadata.json"}, "it carries the number"


def test_the_cpp_library_is_code_for_edge_impulses_sdk(caller: Caller) -> None:
    engines = ("tflite-eon", "tflite")
    eon, tflite = (files_of(download(caller, build(caller, "zip", engine=engine))) for engine in engines)
    assert {"model-parameters/model_metadata.h", "model-parameters/model_variables.h"} <= set(eon)
    assert any(name.startswith("tflite-model/") for name in eon)
    assert not any(name.startswith("edge-impulse-sdk/") or name.endswith(".tflite") for name in eon)
    assert {name for name in eon if eon[name] != tflite[name]} == {"deployment-metadata.json"}
    metadata = json.loads(eon["deployment-metadata.json"])
    assert metadata["classes"] == ["green", "red"]
    (model,) = metadata["tfliteModels"]
    assert (model["details"]["modelType"], model["inputFrameSize"]) == ("int8", 12 * 12 * 3)
    floating = files_of(download(caller, build(caller, "zip", modelType="float32")))
    (model,) = json.loads(floating["deployment-metadata.json"])["tfliteModels"]
    assert model["details"]["modelType"] == "float32"


def test_the_linux_runner_is_a_program_that_knows_the_project(
    caller: Caller,
    zig_cache: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    version = build(caller, "runner-linux-x86_64", engine="tflite-eon")
    answer = caller.raw("GET", f"{{p}}/deployment/history/{version}/download")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert f"-runner-linux-x86_64-v{version}-impulse-" in answer.headers["content-disposition"]
    assert ".eim" in answer.headers["content-disposition"]
    elf = answer.content
    assert (elf[:4], elf[18]) == (b"\x7fELF", 62), "of x86_64"
    if platform.machine() != "x86_64":
        pytest.skip(f"a program for x86_64 does not run on {platform.machine()}")
    program = tmp_path / "model.eim"
    program.write_bytes(elf)
    program.chmod(0o755)
    told = json.loads(subprocess.run([program, "--print-info"], capture_output=True, check=True).stdout)
    assert told["project"]["name"] == PROJECT
    assert told["model_parameters"]["labels"] == ["green", "red"]


def test_the_browsers_page_has_studios_description(caller: Caller, zig_cache: Path) -> None:  # noqa: F811
    files = files_of(download(caller, build(caller, "wasm")))
    assert {"index.html", "model.js", "model.wasm", "labels.txt", "deployment-metadata.json"} <= set(files)
    assert json.loads(files["deployment-metadata.json"])["classes"] == ["green", "red"]


def test_without_the_extra_what_needs_a_compiler_says_so(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    targets = {target["format"]: target for target in caller.get("{p}/deployment/targets")["targets"]}
    disabled = {name for name, target in targets.items() if target["disabledForProject"]}
    assert disabled == {"wasm", "runner-linux-x86_64", "runner-linux-aarch64", "runner-linux-armv7"}
    reason = targets["wasm"]["reasonTargetDisabled"]
    assert 'pip install "eiauto[compile]"' in reason
    assert reason in caller.refused("POST", "{p}/jobs/build-ondevice-model?type=wasm", OPENMV)
    assert build(caller, "zip") == 1, "code alone needs no compiler"


def test_a_new_training_makes_a_build_out_of_date(caller: Caller) -> None:
    version = build(caller)
    assert caller.get("{p}/deployment", type="openmv", modelType="int8", engine="tflite") == {
        "success": True,
        "hasDeployment": True,
        "version": version,
    }
    last = caller.get("{p}/deployment/last")
    assert (last["hasBuild"], last["lastBuild"]["version"]) == (True, version)
    assert last["lastDeploymentTarget"]["format"] == "openmv"
    before = download(caller, version)
    caller.post(f"{{p}}/training/keras/{LEARN_ID}", {"minimumConfidenceRating": 0.81})
    assert caller.get("{p}/deployment/history/1")["deployment"]["impulseHasChangedSinceDeployment"], (
        "the threshold"
    )
    assert not caller.get("{p}/deployment", type="openmv")["hasDeployment"]
    again = build(caller)
    assert caller.get("{p}/deployment", type="openmv")["version"] == again
    impulse = caller.get("{p}/impulse")["impulse"]
    impulse["inputBlocks"][0]["imageWidth"] = 16
    caller.post("{p}/impulse", {name: impulse[name] for name in ("inputBlocks", "dspBlocks", "learnBlocks")})
    assert not caller.get("{p}/deployment", type="openmv")["hasDeployment"]
    assert not caller.get("{p}/deployment/last")["hasBuild"]
    changed = [
        item["impulseHasChangedSinceDeployment"] for item in caller.get("{p}/deployment/history")["deployments"]
    ]
    assert changed == [True, True]
    assert download(caller, version) == before, "a build is there for ever"
    assert caller.refused("POST", "{p}/jobs/build-ondevice-model?type=openmv", OPENMV).startswith(
        "There is no trained model"
    )


def test_a_model_older_than_the_samples_is_still_built(caller: Caller) -> None:
    before = files_of(download(caller, build(caller)))["trained.tflite"]
    caller.upload("training", "green", images("green", 1, first=500))
    answer = caller.post("{p}/jobs/build-ondevice-model", OPENMV, type="openmv")
    assert "the samples have changed since" in caller.done(answer)
    assert files_of(download(caller, answer["deploymentVersion"]))["trained.tflite"] == before
    assert caller.get("{p}/deployment", type="openmv")["hasDeployment"]


def test_the_deprecated_download_gives_the_newest_of_its_kind(caller: Caller) -> None:
    build(caller)
    newest = build(caller)
    build(caller, "zip")
    answer = caller.raw("GET", "{p}/deployment/download?type=openmv&modelType=int8&engine=tflite&impulseId=1")
    assert sha256_bytes(answer.content) == sha256_bytes(download(caller, newest))
    assert "two-colours-more-openmv-v2-impulse-" in answer.headers["content-disposition"]
    assert "No deployment was built" in caller.refused("GET", "{p}/deployment/download?type=bundle")


@pytest.mark.parametrize(
    ("deployment_format", "body", "words"),
    [
        ("arduino", OPENMV, "No deployment target 'arduino'"),
        ("openmv", {"engine": "tflite-eon"}, "is not built with engine 'tflite-eon' here"),
        ("openmv", {"engine": "tflite", "modelType": "float32"}, "does not support float32"),
        ("openmv", {**OPENMV, "parameters": {"eiauto_firmware_version": "new"}}, "firmware"),
        ("openmv", {"modelType": "int8"}, "Missing or invalid value for 'engine'"),
        ("", OPENMV, "Missing or invalid value for 'type'"),
    ],
)
def test_what_cannot_be_built_is_refused(
    caller: Caller, deployment_format: str, body: dict[str, Any], words: str
) -> None:
    assert words in caller.refused("POST", f"{{p}}/jobs/build-ondevice-model?type={deployment_format}", body)
    assert build(caller) == 1, "a refusal takes no number"


def test_a_firmware_version_chooses_the_script(caller: Caller, tmp_path: Path) -> None:
    (parameter,) = next(
        target["parameters"]
        for target in caller.get("{p}/deployment/targets")["targets"]
        if target["format"] == "openmv"
    )
    for version in ("4.5.5", "4.5.9"):
        number = build(caller, parameters={parameter["param"]: version})
        (tmp_path / f"{version}.zip").write_bytes(download(caller, number))
    assert recognise(tmp_path / "4.5.5.zip").script_api == "tf"
    assert recognise(tmp_path / "4.5.9.zip").script_api == "ml"


def test_a_damaged_file_is_not_given_out(caller: Caller) -> None:
    version, studio = build(caller), caller.running.studio
    row = studio.deployments.get(caller.running.project_id, version)
    assert row is not None
    place = studio.projects.folder(caller.running.project_id) / "deployments" / "1.zip"
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(VerificationError):
        studio.deployments.read(row)
    assert "is not what deployment 1 was built as" in caller.refused("GET", "{p}/deployment/history/1/download")


def test_everybody_may_have_a_public_project_built(caller: Caller) -> None:
    running = caller.running
    other = running.studio.projects.create("another", owner="me")
    _, key = running.studio.projects.add_key(other, "reader", "readonly")
    body = {"deploymentType": "openmv", "modelType": "int8"}
    assert caller.refused("POST", "{p}/deployment/public/build", body) == "This is no public project"
    running.studio.projects.update(running.project_id, public=True)
    first = caller.post("{p}/deployment/public/build", body)
    status = Caller(running, key).get(f"{{p}}/deployment/public/jobs/{first['jobId']}/status")
    assert status["job"]["finishedSuccessful"]
    assert any("Built deployment version 1" in line["data"] for line in status["logs"])
    assert caller.post("{p}/deployment/public/build", body) == {"success": True, "deploymentVersion": 1}
    row = caller.get("{p}/deployment/history/1")["deployment"]
    assert row["createdByBuildPublicDeploymentJob"]


def test_the_projects_key_goes_to_its_admins_only(caller: Caller) -> None:
    running, version = caller.running, build(caller)
    running.studio.projects.update(running.project_id, public=True)
    other = running.studio.projects.create("another", owner="me")
    _, strange = running.studio.projects.add_key(other, "admin", "admin")
    _, readonly = running.studio.projects.add_key(running.project_id, "reader", "readonly")
    ours = files_of(download(caller, version))
    assert running.api_key.encode() in ours["deployment-metadata.json"]
    for key in (strange, readonly):
        theirs = files_of(download(Caller(running, key), version))
        assert "apiKey" not in json.loads(theirs["deployment-metadata.json"])["project"]
        assert theirs["trained.tflite"] == ours["trained.tflite"]
        old = Caller(running, key).raw("GET", "{p}/deployment/download?type=openmv").content
        assert running.api_key.encode() not in old


def test_a_build_that_waited_is_of_what_the_project_has_become(
    trained_folder: Path,  # noqa: F811
    tmp_path: Path,
    start: Callable[..., RunningStudio],
) -> None:
    shutil.copytree(trained_folder, tmp_path / "studio")
    caller, may_go = Caller(start(tmp_path / "studio", project=PROJECT, jobs="real")), threading.Event()
    workshop = caller.running.studio.workshop

    def wait(_talk: object) -> None:
        assert may_go.wait(20)

    workshop.start(1, category="", category_key="", key="", work=wait)
    answer = caller.post("{p}/jobs/build-ondevice-model", OPENMV, type="openmv")
    caller.post(f"{{p}}/training/keras/{LEARN_ID}", {"minimumConfidenceRating": 0.8})
    may_go.set()
    ended = threading.Event()
    workshop.subscribe(answer["id"], lambda found: ended.set() if isinstance(found, JobRow) else None)
    assert ended.wait(20)
    caller.done(answer)
    assert caller.get("{p}/deployment", type="openmv")["hasDeployment"] is True
    (built,) = caller.get("{p}/deployment/history")["deployments"]
    assert built["impulseHasChangedSinceDeployment"] is False
