"""The contract, kept by a folder and the trainer in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ei_automation.backends import BackendOptions
from ei_automation.backends.base import Backend
from ei_automation.backends.local.jobs import JobHandle, JobRunner
from ei_automation.backends.local.plan import (
    build_inputs,
    image_folder,
    plan_training,
    require_impulse,
    testing_inputs,
    training_inputs,
)
from ei_automation.backends.local.results import (
    KeptTraining,
    is_whole,
    read_evaluation,
    read_training,
    training_folder,
)
from ei_automation.backends.local.store import Store
from ei_automation.errors import EiautoError, NotFoundError, VerificationError
from ei_automation.files import ensure_folder, fingerprint, sha256_bytes, sha256_file, storage_errors
from ei_automation.schema.deployment import (
    Artifact,
    BuildRequest,
    DeploymentTarget,
    artifact_stem,
    artifact_suffix,
)
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.job import Job, JobLogLine, JobStatus
from ei_automation.schema.lock import TrainingRecord
from ei_automation.schema.metrics import VARIANTS, Metrics, ModelVariant, Prediction
from ei_automation.schema.sample import Category, Sample, StoredSample, UploadReport
from ei_automation.schema.training import TrainingParameters

if TYPE_CHECKING:
    from ei_automation.backends.local.engine import Engine
    from ei_automation.deployment.contents import BuildContents

PROGRESS_EVERY = 100
TRAIN_AGAIN = "run `eiauto train` again"
CURRENT, WANTED, TESTING = "current_training", "wanted_training", "minimum_confidence"
"""Keys of the store: the training whose model is served, the one that was last asked for, the threshold."""


class LocalBackend(Backend):
    """A project in a folder.

    What needs TensorFlow is imported when a job starts, so that looking at what is there stays fast.

    Args:
        options: The project's place and facts.
    """

    def __init__(self, options: BackendOptions) -> None:
        self._options = options
        folder = options.state_folder / "local" / options.split
        self._store = Store(folder, options.state_folder / "samples")
        try:
            self._jobs = JobRunner(self._store)
        except BaseException:
            self._store.close()
            raise

    def close(self) -> None:
        """Cancel what runs, wait for it, close the state."""
        self._jobs.close()
        self._store.close()

    # Samples

    def list_samples(self, category: Category | None = None) -> list[StoredSample]:
        """See the contract. A sample whose content is lost is not there until it is uploaded again."""
        sound = self._store.sound_contents()
        return [sample for sample in self._store.samples(category) if sample.sha256 in sound]

    def upload(self, samples: Sequence[Sample], on_progress: Callable[[int, int], None]) -> UploadReport:
        """See the contract. New samples get their numbers in the order of their content hashes.

        A sample whose content was lost comes back under its number; one that does not come back is forgotten.
        """
        known = {stored.sha256: stored for stored in self.list_samples()}
        added, present, changed, failed = [], [], [], {}
        kept: list[Sample] = []
        for count, sample in enumerate(sorted(samples, key=lambda item: item.sha256), 1):
            try:
                self._store.keep_content(sample)
            except ValueError as error:
                failed[sample.name] = str(error)
                continue
            before = known.get(sample.sha256)
            if before is None:
                added.append(sample.name)
                kept.append(sample)
            elif _differs(before, sample):
                changed.append(sample.name)
                kept.append(sample)
            else:
                present.append(sample.name)
            if count % PROGRESS_EVERY == 0 or count == len(samples):
                on_progress(count, len(samples))
        self._store.put_samples(kept)
        sound = self._store.sound_contents()
        if lost := [stored.sample_id for stored in self._store.samples() if stored.sha256 not in sound]:
            self._store.delete_samples(lost)
        return UploadReport(tuple(added), tuple(present), tuple(changed), failed)

    def delete_samples(self, sample_ids: Sequence[int]) -> None:
        """See the contract."""
        self._store.delete_samples(sample_ids)

    # Impulse

    def get_impulse(self) -> Impulse | None:
        """See the contract."""
        value = self._store.get("impulse")
        return None if value is None else Impulse.model_validate(value)

    def set_impulse(self, impulse: Impulse) -> None:
        """See the contract."""
        self._store.set("impulse", impulse.model_dump(mode="json"))

    # Work

    def start_features(self) -> int:
        """See the contract."""
        from ei_automation.dsp.store import ImageCache

        impulse = require_impulse(self._store)
        hashes = sorted(sample.sha256 for sample in self._store.samples())
        inputs = fingerprint({"impulse": impulse.model_dump(mode="json"), "samples": hashes})
        done = self._store.successful_job("features", inputs)
        if done is not None:
            with ImageCache(image_folder(self._options), impulse.input_block) as cache:
                if cache.known().issuperset(hashes):
                    return done
        return self._jobs.start("features", inputs, lambda handle: self._engine().features(handle, impulse))

    def start_training(self, parameters: TrainingParameters) -> int:
        """See the contract."""
        plan = plan_training(self._store, self._options, parameters)
        current = {"inputs": plan.inputs, "parameters": parameters.model_dump(mode="json")}
        done = self._store.successful_job("training", plan.inputs)
        folder = self._training_folder(plan.inputs)
        if done is not None and (kept := read_training(folder)) and is_whole(folder, kept):
            self._store.set(CURRENT, {**current, "job": done})
            self._store.set(WANTED, plan.inputs)
            return done

        def work(handle: JobHandle) -> None:
            self._engine().train(handle, plan)
            self._store.set(CURRENT, {**current, "job": handle.job_id})

        self._store.set(WANTED, plan.inputs)
        return self._jobs.start("training", plan.inputs, work)

    def start_testing(self, minimum_confidence: float) -> int:
        """See the contract.

        Raises:
            NotFoundError: There is no model, or it is no longer what was trained.
        """
        kept = self._current()
        inputs = testing_inputs(kept.record, self._store.samples(Category.TESTING), minimum_confidence)
        self._store.set(TESTING, minimum_confidence)
        place = self._testing_place(kept.record, inputs)
        done = self._store.successful_job("testing", inputs)
        if done is not None and read_evaluation(place, {}) is not None:
            return done
        if not is_whole(place.parent, kept):
            raise NotFoundError(f"a trained model in {place.parent} is missing or altered", hint=TRAIN_AGAIN)
        impulse = require_impulse(self._store)

        def work(handle: JobHandle) -> None:
            self._engine().test(handle, kept, impulse, place=place, minimum_confidence=minimum_confidence)

        return self._jobs.start("testing", inputs, work)

    def start_build(self, request: BuildRequest) -> int:
        """See the contract."""
        kept, metrics = self._current(), self.metrics()
        record = kept.record
        inputs = build_inputs(record, self._options, request, [item.model_dump(mode="json") for item in metrics])
        place = self._store.folder / "builds" / f"{inputs[:16]}{artifact_suffix(request)}"
        done = self._store.successful_job("build", inputs)
        if (
            done is not None
            and place.is_file()
            and self._store.get(f"build-{done}")["sha256"] == sha256_file(place)
        ):
            return done
        contents = self._contents(kept, metrics)

        def work(handle: JobHandle) -> None:
            self._engine().build(handle, request, contents, place)
            self._remember_build(handle.job_id, request, place, record)

        return self._jobs.start("build", inputs, work)

    def _remember_build(self, job_id: int, request: BuildRequest, place: Path, record: TrainingRecord) -> None:
        version = (self._store.get("builds") or 0) + 1
        self._store.set("builds", version)
        build = {
            "version": version,
            "sha256": sha256_file(place),
            "file": place.name,
            "request": asdict(request),
            "model_sha256": record.models[request.variant].sha256,
            "training_job_id": self._store.get(CURRENT)["job"],
        }
        self._store.set(f"build-{job_id}", build)

    # Jobs

    def get_job(self, job_id: int) -> Job:
        """See the contract."""
        return self._jobs.get(job_id)

    def job_error(self, job_id: int) -> EiautoError | None:
        """See the contract."""
        return self._jobs.error(job_id)

    def job_log(self, job_id: int, after: int = -1) -> list[JobLogLine]:
        """See the contract."""
        return self._store.log(job_id, after)

    def cancel_job(self, job_id: int) -> None:
        """See the contract."""
        self._jobs.cancel(job_id)

    # Results

    def training_record(self) -> TrainingRecord | None:
        """See the contract."""
        try:
            return self._current().record
        except (NotFoundError, VerificationError):
            return None

    def metrics(self) -> list[Metrics]:
        """See the contract."""
        return self._evaluation()[0]

    def predictions(self) -> list[Prediction]:
        """See the contract."""
        return self._evaluation()[1]

    def download_model(self, variant: ModelVariant) -> bytes:
        """See the contract."""
        record = self._current().record
        place = self._training_folder(record.inputs) / f"{variant}.tflite"
        if not place.is_file():
            raise NotFoundError(f"the {variant} model {place} is missing", hint=TRAIN_AGAIN)
        with storage_errors(place, "reading a model"):
            data = place.read_bytes()
        if sha256_bytes(data) != record.models[variant].sha256:
            raise VerificationError(f"the {variant} model {place} is not what was trained", hint=TRAIN_AGAIN)
        return data

    def deployment_targets(self) -> list[DeploymentTarget]:
        """See the contract."""
        from ei_automation.deployment.targets import TARGETS

        return [target.target for target in TARGETS.values()]

    def download(self, build_job_id: int, folder: Path) -> Artifact:
        """See the contract."""
        build = self._store.get(f"build-{build_job_id}")
        job = self._store.job(build_job_id)
        if build is None or job is None or job.status is not JobStatus.SUCCESS:
            raise NotFoundError(f"job {build_job_id} is no successful build")
        source = self._store.folder / "builds" / build["file"]
        if not source.is_file() or sha256_file(source) != build["sha256"]:
            raise VerificationError(f"{source} is not what job {build_job_id} built", hint="build again")
        request = BuildRequest(**build["request"])
        name = artifact_stem(self._options.project, request.format, request) + artifact_suffix(request)
        place = ensure_folder(folder, "downloading a deployment") / name
        with storage_errors(place, "downloading a deployment"):
            temporary = place.with_name(f".{place.name}.part")
            shutil.copyfile(source, temporary)
            temporary.chmod(0o644 if place.suffix == ".zip" else 0o755)
            temporary.replace(place)
        return Artifact(
            place,
            build["sha256"],
            request.format,
            request.engine,
            request.variant,
            build["version"],
            build["model_sha256"],
            build["training_job_id"],
        )

    # Inside

    def _engine(self) -> Engine:
        from ei_automation.backends.local.engine import Engine

        return Engine(self._store, self._options)

    def _training_folder(self, inputs: str) -> Path:
        return training_folder(self._store, inputs)

    def _testing_place(self, record: TrainingRecord, inputs: str) -> Path:
        return self._training_folder(record.inputs) / f"testing-{inputs[:16]}.json"

    def _current(self) -> KeptTraining:
        """The last training, if it is one of today's samples and impulse and no later one has failed.

        Raises:
            NotFoundError: Nothing was trained.
            VerificationError: Something newer was wanted than what there is.
        """
        current = self._store.get(CURRENT)
        kept = read_training(self._training_folder(current["inputs"])) if current else None
        if kept is None:
            raise NotFoundError("there is no trained model", hint="run `eiauto train` first")
        parameters = TrainingParameters.model_validate(current["parameters"])
        if self._store.get(WANTED) != current["inputs"]:
            raise VerificationError(
                "the model is older than the last training, which did not end well",
                hint=TRAIN_AGAIN,
            )
        weights = kept.record.weights.sha256 if kept.record.weights else None
        if training_inputs(self._store, parameters, weights) != current["inputs"]:
            raise VerificationError("the model is older than the samples or the impulse", hint=TRAIN_AGAIN)
        return kept

    def _evaluation(self) -> tuple[list[Metrics], list[Prediction]]:
        """What testing found for the current model; empty before testing."""
        confidence = self._store.get(TESTING)
        record = self.training_record()
        if confidence is None or record is None:
            return [], []
        inputs = testing_inputs(record, self._store.samples(Category.TESTING), confidence)
        ids = {sample.sha256: sample.sample_id for sample in self.list_samples()}
        return read_evaluation(self._testing_place(record, inputs), ids) or ([], [])

    def _contents(self, kept: KeptTraining, metrics: list[Metrics]) -> BuildContents:
        from ei_automation.deployment.contents import BuildContents, DatasetSummary

        impulse = require_impulse(self._store)
        facts, record = self._options.facts, kept.record
        return BuildContents(
            project=self._options.project,
            labels=tuple(kept.labels),
            models={variant: self.download_model(variant) for variant in VARIANTS},
            input_shape=impulse.input_shape,
            resize_mode=impulse.input_block.resize_mode,
            channels=impulse.dsp_block.channels,
            dataset=DatasetSummary(facts.origin, facts.split, _counts(self._store.samples()), facts.findings),
            weights_source=record.weights.source if record.weights else "",
            description=facts.description,
            metrics=tuple(metrics),
            parameters=record.parameters,
            assumptions=facts.assumptions,
            boards=facts.boards,
            published_title=facts.published_title,
            published_url=facts.published_url,
        )


def _differs(stored: StoredSample, sample: Sample) -> bool:
    """Whether what is known of a content has changed."""
    return (stored.name, stored.label, stored.category, stored.group, stored.bounding_boxes) != (
        sample.name,
        sample.label,
        sample.category,
        sample.group,
        sample.bounding_boxes,
    )


def _counts(samples: list[StoredSample]) -> dict[str, dict[str, int]]:
    """Category to label to samples."""
    counts: dict[str, dict[str, int]] = {}
    for sample in samples:
        of_category = counts.setdefault(sample.category.value, {})
        of_category[sample.label] = of_category.get(sample.label, 0) + 1
    return counts
