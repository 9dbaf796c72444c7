"""`eiauto verify`: check the whole record offline and name what no longer matches."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ei_automation.backends.base import Backend
from ei_automation.errors import EiautoError, NotFoundError
from ei_automation.files import sha256_bytes, sha256_file
from ei_automation.schema.lock import DeploymentRecord, Lock, SplitRecord
from ei_automation.workflow.project import LOCK_NAME, Session, manifest_fingerprint
from ei_automation.workflow.sync import check_split, dataset_fingerprint
from ei_automation.workflow.train import training_parameters

NAMED = 5
"""How many samples a sentence names."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: What.
        ok: Whether it matches the record.
        detail: What does not, or how much was checked.
    """

    name: str
    ok: bool
    detail: str


def verify(session: Session) -> list[Check]:
    """Compare manifest, samples, splits, models and deployments with the lock; nothing is changed.

    Raises:
        NotFoundError: There is no lock.
    """
    lock = session.read_lock()
    if lock.dataset is None:
        raise NotFoundError(
            f"{session.folder / LOCK_NAME} records nothing yet", hint="run `eiauto reproduce` first"
        )
    checks = [_manifest(session, lock), _record(lock)]
    checks += _samples(session, lock)
    for split, record in lock.splits.items():
        checks += _split(session, lock, split, record)
    return checks


def _manifest(session: Session, lock: Lock) -> Check:
    same = manifest_fingerprint(session.manifest) == lock.manifest_sha256
    return Check("manifest", same, "as recorded" if same else "project.toml has changed since the record was made")


def _record(lock: Lock) -> Check:
    assert lock.dataset is not None
    same = dataset_fingerprint(lock.samples) == lock.dataset.samples_sha256
    return Check("sample list", same, f"{len(lock.samples):,} samples" if same else "the lock's list was altered")


def _samples(session: Session, lock: Lock) -> Iterator[Check]:
    """Hash every stored sample again."""
    contents = session.state_folder / "samples"
    missing, altered = [], []
    for done, sample in enumerate(lock.samples, 1):
        path = contents / sample.sha256[:2] / sample.sha256
        if not path.is_file():
            missing.append(sample.name)
        elif sha256_file(path) != sample.sha256:
            altered.append(sample.name)
        session.progress("Hashing samples", done, len(lock.samples))
    yield _listing("samples present", missing, len(lock.samples), "missing")
    yield _listing("samples unaltered", altered, len(lock.samples) - len(missing), "altered")


def _listing(name: str, bad: list[str], checked: int, word: str) -> Check:
    if not bad:
        return Check(name, True, f"{checked:,} checked")
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    return Check(name, False, f"{len(bad):,} {word}: {', '.join(bad[:NAMED])}{more}")


def _split(session: Session, lock: Lock, split: str, record: SplitRecord) -> Iterator[Check]:
    if split not in session.splits:
        yield Check(f"split {split}", False, "the manifest no longer has it")
        return
    problem = check_split(session, lock, split)
    yield Check(f"split {split}", not problem, problem or "no group is cut, every label is on both sides")
    with session.open_backend(split) as backend:
        stored = {sample.sha256: sample.category.value for sample in backend.list_samples()}
        moved = [s.name for s in lock.samples if stored.get(s.sha256) != s.categories.get(split)]
        yield _listing(
            f"{session.backend_name} project, split {split}", moved, len(lock.samples), "not as recorded"
        )
        if record.training is not None:
            yield from _training(session, backend, split, record)
    for deployment in record.deployments:
        yield _deployment(session.folder, deployment)


def _training(session: Session, backend: Backend, split: str, record: SplitRecord) -> Iterator[Check]:
    training = record.training
    assert training is not None
    name = f"training on split {split}"
    if training.parameters != training_parameters(session, split).model_dump(mode="json"):
        yield Check(name, False, "the manifest's training parameters are not those that were trained with")
    current = backend.training_record()
    if current is None:
        yield Check(name, False, "there is no model of these samples, impulse and parameters; run `eiauto train`")
        return
    same = current.inputs == training.inputs
    yield Check(name, same, "inputs as recorded" if same else "the model was made from other inputs than recorded")
    for variant, model in training.models.items():
        yield _model(backend, f"{variant} model, split {split}", variant, model.sha256)
    measured = backend.metrics() == record.metrics
    yield Check(f"metrics, split {split}", measured, "as recorded" if measured else "not those of the last test")


def _model(backend: Backend, name: str, variant: str, expected: str) -> Check:
    try:
        found = sha256_bytes(backend.download_model("float32" if variant == "float32" else "int8"))
    except (EiautoError, OSError) as error:
        return Check(name, False, str(error))
    return Check(name, found == expected, "as recorded" if found == expected else f"its SHA-256 is {found}")


def _deployment(folder: Path, record: DeploymentRecord) -> Check:
    path = folder / record.file
    if not path.is_file():
        return Check(record.file, False, "missing; run `eiauto deploy`")
    if sha256_file(path) != record.sha256:
        return Check(record.file, False, "altered; run `eiauto deploy`")
    with zipfile.ZipFile(path) as archive:
        models = {sha256_bytes(archive.read(name)) for name in archive.namelist() if name.endswith(".tflite")}
    same = record.model_sha256 in models
    return Check(record.file, same, "as recorded, holds the recorded model" if same else "holds another model")


__all__ = ["Check", "verify"]
