"""`eiauto verify`: check the whole record and name what no longer matches; offline with the local backend."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ei_automation.backends.base import Backend
from ei_automation.errors import EiautoError, NotFoundError
from ei_automation.files import sha256_bytes, sha256_file
from ei_automation.schema.deployment import COMPILED_FORMATS
from ei_automation.schema.lock import DeploymentRecord, FlashRecord, Lock, ModelRecord, SplitRecord
from ei_automation.schema.metrics import ModelVariant
from ei_automation.workflow.project import LOCK_NAME, Session, seals
from ei_automation.workflow.resolve import check_split
from ei_automation.workflow.stale import stale_data, stale_metrics, stale_training

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
    local = session.backend_name == "local"
    if local and not session.state_folder.joinpath("local").is_dir() and _has_local_work(lock):
        raise NotFoundError(
            f"{session.folder} holds a record, but nothing to hold against it on this machine",
            hint="run `eiauto reproduce` first",
        )
    checks = [_check("manifest, dataset and impulse", stale_data(session, lock))]
    checks += _seals(session, lock)
    if local and _has_local_work(lock):
        checks += _samples(session, lock)
    for split in sorted({*session.splits, *lock.splits}):
        checks += _split(session, lock, split)
    return [*checks, *_flashed(lock)]


def _has_local_work(lock: Lock) -> bool:
    """Whether anything of the record was made here, so that there is something to hold against it."""
    return not lock.splits or any(record.backend.name == "local" for record in lock.splits.values())


def _check(name: str, problem: str, found: str = "as recorded") -> Check:
    return Check(name, not problem, problem or found)


def _seals(session: Session, lock: Lock) -> Iterator[Check]:
    """Each section of the lock against the fingerprint it was written with."""
    now = seals(lock)
    for name in sorted({*now, *lock.seals}):
        edited = "the lock was edited here" if now.get(name) != lock.seals.get(name) else ""
        yield _check(f"lock, {name}", edited, "as it was written")
    other = f"it is the lock of project {lock.project}" if lock.project != session.manifest.name else ""
    yield _check("lock, whose it is", other, session.manifest.name)


def _samples(session: Session, lock: Lock) -> Iterator[Check]:
    """Hash every stored sample again."""
    missing, altered = [], []
    for done, sample in enumerate(lock.samples, 1):
        path = session.content(sample.sha256)
        if not path.is_file():
            missing.append(sample.name)
        elif sha256_file(path) != sample.sha256:
            altered.append(sample.name)
        session.progress("Hashing samples", done, len(lock.samples))
    yield _listing("samples present", missing, len(lock.samples), "missing")
    yield _listing("samples unaltered", altered, len(lock.samples) - len(missing), "altered")


def _flashed(lock: Lock) -> Iterator[Check]:
    """What the devices hold that were flashed: no fault of the record where it is older than the project."""
    for record in lock.flashed:
        device = f"{record.board} {record.serial_number}".strip()
        yield Check(f"device {device}", True, _held(lock, record))


def _held(lock: Lock, record: FlashRecord) -> str:
    """What a device holds, in words."""
    where = "a simulated board: " if record.simulated else ""
    if not record.verified:
        return (
            f"{where}flashing {record.file} was interrupted: what it holds is not known; run `eiauto flash` again"
        )
    if not record.model_sha256:
        return f"{where}its last flash from here was {record.file}"
    known = record.model_sha256 in lock.trained_sha256
    model = "the trained model" if known else "a model that was not trained here, or that is older"
    return f"{where}its last flash from here was of {model}"


def _listing(name: str, bad: list[str], checked: int, word: str) -> Check:
    if not bad:
        return Check(name, True, f"{checked:,} checked")
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    return Check(name, False, f"{len(bad):,} {word}: {', '.join(bad[:NAMED])}{more}")


def _split(session: Session, lock: Lock, split: str) -> Iterator[Check]:
    if split not in session.splits or split not in lock.splits:
        where = "the manifest" if split in lock.splits else "the lock"
        yield Check(f"split {split}", False, f"{where} does not have it")
        return
    record = lock.splits[split]
    yield _check(
        f"split {split}", check_split(session, lock, split), "no group is cut, every label is on both sides"
    )
    made_by = record.backend.name
    if (record.training and made_by != session.backend_name) or split not in session.active_splits:
        yield Check(
            f"training on split {split}", True, f"made with --backend {made_by}, and not checked by this one"
        )
    else:
        yield from _live(session, lock, split, record)
    for deployment in record.deployments:
        found = "was compiled from" if deployment.format in COMPILED_FORMATS else "holds"
        yield _check(
            deployment.file, _deployment(session.folder, deployment, record), f"{found} the recorded model"
        )


def _live(session: Session, lock: Lock, split: str, record: SplitRecord) -> Iterator[Check]:
    """What the backend holds of a split."""
    with session.open_backend(split) as backend:
        stored = {(sample.sha256, sample.label, sample.category) for sample in backend.list_samples()}
        wanted = {(s.sha256, s.label, s.categories.get(split)): s.name for s in lock.samples}
        differing = sorted(name for key, name in wanted.items() if key not in stored)
        yield _listing(f"{session.backend_name} project, split {split}", differing, len(wanted), "not as recorded")
        yield from _training(session, backend, split, record)


def _training(session: Session, backend: Backend, split: str, record: SplitRecord) -> Iterator[Check]:
    name, training, current = f"training on split {split}", record.training, backend.training_record()
    if training is None:
        problem = "a model is there that the lock does not record" if current else ""
        yield Check(name, False, problem or "nothing was trained yet; run `eiauto reproduce`")
        return
    if reason := stale_training(session, split, training):
        yield Check(name, False, reason)
    if current is None:
        yield Check(name, False, "there is no model of these samples and impulse; run `eiauto reproduce`")
        return
    yield _check(name, "" if current == training else "the stored training is not the recorded one")
    for variant, model in training.models.items():
        yield _check(f"{variant} model, split {split}", _model(backend, variant, model))
    problem = stale_metrics(session, record)
    if not problem and backend.metrics() != record.metrics:
        problem = "not those of the last test"
    yield _check(f"metrics, split {split}", problem)


def _model(backend: Backend, variant: ModelVariant, expected: ModelRecord) -> str:
    """Why a model is not the recorded one; empty when it is."""
    try:
        data = backend.download_model(variant)
    except EiautoError as error:
        return str(error)
    found = ModelRecord(sha256=sha256_bytes(data), size_bytes=len(data))
    return "" if found == expected else f"its SHA-256 is {found.sha256}"


def _deployment(folder: Path, record: DeploymentRecord, split: SplitRecord) -> str:
    """Why a deployment is not the recorded one, or of another model; empty when all is well."""
    path = folder / record.file
    if not path.is_file():
        return "missing; run `eiauto deploy`"
    if sha256_file(path) != record.sha256:
        return "altered; run `eiauto deploy`"
    trained = {model.sha256 for model in split.training.models.values()} if split.training else set()
    if not record.model_sha256:  # compiled by Studio, which does not say from which model
        return ""
    if record.model_sha256 not in trained:
        return "it was built from an older model; run `eiauto deploy`"
    if record.format in COMPILED_FORMATS:  # there is no model in it to be compared
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            models = {sha256_bytes(archive.read(name)) for name in archive.namelist() if name.endswith(".tflite")}
    except (zipfile.BadZipFile, OSError) as error:
        return f"it cannot be read: {error}"
    return "" if record.model_sha256 in models else "it holds another model"


__all__ = ["Check", "verify"]
