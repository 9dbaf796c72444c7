"""Features, training and testing by the local backend, and what is kept of them for the API.

What a job found is kept beside the impulse (`Impulses.keep`) when it succeeds, in terms of content hashes: a later
change of samples takes nothing away from an answer, and nothing of an older impulse or training is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend
from ei_automation.backends.base import Backend, wait
from ei_automation.errors import InterruptedRunError, UsageError
from ei_automation.files import write_atomically
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.lock import MAIN_SPLIT
from ei_automation.schema.metrics import VARIANTS
from ei_automation.schema.sample import Category, Sample, StoredSample
from ei_automation.studio_api.impulse import impulse_from
from ei_automation.studio_api.training import parameters_from
from ei_automation.studio_server.impulses import FEATURE_SAMPLES, FEATURES, RESULTS, TESTING, TRAINING, Impulses
from ei_automation.studio_server.job_rows import JobFailure
from ei_automation.studio_server.sample_filter import Filter

if TYPE_CHECKING:
    from pathlib import Path

    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.studio_server.projects import Projects
    from ei_automation.studio_server.samples import SampleRow, Samples
    from ei_automation.studio_server.workshop import JobTalk, Workshop

JOB_DEADLINE_S = 7 * 24 * 3600.0
DEFAULT_CONFIDENCE = 0.6
"""Studio's minimum confidence of a classification block."""
MINIMUM_CONFIDENCE = "minimumConfidenceRating"
LEARNED_CATEGORIES = frozenset(category.value for category in Category)

REPLACED = "the impulse or the data was replaced since the job was started; start it again"
ScoresByHash = dict[str, Sequence[float]]
"""Content hash to scores, 0..1, in the order of the labels."""

_one_training = threading.Lock()
"""Seeds and settings of TensorFlow are the process's: two trainings at once would change each other's result."""


@contextmanager
def open_project(workshop: Workshop, project_id: int) -> Iterator[Backend]:
    """The local backend on a project's folder, with the project's samples and impulse as they are now.

    Raises:
        JobFailure: A sample's content is not what was stored.
    """
    project, options = workshop.projects.info(project_id), workshop.options
    folder = workshop.projects.folder(project_id)
    place = BackendOptions(
        project=project.name,
        state_folder=folder,
        split=MAIN_SPLIT,
        cache_folder=options.cache_folder,
        project_folder=folder,
        weights=options.weights,
        offline=options.offline,
        facts=ProjectFacts(description=project.description),
    )
    with open_backend("local", place) as backend:
        _align_samples(backend, workshop.samples, project_id)
        impulse = current_impulse(workshop.impulses, project_id)
        if impulse is not None and impulse != backend.get_impulse():
            backend.set_impulse(impulse)
        yield backend


def _align_samples(backend: Backend, samples: Samples, project_id: int) -> None:
    """Let the backend hold the enabled samples and no others; of equal contents the first counts."""
    rows = {row.sha256: row for row in learned_samples(samples, project_id)}
    wanted = [_sample(samples, row) for row in rows.values()]
    backend.delete_samples([known.sample_id for known in backend.list_samples() if known.sha256 not in rows])
    if failed := backend.upload(wanted, lambda _done, _total: None).failed:
        name, reason = next(iter(failed.items()))
        raise JobFailure(f"{len(failed)} samples cannot be read; the first is {name}: {reason}")


def learned_samples(samples: Samples, project_id: int) -> list[SampleRow]:
    """The enabled samples of the categories that train, validate and test, newest first."""
    rows = samples.find(project_id, Filter(disabled=False))
    return [row for row in rows if row.category in LEARNED_CATEGORIES]


def _sample(samples: Samples, row: SampleRow) -> Sample:
    name = row.filename + row.extension
    category = Category(row.category)
    return Sample(samples.content(row), name, row.sha256, row.label, category, row.group, row.boxes)


def current_impulse(impulses: Impulses, project_id: int) -> Impulse | None:
    """The project's impulse as the local backend takes it; None where there is none that it can work with."""
    stored = impulses.get(project_id)
    if stored is None or not stored["dspBlocks"]:
        return None
    config = impulses.dsp_config(project_id, stored["dspBlocks"][0]["id"])
    items = [{"param": name, "value": value, "defaultValue": value} for name, value in config.items()]
    return impulse_from(stored, {"config": [{"items": items}]})


def model_folder(projects: Projects, project_id: int) -> Path:
    """Where a project's trained models are, as files named by their SHA-256."""
    return projects.folder(project_id) / "models"


def kept_models(projects: Projects, project_id: int, trained: Mapping[str, Any]) -> dict[ModelVariant, Path]:
    """The files of a kept training's models."""
    folder = model_folder(projects, project_id)
    return {variant: folder / trained["models"][variant]["sha256"] for variant in VARIANTS}


def confidence(impulses: Impulses, project_id: int, learn_id: int) -> float:
    """A best score under this is uncertain, 0..1."""
    return float(impulses.keras_config(project_id, learn_id).get(MINIMUM_CONFIDENCE, DEFAULT_CONFIDENCE))


def make_features(workshop: Workshop, talk: JobTalk, dsp_id: int) -> None:
    """Work of a job: decode every sample at the impulse's size.

    Args:
        workshop: Where the job runs.
        talk: The job.
        dsp_id: The block.
    """
    project_id, impulses = talk.project_id, workshop.impulses
    _require_epoch(impulses, talk)
    impulse = current_impulse(impulses, project_id)
    if impulse is None:
        raise JobFailure("the local Studio can train impulses with one image input, one image and one keras block")
    fingerprint = workshop.samples.learning_fingerprint(project_id)
    rows = [row for row in learned_samples(workshop.samples, project_id) if row.category != Category.TESTING.value]
    if not rows:
        raise JobFailure("No data: there are no samples in your training set")
    hashes = sorted({row.sha256 for row in rows})
    if len(rows) > len(hashes):
        talk.line(f"{len(rows) - len(hashes)} samples have the content of another one and count once", "warn")
    if unlabelled := [row.filename for row in rows if not row.label]:
        raise JobFailure(f"{len(unlabelled)} samples have no label; the first is {unlabelled[0]}")
    with workshop.backend(project_id) as backend:
        follow(backend, backend.start_features(), talk)
    made = {
        "created": time.time(),
        "fingerprint": fingerprint,
        "config": impulses.dsp_config(project_id, dsp_id),
        "labels": sorted({row.label for row in rows}),
        "shape": list(impulse.input_shape),
        "count": len(hashes),
    }
    impulses.drop(project_id, *RESULTS)
    _keep(impulses, talk, dsp_id, {FEATURES: made, FEATURE_SAMPLES: hashes})


def _require_epoch(impulses: Impulses, talk: JobTalk) -> None:
    """Do not begin what could not be kept."""
    if impulses.epoch(talk.project_id) != talk.epoch:
        raise JobFailure(REPLACED)


def _keep(impulses: Impulses, talk: JobTalk, block_id: int, values: Mapping[str, Any]) -> None:
    """Keep what a job has made, unless it was made with another impulse than there is now."""
    if not impulses.keep(talk.project_id, block_id, values, talk.epoch):
        raise JobFailure(REPLACED)


def train(workshop: Workshop, talk: JobTalk, learn_id: int, config: dict[str, Any]) -> None:
    """Work of a job: train a learn block and measure it on its validation samples.

    Features of samples that changed since they were generated are generated anew, and the log says so.

    Args:
        workshop: Where the job runs.
        talk: The job.
        learn_id: The block.
        config: What it is set to, of schema SetKerasParameterRequest, with its `type`.
    """
    project_id, impulses = talk.project_id, workshop.impulses
    try:
        parameters = parameters_from(config)
    except UsageError as error:
        raise JobFailure(error.message) from error
    _require_epoch(impulses, talk)
    dsp_id = _dsp_of(impulses, project_id, learn_id)
    features = impulses.value(project_id, dsp_id, FEATURES)
    fingerprint = workshop.samples.learning_fingerprint(project_id)
    if features is None or features["fingerprint"] != fingerprint:
        talk.line("The data has changed since the features were generated; generating them again", "warn")
        make_features(workshop, talk, dsp_id)
    impulses.drop(project_id, TRAINING, TESTING)
    with _our_turn(talk), workshop.backend(project_id) as backend:
        follow(backend, backend.start_training(parameters), talk)
        threshold = confidence(impulses, project_id, learn_id)
        follow(backend, backend.start_testing(threshold), talk, quiet=True)
        trained = _trained(backend)
        for variant in VARIANTS:
            place = model_folder(workshop.projects, project_id) / trained["models"][variant]["sha256"]
            write_atomically(place, backend.download_model(variant), doing="writing a model")
    made = {"created": time.time(), "job": talk.job_id, "fingerprint": fingerprint, "config": config}
    for metrics in trained["metrics"]:
        talk.line(f"Calculating {metrics['variant']} accuracy: {metrics['accuracy']:.4f}")
    _keep(impulses, talk, learn_id, {TRAINING: made | trained})


def _trained(backend: Backend) -> dict[str, Any]:
    """What is kept of the backend's last training."""
    record = backend.training_record()
    if record is None:
        raise JobFailure("samples or impulse changed during the training")
    metrics = [item for item in backend.metrics() if item.category == "validation"]
    learning = {sample.label for sample in backend.list_samples() if sample.category is not Category.TESTING}
    return {
        "labels": sorted(learning),
        "record": record.model_dump(mode="json"),
        "metrics": [item.model_dump(mode="json") for item in metrics],
        "models": {variant: model.model_dump() for variant, model in record.models.items()},
    }


def test(workshop: Workshop, talk: JobTalk, learn_id: int) -> None:
    """Work of a job: run every variant of the trained model over the testing samples.

    Args:
        workshop: Where the job runs.
        talk: The job.
        learn_id: The block.
    """
    project_id, impulses = talk.project_id, workshop.impulses
    _require_epoch(impulses, talk)
    trained = impulses.value(project_id, learn_id, TRAINING)
    if trained is None:
        raise JobFailure("the impulse is not trained")
    impulses.drop(project_id, TESTING)
    with workshop.backend(project_id) as backend:
        record, samples = backend.training_record(), backend.list_samples(Category.TESTING)
        if record is not None and record.model_dump(mode="json") == trained["record"]:
            follow(backend, backend.start_testing(confidence(impulses, project_id, learn_id)), talk)
            scores = _scores_of(backend)
        else:
            talk.line("The samples are not those of the training; testing the model that there is", "warn")
            scores = _score_kept(workshop, talk, trained, samples)
    labels = {sample.sha256: sample.label for sample in samples}
    made = {
        "created": time.time(),
        "job": talk.job_id,
        "labels": trained["labels"],
        "actual": {sha256: labels[sha256] for sha256 in scores[VARIANTS[0]]},
        "scores": scores,
    }
    _keep(impulses, talk, learn_id, {TESTING: made})


def _scores_of(backend: Backend) -> dict[ModelVariant, ScoresByHash]:
    """What the backend's test gave to the testing samples."""
    hashes = {sample.sample_id: sample.sha256 for sample in backend.list_samples(Category.TESTING)}
    scores: dict[ModelVariant, ScoresByHash] = {variant: {} for variant in VARIANTS}
    for item in backend.predictions():
        if item.category == "testing":
            scores[item.variant][hashes[item.sample_id]] = item.scores
    return scores


def _score_kept(
    workshop: Workshop, talk: JobTalk, trained: Mapping[str, Any], samples: Sequence[StoredSample]
) -> dict[ModelVariant, ScoresByHash]:
    """Scores of the testing samples by a model whose samples are no longer those of the project.

    Studio tests the model that there is; the local backend only one of today's samples.
    """
    from ei_automation.studio_server.scoring import score

    hashes = [sample.sha256 for sample in samples if sample.label in trained["labels"]]
    kept = workshop.samples.contents(talk.project_id)
    impulse = current_impulse(workshop.impulses, talk.project_id)
    if impulse is None:
        raise JobFailure("there is no impulse that can be tested")
    contents = (kept.place(sha256).read_bytes() for sha256 in hashes)
    found = score(kept_models(workshop.projects, talk.project_id, trained), impulse, contents)
    talk.line(f"Tested {len(hashes)} samples")
    return {variant: dict(zip(hashes, values.tolist(), strict=True)) for variant, values in found.items()}


def follow(backend: Backend, job_id: int, talk: JobTalk, *, quiet: bool = False) -> None:
    """Wait for a job of the local backend as part of one of the server's.

    Args:
        backend: Whose job it is.
        job_id: Which.
        talk: The server's job: gets the log, and says when to stop.
        quiet: Leave the log out.

    Raises:
        EiautoError: The backend's job did not end well.
        InterruptedRunError: The server's job was cancelled.
    """

    def stop_when_asked(_job: object) -> None:
        if talk.should_stop():
            backend.cancel_job(job_id)

    try:
        wait(
            backend,
            job_id,
            deadline_s=JOB_DEADLINE_S,
            on_line=(lambda _text: None) if quiet else talk.line,
            on_progress=stop_when_asked,
        )
    finally:
        if talk.should_stop():
            raise InterruptedRunError("the job was cancelled")


@contextmanager
def _our_turn(talk: JobTalk) -> Iterator[None]:
    """Wait until no other project trains."""
    while not _one_training.acquire(timeout=0.2):
        if talk.should_stop():
            raise InterruptedRunError("the job was cancelled")
    try:
        yield
    finally:
        _one_training.release()


def _dsp_of(impulses: Impulses, project_id: int, learn_id: int) -> int:
    """The DSP block that a learn block takes its features from."""
    for block in (impulses.get(project_id) or {}).get("learnBlocks", ()):
        if block["id"] == learn_id and block["dsp"]:
            return int(block["dsp"][0])
    raise JobFailure(f"No learn block found with ID {learn_id}")
