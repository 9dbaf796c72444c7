"""From the manifest to samples: fetch, read, hash, decode once, audit, split; no backend is touched."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ei_automation.errors import DatasetError, ManifestError
from ei_automation.files import fingerprint, write_atomically
from ei_automation.schema.lock import DatasetRecord, FindingRecord, Lock, OriginRecord, SampleRecord
from ei_automation.schema.manifest import Groups, KaggleOrigin, Origin
from ei_automation.schema.metrics import UNCERTAIN, WEIGHTED_AVERAGE
from ei_automation.schema.sample import Category, SourceSample
from ei_automation.workflow.hashing import hash_files
from ei_automation.workflow.manifest import located
from ei_automation.workflow.project import Session, data_fingerprint

if TYPE_CHECKING:
    from ei_automation.dataset.split import SplitItem
    from ei_automation.schema.findings import Finding

MARK = "synced"
"""Holds the fingerprint of what the recorded samples were resolved from."""


@dataclass(frozen=True)
class Resolved:
    """The samples that the manifest asks for.

    Attributes:
        dataset: For the lock.
        samples: In the order of their names.
        paths: Name to file.
        inputs: Fingerprint of everything that they follow from.
        unchanged: Whether they are those of the lock, found without decoding anything.
    """

    dataset: DatasetRecord
    samples: list[SampleRecord]
    paths: dict[str, Path]
    inputs: str
    unchanged: bool


@dataclass(frozen=True)
class _Source:
    """The data set as it lies on this machine.

    Attributes:
        origin: Where it came from.
        samples: What the reader found.
        hashes: Path to content hash.
        ignored: Files that are no samples, with the reason.
        groups: Name to original; empty where not known.
    """

    origin: OriginRecord
    samples: tuple[SourceSample, ...]
    hashes: dict[Path, str]
    ignored: dict[str, str]
    groups: dict[str, str]

    def fingerprint(self, session: Session) -> str:
        """Of everything that the result of a sync depends on."""
        return fingerprint(
            {
                "dataset": session.manifest.dataset.model_dump(mode="json"),
                "impulse": session.manifest.impulse.model_dump(mode="json"),
                "origin": self.origin.model_dump(mode="json"),
                "samples": [
                    (s.name, self.hashes[s.path], s.label, s.category, self.groups.get(s.name, ""))
                    for s in self.samples
                ],
                "ignored": self.ignored,
            }
        )


def resolve(session: Session, lock: Lock) -> Resolved:
    """The manifest's samples with their places in every split.

    Raises:
        NotFoundError: The data set is not there.
        DatasetError: It cannot be used.
        ManifestError: The manifest names a label, folder or column that the data do not have.
    """
    with located(session.folder):
        source = _fetch(session, lock)
    inputs = source.fingerprint(session)
    if _is_recorded(session, lock, inputs):
        assert lock.dataset is not None
        paths = {sample.name: sample.path for sample in source.samples}
        return Resolved(lock.dataset, lock.samples, paths, inputs, unchanged=True)
    samples, dataset, paths = _resolve(session, lock, source)
    return Resolved(dataset, samples, paths, inputs, unchanged=False)


def remember(session: Session, resolved: Resolved) -> None:
    """Mark the lock's samples as those that follow from these inputs; `resolve` trusts that."""
    write_atomically(session.state_folder / MARK, resolved.inputs, doing="marking the sync as done")


def _is_recorded(session: Session, lock: Lock, inputs: str) -> bool:
    """Whether the lock's samples were resolved from the same inputs, and are as they were written."""
    mark = session.state_folder / MARK
    if lock.dataset is None or session.new_split or not mark.is_file() or mark.read_bytes() != inputs.encode():
        return False
    same_splits = set(lock.splits) == set(session.splits)
    return same_splits and dataset_fingerprint(lock.samples) == lock.dataset.samples_sha256


# From the origin to samples


def _fetch(session: Session, lock: Lock) -> _Source:
    from ei_automation.dataset.fetch import fetch
    from ei_automation.dataset.groups import load_groups
    from ei_automation.dataset.readers import read

    wanted = session.manifest.dataset
    origin, expected = _pinned(session, lock)
    session.step("Fetching the data set")
    fetched = fetch(
        origin,
        project_folder=session.folder,
        downloads=session.settings.cache_folder / "downloads",
        override=session.override,
        expected_sha256=expected,
        offline=session.settings.offline,
        on_progress=session.progress,
    )
    found = read(fetched.root, wanted)
    _check_labels(found.labels)
    names = [sample.name for sample in found.samples]
    origins = _groups(session)
    groups = load_groups(origins, session.folder, names) if origins else {}
    hashes = hash_files(
        [sample.path for sample in found.samples],
        session.state_folder / "cache",
        lambda done, total: session.progress("Hashing samples", done, total),
    )
    return _Source(fetched.origin, found.samples, hashes, found.ignored, groups)


def _check_labels(labels: Sequence[str]) -> None:
    """Refuse labels that no labels.txt and no table can hold."""
    for label in labels:
        if label != label.strip() or not label.isprintable() or label in ("", UNCERTAIN, WEIGHTED_AVERAGE):
            raise ManifestError(
                f"{label!r} cannot be a label",
                key="dataset.labels",
                hint=f"rename it there; {UNCERTAIN!r} and {WEIGHTED_AVERAGE!r} have another meaning",
            )


def _groups(session: Session) -> Groups | None:
    """The manifest's groups, or those of the CSV given with `--groups`, which has the manifest's columns."""
    groups = session.manifest.dataset.groups
    if session.groups is None:
        return groups
    return (groups or Groups()).model_copy(update={"csv": str(session.groups.resolve()), "pattern": None})


def _pinned(session: Session, lock: Lock) -> tuple[Origin, str | None]:
    """The origin with the version that the lock recorded, and the archive's hash where that must be the same."""
    origin = session.manifest.dataset.origin
    record = lock.dataset.origin if lock.dataset else None
    if record is None or record.overridden or session.override is not None or record.type != origin.type:
        return origin, None
    if isinstance(origin, KaggleOrigin):
        slug, _, version = record.reference.rpartition("/")
        if slug == origin.slug and version.isdecimal() and origin.version in (None, int(version)):
            return origin.model_copy(update={"version": int(version)}), record.archive_sha256
    return origin, None


def _resolve(
    session: Session, lock: Lock, source: _Source
) -> tuple[list[SampleRecord], DatasetRecord, dict[str, Path]]:
    """Decode, audit and split.

    Returns:
        The samples in the order of their names, the record of the data set, and each name's path.
    """
    from ei_automation.dataset.audit import leaks, screen
    from ei_automation.dataset.split import SplitItem
    from ei_automation.dsp.store import ImageCache

    session.step(f"Decoding and auditing {len(source.samples):,} images")
    items = [
        SplitItem(s.name, source.hashes[s.path], s.label, source.groups.get(s.name, ""), s.category)
        for s in source.samples
    ]
    with ImageCache(session.state_folder / "cache" / "images", session.manifest.impulse.input_block) as cache:
        cache.add(
            [(source.hashes[s.path], s.path) for s in source.samples],
            on_progress=lambda done, total: session.progress("Decoding", done, total),
        )
        facts = cache.facts()
    screened = screen(items, facts, min_image_px=session.manifest.dataset.min_image_px)
    kept = [item for item in items if item.name not in screened.set_aside]
    if not kept:
        raise DatasetError(
            f"none of {len(items):,} files can be used: {screened.findings[0].message}",
            hint="look at the files, and at dataset.min_image_px",
        )
    assigned = _split(session, lock, kept)
    findings = (*screened.findings, *_ignored(source), *leaks(kept, facts, assigned, source.groups))
    samples = [
        SampleRecord(
            name=item.name,
            sha256=item.sha256,
            label=item.label,
            group=item.group,
            categories={split: places[item.name] for split, places in assigned.items()},
        )
        for item in sorted(kept, key=lambda one: one.name)
    ]
    dataset = DatasetRecord(
        wanted=data_fingerprint(session.manifest),
        origin=source.origin,
        samples_sha256=dataset_fingerprint(samples),
        labels=sorted({sample.label for sample in samples}),
        split_specs={name: spec.model_dump(mode="json") for name, spec in session.splits.items()},
        counts=_counts(samples),
        set_aside=screened.set_aside,
        findings=[_record(finding) for finding in findings],
    )
    return samples, dataset, {sample.name: sample.path for sample in source.samples}


def _split(session: Session, lock: Lock, kept: Sequence[SplitItem]) -> dict[str, dict[str, Category]]:
    """Every split; samples that the lock has keep their place while the split's specification is the same."""
    from ei_automation.dataset.split import split

    assigned = {}
    for name, spec in session.splits.items():
        same = lock.dataset is not None and lock.dataset.split_specs.get(name) == spec.model_dump(mode="json")
        recorded = lock.samples if same and not session.new_split else []
        previous = {s.sha256: s.categories[name] for s in recorded if name in s.categories}
        assigned[name] = split(kept, spec, previous)
    return assigned


def _ignored(source: _Source) -> list[Finding]:
    """Files that the reader passed over, so that nothing is dropped in silence."""
    from ei_automation.schema.findings import Finding

    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in source.ignored.items():
        reasons[reason].append(name)
    return [
        Finding("ignored", "note", f"{len(names):,} files are no samples: {reason}", tuple(names[:10]), len(names))
        for reason, names in sorted(reasons.items())
    ]


def _record(finding: Finding) -> FindingRecord:
    return FindingRecord(
        code=finding.code,
        severity=finding.severity,
        message=finding.message,
        samples=list(finding.samples),
        count=finding.count,
    )


def _counts(samples: Sequence[SampleRecord]) -> dict[str, dict[str, dict[str, int]]]:
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for sample in samples:
        for split, category in sample.categories.items():
            counts[split][category][sample.label] += 1
    return {split: {category: dict(labels) for category, labels in of.items()} for split, of in counts.items()}


def dataset_fingerprint(samples: Sequence[SampleRecord]) -> str:
    """Of names, contents, labels, groups and categories."""
    return fingerprint(
        [
            {
                "name": sample.name,
                "sha256": sample.sha256,
                "label": sample.label,
                "group": sample.group,
                "categories": sample.categories,
            }
            for sample in samples
        ]
    )


# Checking


def check_split(session: Session, lock: Lock, split: str) -> str:
    """Why a recorded split is not what the manifest asks for; empty when it is."""
    from ei_automation.dataset.split import SplitItem
    from ei_automation.dataset.split import split as assign

    spec = session.splits[split]
    assert lock.dataset is not None
    if lock.dataset.split_specs.get(split) != spec.model_dump(mode="json"):
        return "the manifest's method, ratio or seed is not the recorded one"
    items = [
        SplitItem(s.name, s.sha256, s.label, s.group, s.categories.get(split) if spec.method == "source" else None)
        for s in lock.samples
    ]
    recorded = {s.sha256: s.categories[split] for s in lock.samples if split in s.categories}
    try:
        again = assign(items, spec, recorded)
    except DatasetError as error:
        return str(error)
    moved = sum(again[s.name] != s.categories.get(split) for s in lock.samples)
    return f"{moved:,} samples are not where the split puts them" if moved else ""
