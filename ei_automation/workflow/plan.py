"""`eiauto plan`: what lies between the manifest and the live project, before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ei_automation.backends.base import Backend
from ei_automation.errors import UsageError
from ei_automation.schema.changes import Action, Change
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.lock import SplitRecord
from ei_automation.schema.sample import BoundingBox, Category, Sample, StoredSample
from ei_automation.workflow.parameters import training_parameters
from ei_automation.workflow.project import Session
from ei_automation.workflow.resolve import Resolved, resolve


@dataclass(frozen=True)
class Plan:
    """The difference.

    Attributes:
        project: Of the manifest.
        where: Which project on which backend it was compared with.
        changes: Every difference, samples first.
        sample_count: Samples that the manifest asks for.
    """

    project: str
    where: str
    changes: tuple[Change, ...]
    sample_count: int

    @property
    def pending(self) -> tuple[Change, ...]:
        """What `sync`, and the next `train` and `deploy`, would do something about."""
        return tuple(change for change in self.changes if change.applies)

    @property
    def summary(self) -> str:
        """One sentence."""
        if not self.changes:
            return f"no changes: {self.sample_count:,} samples, impulse, training and deployments are as wanted"
        counts = Counter((change.kind, change.action) for change in self.changes)
        return ", ".join(f"{count:,} {_phrase(key, count)}" for key, count in counts.items())


NAMED = 5
"""How many files a note names."""
_PHRASES = {
    ("sample", "add"): "samples to add",
    ("sample", "relabel"): "samples to relabel",
    ("sample", "move"): "samples to move",
    ("sample", "boxes"): "samples with other bounding boxes",
    ("sample", "regroup"): "samples to regroup",
    ("sample", "enable"): "samples to enable",
    ("sample", "delete"): "samples to delete",
    ("sample", "extra"): "samples that the manifest does not have (stay; --prune deletes them)",
    ("sample", "unknown"): "samples that cannot be identified (stay)",
    ("impulse", "set"): "values of the impulse to set",
    ("training", "set"): "values of the learn block to set (`eiauto train` does)",
    ("training", "train"): "models to train (`eiauto train` does)",
    ("deployment", "build"): "deployments to build (`eiauto deploy` does)",
    ("deployment", "rebuild"): "deployments older than the model (`eiauto deploy` builds them)",
}


def _phrase(key: tuple[str, str], count: int) -> str:
    noun, _, rest = _PHRASES[key].partition(" ")
    return f"{noun.removesuffix('s') if count == 1 else noun} {rest}"


def plan(session: Session, *, prune: bool = False) -> Plan:
    """Compare the manifest with the live project of the main split; nothing is written.

    Args:
        session: The project.
        prune: Whether `sync` would delete what the manifest does not have.

    Raises:
        NotFoundError: The data set is not there.
        SettingsError: The backend refuses the key.
    """
    lock = session.read_lock()
    split = next(iter(session.active_splits))
    with session.open_backend(split) as backend:
        backend.check_access()
        resolved = resolve(session, lock)
        _tell_set_aside(session, resolved)
        session.step("Comparing with the live project")
        record = backend.provenance()
        where = (
            f"project {record.project_id} at {record.endpoint}" if record.endpoint else f"{record.name} project"
        )
        changes = (
            *sample_changes(wanted_samples(resolved, split), backend, prune=prune or backend.mirrors),
            *impulse_changes(session.manifest.impulse, backend.get_impulse()),
            *_training_changes(session, backend, split),
            *_deployment_changes(session, backend, lock.splits.get(split, SplitRecord())),
        )
    return Plan(session.manifest.name, where, changes, len(resolved.samples))


def wanted_samples(resolved: Resolved, split: str) -> list[Sample]:
    """The samples as a backend takes them."""
    return [
        Sample(resolved.paths[s.name], s.name, s.sha256, s.label, s.categories[split], s.group)
        for s in resolved.samples
    ]


def sample_changes(wanted: Sequence[Sample], backend: Backend, *, prune: bool) -> list[Change]:
    """What must happen to the live samples, by content: names do not matter."""
    live, rest = _matched({sample.sha256: sample for sample in wanted}, backend.list_samples())
    changes = [change for sample in wanted for change in _of_sample(sample, live.get(sample.sha256))]
    action: Action = "delete" if prune else "extra"
    changes += [
        Change("sample", action, stored.name, f"{stored.category}: {stored.label}", None, stored.sample_id)
        for stored in rest
    ]
    unknown = backend.unknown_samples()
    return [*changes, *(Change("sample", "unknown", name, None, None, number) for number, name in unknown)]


def _matched(
    wanted: Mapping[str, Sample], stored: Iterable[StoredSample]
) -> tuple[dict[str, StoredSample], list[StoredSample]]:
    """The live sample of each wanted content, and the others: of several with one content the best one counts."""
    live: dict[str, StoredSample] = {}
    rest = []
    for one in stored:
        sample, known = wanted.get(one.sha256), live.get(one.sha256)
        if sample is None:
            rest.append(one)
        elif known is None:
            live[one.sha256] = one
        elif len(list(_of_sample(sample, one))) < len(list(_of_sample(sample, known))):
            live[one.sha256] = one
            rest.append(known)
        else:
            rest.append(one)
    return live, rest


def _of_sample(sample: Sample, stored: StoredSample | None) -> Iterable[Change]:
    if stored is None:
        yield Change("sample", "add", sample.name, None, f"{sample.category}: {sample.label}")
        return
    if _same(sample, stored):
        return
    facts: tuple[tuple[Action, str, str], ...] = (
        ("relabel", stored.label, sample.label),
        ("move", _text(stored.category), _text(sample.category)),
        ("boxes", _boxes(stored.bounding_boxes), _boxes(sample.bounding_boxes)),
        ("regroup", stored.group, sample.group),
        ("enable", "disabled" if stored.disabled else "", ""),
    )
    for action, before, after in facts:
        if before != after:
            yield Change("sample", action, sample.name, before, after, stored.sample_id)


def _same(sample: Sample, stored: StoredSample) -> bool:
    """Whether nothing differs; asked of every sample before anything is put into words."""
    return (
        stored.label == sample.label
        and stored.category is sample.category
        and stored.group == sample.group
        and stored.bounding_boxes == sample.bounding_boxes
        and not stored.disabled
    )


def _text(category: Category) -> str:
    return category.value


def _boxes(boxes: Sequence[BoundingBox]) -> str:
    if not boxes:
        return ""
    return "; ".join(f"{box.label} {box.x},{box.y} {box.width}x{box.height}" for box in sorted(boxes, key=repr))


def impulse_changes(wanted: Impulse, live: Impulse | None) -> list[Change]:
    """Values of the input and DSP block that differ."""
    now = {} if live is None else _flat(live)
    return [
        Change("impulse", "set", key, now.get(key), value)
        for key, value in _flat(wanted).items()
        if now.get(key) != value
    ]


def _flat(impulse: Impulse) -> dict[str, str]:
    return {
        f"{block}.{key}": str(value)
        for block, values in impulse.model_dump(mode="json").items()
        for key, value in values.items()
    }


def _training_changes(session: Session, backend: Backend, split: str) -> list[Change]:
    drift = backend.training_drift(training_parameters(session, split))
    changes = [Change("training", "set", key, before, after) for key, (before, after) in drift.items()]
    if problem := backend.model_problem():
        changes.append(Change("training", "train", "model", problem, "a new training"))
    return changes


def _deployment_changes(session: Session, backend: Backend, record: SplitRecord) -> list[Change]:
    """Wished deployments that were never built for this record, or are older than the live model."""
    built = {item.format: item for item in backend.built_deployments()}
    recorded = {item.format for item in record.deployments if record.backend.name == session.backend_name}
    names = {target.name.casefold(): target.format for target in backend.deployment_targets()}
    wishes = [wish for wish in session.manifest.deployments if wish.backend in (None, session.backend_name)]
    changes = []
    for name in sorted({names.get(wish.format.casefold(), wish.format) for wish in wishes}):
        if name in built and built[name].stale:
            before = f"version {built[name].version}, older than the model"
            changes.append(Change("deployment", "rebuild", name, before, "a new build"))
        elif name not in recorded:
            changes.append(Change("deployment", "build", name, None, "a build"))
    return changes


def _tell_set_aside(session: Session, resolved: Resolved) -> None:
    aside = sorted(resolved.dataset.set_aside.items())
    if aside:
        first = ", ".join(f"{name} ({code})" for name, code in aside[:NAMED])
        more = f" and {len(aside) - NAMED:,} more" if len(aside) > NAMED else ""
        session.note(f"set aside, and wanted nowhere: {first}{more}")


def require_one_split(session: Session, split: str) -> None:
    """Refuse a split that the backend has no room for.

    Raises:
        UsageError: It holds the main split only.
    """
    if split not in session.active_splits:
        raise UsageError(
            f"the {session.backend_name} project holds the split {next(iter(session.active_splits))}, not {split}",
            hint="a Studio project has room for one split; use --backend local for the others",
        )
