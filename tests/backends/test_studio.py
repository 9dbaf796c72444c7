"""The Studio backend keeps the contract, over a local Studio; every exchange is held to the official schema."""

import logging
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend
from ei_automation.backends.base import Backend, wait
from ei_automation.backends.studio.backend import StudioBackend
from ei_automation.errors import EiautoError, JobFailedError, ProjectBusyError, SettingsError, VerificationError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.job import JobStatus
from ei_automation.schema.sample import Category
from ei_automation.settings import Secret, StudioSettings
from ei_automation.studio_server.faults import Faults, Rule
from ei_automation.testing import RunningStudio, start_studio
from tests.backends.contract import DEADLINE_S, IMPULSE, BackendContract, make_samples, parameters, quiet
from tests.studio_server.judge import Judge


def options(folder: Path, running: RunningStudio) -> BackendOptions:
    """Of a project on a running Studio."""
    return BackendOptions(
        project="colours",
        state_folder=folder,
        split="main",
        cache_folder=folder / "user-cache",
        project_folder=folder,
        weights=None,
        offline=False,
        facts=ProjectFacts(),
        studio=StudioSettings(running.api_endpoint, running.ingestion_endpoint, Secret(running.api_key)),
    )


class Desk:
    """Local Studios under the Judge, one for each folder."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self.judges, self.running = stack, [], {}
        self.judging = True

    def start(self, folder: Path, **more: object) -> RunningStudio:
        def judged(app: object) -> Judge:
            self.judges.append(Judge(app))
            return self.judges[-1]

        if folder not in self.running:
            more = {"jobs": "real", **more}
            self.running[folder] = self._stack.enter_context(start_studio(folder, wrap=judged, **more))
        return self.running[folder]

    def open(self, folder: Path, **more: object) -> StudioBackend:
        backend = open_backend("studio", options(folder, self.start(folder, **more)))
        assert isinstance(backend, StudioBackend)
        return backend


@contextmanager
def opened_desk():
    with ExitStack() as stack:
        desk = Desk(stack)
        yield desk
    assert [line for judge in desk.judges for line in judge.found if desk.judging] == []


@pytest.fixture
def desk():
    with opened_desk() as desk:
        yield desk


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    """Of a local Studio whose project is trained; to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    with opened_desk() as desk, desk.open(folder / "studio", jobs="immediate") as backend:
        backend.upload(make_samples(folder), quiet)
        backend.set_impulse(IMPULSE)
        wait(backend, backend.start_training(parameters()), deadline_s=DEADLINE_S)
    return folder / "studio"


@pytest.fixture
def trained(desk, trained_folder, tmp_path):
    """A backend on a copy of it."""
    shutil.copytree(trained_folder, tmp_path / "studio")
    with desk.open(tmp_path / "studio") as backend:
        yield backend


@pytest.fixture
def faults(desk, tmp_path, trained):
    """What goes wrong in the Studio of `trained`."""
    return desk.running[tmp_path / "studio"].studio.faults


class TestStudioBackend(BackendContract):
    """The contract over Studio's API, with jobs that take their time."""

    @pytest.fixture(autouse=True)
    def studios(self, desk):
        self.desk = desk

    @pytest.fixture
    def trained(self, desk, trained_folder, tmp_path):
        shutil.copytree(trained_folder, tmp_path / "studio")
        with desk.open(tmp_path / "studio") as backend:
            yield backend

    def open(self, folder: Path) -> Backend:
        return self.desk.open(folder)


def follow(backend: Backend, job_id: int) -> list[str]:
    """Wait for a job; its log."""
    lines: list[str] = []
    wait(backend, job_id, deadline_s=DEADLINE_S, on_line=lines.append)
    return lines


def jobs_of(backend: StudioBackend, kind: str) -> list[int]:
    """Numbers of the jobs of a kind, as Studio lists them."""
    rows = backend._client.get(f"/api/{backend._project_id}/jobs/all")["jobs"]
    return [row["id"] for row in rows if kind in f"{row['categoryKey']} {row['key']}"]


# One route like the other


def test_both_routes_give_the_same_models_and_numbers(trained, tmp_path):
    local_options = replace(options(tmp_path / "local", RunningStudio("", "", "", 1, None, print)), studio=None)
    follow(trained, trained.start_testing(0.6))
    with open_backend("local", local_options) as local:
        local.upload(make_samples(tmp_path), quiet)
        local.set_impulse(IMPULSE)
        follow(local, local.start_training(parameters()))
        follow(local, local.start_testing(0.6))
        for variant in ("float32", "int8"):
            assert trained.download_model(variant) == local.download_model(variant)
        ours = {(item.variant, item.category): item for item in trained.metrics()}
        for item in local.metrics():
            if item.category == "validation":
                item = item.model_copy(update={"roc_auc": None, "with_threshold": None})
            assert ours[item.variant, item.category] == item
        record, theirs = trained.training_record(), local.training_record()
        told = ("models", "samples_sha256", "impulse", "parameters", "training_count", "validation_count", "seed")
        assert {name: getattr(record, name) for name in told} == {name: getattr(theirs, name) for name in told}
        assert record.curves.validation_loss == pytest.approx(theirs.curves.validation_loss)
        assert (record.threads, record.validation_sha256, record.weights) == (0, "", None)


# Before anything is written


@pytest.mark.parametrize("role", ["readonly", "ingestiononly", "ingestion_deployment"])
def test_a_key_that_may_not_train_is_said_at_once(desk, tmp_path, role):
    running = desk.start(tmp_path)
    _, key = running.studio.projects.add_key(running.project_id, "weak", role)
    weak = replace(options(tmp_path, running).studio, api_key=Secret(key))
    with (
        open_backend("studio", replace(options(tmp_path, running), studio=weak)) as backend,
        pytest.raises(SettingsError, match=f"role {role}|may not do this") as caught,
    ):
        backend.check_ready()
    assert "admin" in caught.value.hint


def test_wrong_keys_and_projects_are_said(desk, tmp_path):
    running = desk.start(tmp_path)
    good = options(tmp_path, running).studio
    with pytest.raises(SettingsError, match="no settings for Edge Impulse Studio"):
        open_backend("studio", replace(options(tmp_path, running), studio=None))
    far = replace(good, api_endpoint="https://studio.edgeimpulse.com/v1")
    with pytest.raises(SettingsError, match=r"nothing may leave this machine, and https://studio\.edge"):
        open_backend("studio", replace(options(tmp_path, running), studio=far, offline=True))
    with pytest.raises(SettingsError, match="no Edge Impulse API key"):
        StudioBackend(replace(options(tmp_path, running), studio=replace(good, api_key=Secret(""))))
    with pytest.raises(SettingsError, match="characters that no key has"):
        StudioBackend(replace(options(tmp_path, running), studio=replace(good, api_key=Secret("ei_a\nb"))))
    for studio, said in (
        (replace(good, api_key=Secret("ei_" + "0" * 61)), "Invalid API key"),
        (replace(good, project_id=99), "EI_PROJECT_ID is 99 and the API key is of project 1"),
    ):
        with (
            open_backend("studio", replace(options(tmp_path, running), studio=studio)) as backend,
            pytest.raises(SettingsError, match=said),
        ):
            backend.check_ready()
    with desk.open(tmp_path) as backend:
        backend.check_ready()
        assert backend.provenance().model_dump() == {
            "name": "studio",
            "endpoint": running.api_endpoint,
            "project_id": 1,
            "jobs": {},
        }


# Impulse and features


def test_an_impulse_that_is_set_again_costs_no_model(trained):
    record = trained.training_record()
    trained.set_impulse(IMPULSE)
    assert trained.training_record() == record
    live = trained._client.get("/api/1/impulse")["impulse"]
    other = Impulse.model_validate({**IMPULSE.model_dump(), "dsp_block": {"channels": "Grayscale"}})
    trained.set_impulse(other)
    assert trained.get_impulse() == other
    assert trained._client.get("/api/1/impulse")["impulse"] == live, "only the block's parameter was set"
    with pytest.raises(VerificationError, match="older than the samples or the impulse"):
        trained.download_model("int8")
    larger = Impulse.model_validate({"input_block": {"image_width": 16, "image_height": 12}})
    trained.set_impulse(larger)
    assert trained.get_impulse() == larger
    blocks = trained._client.get("/api/1/impulse")["impulse"]
    assert [block["id"] for block in blocks["dspBlocks"]] == [block["id"] for block in live["dspBlocks"]]


def test_features_are_made_again_only_for_other_samples(trained, tmp_path):
    job_id = trained.start_features()
    assert trained.get_job(job_id).kind == "features"
    assert trained.start_features() == job_id
    sample = next(one for one in make_samples(tmp_path) if one.category is Category.TRAINING)
    trained.upload([replace(sample, label="green" if sample.label != "green" else "red")], quiet)
    again = trained.start_features()
    follow(trained, again)
    assert again > job_id
    assert trained.training_record() is None, "newer features than the model's"


def test_a_learn_block_of_another_type_is_put_in_place(trained):
    block = {
        "type": "keras-transfer-image",
        "visual_layer": {"type": "transfer_mobilenetv2_a05"},
        "weights": "none",
    }
    wanted = parameters(learn_block=block)
    assert trained.training_drift(wanted) == {"learnBlock": ("keras", "keras-transfer-image")}
    before = trained._client.get("/api/1/impulse")["impulse"]
    trained.cancel_job(trained.start_training(wanted))
    after = trained._client.get("/api/1/impulse")["impulse"]
    assert after["learnBlocks"][0]["type"] == "keras-transfer-image"
    assert after["learnBlocks"][0]["id"] != before["learnBlocks"][0]["id"]
    for kind in ("inputBlocks", "dspBlocks"):
        ((ours,), (theirs,)) = after[kind], before[kind]
        assert {**ours, "createdAt": ""} == {**theirs, "createdAt": ""}
    assert trained.training_drift(wanted) == {}


def test_samples_of_others_are_named_and_left_alone(trained):
    raw = trained._client.get("/api/1/raw-data", category="testing", limit=1)["samples"][0]
    trained._client.post_again(f"/api/1/raw-data/{raw['id']}/metadata", {"metadata": {"eiauto_sha256": "?"}})
    assert len(trained.list_samples()) == 35
    assert trained.unknown_samples() == [(raw["id"], raw["filename"])]
    trained.delete_samples([raw["id"]])
    assert trained.unknown_samples() == []


# Training


def test_drift_is_told_in_studios_words(trained):
    assert trained.training_drift(parameters()) == {}
    layers = [{"type": "conv2d", "filters": 9, "pool_size": 1}, {"type": "dense", "neurons": 5}]
    wanted = parameters(learn_block={"type": "keras", "visual_layers": layers}, batch_size=8, seed=5)
    assert trained.training_drift(wanted) == {
        "batchSize": ("32", "8"),
        "eiauto_seed": ("3", "5"),
        "eiauto_pool_size": ("", "1"),
        "visualLayers.0": ("conv2d neurons=4 kernelSize=3 stack=1", "conv2d neurons=9 kernelSize=3 stack=1"),
        "visualLayers.1": ("flatten", "dense neurons=5"),
    }


def test_a_training_whose_start_is_not_answered_is_started_once(trained, faults):
    before = jobs_of(trained, "learn-train")
    faults.add([Rule(operation="train_keras_job", nth=1, reset="after")])
    job_id = trained.start_training(parameters(training_cycles=1))
    follow(trained, job_id)
    assert jobs_of(trained, "learn-train") == [job_id, *before]
    assert trained.training_record().parameters["training_cycles"] == 1


def test_a_failed_training_is_said_with_the_end_of_its_log(trained, faults):
    faults.add([Rule(fail_job="learn-train", error="exit code 137")])
    job_id = trained.start_training(parameters(training_cycles=1))
    with pytest.raises(JobFailedError, match="exit code 137") as caught:
        follow(trained, job_id)
    assert "exit code 137" in caught.value.log_tail
    assert trained.training_record() is None
    assert trained.metrics() == []


def test_a_training_that_others_cancelled_is_cancelled(trained, desk, tmp_path):
    job_id = trained.start_training(parameters(training_cycles=1000))
    assert trained.start_training(parameters(training_cycles=1000)) == job_id
    with pytest.raises(ProjectBusyError, match=f"training job {job_id} is going on in the project, with other"):
        trained.start_training(parameters(training_cycles=2))
    with desk.open(tmp_path / "studio") as other:
        other.cancel_job(job_id)
        other.cancel_job(job_id)
    with pytest.raises(JobFailedError, match="cancelled"):
        follow(trained, job_id)
    assert trained.get_job(job_id).status is JobStatus.CANCELLED


def test_no_line_is_lost_or_seen_twice_when_the_socket_drops(trained, faults):
    faults.add([Rule(drop_socket_after=3)])
    job_id = trained.start_testing(0.6)
    lines = follow(trained, job_id)
    assert lines == [line.text for line in trained.job_log(job_id)]
    assert len(lines) > 5
    assert len(lines) == len(set(lines))


def test_samples_of_the_validation_category_validate(desk, tmp_path):
    samples = [
        replace(one, category=Category.VALIDATION) if number % 4 == 1 else one
        for number, one in enumerate(make_samples(tmp_path, 8))
    ]
    with desk.open(tmp_path / "studio") as backend:
        backend.upload([one for one in samples if one.category is not Category.TESTING], quiet)
        backend.set_impulse(IMPULSE)
        follow(backend, backend.start_training(parameters(training_cycles=1)))
        assert backend._client.get("/api/1")["explicitValidationEnabled"] is True
        record = backend.training_record()
        assert (record.training_count, record.validation_count) == (12, 6)
        follow(backend, backend.start_testing(0.6))
        assert {(item.category, item.sample_count) for item in backend.metrics()} == {("validation", 6)}
        assert backend.predictions() == []


# Testing


def test_another_threshold_is_another_test_of_the_same_scores(trained):
    first = trained.start_testing(0.6)
    follow(trained, first)
    assert trained.start_testing(0.6) == first
    predictions = trained.predictions()
    second = trained.start_testing(0.4)
    follow(trained, second)
    assert second > first
    assert trained.predictions() == predictions
    assert {item.with_threshold.threshold for item in trained.metrics() if item.category == "testing"} == {0.4}
    assert trained.start_testing(0.4) == second


# Builds


def test_a_build_is_found_again_in_another_session(trained, desk, tmp_path):
    request = BuildRequest("openmv")
    job_id = trained.start_build(request)
    follow(trained, job_id)
    artifact = trained.download(job_id, tmp_path / "one")
    with desk.open(tmp_path / "studio") as other:
        assert other.start_build(request) == job_id
    with desk.open(tmp_path / "studio") as other:
        again = other.download(job_id, tmp_path / "two")
        assert (again.sha256, again.version, again.model_sha256) == (
            artifact.sha256,
            artifact.version,
            artifact.model_sha256,
        )
        assert [(item.format, item.version) for item in other.built_deployments()] == [("openmv", again.version)]
        assert again.training_job_id == other.provenance().jobs["training"]


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_build_whose_start_is_not_answered_is_built_once(trained, faults, tmp_path, lost):
    faults.add([Rule(operation="build_on_device_model_job", nth=1, reset=lost)])
    job_id = trained.start_build(BuildRequest("openmv"))
    follow(trained, job_id)
    assert faults.report()[0]["done"] == 1
    assert trained.download(job_id, tmp_path / "out").version == 1


# Keys


def test_the_key_shows_up_nowhere(desk, tmp_path, caplog, capfd):
    """Over a session with every kind of failure: messages, hints, logs, what is printed and what is stored."""
    caplog.set_level(logging.DEBUG)
    desk.judging = False  # what the faults answer is none of Studio's
    mine, said = tmp_path / "mine", []
    mine.mkdir()
    with desk.open(tmp_path / "studio", faults=Faults()) as backend:
        key, bad = backend._client.settings.api_key.reveal(), desk.running[tmp_path / "studio"].studio.faults

        def fails(call):
            with pytest.raises(EiautoError) as caught:
                call()
            error = caught.value
            said.extend([str(error), repr(error), error.hint, repr(error.__dict__)])

        backend._client.patience_s = 0.2
        backend.upload(make_samples(mine), quiet)
        backend.set_impulse(IMPULSE)
        echo = f"the key {key} is odd"
        for rule in (
            Rule(operation="get_impulse", status=400, error=echo),
            Rule(operation="get_impulse", status=401, error=echo),
            Rule(operation="get_impulse", status=503, error=echo),
            Rule(operation="get_impulse", status=502, body=f"<html>{key}</html>"),
            Rule(operation="get_impulse", status=200, body=f"<html>{key}</html>"),
            Rule(operation="get_impulse", reset="during"),
        ):
            bad.add([rule])
            fails(backend.get_impulse)
            bad.clear()
        bad.add([Rule(fail_job="learn-train", nth=1, error=echo)])
        fails(lambda: follow(backend, backend.start_training(parameters())))
        said += [line.text for line in backend.job_log(jobs_of(backend, "learn-train")[0])]
        bad.clear()
        follow(backend, backend.start_training(parameters(training_cycles=1)))
        follow(backend, backend.start_testing(0.6))
        build = backend.start_build(BuildRequest("bundle"))
        follow(backend, build)
        backend.download(build, mine / "out")
        said += [repr(backend._options), repr(backend.__dict__), repr(backend.training_record())]
        token = backend._client.get("/api/1/socket-token")["token"]["socketToken"]
    printed = capfd.readouterr()
    said += [printed.out, printed.err, caplog.text]
    stored = [path for path in mine.rglob("*") if path.is_file()]
    assert any(path.suffix == ".zip" for path in stored)
    assert [text[:200] for text in said if key in text or token in text or "token=" in text] == []
    assert [path for path in stored if key.encode() in _contents(path)] == []


def _contents(path: Path) -> bytes:
    """A file's bytes, and those of the files inside a zip."""
    import zipfile

    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as package:
        return path.read_bytes() + b"".join(package.read(name) for name in package.namelist())
