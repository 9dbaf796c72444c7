"""`eiauto train`: features, training, quantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ei_automation.backends.base import Backend, wait
from ei_automation.errors import NotFoundError
from ei_automation.schema.job import Job
from ei_automation.schema.lock import MAIN_SPLIT, Lock, TrainingRecord
from ei_automation.workflow.parameters import training_parameters
from ei_automation.workflow.plan import require_one_split
from ei_automation.workflow.project import Event, Session
from ei_automation.workflow.runs import record_run
from ei_automation.workflow.stale import require_data, stale_training


@dataclass(frozen=True)
class TrainingOutcome:
    """What `train` did.

    Attributes:
        record: The training, as it stands in the lock.
        unchanged: Whether it was there already.
    """

    record: TrainingRecord
    unchanged: bool


def train(session: Session, split: str = MAIN_SPLIT) -> TrainingOutcome:
    """Train on one split; nothing is done again that was done with the same inputs.

    Raises:
        NotFoundError: The project has no samples yet, or the pretrained weights are not at hand.
        JobFailedError: The training failed.
    """
    lock = session.read_lock()
    require_data(session, lock)
    require_one_split(session, split)
    with session.open_backend(split) as backend:
        backend.check_ready()
        require_samples(session, backend, lock, split)
        follow(session, backend, backend.start_features())
        if kept := _with_given_weights(session, split, backend.training_record()):
            return TrainingOutcome(kept, True)
        job_id = backend.start_training(training_parameters(session, split))
        unchanged = backend.get_job(job_id).finished_successful
        if not unchanged:
            session.step(f"Training on split {split}")
            follow(session, backend, job_id)
        record = backend.training_record()
        log = [line.text for line in backend.job_log(job_id)]
        provenance = backend.provenance()
    assert record is not None, "a training that succeeded has a record"
    before = lock.splits[split].training if split in lock.splits else None
    outdated: dict[str, Any] = {} if before == record else {"metrics": [], "deployments": []}
    session.update_split(split, "train", backend=provenance, training=record, **outdated)
    record_run(session, split, record, log)
    return TrainingOutcome(record, unchanged)


def require_samples(session: Session, backend: Backend, lock: Lock, split: str) -> None:
    """Refuse to train on other samples than the recorded ones.

    Raises:
        NotFoundError: Some are missing, differ, or are there besides.
    """
    live = backend.list_samples()
    there = {(s.sha256, s.label, s.category) for s in live if not s.disabled}
    wanted = {(s.sha256, s.label, s.categories.get(split)) for s in lock.samples}
    more = len(live) - len(there & wanted) + len(backend.unknown_samples())
    if wanted - there or more:
        raise NotFoundError(
            f"the {session.backend_name} project of split {split} does not hold the recorded samples:"
            f" {len(wanted - there):,} are missing or differ, {more:,} are there besides",
            hint="run `eiauto sync` first; with --prune it deletes what the manifest does not have",
        )


def _with_given_weights(session: Session, split: str, record: TrainingRecord | None) -> TrainingRecord | None:
    """A training with `--weights` that is all that the manifest asks for: the flag need not be repeated."""
    block = session.manifest.training.learn_block
    weights = record.weights if record else None
    if session.settings.weights is not None or getattr(block, "weights", "") != "pretrained":
        return None
    if record is None or weights is None or weights.source in ("pretrained", "studio"):
        return None
    if record != session.read_lock().splits[split].training or stale_training(session, split, record):
        return None
    session.note(f"split {split} keeps the model that was trained with the weights {weights.source}")
    return record


def follow(
    session: Session, backend: Backend, job_id: int, on_look: Callable[[Job], None] = lambda _: None
) -> Job:
    """Wait for a job and pass on what it says.

    Args:
        session: The project.
        backend: Whose job it is.
        job_id: Which.
        on_look: Gets the job after each look at it, also when it has ended.
    """

    def on_line(line: str) -> None:
        session.on_event(Event("line", line))

    def on_progress(job: Job) -> None:
        if job.total and not job.finished:
            session.progress(job.step, job.done, job.total)
        on_look(job)

    if (job := backend.get_job(job_id)).finished_successful:
        on_look(job)
        return job
    return wait(
        backend, job_id, deadline_s=session.settings.job_deadline_s, on_line=on_line, on_progress=on_progress
    )
