"""`eiauto deploy`: build what the manifest wishes from the last training's model."""

from __future__ import annotations

from ei_automation.backends.base import Backend
from ei_automation.errors import VerificationError
from ei_automation.files import fingerprint
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.lock import MAIN_SPLIT, DeploymentRecord
from ei_automation.schema.manifest import DeploymentWish
from ei_automation.workflow.project import Session
from ei_automation.workflow.train import follow, training_parameters

FOLDER = "deployments"


def deploy(session: Session, formats: tuple[str, ...] = ()) -> list[DeploymentRecord]:
    """Build the manifest's deployments and put them into the project's `deployments` folder.

    Args:
        session: The project.
        formats: Only these; all where empty.

    Raises:
        NotFoundError: Nothing was trained.
        VerificationError: The model is older than the manifest, the samples or the last training; or a
            format is asked for that the manifest does not wish.
    """
    wishes = session.manifest.deployments
    unknown = sorted(set(formats) - {wish.format for wish in wishes})
    if unknown:
        known = ", ".join(sorted({wish.format for wish in wishes})) or "none"
        raise VerificationError(
            f"the manifest wishes no deployment {unknown[0]!r}", hint=f"add [[deployments]] for it; there: {known}"
        )
    chosen = [wish for wish in wishes if not formats or wish.format in formats]
    with session.open_backend(dataset=session.read_lock().dataset) as backend:
        _refuse_old_model(session, backend)
        records = [_build(session, backend, wish) for wish in chosen]
    kept = [] if not formats else _others(session, records)
    ordered = sorted([*kept, *records], key=lambda record: record.file)
    session.update_split(MAIN_SPLIT, "deploy", deployments=ordered)
    return records


def _refuse_old_model(session: Session, backend: Backend) -> None:
    """A deployment must not carry parameters that the manifest no longer has."""
    record = backend.training_record()
    wanted = training_parameters(session, MAIN_SPLIT).model_dump(mode="json")
    if record is not None and record.parameters != wanted:
        raise VerificationError(
            "the model is older than the manifest: it was trained with other parameters", hint="run `eiauto train`"
        )
    if record is not None and backend.get_impulse() != session.manifest.impulse:
        raise VerificationError(
            "the model is older than the manifest: its impulse is another one", hint="run `eiauto train`"
        )


def _build(session: Session, backend: Backend, wish: DeploymentWish) -> DeploymentRecord:
    request = BuildRequest(wish.format, wish.engine, wish.variant, wish.firmware_version)
    job_id = backend.start_build(request)
    if not backend.get_job(job_id).finished:
        session.step(f"Building {wish.format}")
    follow(session, backend, job_id, [])
    artifact = backend.download(job_id, session.folder / FOLDER)
    return DeploymentRecord(
        inputs=fingerprint({"wish": wish.model_dump(mode="json"), "model": artifact.model_sha256}),
        format=artifact.format,
        variant=artifact.variant,
        engine=artifact.engine,
        firmware_version=wish.firmware_version,
        file=f"{FOLDER}/{artifact.path.name}",
        sha256=artifact.sha256,
        model_sha256=artifact.model_sha256,
    )


def _others(session: Session, records: list[DeploymentRecord]) -> list[DeploymentRecord]:
    """Deployments of the same model that were not built again."""
    before = session.read_lock().splits[MAIN_SPLIT].deployments
    files = {record.file for record in records}
    models = {record.model_sha256 for record in records}
    return [record for record in before if record.file not in files and record.model_sha256 in models]
