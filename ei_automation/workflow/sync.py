"""`eiauto sync`: make the backend's samples and impulse what the manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ei_automation.backends.base import Backend
from ei_automation.errors import DatasetError
from ei_automation.schema.changes import Change
from ei_automation.schema.lock import DatasetRecord, Lock, SplitRecord
from ei_automation.schema.sample import Sample
from ei_automation.workflow.plan import impulse_changes, sample_changes, wanted_samples
from ei_automation.workflow.project import Session
from ei_automation.workflow.resolve import Resolved, remember, resolve


@dataclass(frozen=True)
class SyncOutcome:
    """What `sync` did.

    Attributes:
        dataset: As it stands in the lock.
        unchanged: Whether nothing had to be done.
        summary: One sentence.
        left: Samples of the live project that the manifest does not have and that stay there.
    """

    dataset: DatasetRecord
    unchanged: bool
    summary: str
    left: tuple[Change, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "unchanged": self.unchanged,
            "summary": self.summary,
            "dataset": self.dataset.model_dump(mode="json"),
            "left": [change.as_dict() for change in self.left],
        }


@dataclass(frozen=True)
class _Applied:
    """What was done on one split.

    Attributes:
        record: The split's, for the lock.
        changed: Whether anything had to be done.
        left: What stays although the manifest does not have it.
    """

    record: SplitRecord
    changed: bool
    left: tuple[Change, ...]


def sync(session: Session, *, prune: bool = False) -> SyncOutcome:
    """Make the backend's samples, for every split that it has room for, what the manifest says.

    Args:
        session: The project.
        prune: Delete live samples that the manifest does not have. The local backend, whose project is nobody
            else's, always does.

    Raises:
        NotFoundError: The data set is not there.
        DatasetError: It cannot be used, or some samples could not be stored.
        ManifestError: The manifest names a label, folder or column that the data do not have.
        SettingsError: The backend refuses the key, before anything is written.
    """
    lock = session.read_lock()
    if lock.dataset is None:  # the first time what follows is long: what cannot end is said before it begins
        with session.open_backend(next(iter(session.active_splits))) as backend:
            backend.check_ready()
    resolved = resolve(session, lock)
    if len(session.active_splits) < len(session.splits):
        session.note("a Studio project holds one split: main; the others of the manifest are for --backend local")
    applied = {split: _apply(session, lock, resolved, split, prune=prune) for split in session.active_splits}
    left = tuple(change for one in applied.values() for change in one.left)
    if left:
        session.note(
            f"{len(left):,} samples of the live project are not in the manifest and stay; first {left[0].subject};"
            " `train` refuses as long as they are there; `--prune` deletes those that can be identified"
        )
    dataset, unchanged = resolved.dataset, resolved.unchanged and not any(one.changed for one in applied.values())
    if unchanged:
        return SyncOutcome(dataset, True, f"unchanged: {len(resolved.samples):,} samples", left)
    splits = {name: _record(lock, resolved, name, applied) for name in session.splits}
    updated = lock.model_copy(update={"dataset": dataset, "samples": resolved.samples, "splits": splits})
    session.write_lock(updated, "sync")
    remember(session, resolved)
    aside = f"; {len(dataset.set_aside):,} set aside" if dataset.set_aside else ""
    summary = f"{len(resolved.samples):,} samples, {len(dataset.labels)} labels{aside}"
    return SyncOutcome(dataset, False, summary, left)


def _record(lock: Lock, resolved: Resolved, split: str, applied: dict[str, _Applied]) -> SplitRecord:
    """What the lock says of a split: what was recorded on other samples, or another impulse, no longer holds."""
    record = lock.splits.get(split, SplitRecord())
    if lock.dataset is not None and _same_data(lock.dataset, resolved.dataset):
        return record
    return applied[split].record if split in applied else SplitRecord()


def _same_data(before: DatasetRecord, now: DatasetRecord) -> bool:
    """Whether what was recorded on the samples still holds: only the backend's state was made anew."""
    return (before.wanted, before.samples_sha256) == (now.wanted, now.samples_sha256)


def _apply(session: Session, lock: Lock, resolved: Resolved, split: str, *, prune: bool) -> _Applied:
    """Bring one split's project in line.

    Raises:
        DatasetError: Some samples could not be stored; the others are.
    """
    session.step(f"Comparing samples, split {split}")
    wanted = wanted_samples(resolved, split)
    with session.open_backend(split) as backend:
        changes = sample_changes(wanted, backend, prune=prune or backend.mirrors)
        blocks = impulse_changes(session.manifest.impulse, backend.get_impulse())
        pending = [change for change in changes if change.applies]
        if pending or blocks:
            backend.check_ready()
            _store(session, backend, wanted, pending)
        if blocks:
            backend.set_impulse(session.manifest.impulse)
        left = tuple(change for change in changes if not change.applies)
        record = lock.splits.get(split, SplitRecord())
        if resolved.unchanged and not pending and not blocks:
            return _Applied(record, False, left)
        kept = record.backend.name == session.backend_name and backend.training_record() == record.training
        here = SplitRecord(backend=backend.provenance().model_copy(update={"jobs": {}}))
    return _Applied(record if kept else here, bool(pending or blocks), left)


def _store(session: Session, backend: Backend, wanted: list[Sample], pending: list[Change]) -> None:
    """Delete what is to go, then store what is new or differs."""
    backend.delete_samples([c.sample_id for c in pending if c.action == "delete" and c.sample_id is not None])
    if all(change.action == "delete" for change in pending):
        return
    report = backend.upload(wanted, lambda done, total: session.progress("Storing samples", done, total))
    if report.failed:
        for name, reason in sorted(report.failed.items()):
            session.note(f"not stored: {name}: {reason}")
        name, reason = next(iter(sorted(report.failed.items())))
        raise DatasetError(
            f"{len(report.failed):,} of {len(wanted):,} samples could not be stored; first {name}: {reason}",
            hint="run the same command again; what is stored stays",
        )
