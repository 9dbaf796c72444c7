"""Targets, builds and downloads against a loopback Studio with scripted answers."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.backends.studio import archive
from ei_automation.backends.studio.archive import clean_package
from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.deployments import (
    LiveTarget,
    build_of_job,
    built,
    fetch_build,
    history,
    resolve_target,
    start_build,
    targets,
)
from ei_automation.deployment.recognise import recognise
from ei_automation.errors import NetworkError, NotFoundError, UsageError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.deployment import BuildRequest, BuiltDeployment, artifact_stem
from tests.backends.studio.tuner_server import KEY, PROJECT, Call, Reply, Studio, served
from tests.studio_server.official import schema

OTHER_KEY = "ei_" + "0123456789abcdef" * 4
MODEL = bytes(range(256)) * 40
OPENMV = BuildRequest("openmv")
METADATA = {
    "version": 1,
    "classes": ["bénin", "malin"],
    "project": {"name": "cells", "id": PROJECT, "apiKey": OTHER_KEY, "studioHost": "studio.edgeimpulse.com"},
}
FILES: dict[str, bytes] = {
    "trained.tflite": MODEL,
    "labels.txt": b"one\ntwo",
    "ei_image_classification.py": b"import sensor, ml\nnet = ml.Model('trained.tflite')\n",
    "deployment-metadata.json": json.dumps(METADATA, indent=4).encode(),
}
CPP = b'#include "edge-impulse-sdk/classifier/ei_run_classifier.h"\nei_impulse_result_classification_t *result;'


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED, year: int = 2026) -> bytes:
    """A zip with the times and order that a server gives it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as zipping:
        for name, content in files.items():
            zipping.writestr(zipfile.ZipInfo(name, (year, 2, 3, 4, 5, 6)), content, method)
    return buffer.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def live_row(name: str, title: str, **values: Any) -> dict[str, Any]:
    """A `ProjectDeploymentTarget`."""
    fields = schema("ProjectDeploymentTarget").__fields__.values()
    engines = [field.alias.removeprefix("has") for field in fields if field.name.startswith("has_")]
    return {
        "name": title,
        "description": f"A {title}.",
        "image": "",
        "imageClasses": "",
        "format": name,
        "hideOptimizations": False,
        "uiSection": "library",
        "supportedEngines": ["tflite", "tflite-eon"],
        "preferredEngine": "tflite",
        "docsUrl": "https://docs.edgeimpulse.com",
        "modelVariants": [
            {"variant": "int8", "supported": True},
            {"variant": "float32", "supported": False, "hint": "OpenMV runs int8 models only"},
        ],
        "parameters": [],
        "recommendedForProject": True,
        "disabledForProject": False,
        **{f"has{engine}": False for engine in engines},
        "hasEonCompiler": True,
        **values,
    }


def historic_row(version: int, **values: Any) -> dict[str, Any]:
    """A `DeploymentHistory`."""
    return {
        "created": f"2026-03-01T10:{version % 60:02d}:00.000Z",
        "deploymentVersion": version,
        "deploymentFormat": "openmv",
        "engine": "tflite",
        "modelType": "int8",
        "impulseId": 1,
        "impulseName": "Impulse #1",
        "impulseIsDeleted": False,
        "impulseHasChangedSinceDeployment": False,
        "downloadUrl": f"/v1/api/{PROJECT}/deployment/history/{version}/download",
        "createdByBuildPublicDeploymentJob": False,
        **values,
    }


def history_of(*rows: dict[str, Any]) -> Any:
    """The answers of `deployment/history` and of a single build."""

    def several(call: Call) -> dict[str, Any]:
        wanted = call.query.get("deploymentFormat")
        chosen = [row for row in rows if wanted in (None, row["deploymentFormat"])]
        first, count = int(call.query["offset"]), int(call.query["limit"])
        return {"deployments": chosen[first : first + count], "totalDeploymentCount": len(chosen)}

    def one(call: Call) -> dict[str, Any] | str:
        version = int(call.path.rsplit("/", 1)[-1])
        found = [row for row in rows if row["deploymentVersion"] == version]
        return {"deployment": found[0]} if found else "No deployment found with this version"

    return {"list_deployment_history": several, "get_historic_deployment": one}


@pytest.fixture
def studio() -> Iterator[Studio]:
    state = Studio(
        {
            "list_deployment_targets_for_project": {
                "targets": [
                    live_row("zip", "C++ library"),
                    live_row("openmv", "OpenMV library"),
                    live_row("arduino-nicla-vision", "Arduino Nicla Vision", latencyDevice="nicla-vision"),
                    live_row(
                        "sony-spresense",
                        "Sony's Spresense",
                        disabledForProject=True,
                        reasonTargetDisabled="the model is too large",
                    ),
                ]
            },
            "build_on_device_model_job": {"id": 41, "deploymentVersion": 9},
            "download_historic_deployment": Reply(zipped(FILES)),
            **history_of(historic_row(9), historic_row(8)),
        }
    )
    with served(state):
        yield state


def fetch(client: StudioClient, folder: Path, request: BuildRequest = OPENMV, version: int = 9) -> Any:
    return fetch_build(client, PROJECT, version, request, folder, project_name="cells")


# Targets


def test_targets_are_read(client: StudioClient) -> None:
    found = targets(client, PROJECT)
    assert [item.format for item in found] == ["zip", "openmv", "arduino-nicla-vision", "sony-spresense"]
    assert found[1].engines == ("tflite", "tflite-eon")
    assert found[1].variants == ("int8",)
    assert found[3].disabled == "the model is too large"
    assert (found[1].target.format, found[1].target.name) == ("openmv", "OpenMV library")


@pytest.mark.parametrize("wanted", ["openmv", "OpenMV", "openmv LIBRARY", " openmv "])
def test_a_target_is_found_by_format_or_name(client: StudioClient, wanted: str) -> None:
    assert resolve_target(targets(client, PROJECT), BuildRequest(wanted)).format == "openmv"


def test_a_target_is_found_by_its_latency_device(client: StudioClient) -> None:
    found = resolve_target(targets(client, PROJECT), BuildRequest("Nicla-Vision"))
    assert found.format == "arduino-nicla-vision"


def test_an_unknown_target_is_answered_with_the_list(client: StudioClient) -> None:
    with pytest.raises(NotFoundError, match="no deployment target 'bundle'") as caught:
        resolve_target(targets(client, PROJECT), BuildRequest("bundle"))
    assert "openmv (OpenMV library)" in caught.value.hint
    assert "sony" not in caught.value.hint


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (BuildRequest("sony-spresense"), "too large"),
        (BuildRequest("openmv", engine="tensorrt"), "engine 'tensorrt'"),
        (BuildRequest("openmv", variant="float32"), "runs int8 models only"),
    ],
)
def test_what_cannot_be_built_is_not_started(
    client: StudioClient, studio: Studio, request_: BuildRequest, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        start_build(client, PROJECT, request_)
    assert studio.named("build_on_device_model_job") == []


def test_a_name_that_means_two_is_refused() -> None:
    two = [LiveTarget("a", "Camera", ""), LiveTarget("b", "Camera", "")]
    with pytest.raises(UsageError, match="may be several: a, b"):
        resolve_target(two, BuildRequest("camera"))
    one_left = [two[0], LiveTarget("b", "Camera", "", disabled="no")]
    assert resolve_target(one_left, BuildRequest("camera")).format == "a"


def test_a_target_that_says_nothing_is_taken() -> None:
    assert resolve_target([LiveTarget("x", "X", "")], BuildRequest("x", engine="tidl")).format == "x"


# Builds


def test_a_build_is_started_as_the_api_wants_it(client: StudioClient, studio: Studio) -> None:
    assert start_build(client, PROJECT, BuildRequest("OpenMV library", engine="tflite-eon")) == (41, 9)
    (call,) = studio.named("build_on_device_model_job")
    assert call.query == {"type": "openmv"}
    assert call.body == {"engine": "tflite-eon", "modelType": "int8"}


def test_the_newest_build_of_each_format_is_told(client: StudioClient, studio: Studio) -> None:
    rows = [
        historic_row(5, createdByBuildPublicDeploymentJob=True),
        historic_row(4, deploymentFormat="zip", impulseIsDeleted=True),
        historic_row(3, impulseHasChangedSinceDeployment=True),
        historic_row(2, deploymentFormat="zip"),
        historic_row(1),
    ]
    studio.answers |= history_of(*rows)
    assert built(client, PROJECT) == [BuiltDeployment("openmv", 3, True), BuiltDeployment("zip", 4, True)]


def test_a_long_history_is_read_to_its_end(client: StudioClient, studio: Studio) -> None:
    studio.answers |= history_of(*(historic_row(number) for number in range(250, 0, -1)))
    assert [build.version for build in history(client, PROJECT)] == list(range(250, 0, -1))
    assert len(studio.named("list_deployment_history")) == 3


def test_a_history_that_ignores_the_offset_ends(client: StudioClient, studio: Studio) -> None:
    rows = [historic_row(number) for number in range(100, 0, -1)]
    studio.answers["list_deployment_history"] = {"deployments": rows, "totalDeploymentCount": 250}
    assert len(list(history(client, PROJECT))) == 100


def job(**values: Any) -> dict[str, Any]:
    row = {
        "id": 41,
        "category": "Building deployment",
        "categoryKey": "deploy",
        "key": "deployment",
        "created": "2026-03-01T10:08:30.000Z",
        "finished": "2026-03-01T10:09:10.000Z",
        "finishedSuccessful": True,
        "jobNotificationUids": [],
    }
    return {"job": {**row, **values}}


def test_a_job_finds_its_build_again(client: StudioClient, studio: Studio) -> None:
    studio.answers["get_job_status"] = job()
    found = build_of_job(client, PROJECT, 41)
    assert (found.version, found.format, found.engine, found.variant) == (9, "openmv", "tflite", "int8")


def test_a_build_listed_soon_after_its_job_is_found(client: StudioClient, studio: Studio) -> None:
    studio.answers["get_job_status"] = job(created="2026-03-01T10:08:05.000Z", finished="2026-03-01T10:08:59.900Z")
    studio.answers |= history_of(historic_row(9), historic_row(3))
    assert build_of_job(client, PROJECT, 41).version == 9


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"finishedSuccessful": False}, NotFoundError, "no successful build"),
        ({"finished": "2026-03-01T10:08:31.000Z", "finishedSuccessful": None}, NotFoundError, "no successful"),
        ({"created": "2025-01-01T00:00:00Z", "finished": "2025-01-01T00:00:01Z"}, NotFoundError, "made no dep"),
        ({"created": "2026-03-01T10:07:00.000Z"}, VerificationError, "9, 8"),
    ],
)
def test_a_job_without_one_build_of_its_own_gives_none(
    client: StudioClient, studio: Studio, values: dict[str, Any], error: type[Exception], words: str
) -> None:
    answer = job(**values)
    answer["job"] = {key: value for key, value in answer["job"].items() if value is not None}
    studio.answers["get_job_status"] = answer
    with pytest.raises(error, match=words):
        build_of_job(client, PROJECT, 41)


# Download


def test_a_build_is_stored_without_its_key(client: StudioClient, studio: Studio, tmp_path: Path) -> None:
    fetched = fetch(client, tmp_path / "new" / "folder")
    assert fetched.path == tmp_path / "new" / "folder" / "ei-cells-openmv.zip"
    content = fetched.path.read_bytes()
    assert fetched.sha256 == sha256_bytes(content)
    assert fetched.model_sha256 == sha256_bytes(MODEL)
    assert (fetched.version, fetched.format, fetched.keys_removed) == (9, "openmv", 1)
    inside = unzipped(content)
    assert {name: inside[name] for name in inside if name != "deployment-metadata.json"} == {
        name: FILES[name] for name in FILES if name != "deployment-metadata.json"
    }
    told = json.loads(inside["deployment-metadata.json"])
    assert told["project"] == {"name": "cells", "id": PROJECT, "studioHost": "studio.edgeimpulse.com"}
    assert told["classes"] == ["bénin", "malin"]
    (call,) = studio.named("download_historic_deployment")
    assert call.path.endswith("/deployment/history/9/download")


def test_nothing_with_a_key_reaches_the_disk(client: StudioClient, studio: Studio, tmp_path: Path) -> None:
    files = {
        **FILES,
        "sub/key.h": b'const char *key = "' + OTHER_KEY.encode() + b'";',
        "sub/own.txt": KEY.encode(),
        "firmware.bin": b"\x00\x01" + OTHER_KEY.encode() + b"\x00\xff",
        "source.h": CPP,
    }
    studio.answers["download_historic_deployment"] = Reply(zipped(files))
    fetched = fetch(client, tmp_path)
    assert fetched.keys_removed == 4
    for place in tmp_path.rglob("*"):
        assert OTHER_KEY.encode() not in place.read_bytes()
        assert KEY.encode() not in place.read_bytes()
    inside = unzipped(fetched.path.read_bytes())
    assert inside["source.h"] == CPP
    assert inside["firmware.bin"] == b"\x00\x01" + b"x" * len(OTHER_KEY) + b"\x00\xff"


def test_equal_builds_are_equal_files(client: StudioClient, studio: Studio, tmp_path: Path) -> None:
    first = fetch(client, tmp_path / "a")
    later = dict(reversed(FILES.items()))
    studio.answers["download_historic_deployment"] = Reply(zipped(later, method=zipfile.ZIP_STORED, year=2027))
    second = fetch(client, tmp_path / "b")
    assert second.sha256 == first.sha256


def test_a_real_deployment_is_recognised_afterwards(
    client: StudioClient, studio: Studio, tmp_path: Path, shared_data: Path
) -> None:
    folder = shared_data / "studio_deployments" / "openmv_cls_2026_food"
    model, labels = (folder / "trained.tflite").read_bytes(), (folder / "labels.txt").read_bytes()
    files = {**FILES, "trained.tflite": model, "labels.txt": labels}
    studio.answers["download_historic_deployment"] = Reply(zipped(files))
    fetched = fetch(client, tmp_path)
    found = recognise(fetched.path)
    assert (found.kind, found.problems, found.model) == ("openmv", (), model)
    assert found.model_sha256 == fetched.model_sha256


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"deploymentFormat": "zip"}, "format zip, not openmv"),
        ({"engine": "tflite-eon"}, "engine tflite-eon, not tflite"),
        ({"modelType": "float32"}, "variant float32, not int8"),
    ],
)
def test_another_build_is_refused(
    client: StudioClient, studio: Studio, tmp_path: Path, row: dict[str, Any], words: str
) -> None:
    studio.answers |= history_of(historic_row(9, **row))
    with pytest.raises(VerificationError, match=words):
        fetch(client, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert studio.named("download_historic_deployment") == []


def test_a_target_by_its_name_is_the_same_build(client: StudioClient, tmp_path: Path) -> None:
    fetched = fetch(client, tmp_path, BuildRequest("OpenMV library"))
    assert fetched.path.name == "ei-cells-openmv.zip"


def test_a_build_that_is_not_there_leaves_the_older_file_alone(client: StudioClient, tmp_path: Path) -> None:
    place = tmp_path / "ei-cells-openmv.zip"
    place.write_bytes(b"of another day")
    with pytest.raises(NotFoundError, match="there is no deployment 10"):
        fetch(client, tmp_path, version=10)
    assert place.read_bytes() == b"of another day"


def test_an_endless_download_is_cut(
    client: StudioClient, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ei_automation.backends.studio.deployments.MAX_BYTES", 1000)
    with pytest.raises(NetworkError, match="more than 1,000 bytes"):
        fetch(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_runner_is_a_program(client: StudioClient, studio: Studio, tmp_path: Path) -> None:
    program = b"\x7fELF" + b"\x00" * 60 + b"key=" + OTHER_KEY.encode() + b"\x00end"
    row = {"deploymentFormat": "runner-linux-x86_64", "engine": "tflite"}
    studio.answers |= history_of(historic_row(9, **row))
    studio.answers["download_historic_deployment"] = Reply(program, media_type="application/octet-stream")
    fetched = fetch(client, tmp_path, BuildRequest("runner-linux-x86_64"))
    assert fetched.path.name == "ei-cells-runner-linux-x86_64.eim"
    assert fetched.path.read_bytes() == program.replace(OTHER_KEY.encode(), b"x" * len(OTHER_KEY))
    assert fetched.model_sha256 == ""


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (BuildRequest("openmv"), "ei-cells-openmv"),
        (BuildRequest("openmv", variant="float32"), "ei-cells-openmv-float32"),
        (BuildRequest("openmv", engine="tflite-eon"), "ei-cells-openmv-tflite-eon"),
        (BuildRequest("openmv", firmware_version="4.5.9"), "ei-cells-openmv-4.5.9"),
    ],
)
def test_a_name_tells_what_is_inside(request_: BuildRequest, name: str) -> None:
    assert artifact_stem("cells", request_.format, request_) == name
    assert artifact_stem("../../etc", "a/b", request_).startswith("ei-..-..-etc-a-b")


# What may be stored


def linked(name: str = "link") -> bytes:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipping:
        zipping.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped({"a.txt": b"secret"}, method=zipfile.ZIP_STORED))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    return bytes(content)


def damaged() -> bytes:
    content = bytearray(zipped({"a.bin": b"0123456789" * 50}, method=zipfile.ZIP_STORED))
    content[content.index(b"0123456789")] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no zip"),
        (b"<html>not found</html>", "no zip"),
        (zipped(FILES)[:-30], "no zip"),
        (zipped(FILES)[:200], "no zip"),
        (damaged(), "damaged one: Bad CRC"),
        (zipped({}), "empty"),
        (zipped({"../../evil.sh": b"x"}), "outside its folder"),
        (zipped({"/etc/passwd": b"x"}), "outside its folder"),
        (zipped({"C:/evil.exe": b"x"}), "outside its folder"),
        (zipped({"a//b": b"x"}), "outside its folder"),
        (zipped({f"../{OTHER_KEY}": b"x"}), "outside its folder"),
        (zipped({"a\\..\\b": b"x"}), "characters"),
        (zipped({"a\nb": b"x"}), "characters"),
        (zipped({"Model.h": b"x", "model.h": b"y"}), "twice"),
        (linked(), "a link or a device"),
        (encrypted(), "encrypted"),
        (zipped({f"{OTHER_KEY}.txt": b"x"}), "an API key in a file's name"),
        (zipped({"deployment-metadata.json": b"{apiKey: "}), "no JSON"),
        (zipped({"deployment-metadata.json": b"[" * 100_000}), "no JSON"),
    ],
)
def test_a_harmful_or_damaged_file_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=words) as caught:
        clean_package(content, "deployment 3", "int8")
    assert OTHER_KEY not in str(caught.value)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)
    bomb = zipped({f"{number}.bin": bytes(600_000) for number in range(2)})
    assert len(bomb) < 10_000
    with pytest.raises(VerificationError, match="would unpack to 1,200,000 bytes"):
        clean_package(bomb, "deployment 3", "int8")


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    content = bytearray(zipped({"a.bin": bytes(5_000_000)}))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(mark) + place
        content[start : start + 4] = (1000).to_bytes(4, "little")
    with pytest.raises(VerificationError, match="damaged"):
        clean_package(bytes(content), "deployment 3", "int8")


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(VerificationError, match="4 files"):
        clean_package(zipped(FILES), "deployment 3", "int8")


def test_the_variants_model_counts_where_there_are_two() -> None:
    both = zipped({"model_float32.tflite": b"float", "sub/model_int8.tflite": b"int"})
    assert clean_package(both, "", "int8").model_sha256 == sha256_bytes(b"int")
    assert clean_package(both, "", "float32").model_sha256 == sha256_bytes(b"float")
    assert clean_package(zipped({"a.tflite": b"1", "b.tflite": b"2"}), "", "int8").model_sha256 == ""
    assert clean_package(zipped({"source.cpp": CPP}), "", "int8").model_sha256 == ""


def test_a_key_of_any_form_that_the_metadata_names_is_found_elsewhere() -> None:
    odd = "my-own_secret/key with spaces"
    files = {
        "x/deployment-metadata.json": json.dumps(
            {"project": {"apiKey": odd}, "deep": [{"hmacKey": "short"}]}
        ).encode(),
        "notes.txt": f"run with {odd}, in short order".encode(),
    }
    package = clean_package(zipped(files), "deployment 3", "int8")
    inside = unzipped(package.content)
    assert json.loads(inside["x/deployment-metadata.json"]) == {"project": {}, "deep": [{}]}
    assert inside["notes.txt"] == f"run with {'x' * len(odd)}, in short order".encode()


def test_metadata_without_a_key_stays_as_it_is() -> None:
    content = b'{ "version":1,   "project": {"name": "x", "apiKey": null} }'
    inside = unzipped(clean_package(zipped({"deployment-metadata.json": content}), "", "int8").content)
    assert inside["deployment-metadata.json"] == content


GOOD = zipped(FILES)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_goes_through_as_something_else(changes: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for place, value in changes:
        content[place] = value
    try:
        package = clean_package(bytes(content), "deployment 3", "int8")
    except VerificationError:
        return
    assert OTHER_KEY.encode() not in package.content
    assert set(unzipped(package.content).values()) <= set(
        unzipped(clean_package(GOOD, "", "int8").content).values()
    )
