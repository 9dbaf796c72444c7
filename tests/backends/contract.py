"""What every backend must do: subclass `BackendContract` and give it `open`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ei_automation.backends.base import Backend, wait
from ei_automation.errors import EiautoError, JobFailedError, NotFoundError, VerificationError
from ei_automation.files import fingerprint
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.job import JobStatus
from ei_automation.schema.sample import BoundingBox, Category, Sample
from ei_automation.schema.training import TrainingParameters
from tests.helpers import COLOURS, noisy

IMPULSE = Impulse.model_validate({"input_block": {"image_width": 12, "image_height": 12}})
DEADLINE_S = 120


def parameters(**changes: object) -> TrainingParameters:
    """Two cycles of a tiny network."""
    layers = [{"type": "conv2d", "filters": 4}, {"type": "flatten"}]
    block = {"type": "keras", "visual_layers": layers}
    return TrainingParameters.model_validate(
        {"learn_block": block, "training_cycles": 2, "learning_rate": 0.01, **changes}
    )


def make_samples(folder: Path, each: int = 12) -> list[Sample]:
    """Samples of three labels, a quarter of them testing."""
    samples = []
    for place, label in enumerate(COLOURS):
        for number in range(each):
            path = folder / f"{label}-{number}.png"
            path.write_bytes(noisy(COLOURS[label], 1000 * place + number))
            category = Category.TESTING if number % 4 == 0 else Category.TRAINING
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            samples.append(Sample(path, path.name, sha, label, category))
    return samples


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


class BackendContract:
    """The contract of `backends/base.py`, as tests."""

    def open(self, folder: Path) -> Backend:
        """A backend on an empty project, or on the one in the folder."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tmp_path):
        with self.open(tmp_path / "project") as backend:
            yield backend

    @pytest.fixture
    def trained(self, backend, tmp_path):
        backend.upload(make_samples(tmp_path), quiet)
        backend.set_impulse(IMPULSE)
        wait(backend, backend.start_training(parameters()), deadline_s=DEADLINE_S)
        return backend

    def test_an_upload_names_every_sample_and_again_finds_it_present(self, backend, tmp_path):
        samples = make_samples(tmp_path)
        report = backend.upload(samples, quiet)
        assert sorted(report.added) == sorted(sample.name for sample in samples)
        ids = [stored.sample_id for stored in backend.list_samples()]
        again = backend.upload(samples[::-1], quiet)
        assert (len(again.present), again.added, again.changed, again.failed) == (len(samples), (), (), {})
        assert [stored.sample_id for stored in backend.list_samples()] == ids

    def test_a_label_and_a_category_are_corrected(self, backend, tmp_path):
        first, *rest = make_samples(tmp_path)
        backend.upload([first, *rest], quiet)
        moved = Sample(
            first.path,
            first.name,
            first.sha256,
            "green",
            Category.VALIDATION,
            "g",
            (BoundingBox("a", 1, 2, 3, 4),),
        )
        assert backend.upload([moved], quiet).changed == (first.name,)
        (stored,) = backend.list_samples(Category.VALIDATION)
        assert (stored.label, stored.group, stored.bounding_boxes) == ("green", "g", moved.bounding_boxes)

    def test_one_failed_sample_does_not_stop_the_others(self, backend, tmp_path):
        first, *rest = make_samples(tmp_path)
        first.path.write_bytes(b"changed after it was hashed")
        report = backend.upload([first, *rest], quiet)
        assert set(report.failed) == {first.name}
        assert len(backend.list_samples()) == len(rest)

    def test_deleting_forgets_and_ignores_what_is_not_there(self, backend, tmp_path):
        backend.upload(make_samples(tmp_path), quiet)
        first = backend.list_samples()[0]
        backend.delete_samples([first.sample_id, 999_999])
        assert first not in backend.list_samples()
        assert len(backend.list_samples()) == 35

    def test_the_impulse_is_what_was_set(self, backend):
        assert backend.get_impulse() is None
        backend.set_impulse(IMPULSE)
        assert backend.get_impulse() == IMPULSE

    def test_a_training_has_a_log_a_record_and_two_models(self, trained):
        record = trained.training_record()
        assert set(record.models) == {"float32", "int8"}
        assert record.training_count + record.validation_count == 27
        assert len(trained.download_model("int8")) == record.models["int8"].size_bytes
        assert record.impulse == IMPULSE.model_dump(mode="json")
        learning = [s for s in trained.list_samples() if s.category is not Category.TESTING]
        facts = sorted((s.sha256, s.label, s.category.value, s.group) for s in learning)
        assert record.samples_sha256 == fingerprint(facts)
        lines = []
        job_id = trained.start_training(parameters())
        wait(trained, job_id, deadline_s=DEADLINE_S, on_line=lines.append)
        assert any("Epoch 2/2" in line for line in lines)
        assert next(line.index for line in trained.job_log(job_id, after=0)) == 1

    def test_the_same_training_again_is_the_same_job(self, trained):
        assert trained.start_training(parameters()) == trained.start_training(parameters())

    def test_metrics_and_predictions_belong_to_the_model(self, trained):
        assert trained.metrics() == []
        wait(trained, trained.start_testing(0.6), deadline_s=DEADLINE_S)
        assert {(m.variant, m.category, m.sample_count) for m in trained.metrics()} == {
            (variant, category, count)
            for variant in ("float32", "int8")
            for category, count in (("validation", 6), ("testing", 9))
        }
        scores = [p.scores for p in trained.predictions() if (p.variant, p.category) == ("float32", "testing")]
        assert len(scores) == 9
        assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in scores)
        wait(trained, trained.start_training(parameters(training_cycles=1)), deadline_s=DEADLINE_S)
        assert trained.metrics() == []

    def test_predictions_name_todays_samples(self, trained, tmp_path):
        wait(trained, trained.start_testing(0.6), deadline_s=DEADLINE_S)
        before = trained.metrics()
        gone = trained.list_samples(Category.TESTING)[0]
        trained.delete_samples([gone.sample_id])
        wait(trained, trained.start_testing(0.6), deadline_s=DEADLINE_S)
        trained.upload([sample for sample in make_samples(tmp_path) if sample.sha256 == gone.sha256], quiet)
        wait(trained, trained.start_testing(0.6), deadline_s=DEADLINE_S)
        assert trained.metrics() == before
        assert {p.sample_id for p in trained.predictions() if p.category == "testing"} == {
            sample.sample_id for sample in trained.list_samples(Category.TESTING)
        }

    def test_a_build_is_downloaded_as_it_was_built(self, trained, tmp_path):
        assert {target.format for target in trained.deployment_targets()} >= {"openmv", "bundle"}
        job_id = trained.start_build(BuildRequest("openmv"))
        wait(trained, job_id, deadline_s=DEADLINE_S)
        artifact = trained.download(job_id, tmp_path / "out")
        assert hashlib.sha256(artifact.path.read_bytes()).hexdigest() == artifact.sha256
        assert artifact.model_sha256 == trained.training_record().models["int8"].sha256
        assert trained.start_build(BuildRequest("openmv")) == job_id

    def test_a_build_needs_a_model_of_todays_samples(self, backend, tmp_path):
        with pytest.raises(NotFoundError):
            backend.start_build(BuildRequest("openmv"))
        samples = make_samples(tmp_path)
        backend.upload(samples, quiet)
        backend.set_impulse(IMPULSE)
        wait(backend, backend.start_training(parameters()), deadline_s=DEADLINE_S)
        backend.upload([Sample(samples[1].path, "x", samples[1].sha256, "green", Category.TRAINING)], quiet)
        with pytest.raises(VerificationError, match="older than"):
            backend.start_build(BuildRequest("openmv"))
        assert backend.training_record() is None

    def test_a_failed_training_leaves_no_older_model_behind(self, trained):
        job_id = trained.start_training(parameters(learning_rate=0.02, training_cycles=500))
        trained.cancel_job(job_id)
        with pytest.raises(JobFailedError):
            wait(trained, job_id, deadline_s=DEADLINE_S)
        assert trained.get_job(job_id).status is JobStatus.CANCELLED
        with pytest.raises(VerificationError, match="older than the last training"):
            trained.start_build(BuildRequest("bundle"))

    def test_a_deadline_cancels_the_job(self, trained):
        job_id = trained.start_training(parameters(learning_rate=0.03, training_cycles=1000))
        with pytest.raises(JobFailedError, match="did not end within"):
            wait(trained, job_id, deadline_s=0.2)
        assert trained.get_job(job_id).finished

    def test_unknown_jobs_and_targets_are_said(self, trained, tmp_path):
        with pytest.raises(NotFoundError):
            trained.get_job(999_999)
        with pytest.raises(NotFoundError):
            trained.download(999_999, tmp_path)
        with pytest.raises(EiautoError, match="no deployment target"):
            wait(trained, trained.start_build(BuildRequest("toaster")), deadline_s=DEADLINE_S)

    def test_the_state_is_there_when_it_is_opened_again(self, tmp_path):
        with self.open(tmp_path / "project") as backend:
            backend.upload(make_samples(tmp_path), quiet)
            backend.set_impulse(IMPULSE)
            wait(backend, backend.start_training(parameters()), deadline_s=DEADLINE_S)
            record, samples = backend.training_record(), backend.list_samples()
        with self.open(tmp_path / "project") as again:
            assert (again.training_record(), again.list_samples()) == (record, samples)
