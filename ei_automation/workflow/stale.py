"""What is older than what is wanted: one answer for train, test, deploy, report and verify."""

from __future__ import annotations

from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.schema.lock import Lock, SplitRecord, TrainingRecord
from ei_automation.workflow.parameters import training_parameters
from ei_automation.workflow.project import Session, data_fingerprint


def stale_data(session: Session, lock: Lock) -> str:
    """Why the recorded samples are not those that the manifest asks for; empty when they are."""
    if lock.dataset is None:
        return "the project was not synced yet"
    if lock.dataset.wanted != data_fingerprint(session.manifest):
        return "the samples are older than the manifest: its dataset or impulse has changed"
    return ""


def stale_training(session: Session, split: str, training: TrainingRecord) -> str:
    """Why a training is not the one that the manifest asks for; empty when it is."""
    if training.parameters != training_parameters(session, split).model_dump(mode="json"):
        return "the model is older than the manifest: it was trained with other parameters"
    if training.impulse != session.manifest.impulse.model_dump(mode="json"):
        return "the model is older than the manifest: its impulse is another one"
    return ""


def stale_metrics(session: Session, record: SplitRecord) -> str:
    """Why the metrics are not those that the manifest asks for; empty when they are."""
    if not record.metrics:
        return "nothing was tested yet"
    wanted = session.manifest.testing.minimum_confidence
    if any(item.with_threshold and item.with_threshold.threshold != wanted for item in record.metrics):
        return "the metrics are older than the manifest: it has another minimum_confidence"
    return ""


def require_data(session: Session, lock: Lock) -> None:
    """Refuse to go on with samples that the manifest no longer asks for.

    Raises:
        NotFoundError: Nothing was synced.
        VerificationError: Something else was.
    """
    if reason := stale_data(session, lock):
        kind = NotFoundError if lock.dataset is None else VerificationError
        raise kind(f"{session.folder}: {reason}", hint="run `eiauto sync` first")


def require_training(session: Session, lock: Lock, split: str) -> TrainingRecord:
    """The training of a split, if it is the one that the manifest asks for.

    Raises:
        NotFoundError: Nothing was synced or trained.
        VerificationError: Something else was.
    """
    require_data(session, lock)
    training = lock.splits[split].training if split in lock.splits else None
    if training is None:
        raise NotFoundError(
            f"there is no trained model of today's samples on split {split}", hint="run `eiauto train` first"
        )
    if (made_by := lock.splits[split].backend.name) != session.backend_name:
        raise VerificationError(
            f"the recorded model of split {split} was trained with --backend {made_by}",
            hint=f"run `eiauto train --backend {session.backend_name}` first, or go on with --backend {made_by}",
        )
    if reason := stale_training(session, split, training):
        raise VerificationError(reason, hint="run `eiauto train` again")
    return training
