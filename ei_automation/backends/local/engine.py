"""The work behind the local backend's jobs: features, training, testing, builds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.backends import BackendOptions
from ei_automation.backends.local.jobs import JobHandle
from ei_automation.backends.local.plan import TrainingPlan, image_folder, samples_fingerprint
from ei_automation.backends.local.results import KeptTraining, keep_evaluation, training_folder
from ei_automation.backends.local.store import Store
from ei_automation.deployment.contents import BuildContents
from ei_automation.deployment.targets import build
from ei_automation.dsp.image import to_features
from ei_automation.dsp.store import ImageCache
from ei_automation.errors import VerificationError
from ei_automation.files import ensure_folder, fingerprint, sha256_bytes, write_atomically
from ei_automation.inference.evaluate import Evaluation, Truth, evaluate
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.lock import ModelRecord, TrainingRecord, WeightsRecord
from ei_automation.schema.metrics import VARIANTS, EvaluationCategory, Metrics
from ei_automation.schema.sample import Category, StoredSample
from ei_automation.trainer.request import TrainingEvent, TrainingRequest, TrainingResult
from ei_automation.trainer.train import train
from ei_automation.trainer.validation import group_validation_split, require_every_label, validation_split

FEATURE_CHUNK = 64
DOING = "writing a training's result"


class Engine:
    """Does a job's work on a store.

    Args:
        store: The project's state.
        options: Where caches are and what the project is.
    """

    def __init__(self, store: Store, options: BackendOptions) -> None:
        self._store = store
        self._options = options

    @property
    def _cache(self) -> Path:
        return self._options.state_folder / "cache"

    # Features

    def features(self, handle: JobHandle, impulse: Impulse) -> None:
        """Decode and resize every sample that is not in the cache yet."""
        samples = self._store.samples()
        with self._images(handle, impulse, samples):
            handle.log(f"Features of {len(samples)} samples at {_size(impulse)} are ready")

    def _images(self, handle: JobHandle, impulse: Impulse, samples: Sequence[StoredSample]) -> ImageCache:
        cache = ImageCache(image_folder(self._options), impulse.input_block)
        try:
            self._require_contents(cache, samples)
            cache.add(
                [(sample.sha256, self._store.content(sample.sha256)) for sample in samples],
                on_progress=lambda done, total: handle.progress("Creating features", done, total),
                should_stop=handle.should_stop,
            )
        except BaseException:
            cache.close()
            raise
        return cache

    def _require_contents(self, cache: ImageCache, samples: Sequence[StoredSample]) -> None:
        """Refuse to decode contents that are lost; an image that is decoded already needs none."""
        at_hand = self._store.sound_contents() | cache.known()
        lost = [sample.name for sample in samples if sample.sha256 not in at_hand]
        if lost:
            raise VerificationError(
                f"the stored contents of {len(lost):,} of {len(samples):,} samples are missing or altered;"
                f" the first is {lost[0]}",
                hint="run `eiauto sync`; it stores them again",
            )

    # Training

    def train(self, handle: JobHandle, plan: TrainingPlan) -> None:
        """Train, quantize, and keep the result; the last thing written makes it the current one."""
        training, validation = _validation(plan)
        ids = [sample.sha256 for sample in plan.samples]
        targets = np.array([plan.labels.index(sample.label) for sample in plan.samples], np.int64)
        handle.log(f"Training on {len(training)} samples, validating on {len(validation)}")
        with self._images(handle, plan.impulse, plan.samples) as cache, cache.pixels() as pixels:
            rows = cache.rows(ids)
            request = TrainingRequest(
                parameters=plan.parameters,
                impulse=plan.impulse,
                labels=plan.labels,
                pixels=pixels,
                training_rows=rows[training],
                training_labels=targets[training],
                validation_rows=rows[validation],
                validation_labels=targets[validation],
                content_ids=cache.content_ids(),
                weights=plan.weights,
                cache_folder=ensure_folder(self._cache / "features", DOING),
                checkpoint_folder=ensure_folder(self._store.folder / "checkpoints", DOING),
                inputs=plan.inputs,
            )
            result = train(request, on_event=lambda event: _pass_on(handle, event), should_stop=handle.should_stop)
        self._keep(plan, result, [ids[index] for index in validation], len(training))

    def _keep(
        self, plan: TrainingPlan, result: TrainingResult, validation: list[str], training_count: int
    ) -> None:
        folder = ensure_folder(training_folder(self._store, plan.inputs), DOING)
        models = {"float32": result.float32, "int8": result.int8}
        for variant in VARIANTS:
            write_atomically(folder / f"{variant}.tflite", models[variant], doing=DOING)
        weights = plan.weights
        record = TrainingRecord(
            inputs=plan.inputs,
            impulse=plan.impulse.model_dump(mode="json"),
            samples_sha256=samples_fingerprint(plan.samples),
            parameters=plan.parameters.model_dump(mode="json"),
            weights=WeightsRecord(source=weights.source, sha256=weights.sha256) if weights else None,
            seed=plan.parameters.seed,
            threads=result.threads,
            validation_sha256=fingerprint(sorted(validation)),
            validation_count=len(validation),
            training_count=training_count,
            curves=result.curves,
            models={v: ModelRecord(sha256=sha256_bytes(models[v]), size_bytes=len(models[v])) for v in VARIANTS},
        )
        kept = {"record": record.model_dump(mode="json"), "validation": validation, "labels": list(plan.labels)}
        write_atomically(folder / "training.json", json.dumps(kept, indent=1, sort_keys=True), doing=DOING)

    # Testing

    def test(
        self, handle: JobHandle, kept: KeptTraining, impulse: Impulse, *, place: Path, minimum_confidence: float
    ) -> None:
        """Run every variant of a training over its validation and the testing samples.

        Args:
            handle: The job.
            kept: The training.
            impulse: Of the training.
            place: Where the metrics go, in the training's folder.
            minimum_confidence: A best score under it is uncertain, 0..1.
        """
        metrics: list[Metrics] = []
        scores: dict[str, NDArray[Any]] = {}
        for category, samples in _tested(self._store.samples(), kept).items():
            if not samples:
                handle.log(f"There are no {category} samples")
                continue
            scores[f"sha256-{category}"] = np.array([sample.sha256 for sample in samples])
            for variant in VARIANTS:
                truth = Truth(
                    [kept.labels.index(sample.label) for sample in samples],
                    kept.labels,
                    variant,
                    category,
                    minimum_confidence,
                )
                found = self._evaluate(handle, impulse, samples, truth, place.with_name(f"{variant}.tflite"))
                handle.log(f"{variant} {category} accuracy {found.metrics.accuracy:.4f} ({len(samples)} samples)")
                metrics.append(found.metrics)
                scores[f"{variant}-{category}"] = found.scores
        keep_evaluation(place, metrics, scores)

    def _evaluate(
        self, handle: JobHandle, impulse: Impulse, samples: Sequence[StoredSample], truth: Truth, model: Path
    ) -> Evaluation:
        with self._images(handle, impulse, samples) as cache, cache.pixels() as pixels:
            rows = cache.rows([sample.sha256 for sample in samples])
            return evaluate(
                model,
                (to_features(pixels.read(part), impulse.dsp_block.channels) for part in _parts(rows)),
                truth=truth,
                threads=os.cpu_count() or 1,
                on_progress=lambda done, total: handle.progress(
                    f"Testing {truth.variant} on {truth.category}", done, total
                ),
                should_stop=handle.should_stop,
            )

    # Builds

    def build(self, handle: JobHandle, request: BuildRequest, contents: BuildContents, place: Path) -> None:
        """Build a deployment and keep it."""
        artifact = build(request, contents)
        write_atomically(place, artifact, doing="writing a deployment")
        handle.log(f"{request.format}: {len(artifact):,} bytes")


def _tested(samples: Sequence[StoredSample], kept: KeptTraining) -> dict[EvaluationCategory, list[StoredSample]]:
    """The samples that a training is tested on, by category, ordered by content hash."""
    found: dict[EvaluationCategory, list[StoredSample]] = {"validation": [], "testing": []}
    for sample in sorted(samples, key=lambda item: item.sha256):
        if sample.sha256 in kept.validation:
            found["validation"].append(sample)
        elif sample.category is Category.TESTING and sample.label in kept.labels:
            found["testing"].append(sample)
    return found


def _validation(plan: TrainingPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices into the plan's samples that train and that validate: the source's own, else by the parameters."""
    own = np.array([sample.category is Category.VALIDATION for sample in plan.samples])
    ratio, seed = plan.parameters.validation_ratio, plan.parameters.seed
    if own.any():
        training, validation = np.flatnonzero(~own), np.flatnonzero(own)
    elif plan.parameters.validation_split == "group":
        groups = [sample.group or sample.sha256 for sample in plan.samples]
        training, validation = group_validation_split(groups, ratio, seed)
    else:
        training, validation = validation_split(len(plan.samples), ratio, seed)
    require_every_label([plan.samples[index].label for index in training], plan.labels)
    return training, validation


def _pass_on(handle: JobHandle, event: TrainingEvent) -> None:
    """A trainer's event into the job's log or progress."""
    if event.kind == "log":
        handle.log(event.text)
    else:
        handle.progress(event.step, event.done, event.total)


def _parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + FEATURE_CHUNK] for start in range(0, len(rows), FEATURE_CHUNK))


def _size(impulse: Impulse) -> str:
    return f"{impulse.input_block.image_width}x{impulse.input_block.image_height} {impulse.dsp_block.channels}"
