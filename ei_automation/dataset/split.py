"""The split: which samples test. By content and seed alone, so that file order and names do not matter.

Stratified and group work the same way on *units*, which are never cut: all samples of one content, and for
`group` all samples of one group. Units of earlier splits keep their side. Then, label by label (the one with
fewest units first), units are taken for testing in the order of `sha256("seed:key")` until the label has
`round(testing_ratio * n)` of its n samples there, at least 1 and at most n - 1. A unit that would overshoot
that number by more than it is short of it is passed over, and so is one whose absence would leave one of its
labels without training samples. All others train. Where groups carry several labels this is a heuristic: now
and then it finds no split although there is one, and says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ei_automation.dataset.names import listed
from ei_automation.errors import DatasetError
from ei_automation.files import sha256_bytes
from ei_automation.schema.manifest import Split
from ei_automation.schema.sample import Category


@dataclass(frozen=True)
class SplitItem:
    """What a split needs to know of a sample.

    Attributes:
        name: Path inside the data set.
        sha256: Of the file's bytes.
        label: Its label.
        group: What it was made from; empty when not known.
        category: The source's own category, or None.
    """

    name: str
    sha256: str
    label: str
    group: str = ""
    category: Category | None = None


@dataclass
class _Unit:
    """Samples that stay together.

    Attributes:
        key: Group or content, which gives its place in the order.
        items: The samples.
        labels: Label to number of samples.
        side: Where it stands; None while that is open.
    """

    key: str
    items: list[SplitItem]
    labels: Counter[str]
    side: Category | None = None


def split(
    samples: Sequence[SplitItem], spec: Split, previous: Mapping[str, Category] | None = None
) -> dict[str, Category]:
    """Give each sample its category.

    Args:
        samples: The samples that are not set aside.
        spec: Method, testing ratio and seed.
        previous: SHA-256 of a sample's bytes to its category in the recorded split of the same spec; these
            never move. Not used by `source`.

    Returns:
        Name to category, sorted by name.

    Raises:
        DatasetError: No sample, one label only, a label with one sample, a label that would have no
            training or no testing sample, or a source without categories of its own.
    """
    _check_labels(samples)
    if spec.method == "source":
        result = _by_source(samples)
    else:
        result = _by_units(_units(samples, whole_groups=spec.method == "group"), spec, previous or {})
    _check_sides(samples, result, spec)
    return dict(sorted(result.items()))


def _check_labels(samples: Sequence[SplitItem]) -> None:
    """Refuse what cannot be split."""
    counts = Counter(item.label for item in samples)
    if not counts:
        raise DatasetError("no sample is left to train with", hint="look at the audit's findings")
    if len(counts) == 1:
        raise DatasetError(
            f"all {len(samples):,} samples have the one label {listed(counts)}; a classifier needs two",
            hint="check dataset.root, dataset.labels and dataset.leave_out",
        )
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        raise DatasetError(
            f"the label {listed(single)} has one sample; it takes two, to train and to test",
            hint="add samples, or leave the label out with dataset.leave_out",
        )


def _check_sides(samples: Sequence[SplitItem], result: Mapping[str, Category], spec: Split) -> None:
    """Refuse a label that stands on one side only."""
    counts = Counter((item.label, result[item.name]) for item in samples)
    hints = {
        "source": "split by another method: dataset.split.method = 'stratified' or 'group'",
        "group": "the label needs samples of two groups; add some, or leave it out with dataset.leave_out",
        "stratified": "add samples of it with other content, or split anew with `eiauto sync --new-split`",
    }
    for label in sorted({item.label for item in samples}):
        for category in (Category.TRAINING, Category.TESTING):
            if not counts[label, category]:
                raise DatasetError(
                    f"the label '{label}' would have no {category.value} sample (split method {spec.method})",
                    hint=hints[spec.method],
                )


def _by_source(samples: Sequence[SplitItem]) -> dict[str, Category]:
    """The source's own categories."""
    result = {item.name: item.category for item in samples if item.category is not None}
    without = sorted(item.name for item in samples if item.category is None)
    if without:
        raise DatasetError(
            f"{len(without):,} of {len(samples):,} samples have no category of their own: {listed(without)}",
            hint="name the category folders under dataset.categories, or use dataset.split.method = 'stratified'",
        )
    return result


def _units(samples: Sequence[SplitItem], *, whole_groups: bool) -> list[_Unit]:
    """Join samples that share a content or, if so wished, a group; also by way of others."""
    parent: dict[str, str] = {}

    def top(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for item in samples:
        top(f"content {item.sha256}")
        if whole_groups and item.group:
            parent[top(f"content {item.sha256}")] = top(f"group {item.group}")
    members: dict[str, list[SplitItem]] = defaultdict(list)
    for item in samples:
        members[top(f"content {item.sha256}")].append(item)
    return [_unit(items, whole_groups) for items in members.values()]


def _unit(items: list[SplitItem], whole_groups: bool) -> _Unit:
    """A unit under its first group's name, or its first content's hash."""
    groups = [item.group for item in items if item.group] if whole_groups else []
    return _Unit(min(groups or [item.sha256 for item in items]), items, Counter(item.label for item in items))


def _by_units(units: list[_Unit], spec: Split, previous: Mapping[str, Category]) -> dict[str, Category]:
    """Fill each label's testing quota with whole units."""
    for unit in units:
        unit.side = _earlier_side(unit, previous)
    units.sort(key=lambda unit: (sha256_bytes(f"{spec.seed}:{unit.key}".encode()), unit.key))
    training: Counter[str] = Counter()  # units that train, or still may, per label
    for unit in units:
        training.update(label for label in unit.labels if unit.side in (None, Category.TRAINING))
    spread = Counter(label for unit in units for label in unit.labels)
    for label in sorted(spread, key=lambda one: (spread[one], one)):
        _fill(label, [unit for unit in units if label in unit.labels], spec.testing_ratio, training)
    return {item.name: unit.side or Category.TRAINING for unit in units for item in unit.items}


def _fill(label: str, units: Sequence[_Unit], ratio: float, training: Counter[str]) -> None:
    """Take units for testing until the label has its share."""
    total = sum(unit.labels[label] for unit in units)
    quota = min(max(round(ratio * total), 1), total - 1)
    have = sum(unit.labels[label] for unit in units if unit.side is Category.TESTING)
    passed: list[_Unit] = []
    for unit in (unit for unit in units if unit.side is None):
        short, size = quota - have, unit.labels[label]
        if short > 0 and size - short <= short and _spare(unit, training):
            _take(unit, training)
            have += size
        else:
            passed.append(unit)
    if not have:  # all units are large: the smallest does it
        fitting = [unit for unit in passed if _spare(unit, training)]
        if fitting:
            _take(min(fitting, key=lambda unit: unit.labels[label]), training)


def _spare(unit: _Unit, training: Counter[str]) -> bool:
    """Whether each of its labels keeps another unit that trains."""
    return all(training[label] > 1 for label in unit.labels)


def _take(unit: _Unit, training: Counter[str]) -> None:
    """Let a unit test."""
    unit.side = Category.TESTING
    training.subtract(list(unit.labels))


def _earlier_side(unit: _Unit, previous: Mapping[str, Category]) -> Category | None:
    """Where the unit stood; None when all of it is new."""
    sides = {previous[item.sha256] for item in unit.items if item.sha256 in previous}
    if len(sides) > 1:
        raise DatasetError(
            f"the recorded split has samples of '{unit.key}' in {_joined(sides)}; they belong together now",
            hint="the groups or the files have changed: `eiauto sync --new-split` splits all samples anew",
        )
    return next(iter(sides), None)


def _joined(sides: Iterable[Category]) -> str:
    """Categories as text."""
    return " and ".join(sorted(side.value for side in sides))
