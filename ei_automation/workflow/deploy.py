"""`eiauto deploy`: build what the manifest wishes from the last training's model."""

from __future__ import annotations

from ei_automation.backends.base import Backend
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.lock import MAIN_SPLIT, DeploymentRecord
from ei_automation.schema.manifest import DeploymentWish
from ei_automation.workflow.project import Session
from ei_automation.workflow.stale import require_training
from ei_automation.workflow.train import follow

FOLDER = "deployments"


def deploy(session: Session, formats: tuple[str, ...] = ()) -> list[DeploymentRecord]:
    """Build the manifest's deployments and put them into the project's `deployments` folder.

    Args:
        session: The project.
        formats: Only these; all where empty.

    Raises:
        NotFoundError: Nothing was trained.
        VerificationError: The model is older than the manifest, the samples or the last training.
        UsageError: A format is asked for that the manifest does not wish.
    """
    wishes = [wish for wish in session.manifest.deployments if wish.backend in (None, session.backend_name)]
    unknown = sorted(set(formats) - {wish.format for wish in wishes})
    if unknown:
        known = ", ".join(sorted({wish.format for wish in wishes})) or "none"
        raise UsageError(
            f"the manifest wishes no deployment {unknown[0]!r} with --backend {session.backend_name}",
            hint=f"add [[deployments]] for it; there: {known}",
        )
    chosen = [wish for wish in wishes if not formats or wish.format in formats]
    lock = session.read_lock()
    training = require_training(session, lock, MAIN_SPLIT)
    with session.open_backend(dataset=lock.dataset) as backend:
        backend.check_ready()
        records = [_build(session, backend, wish) for wish in chosen]
        provenance = backend.provenance()
    models = {"", *(model.sha256 for model in training.models.values())}
    built = {record.file for record in records}
    before = lock.splits[MAIN_SPLIT].deployments if formats else []
    kept = [record for record in before if record.file not in built and record.model_sha256 in models]
    ordered = sorted([*kept, *records], key=lambda record: record.file)
    session.update_split(MAIN_SPLIT, "deploy", backend=provenance, deployments=ordered)
    return records


def _build(session: Session, backend: Backend, wish: DeploymentWish) -> DeploymentRecord:
    request = BuildRequest(wish.format, wish.engine, wish.variant, wish.firmware_version)
    job_id = backend.start_build(request)
    if not backend.get_job(job_id).finished:
        session.step(f"Building {wish.format}")
    follow(session, backend, job_id)
    artifact = backend.download(job_id, session.folder / FOLDER)
    return DeploymentRecord(
        format=artifact.format,
        variant=artifact.variant,
        engine=artifact.engine,
        firmware_version=wish.firmware_version,
        file=f"{FOLDER}/{artifact.path.name}",
        sha256=artifact.sha256,
        model_sha256=artifact.model_sha256,
        version=None if session.backend_name == "local" else artifact.version,
    )
