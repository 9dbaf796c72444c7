"""Versions, published ones, restoring, and the export of the data."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from ei_automation.studio_server import versions
from ei_automation.studio_server.workshop import JobTalk
from ei_automation.testing import RunningStudio
from tests.helpers import COLOURS, noisy
from tests.studio_server.trained import LEARN_ID, Caller, trained, trained_folder  # noqa: F401


@pytest.fixture
def caller(trained: RunningStudio) -> Caller:  # noqa: F811
    """Calls against the trained project."""
    return Caller(trained)


def make_version(caller: Caller, *, public: bool, description: str = "as published") -> dict[str, Any]:
    """Make a version; as it is listed."""
    body = {"description": description, "makePublic": public, "runModelTestingWhileVersioning": False}
    caller.done(caller.post("{p}/jobs/version", body))
    listed: dict[str, Any] = caller.get("{p}/versions")["versions"][-1]
    return listed


def another(caller: Caller, name: str = "another") -> Caller:
    """A second, empty project on the same server, with an admin key of its own."""
    studio = caller.running.studio
    project_id = studio.projects.create(name, owner="me")
    _, key = studio.projects.add_key(project_id, "admin", "admin", development=True)
    running = caller.running
    other = RunningStudio(running.api_endpoint, running.ingestion_endpoint, key, project_id, studio, lambda: None)
    return Caller(other)


def facts(caller: Caller, project: str = "{p}") -> dict[str, Any]:
    """What must be equal between a project and its copy."""
    rows = [
        (row["filename"], row["category"], row["label"], row["isDisabled"], row["metadata"])
        for category in ("training", "testing")
        for row in caller.get(f"{project}/raw-data", category=category, limit=1000)["samples"]
    ]
    metadata = caller.get(f"{project}/training/keras/{LEARN_ID}/metadata")
    return {
        "samples": sorted(rows, key=str),
        "impulse": caller.get(f"{project}/impulse")["impulse"],
        "config": caller.get(f"{project}/training/keras/{LEARN_ID}")["trainingCycles"],
        "metrics": metadata["modelValidationMetrics"],
        "models": models(caller, project),
    }


def models(caller: Caller, project: str = "{p}") -> list[bytes]:
    """The .tflite files of the learn block."""
    listed = [item["link"].rpartition("/")[2] for item in caller.get(f"{project}/downloads")["downloads"]]
    place = f"{project}/learn-data/{LEARN_ID}/model"
    files = [caller.raw("GET", f"{place}/{number}").content for number in listed]
    assert [content[4:8] for content in files] == [b"TFL3", b"TFL3"]
    return files


def test_a_public_version_is_a_project_that_everybody_reads(caller: Caller) -> None:
    assert caller.get("{p}/versions")["nextVersion"] == 1
    before = facts(caller)
    listed = make_version(caller, public=True)
    assert (listed["version"], listed["description"]) == (1, "as published")
    assert listed["totalSamplesCount"] == "26"
    assert 0 <= listed["trainingAccuracy"] <= 1
    assert caller.get("{p}/versions")["nextVersion"] == 2
    nobody = requests.get(
        f"{caller.running.api_endpoint}/api/{caller.running.project_id}/versions/public", timeout=10
    )
    (public,) = nobody.json()["versions"]
    assert public["publicProjectUrl"].endswith(f"/public/{caller.running.project_id}/latest")
    project = str(public["publicProjectId"])
    stranger = another(caller)
    assert stranger.get(f"{project}/public-info")["name"] == "Two colours & more"
    assert facts(stranger, project) == before
    assert "not a key of this project" in stranger.refused("POST", f"{project}/raw-data/delete-all")
    assert "not a key of this project" in caller.refused("POST", f"{project}/raw-data/delete-all")


def test_a_version_stays_as_it_was(caller: Caller) -> None:
    before = facts(caller)
    project = str(make_version(caller, public=True)["publicProjectId"])
    caller.post("{p}/raw-data/delete-all")
    caller.upload("training", "red", {"new.png": noisy(COLOURS["red"], 99)})
    assert facts(another(caller), project) == before


def test_a_private_version_is_nobodys_but_ones_own(caller: Caller) -> None:
    listed = make_version(caller, public=False)
    assert "publicProjectId" not in listed
    assert caller.get("{p}/versions/public")["versions"] == []
    caller.done(caller.post(f"{{p}}/jobs/versions/{listed['id']}/make-public"))
    (public,) = caller.get("{p}/versions/public")["versions"]
    stranger = another(caller)
    assert stranger.get(f"{public['publicProjectId']}/raw-data/count", category="training")["count"] == 20
    caller.post(f"{{p}}/versions/{listed['id']}/make-private")
    assert caller.get("{p}/versions/public")["versions"] == []
    assert "not a key" in stranger.refused("GET", f"{public['publicProjectId']}/raw-data/count?category=training")


def test_versions_are_described_and_deleted(caller: Caller) -> None:
    first, second = make_version(caller, public=True), make_version(caller, public=True)
    caller.post(f"{{p}}/versions/{first['id']}", {"description": "the first"})
    assert [item["description"] for item in caller.get("{p}/versions")["versions"]] == [
        "the first",
        "as published",
    ]
    urls = [item["publicProjectUrl"].rpartition("/")[2] for item in caller.get("{p}/versions/public")["versions"]]
    assert urls == ["v1", "latest"]
    assert caller.raw("DELETE", f"{{p}}/versions/{second['id']}").json() == {"success": True}
    assert caller.get("{p}/versions")["nextVersion"] == 3
    assert [item["id"] for item in caller.get("{p}/versions")["versions"]] == [first["id"]]
    assert second["publicProjectId"] not in {row.project_id for row in caller.running.studio.projects.all()}
    assert "no version with ID 2" in caller.refused("DELETE", "{p}/versions/2")


def test_model_testing_runs_before_a_version_is_made(caller: Caller) -> None:
    studio, project_id = caller.running.studio, caller.running.project_id
    studio.impulses.drop(project_id, "testing")
    caller.done(caller.post("{p}/jobs/version", {"description": "", "makePublic": False}))
    assert studio.impulses.value(project_id, LEARN_ID, "testing")["scores"]["int8"]
    assert caller.get("{p}/versions")["runModelTestingWhileVersioning"] is True


def test_a_public_version_is_restored_into_an_empty_project(caller: Caller) -> None:
    before = facts(caller)
    public = make_version(caller, public=True)
    target = another(caller)
    assert target.post("{p}/jobs/restore/from-public", {"projectId": public["publicProjectId"]}) == {
        "success": True
    }
    (job,) = target.get("{p}/jobs/all")["jobs"]
    assert "Restored 26 samples" in target.done(job)
    assert facts(target) == before
    answer = target.post("{p}/jobs/build-ondevice-model", {"engine": "tflite", "modelType": "int8"}, type="openmv")
    target.done(answer)
    content = target.raw("GET", "{p}/deployment/history/1/download").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("trained.tflite") in before["models"]
        metadata = json.loads(archive.read("deployment-metadata.json"))
    assert metadata["project"]["apiKey"] == target.running.api_key
    words = target.refused("POST", "{p}/jobs/restore/from-public", {"projectId": public["publicProjectId"]})
    assert words.startswith("Can only restore into a project without data, this one has 26 samples")


def test_a_projects_newest_public_version_is_what_its_number_restores(caller: Caller) -> None:
    target, body = another(caller), {"projectId": caller.running.project_id}
    assert target.refused("POST", "{p}/jobs/restore/from-public", body) == "This project has no public version"
    make_version(caller, public=True)
    caller.post("{p}/raw-data/delete-all")
    make_version(caller, public=True)
    make_version(caller, public=False)
    target.post("{p}/jobs/restore/from-public", body)
    assert target.get("{p}/raw-data/count", category="training")["count"] == 0


def test_a_version_of_ones_own_is_restored_with_its_key_only(caller: Caller) -> None:
    version = make_version(caller, public=False)
    target = another(caller)
    body = {"projectId": caller.running.project_id, "versionId": version["id"]}
    words = "Invalid API key for the source project"
    assert target.refused("POST", "{p}/jobs/restore", body) == words
    assert target.refused("POST", "{p}/jobs/restore", {**body, "projectApiKey": target.running.api_key}) == words
    target.post("{p}/jobs/restore", {**body, "projectApiKey": caller.running.api_key})
    assert facts(target) == facts(caller)


def test_only_a_user_takes_over_data_of_another_project(caller: Caller) -> None:
    target = another(caller)
    body = {"projectId": caller.running.project_id}
    assert "JWT" in target.refused("POST", "{p}/jobs/import-data-from-project", body)
    answer = requests.post(
        f"{caller.running.api_endpoint}/api/{target.running.project_id}/jobs/import-data-from-project",
        json=body,
        headers={"x-jwt-token": caller.login()},
        timeout=10,
    )
    assert "Added 26 samples" in target.done(answer.json())
    assert target.get("{p}/impulse").get("impulse") is None, "the data only"


def test_a_version_that_cannot_be_stored_leaves_nothing(caller: Caller) -> None:
    studio, project_id = caller.running.studio, caller.running.project_id
    row = studio.samples.find(project_id)[0]
    studio.samples.content(row).unlink()
    assert "Job failed" in caller.failed(caller.post("{p}/jobs/version", {"description": "", "makePublic": True}))
    assert [item.project_id for item in studio.projects.all()] == [project_id]
    listed = caller.get("{p}/versions")
    assert (listed["versions"], listed["nextVersion"]) == ([], 1)


def test_public_projects_are_listed_without_a_key(caller: Caller) -> None:
    address = f"{caller.running.api_endpoint}/api/projects/public"
    assert requests.get(address, timeout=10).json()["projects"] == []
    version = make_version(caller, public=True)
    found = requests.get(address, params={"project": "two"}, timeout=10).json()
    assert found["totalProjectCount"] == 1
    assert found["projects"][0]["id"] == version["publicProjectId"]
    assert found["projects"][0]["projectType"] == "image"
    assert requests.get(address, params={"project": "three"}, timeout=10).json()["projects"] == []
    kinds = requests.get(f"{caller.running.api_endpoint}/api/projects/types", timeout=10).json()["projectTypes"]
    assert "image" in {kind["value"] for kind in kinds}


def test_the_data_are_exported_as_they_were_uploaded(caller: Caller) -> None:
    assert caller.get("{p}/export/get-url") == {"success": True, "hasExport": False}
    assert "no export" in caller.refused("GET", "{p}/export/download")
    caller.upload(
        "training", "grün/ä", {"red 1.png": noisy(COLOURS["blue"], 5), "red 2": noisy(COLOURS["blue"], 6)}
    )
    body = {"uploaderFriendlyFilenames": False, "retainCrops": True}
    assert "Exported 28 samples" in caller.done(caller.post("{p}/jobs/export/original", body))
    assert caller.get("{p}/export/get-url")["hasExport"] is True
    answer = caller.raw("GET", "{p}/export/download")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        info = json.loads(archive.read("info.labels"))
        contents = {item["path"]: archive.read(item["path"]) for item in info["files"]}
        assert sorted(archive.namelist()) == sorted([*contents, "info.labels"])
    ours = next(item for item in info["files"] if contents[item["path"]] == noisy(COLOURS["blue"], 5))
    assert ours["label"] == {"type": "label", "label": "grün/ä"}
    assert (ours["category"], ours["boundingBoxes"], ours["enabled"]) == ("training", [], True)
    assert contents["training/red 1.png"] == noisy(COLOURS["red"], 2001), "two of one name: the first keeps it"
    caller.done(caller.post("{p}/jobs/export/original", {**body, "uploaderFriendlyFilenames": True}))
    with zipfile.ZipFile(io.BytesIO(caller.raw("GET", "{p}/export/download").content)) as archive:
        assert "training/green.green 0.png" in archive.namelist()
        assert not any(name.startswith("/") or ".." in name for name in archive.namelist())


def test_nothing_is_exported_of_an_empty_project(studio: RunningStudio) -> None:
    caller = Caller(studio)
    body = {"uploaderFriendlyFilenames": True, "retainCrops": True}
    assert "There is no data to export" in caller.failed(caller.post("{p}/jobs/export/original", body))
    assert caller.get("{p}/export/get-url")["hasExport"] is False
    assert "Missing or invalid" in caller.refused("POST", "{p}/jobs/export/original", {})


def test_no_tuner_has_run(studio: RunningStudio) -> None:
    caller = Caller(studio)
    assert caller.get("{p}/optimize/runs") == {"success": True, "runs": []}
    answer = caller.raw("POST", "{p}/jobs/optimize")
    assert (answer.status_code, answer.json()["error"]) == (501, "The local Studio does not serve optimize_job")


def test_every_file_of_an_export_has_a_name_of_its_own(studio: RunningStudio) -> None:
    caller, colour = Caller(studio), COLOURS["red"]
    caller.upload("training", "red", {"a.3.png": noisy(colour, 1), "a.png": noisy(colour, 2)})
    caller.upload("training", "red", {"a.png": noisy(colour, 3)})
    body = {"uploaderFriendlyFilenames": False, "retainCrops": True}
    caller.done(caller.post("{p}/jobs/export/original", body))
    with zipfile.ZipFile(io.BytesIO(caller.raw("GET", "{p}/export/download").content)) as archive:
        names = [name for name in archive.namelist() if name != "info.labels"]
    assert len(names) == len(set(names)) == 3


def test_a_copy_that_a_killed_server_left_is_gone_at_the_next_start(
    tmp_path: Path, start: Callable[..., RunningStudio]
) -> None:
    first = start(tmp_path)
    left = first.studio.projects.create("half a copy", owner="me")
    first.studio.projects.set(left, versions.SNAPSHOT, {"project": first.project_id, "version": None})
    kept = versions.make(first.studio, first.project_id, "whole", public=False).snapshot_id
    first.stop()
    second = start(tmp_path).studio
    assert [row.project_id for row in second.projects.all()] == [first.project_id, kept]
    assert not second.projects.folder(left).exists()


def test_a_deleted_project_leaves_no_version_that_a_job_was_making(start: Callable[..., RunningStudio]) -> None:
    caller, began = Caller(start(jobs="real")), threading.Event()
    studio, project_id = caller.running.studio, caller.running.project_id

    def work(talk: JobTalk) -> None:
        began.set()
        while not talk.should_stop():
            time.sleep(0.01)
        versions.make(studio, project_id, "too late", public=True)

    studio.workshop.start(project_id, category="", category_key="version", key="version", work=work)
    assert began.wait(10)
    assert caller.raw("DELETE", "{p}").json()["success"] is True
    assert studio.projects.all() == []


def test_a_restored_impulse_ends_what_waits_for_the_one_before(caller: Caller) -> None:
    source, impulses = caller.running.project_id, caller.running.studio.impulses
    target = another(caller).running.project_id
    numbers = [impulses.new_block(target) for _ in range(9)]
    before = impulses.epoch(target)
    impulses.copy(source, target)
    assert impulses.get(target) == impulses.get(source)
    assert impulses.epoch(target) > before
    assert impulses.new_block(target) > max(numbers)


def test_only_a_version_that_is_there_is_updated(caller: Caller) -> None:
    assert caller.refused("POST", "{p}/versions/7", {}) == "There is no version with ID 7"
