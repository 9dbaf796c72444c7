"""`eiauto test`: run the trained .tflite files over validation and testing samples."""

from __future__ import annotations

from ei_automation.errors import NotFoundError
from ei_automation.schema.metrics import Metrics
from ei_automation.workflow.plan import require_one_split
from ei_automation.workflow.project import Session
from ei_automation.workflow.runs import record_metrics
from ei_automation.workflow.stale import require_training
from ei_automation.workflow.train import follow


def test(session: Session, split: str) -> list[Metrics]:
    """Measure the last training's models on one split.

    Raises:
        NotFoundError: Nothing was trained.
        VerificationError: The model is older than the samples, the impulse or the last training.
    """
    require_one_split(session, split)
    require_training(session, session.read_lock(), split)
    with session.open_backend(split) as backend:
        job_id = backend.start_testing(session.manifest.testing.minimum_confidence)
        if not backend.get_job(job_id).finished:
            session.step(f"Testing on split {split}")
        follow(session, backend, job_id)
        metrics = backend.metrics()
        record = backend.training_record()
        provenance = backend.provenance()
    if record is None or not metrics:
        raise NotFoundError("there is nothing to test with", hint="run `eiauto train` first")
    session.update_split(split, "test", backend=provenance, metrics=metrics)
    record_metrics(session, split, record.inputs, metrics)
    return metrics
