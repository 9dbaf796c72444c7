"""Published projects, read from a loopback Studio that tells little and from the local one that really trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.backends.studio import public
from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.deployments import build_of_job, built, fetch_build, start_build
from ei_automation.backends.studio.public import parse_reference, read_public, restore_into
from ei_automation.deployment.recognise import recognise
from ei_automation.errors import JobFailedError, NotFoundError, SettingsError, UsageError
from ei_automation.files import sha256_bytes
from ei_automation.schema.deployment import BuildRequest, BuiltDeployment
from ei_automation.schema.impulse import DspBlock, Impulse, InputBlock
from ei_automation.schema.published import PublishedNumber
from ei_automation.settings import Settings
from ei_automation.testing import RunningStudio
from tests.backends.studio.tuner_server import PROJECT, Call, Studio, evaluation, served
from tests.studio_server.conftest import official_client, start  # noqa: F401 - fixtures
from tests.studio_server.trained import Caller, trained, trained_folder  # noqa: F401 - fixtures

PUBLISHED = 4242
NO_RIGHT = "insufficient permissions (valid roles: [admin])"
INFO = {
    "id": PUBLISHED,
    "owner": "Ann",
    "name": "cells",
    "studioUrl": f"https://studio.edgeimpulse.com/studio/{PUBLISHED}",
    "viewCount": 7,
    "cloneCount": 1,
}
LISTED = {
    "id": PUBLISHED,
    "name": "cells",
    "description": "Cells under a microscope.",
    "created": "2026-01-01T00:00:00.000Z",
    "owner": "Ann",
    "publicUrl": "",
    "projectType": "image",
    "pageViewCount": 7,
    "cloneCount": 1,
    "tags": [],
}


# References


@pytest.mark.parametrize(
    "text",
    [
        "163127",
        " 163127 ",
        "https://studio.edgeimpulse.com/public/163127/latest",
        "http://127.0.0.1:4800/public/163127/v3",
        "https://studio.edgeimpulse.com/studio/163127",
        "https://studio.edgeimpulse.com/studio/163127/impulse/1/learning/keras/3?x=1#y",
        "https://studio.edgeimpulse.com/v1/api/163127/versions/public",
        "studio.edgeimpulse.com/public/163127/latest",
        "studio/163127",
        "public/163127",
        "/public/163127/",
    ],
)
def test_a_reference_is_understood(text: str) -> None:
    assert parse_reference(text) == 163127


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-3",
        "12a",
        "١٢",
        "1" * 40,
        "https://studio.edgeimpulse.com/",
        "https://studio.edgeimpulse.com/public/latest",
        "https://studio.edgeimpulse.com/public/12x/latest",
        "https://[broken",
        "cells",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no project") as caught:
        parse_reference(text)
    assert "public/163127/latest" in caught.value.hint


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z.]{1,10}/(public|studio)/.{0,12}", fullmatch=True))
def test_no_reference_breaks_it(text: str) -> None:
    with suppress(UsageError):
        assert parse_reference(text) > 0


# A Studio that tells a stranger little: only what is marked as readable on published projects


def samples_of(*facts: tuple[str, str]) -> Callable[[Call], dict[str, Any]]:
    rows = [
        {
            "id": number,
            "filename": f"{label}.{number}",
            "signatureValidate": True,
            "created": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "category": category,
            "coldstorageFilename": "",
            "label": label,
            "intervalMs": 0,
            "frequency": 0,
            "originalIntervalMs": 0,
            "originalFrequency": 0,
            "deviceType": "x",
            "sensors": [],
            "valuesCount": 1,
            "added": "2026-01-01T00:00:00.000Z",
            "boundingBoxes": [],
            "boundingBoxesType": "object_detection",
            "chartType": "image",
            "isDisabled": False,
            "isProcessing": False,
            "processingError": False,
            "isCropped": False,
            "projectId": PUBLISHED,
            "projectOwnerName": "Ann",
            "projectName": "cells",
            "projectLabelingMethod": "single_label",
            "sha256Hash": "00" * 32,
            "datastreams": [],
        }
        for number, (category, label) in enumerate(facts, 1)
    ]
    return lambda call: {"samples": rows[::-1], "totalCount": len(rows)}


@pytest.fixture
def studio() -> Iterator[Studio]:
    state = Studio(
        {
            "get_project_info": NO_RIGHT,
            "list_public_versions": {
                "versions": [
                    {"version": 1, "publicProjectId": 99, "publicProjectUrl": "https://x/public/7/v1"},
                    {"version": 2, "publicProjectId": PUBLISHED, "publicProjectUrl": "https://x/public/7/latest"},
                ]
            },
            "get_project_info_summary": INFO,
            "list_public_projects": {"projects": [{**LISTED, "id": 5}, LISTED], "totalProjectCount": 2},
            "get_impulse": NO_RIGHT,
            "list_downloads": {
                "downloads": [
                    {
                        "name": "Image training data",
                        "type": "NPY",
                        "link": f"/v1/api/{PUBLISHED}/dsp-data/12/x/training",
                    },
                    {
                        "name": "Model",
                        "type": "TFLite",
                        "link": f"/v1/api/{PUBLISHED}/learn-data/13/model/tflite-int8",
                    },
                ]
            },
            "get_dsp_metadata": {
                "created": "2026-01-01T00:00:00.000Z",
                "generated": True,
                "dspConfig": {"channels": "Grayscale"},
                "labels": ["a", "b"],
                "windowCount": 4,
                "featureCount": 96 * 64,
                "includedSamples": [],
                "windowSizeMs": 0,
                "windowIncreaseMs": 0,
                "padZeros": False,
                "frequency": 0,
                "outputConfig": {"type": "image", "shape": {"width": 96, "height": 64, "channels": 1}},
            },
            "get_keras": NO_RIGHT,
            "get_keras_metadata": {
                "created": "2026-01-01T00:00:00.000Z",
                "layers": [],
                "classNames": ["b", "a"],
                "labels": ["a", "b"],
                "availableModelTypes": ["int8", "float32"],
                "recommendedModelType": "int8",
                "modelValidationMetrics": [evaluation("int8", 0.91), evaluation("float32", 0.93, 0.2)],
                "hasTrainedModel": True,
                "mode": "classification",
                "imageInputScaling": "0..1",
                "thresholds": [],
            },
            "get_classify_job_result": lambda call: (
                {
                    "result": [],
                    "predictions": [],
                    "accuracy": {
                        "totalSummary": {"good": 9, "bad": 1},
                        "summaryPerClass": {},
                        "confusionMatrixValues": {},
                        "allLabels": ["a", "b"],
                    },
                    "additionalMetricsByLearnBlock": [],
                    "availableVariants": ["int8"],
                }
                if call.query["variant"] == "int8"
                else "No model testing results found, run 'startClassifyJob' first"
            ),
            "list_samples": samples_of(("training", "a"), ("training", "a"), ("training", "b"), ("testing", "b")),
        }
    )
    with served(state):
        yield state


def test_a_stranger_reads_the_newest_published_version(client: StudioClient) -> None:
    found = read_public(client, "https://studio.edgeimpulse.com/public/7/latest")
    assert (found.given_id, found.project_id, found.version) == (7, PUBLISHED, 2)
    assert (found.name, found.owner, found.url) == ("cells", "Ann", "https://x/public/7/latest")
    assert found.description == "Cells under a microscope."
    assert found.counts == {"training": {"a": 2, "b": 1}, "testing": {"b": 1}}
    assert found.labels == ("b", "a")
    assert found.impulse == Impulse(
        input_block=InputBlock(image_width=96, image_height=64), dsp_block=DspBlock(channels="Grayscale")
    )
    assert found.training is None
    assert found.numbers == (
        PublishedNumber("int8", "validation", 0.91, 0.4, False, f"project {PUBLISHED}, training metadata"),
        PublishedNumber("float32", "validation", 0.93, 0.2, False, f"project {PUBLISHED}, training metadata"),
        PublishedNumber("int8", "testing", 0.9, None, True, f"project {PUBLISHED}, model testing of 10 samples"),
    )


def test_what_a_stranger_is_not_told_is_named(client: StudioClient) -> None:
    unknown = read_public(client, "7").unknown
    keys = [line.partition(": ")[0] for line in unknown]
    assert keys == [
        "impulse.input_block.resize_mode",
        "training",
        "published.metrics",
        "training.learn_block.weights",
        "training.fine_tuning",
        "training.seed",
        "training.validation_split",
        "dataset.groups",
        "dataset.split",
        "published.metrics.tolerance",
    ]
    assert "squash is assumed" in unknown[0]
    assert NO_RIGHT in unknown[1]
    assert "no float32 model testing" in unknown[2]


def test_where_nothing_can_be_read_the_name_is_left(client: StudioClient, studio: Studio) -> None:
    for name in set(studio.answers) - {"get_project_info_summary"}:
        studio.answers[name] = NO_RIGHT
    found = read_public(client, "7")
    assert (found.project_id, found.version, found.name) == (7, None, "cells")
    assert (found.impulse, found.training, found.numbers, found.counts, found.labels) == (None, None, (), {}, ())
    keys = {line.partition(": ")[0] for line in found.unknown}
    assert {"impulse", "training", "published.sample_count", "description"} <= keys


def test_a_refused_key_and_a_missing_project_are_errors(client: StudioClient, studio: Studio) -> None:
    studio.answers = dict.fromkeys(studio.answers, "Invalid API key")
    with pytest.raises(SettingsError, match="Invalid API key"):
        read_public(client, "7")
    studio.answers = dict.fromkeys(studio.answers, "No project found with this ID")
    with pytest.raises(NotFoundError, match="No project found"):
        read_public(client, "7")


def test_blocks_that_no_manifest_can_say_are_named(client: StudioClient, studio: Studio) -> None:
    impulse = {
        "id": 1,
        "name": "Impulse #1",
        "type": "default",
        "postProcessingBlocks": [],
        "inputBlocks": [{"id": 1, "type": "time-series", "name": "Time series", "title": "Time series"}],
        "dspBlocks": [
            {"id": 2, "type": "mfcc", "name": "M", "axes": ["audio"], "title": "M", "implementationVersion": 4}
        ],
        "learnBlocks": [{"id": 3, "type": "keras", "name": "NN", "dsp": [2], "title": "Classification"}],
    }
    studio.answers["get_impulse"] = {"impulse": impulse}
    found = read_public(client, "7")
    assert found.impulse is None
    assert any("keras, mfcc, time-series" in line for line in found.unknown)
    assert not any(line.startswith("training.learn_block.weights") for line in found.unknown)
    assert found.learn_block_type == "keras"


# Restoring


def restoring(*ids_of_looks: list[int], counts: tuple[int, ...] = (0, 0, 0)) -> dict[str, Any]:
    """Answers of a project with samples in each category, whose list of jobs changes from look to look."""
    looks, left = iter(ids_of_looks), dict(zip(("training", "validation", "testing"), counts, strict=True))

    def jobs(_: Call) -> dict[str, Any]:
        rows = [
            {
                "id": number,
                "category": "Restoring project",
                "categoryKey": "restore",
                "key": "restore",
                "created": "2026-01-01T00:00:00.000Z",
                "jobNotificationUids": [],
            }
            for number in next(looks)
        ]
        return {"jobs": rows, "totalJobCount": len(rows)}

    return {
        "count_samples": lambda call: {"count": left[call.query["category"]]},
        "list_all_jobs": jobs,
        "start_restore_job_from_public": {},
    }


def test_the_job_of_a_restore_is_found(client: StudioClient, studio: Studio) -> None:
    studio.answers |= restoring([3, 1], [3, 1], [5, 3, 1])
    assert restore_into(client, PROJECT, PUBLISHED) == 5
    (call,) = studio.named("start_restore_job_from_public")
    assert call.body == {"projectId": PUBLISHED}


def test_nothing_is_restored_over_data(client: StudioClient, studio: Studio) -> None:
    studio.answers |= restoring([], counts=(0, 0, 4))
    with pytest.raises(UsageError, match="4 testing samples"):
        restore_into(client, PROJECT, PUBLISHED)
    assert studio.named("start_restore_job_from_public") == []


def test_a_restore_without_a_job_is_said(
    client: StudioClient, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "RESTORE_PAUSE_S", 0)
    studio.answers |= restoring(*[[]] * (public.RESTORE_LOOKS + 1))
    with pytest.raises(JobFailedError, match="lists no job"):
        restore_into(client, PROJECT, PUBLISHED)


# The local Studio, which really trained


def client_of(running: RunningStudio, key: str = "") -> StudioClient:
    environment = {**running.environment, **({"EI_API_KEY": key} if key else {})}
    return StudioClient(Settings.from_env(environment).studio)


@pytest.fixture
def trained_client(trained: RunningStudio) -> Iterator[StudioClient]:  # noqa: F811
    with client_of(trained) as client:
        yield client


def test_a_build_comes_down_whole_and_without_its_key(
    trained: RunningStudio,  # noqa: F811
    trained_client: StudioClient,
    tmp_path: Path,
) -> None:
    project_id, request = trained.project_id, BuildRequest("OpenMV library")
    job_id, version = start_build(trained_client, project_id, request)
    assert build_of_job(trained_client, project_id, job_id).version == version
    assert built(trained_client, project_id) == [BuiltDeployment("openmv", version, False)]
    fetched = fetch_build(
        trained_client, project_id, version, request, tmp_path / "out", project_name="two-colours"
    )
    assert fetched.path == tmp_path / "out" / "ei-two-colours-openmv.zip"
    assert fetched.keys_removed > 0
    found = recognise(fetched.path)
    assert (found.problems, found.labels) == ((), ("green", "red"))
    assert found.model_sha256 == fetched.model_sha256 == sha256_bytes(found.model)
    content = fetched.path.read_bytes()
    assert trained.api_key.encode() not in content
    assert b"apiKey" not in content
    again = fetch_build(
        trained_client, project_id, version, request, tmp_path / "again", project_name="two-colours"
    )
    assert again.path.read_bytes() == content


def test_only_the_builds_own_version_is_stored(
    trained: RunningStudio,  # noqa: F811
    trained_client: StudioClient,
    tmp_path: Path,
) -> None:
    project_id = trained.project_id
    _, first = start_build(trained_client, project_id, BuildRequest("openmv"))
    job_id, second = start_build(trained_client, project_id, BuildRequest("bundle", variant="float32"))
    assert (first, second) == (1, 2)
    assert build_of_job(trained_client, project_id, job_id).version == second
    request = BuildRequest("bundle", variant="float32")
    fetched = fetch_build(trained_client, project_id, second, request, tmp_path, project_name="x")
    assert fetched.path.name == "ei-x-bundle-float32.zip"
    with pytest.raises(NotFoundError, match="no deployment 3"):
        fetch_build(trained_client, project_id, 3, request, tmp_path, project_name="x")
    assert [place.name for place in tmp_path.iterdir() if place.suffix == ".zip"] == ["ei-x-bundle-float32.zip"]


def test_a_published_project_is_read_and_restored(
    trained: RunningStudio,  # noqa: F811
    trained_client: StudioClient,
) -> None:
    caller = Caller(trained)
    caller.done(caller.post("{p}/jobs/version", {"description": "first", "makePublic": True}))
    own = trained.studio.projects.create("copy", owner="somebody")
    _, key = trained.studio.projects.add_key(own, "theirs", "admin")
    with client_of(trained, key) as theirs:
        found = read_public(theirs, f"{trained.studio.url}/public/{trained.project_id}/latest")
        assert found.version == 1
        assert found.project_id not in (trained.project_id, own)
        assert found.counts == {"training": {"green": 10, "red": 10}, "testing": {"green": 3, "red": 3}}
        assert found.impulse == Impulse(input_block=InputBlock(image_width=12, image_height=12))
        assert found.training is not None
        assert (found.training.training_cycles, found.training.batch_size) == (2, 16)
        assert {(number.variant, number.category) for number in found.numbers} >= {
            ("float32", "validation"),
            ("int8", "validation"),
        }
        job_id = restore_into(theirs, own, found.project_id)
        assert theirs.get(f"/api/{own}/jobs/{job_id}/status")["job"]["finishedSuccessful"]
        copied = read_public(theirs, str(own))
        assert (copied.counts, copied.impulse, copied.training) == (found.counts, found.impulse, found.training)
        with pytest.raises(UsageError, match="into a project without data"):
            restore_into(theirs, own, found.project_id)
    live = read_public(trained_client, str(trained.project_id))
    assert (live.version, live.project_id, live.numbers[0].accuracy) == (
        None,
        trained.project_id,
        found.numbers[0].accuracy,
    )


def test_an_unpublished_project_of_others_cannot_be_read(
    trained: RunningStudio,  # noqa: F811
) -> None:
    own = trained.studio.projects.create("mine", owner="somebody")
    _, key = trained.studio.projects.add_key(own, "theirs", "admin")
    with client_of(trained, key) as theirs, pytest.raises(SettingsError):
        read_public(theirs, str(trained.project_id))
