"""`eiauto train`: features, training, quantization."""

from __future__ import annotations

from dataclasses import dataclass

from ei_automation.backends.base import Backend, wait
from ei_automation.errors import NotFoundError
from ei_automation.schema.job import Job
from ei_automation.schema.lock import MAIN_SPLIT, TrainingRecord
from ei_automation.schema.training import TrainingParameters
from ei_automation.workflow.project import Event, Session
from ei_automation.workflow.runs import record_run


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
    log: list[str] = []
    with session.open_backend(split) as backend:
        if not backend.list_samples():
            raise NotFoundError(
                f"{session.folder} has no samples on the {session.backend_name} backend",
                hint="run `eiauto sync` first",
            )
        backend.set_impulse(session.manifest.impulse)
        follow(session, backend, backend.start_features(), [])
        job_id = backend.start_training(training_parameters(session, split))
        unchanged = backend.get_job(job_id).finished_successful
        if not unchanged:
            session.step(f"Training on split {split}")
            follow(session, backend, job_id, log)
        record = backend.training_record()
    assert record is not None, "a training that succeeded has a record"
    session.update_split(split, "train", training=record)
    if not unchanged:
        record_run(session, split, record, log)
    return TrainingOutcome(record, unchanged)


def follow(session: Session, backend: Backend, job_id: int, log: list[str]) -> Job:
    """Wait for a job and pass on what it says; its log lines are added to `log`."""

    def on_line(line: str) -> None:
        log.append(line)
        session.on_event(Event("line", line))

    def on_progress(job: Job) -> None:
        if job.total and not job.finished:
            session.progress(job.step, job.done, job.total)

    if (job := backend.get_job(job_id)).finished_successful:
        return job
    return wait(
        backend, job_id, deadline_s=session.settings.job_deadline_s, on_line=on_line, on_progress=on_progress
    )


def training_parameters(session: Session, split: str) -> TrainingParameters:
    """The manifest's parameters, with the validation split that fits the split of the samples.

    Where the samples' origins are known and the split keeps them apart, validation does so too.
    """
    parameters = session.manifest.training
    if parameters.validation_split:
        return parameters
    apart = session.manifest.dataset.groups is not None and session.splits[split].method != "stratified"
    return parameters.model_copy(update={"validation_split": "group" if apart else "random"})
