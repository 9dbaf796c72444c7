"""The official Python package `edgeimpulse`, unmodified, against the local Studio."""

from __future__ import annotations

import importlib
import io
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ei_automation.testing import RunningStudio
from tests.helpers import COLOURS, noisy
from tests.inference.tiny_models import float_model, int8_model
from tests.studio_server.trained import LEARN_ID, PROJECT, TRAINING, Caller, images, trained, trained_folder  # noqa: F401

SHAPE = (6, 8, 3)
WEIGHTS = np.random.default_rng(3).integers(-127, 128, (3, 144)).astype(np.int8)
Point = Callable[[RunningStudio], Any]


@pytest.fixture(scope="session")
def package() -> Any:
    """The package, imported once: as where TensorFlow is not installed, unless it is loaded already (4 s less)."""
    absent = [name for name in ("tensorflow", "keras") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None: "not installed"
    try:
        return importlib.import_module("edgeimpulse")
    finally:
        for name in absent:
            del sys.modules[name]


@pytest.fixture
def point(package: Any, monkeypatch: pytest.MonkeyPatch) -> Point:
    """Point the package at a local Studio, by the variables of its module that are there for it."""

    def at(running: RunningStudio) -> Any:
        monkeypatch.setattr(package, "API_KEY", running.api_key)
        monkeypatch.setattr(package, "API_ENDPOINT", running.api_endpoint)
        monkeypatch.setattr(package, "INGESTION_ENDPOINT", running.ingestion_endpoint)
        return package

    return at


@pytest.fixture
def ei(studio: RunningStudio, point: Point) -> Any:
    """The package, pointed at an empty project."""
    return point(studio)


def write_images(folder: Path, *labels: str) -> Path:
    """Files named as the package wants them, `LABEL.NUMBER.png`, in folders that name the category."""
    for category, first, count in (("training", 0, 3), ("testing", 50, 1)):
        place = folder / category
        place.mkdir(parents=True)
        for label in labels:
            for name, content in images(label, count, first).items():
                (place / name.replace(" ", ".")).write_bytes(content)
    return folder


def test_a_directory_is_uploaded_listed_downloaded_and_deleted(
    ei: Any, studio: RunningStudio, tmp_path: Path
) -> None:
    data = ei.experimental.data
    folder = write_images(tmp_path / "set", "green", "red")
    infer = data.infer_category_and_label_from_filename
    done = data.upload_directory(directory=str(folder), metadata={"site": "b 7"}, transform=infer)
    assert (len(done.successes), done.fails) == (8, [])
    infos = data.get_sample_ids()
    assert sorted((info.category, info.label) for info in infos) == [
        *[("testing", label) for label in ("green", "red")],
        *[("training", label) for label in ("green", "green", "green", "red", "red", "red")],
    ]
    assert len(data.get_sample_ids(category="training", labels="red")) == 3
    (one,) = data.get_sample_ids(filename="green.1")
    (sample,) = data.download_samples_by_ids(one.sample_id)
    assert sample.data.read() == (folder / "training" / "green.1.png").read_bytes()
    assert (sample.label, sample.category, sample.metadata) == ("green", "training", {"site": "b 7"})
    assert data.delete_sample_by_id(one.sample_id).success
    assert data.delete_sample_by_id(one.sample_id) is None
    assert data.download_samples_by_ids(one.sample_id) == []
    data.delete_samples_by_filename("red.2")
    assert len(data.get_sample_ids()) == 6
    assert data.delete_all_samples(category="training").success
    assert {info.category for info in data.get_sample_ids()} == {"testing"}
    assert data.delete_all_samples().success
    assert studio.studio.samples.count(studio.project_id) == 0


def test_samples_carry_label_category_and_metadata(ei: Any, studio: RunningStudio) -> None:
    data = ei.experimental.data
    wanted = [
        data.Sample(
            filename=f"{label}.png",
            data=io.BytesIO(noisy(colour, 7)),
            label=label,
            category=category,
            metadata={"lot": label.upper()},
        )
        for (label, colour), category in zip(COLOURS.items(), ("training", "testing", "training"), strict=True)
    ]
    done = data.upload_samples(wanted)
    assert (len(done.successes), done.fails) == (3, [])
    rows = {row.label: row for row in studio.studio.samples.find(studio.project_id)}
    assert {label: row.metadata["lot"] for label, row in rows.items()} == {
        "blue": "BLUE",
        "green": "GREEN",
        "red": "RED",
    }
    assert rows["green"].category == "testing"
    again = data.upload_samples(
        data.Sample(filename="b.png", data=io.BytesIO(noisy(COLOURS["blue"], 7)), label="blue")
    )
    assert again.successes == []
    assert "already exists" in str(again.fails[0].error)
    assert studio.api_key == ei.API_KEY


def test_an_export_is_taken_by_the_packages_importer(
    trained: RunningStudio,  # noqa: F811
    start: Callable[..., RunningStudio],
    point: Point,
    tmp_path: Path,
) -> None:
    caller = Caller(trained)
    caller.done(caller.post("{p}/jobs/export/original", {"uploaderFriendlyFilenames": False, "retainCrops": True}))
    with zipfile.ZipFile(io.BytesIO(caller.raw("GET", "{p}/export/download").content)) as archive:
        archive.extractall(tmp_path / "export")
    other = start()
    done = point(other).experimental.data.upload_directory(directory=str(tmp_path / "export"))
    assert (len(done.successes), done.fails) == (26, [])
    assert other.studio.samples.summary(other.project_id) == trained.studio.samples.summary(trained.project_id)


def test_a_deployment_is_built_and_downloaded(trained: RunningStudio, point: Point, tmp_path: Path) -> None:  # noqa: F811
    ei = point(trained)
    assert {"openmv", "zip"} <= set(ei.model.list_deployment_targets())
    content = ei.experimental.impulse.build(
        deploy_model_type="int8", engine="tflite", deploy_target="openmv", output_directory=str(tmp_path / "out")
    ).read()
    (version,) = trained.studio.deployments.history(trained.project_id)
    assert content == trained.studio.deployments.read(version)
    (written,) = (tmp_path / "out").iterdir()
    assert written.read_bytes() == content
    assert "openmv-v1-impulse" in written.name
    with pytest.raises(ei.exceptions.InvalidTargetException):
        ei.experimental.impulse.build(deploy_model_type="int8", engine="tflite", deploy_target="arduino")
    with pytest.raises(Exception, match="is not built with engine 'akida' here"):
        ei.experimental.impulse.build(deploy_model_type="int8", engine="akida", deploy_target="zip")


def test_a_model_is_profiled(ei: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ei.model.list_profile_devices() == []
    found = ei.model.profile(model=int8_model(SHAPE, WEIGHTS))
    assert found.available_model_types == ["int8"]
    assert found.model.inputs[0].shape == [1, 6, 8, 3]
    assert found.model.profile_info.int8.has_performance is False
    assert capsys.readouterr().out == ""


def test_a_model_is_deployed_with_its_labels(ei: Any, tmp_path: Path) -> None:
    output, given = ei.model.output_type, ei.model.input_type
    model = tmp_path / "watch.lite"
    model.write_bytes(int8_model(SHAPE, WEIGHTS))
    content = ei.model.deploy(
        model=str(model),  # a Path, which it says it takes, fails in its own generated client
        model_output_type=output.Classification(labels=["cat", "dog", "none"]),
        model_input_type=given.ImageInput(),
        deploy_target="openmv",
    ).read()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("trained.tflite") == model.read_bytes()
        assert archive.read("labels.txt") == b"cat\ndog\nnone"
    floating = float_model(SHAPE, WEIGHTS * np.float32(0.05))
    content = ei.model.deploy(model=floating, model_output_type=output.Classification()).read()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {"model.c", "model.h", "main.c"} <= set(archive.namelist()), "the C++ library, for any board"
        assert archive.read("labels.txt") == b"0\n1\n2"
    content = ei.model.deploy(
        model=floating, model_output_type=output.Classification(), deploy_target="bundle", engine="tflite"
    ).read()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("model_float32.tflite") == floating
    with pytest.raises(ei.exceptions.InvalidDeployParameterException, match="2 labels"):
        ei.model.deploy(model=floating, model_output_type=output.Classification(labels=["a", "b"]))


def test_a_jobs_log_is_streamed(
    trained_folder: Path,  # noqa: F811
    tmp_path: Path,
    start: Callable[..., RunningStudio],
    point: Point,
) -> None:
    shutil.copytree(trained_folder, tmp_path / "studio")
    running = start(tmp_path / "studio", project=PROJECT, jobs="real")
    body = {**TRAINING, "trainingCycles": 30}
    job_id = Caller(running).post(f"{{p}}/jobs/train/keras/{LEARN_ID}", body)["id"]
    lines: list[str] = []
    point(running).util.run_project_job_until_completion(job_id, data_cb=lines.append, timeout_sec=60)
    assert lines == [line.text.strip() for line in running.studio.workshop.log(job_id)]
    assert any("accuracy" in line for line in lines)


def test_no_tuner_run_is_listed(ei: Any) -> None:
    assert ei.experimental.tuner.list_tuner_runs().runs == []


def test_a_wrong_key_is_said(ei: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ei, "API_KEY", "ei_" + "0" * 64)
    with pytest.raises(ei.edgeimpulse_api.exceptions.UnauthorizedException, match="Invalid API key"):
        ei.experimental.data.get_sample_ids()
