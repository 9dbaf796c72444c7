"""The audit: which samples cannot be used, and what makes a data set's numbers look better than they are.

In two steps, because the split lies between them: `screen` sets samples aside before it, `leaks` looks at the
splits of those that are left. `audit` does both for splits that are known already.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ei_automation.dataset.near import near_lower
from ei_automation.dataset.split import SplitItem
from ei_automation.schema.findings import Finding, ImageFacts, Severity
from ei_automation.schema.sample import Category

NEAR_DISTANCE_BITS = 4
"""Largest Hamming distance of two 64-bit perceptual hashes that counts as near. Copies that were scaled or
compressed again stay within a few bits; two different images differ in about half of them."""
IMBALANCE_RATIO = 1.5
"""Largest to smallest label; from here on accuracy says less than it seems to."""
AUGMENTED_FILES_PER_GROUP = 2.0
"""Files a group, on average, from which a set counts as made of its originals."""
NAMED_SAMPLES = 20
"""Samples that a finding names; `count` has them all."""
COMMON_MODES = ("RGB", "L")
"""Pillow modes that need no word when all images share one."""

_JUDGED: tuple[tuple[Category, tuple[Category, ...]], ...] = (
    (Category.TESTING, (Category.TRAINING, Category.VALIDATION)),
    (Category.VALIDATION, (Category.TRAINING,)),
)
"""A category that judges the model, and those that must not have seen its samples."""
_RANKS = {Category.TRAINING: 0, Category.VALIDATION: 1, Category.TESTING: 2}
"""Of two samples in different categories, the one of higher rank judges."""
_SEVERITIES: tuple[Severity, ...] = ("set-aside", "warning", "note")


@dataclass(frozen=True)
class Audit:
    """What the audit found.

    Attributes:
        set_aside: Name of each sample that cannot be used to the finding's code, sorted by name.
        findings: Sorted by severity, code and message.
    """

    set_aside: dict[str, str]
    findings: tuple[Finding, ...]


def audit(
    samples: Sequence[SplitItem],
    facts: Mapping[str, ImageFacts],
    assignments: Mapping[str, Mapping[str, Category]],
    groups: Mapping[str, str],
    *,
    min_image_px: int,
) -> Audit:
    """Screen the samples, and look for leaks in splits that are known already.

    Args:
        samples: All samples.
        facts: SHA-256 to what decoding told, for every sample.
        assignments: Split name to sample name to category; samples that are set aside may be missing.
        groups: Sample name to group; empty where groups are not known.
        min_image_px: An image with a shorter side is tiny, pixels.
    """
    screened = screen(samples, facts, min_image_px=min_image_px)
    kept = [item for item in samples if item.name not in screened.set_aside]
    return Audit(screened.set_aside, _sorted([*screened.findings, *leaks(kept, facts, assignments, groups)]))


def screen(samples: Sequence[SplitItem], facts: Mapping[str, ImageFacts], *, min_image_px: int) -> Audit:
    """Find the samples that cannot be used, and look at labels and colour modes of the others.

    One content under two labels is set aside whole, since its label is not known. Of one content under one
    label the first by name stays.

    Args:
        samples: All samples.
        facts: SHA-256 to what decoding told, for every sample.
        min_image_px: An image with a shorter side is tiny, pixels.
    """
    ordered = sorted(samples, key=lambda item: item.name)
    aside = {item.name: code for item in ordered if (code := _problem(facts[item.sha256], min_image_px))}
    findings = list(_problem_findings(ordered, aside, facts, min_image_px))
    for code, names, message in _duplicates([item for item in ordered if item.name not in aside]):
        aside.update(dict.fromkeys(names, code))
        findings.append(_finding(code, "set-aside", message, names))
    kept = [item for item in ordered if item.name not in aside]
    findings += [*_imbalance(kept), *_modes(kept, facts)]
    return Audit(dict(sorted(aside.items())), _sorted(findings))


def leaks(
    samples: Sequence[SplitItem],
    facts: Mapping[str, ImageFacts],
    assignments: Mapping[str, Mapping[str, Category]],
    groups: Mapping[str, str],
) -> tuple[Finding, ...]:
    """Find what a split's judging samples share with those that the model learns from.

    Args:
        samples: The samples that are not set aside.
        facts: SHA-256 to what decoding told, for every sample.
        assignments: Split name to sample name to category.
        groups: Sample name to group; empty where groups are not known.
    """
    ordered = sorted(samples, key=lambda item: item.name)
    findings = [*_near(ordered, facts, assignments), *(_augmented(ordered, groups) if groups else ())]
    for name, categories in sorted(assignments.items()):
        findings += _shared(name, categories, {item.name: item.sha256 for item in ordered}, "leak")
        if groups:
            findings += _group_leaks(name, categories, {item.name: groups[item.name] for item in ordered})
    return _sorted(findings)


def _problem(fact: ImageFacts, min_image_px: int) -> str:
    """Code of what makes an image unusable; empty when nothing does."""
    return fact.problem or ("tiny" if min(fact.width, fact.height) < min_image_px else "")


def _problem_findings(
    ordered: Sequence[SplitItem], aside: Mapping[str, str], facts: Mapping[str, ImageFacts], min_image_px: int
) -> Iterator[Finding]:
    """One finding per code, with the decoder's words for the first sample."""
    told = {
        "empty": "hold no byte",
        "truncated": "are cut short",
        "unreadable": "cannot be decoded",
        "wrong-mode": "have a colour mode that is no photograph's",
        "tiny": f"have a side under {min_image_px} px",
    }
    first = {item.name: facts[item.sha256] for item in ordered if item.name in aside}
    for code in sorted(set(aside.values())):
        names = [name for name, one in aside.items() if one == code]
        fact = first[names[0]]
        detail = fact.detail or (f"{fact.width} x {fact.height} px" if code == "tiny" else "")
        example = f", such as '{names[0]}'" + (f" ({detail})" if detail else "")
        text = f"{len(names):,} of {len(ordered):,} files {told.get(code, code)}{example}"
        yield _finding(code, "set-aside", text, names)


def _duplicates(ordered: Sequence[SplitItem]) -> Iterator[tuple[str, list[str], str]]:
    """Code, names to set aside and message for contents that stand there more than once."""
    contents: dict[str, list[SplitItem]] = defaultdict(list)
    for item in ordered:
        contents[item.sha256].append(item)
    shared = [items for items in contents.values() if len(items) > 1]
    torn = [items for items in shared if len({item.label for item in items}) > 1]
    if torn:
        names = sorted(item.name for items in torn for item in items)
        labels = " and ".join(f"'{label}'" for label in sorted({item.label for item in torn[0]}))
        example = f"'{torn[0][0].name}' and '{torn[0][1].name}', {labels}"
        yield (
            "duplicate-across-labels",
            names,
            f"{len(names):,} of {len(ordered):,} files show an image that stands under several labels, so that"
            f" none is sure (e.g. {example})",
        )
    same = [items for items in shared if len({item.label for item in items}) == 1]
    if same:
        names = sorted(item.name for items in same for item in items[1:])
        across = sum(len({item.category for item in items}) > 1 for items in same)
        places = f"; of these images {across:,} stood in several of the source's categories" if across else ""
        example = f"'{same[0][1].name}' is '{same[0][0].name}'"
        yield (
            "duplicate",
            names,
            f"{len(names):,} of {len(ordered):,} files repeat another (e.g. {example}){places}",
        )


def _imbalance(kept: Sequence[SplitItem]) -> Iterator[Finding]:
    """Labels of very different size."""
    counts = Counter(item.label for item in kept)
    if len(counts) < 2:
        return
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    (most, largest), (least, smallest) = rows[0], rows[-1]
    if largest / smallest > IMBALANCE_RATIO:
        text = (
            f"the labels are uneven: '{most}' has {largest:,} samples, '{least}' {smallest:,}"
            f" ({largest / smallest:.1f} to 1)"
        )
        yield Finding("imbalance", "warning", text, count=len(kept))


def _modes(kept: Sequence[SplitItem], facts: Mapping[str, ImageFacts]) -> Iterator[Finding]:
    """Colour modes that the others do not have, and that decoding therefore converts."""
    modes = Counter(facts[item.sha256].mode for item in kept)
    if not modes:
        return
    main = max(sorted(modes), key=lambda mode: modes[mode])
    odd = {mode: count for mode, count in sorted(modes.items()) if mode != main or mode not in COMMON_MODES}
    if odd:
        names = [item.name for item in kept if facts[item.sha256].mode in odd]
        kinds = ", ".join(f"{count:,} {mode}" for mode, count in odd.items())
        text = f"{len(names):,} of {len(kept):,} images are converted; most are {main}, these are not: {kinds}"
        if main in odd:
            text = f"{len(names):,} of {len(kept):,} images are converted: {kinds}"
        yield _finding("converted-mode", "note", text, names)


def _shared(
    split_name: str, categories: Mapping[str, Category], marks: Mapping[str, str], code: str
) -> list[Finding]:
    """Judging samples whose mark (content or group) also stands where the model learns."""
    where: dict[Category, set[str]] = defaultdict(set)
    for name, mark in marks.items():
        where[categories[name]].add(mark)
    found = []
    for judge, learnt in _JUDGED:
        judged = [name for name in marks if categories[name] is judge]
        seen = set().union(*(where.get(category, set()) for category in learnt))
        names = [name for name in judged if marks[name] in seen]
        if names:
            what = "a sibling of the same original" if code == "group-leak" else "the same content"
            text = (
                f"split `{split_name}`: {len(names):,} of {len(judged):,} {judge.value} samples have {what}"
                f" in {_joined(learnt, where)}"
            )
            found.append(_finding(code, "warning", text, names))
    return found


def _group_leaks(split_name: str, categories: Mapping[str, Category], marks: Mapping[str, str]) -> list[Finding]:
    """Groups on both sides; or a note that there are none."""
    found = _shared(split_name, categories, marks, "group-leak")
    if found:
        return found
    text = f"split `{split_name}`: none of {len(set(marks.values())):,} originals stands on both sides"
    return [Finding("groups-whole", "note", text, count=0)]


def _augmented(ordered: Sequence[SplitItem], groups: Mapping[str, str]) -> Iterator[Finding]:
    """Many files of few originals, and samples whose original is not known."""
    counts = Counter(groups[item.name] for item in ordered)
    if counts and len(ordered) / len(counts) >= AUGMENTED_FILES_PER_GROUP:
        each = len(ordered) / len(counts)
        text = f"{len(ordered):,} files were made of {len(counts):,} originals ({each:.0f} each)"
        yield Finding("augmented-set", "note", text, count=len(ordered))
    alone = [item.name for item in ordered if groups[item.name] == item.name]
    if alone:
        text = f"{len(alone):,} of {len(ordered):,} samples have no known original; each counts as its own"
        yield _finding("ungrouped", "note", text, alone)


def _near(
    ordered: Sequence[SplitItem],
    facts: Mapping[str, ImageFacts],
    assignments: Mapping[str, Mapping[str, Category]],
) -> Iterator[Finding]:
    """Near duplicates across labels, and for each split across categories."""
    hashed = [(item, hash_) for item in ordered if (hash_ := facts[item.sha256].perceptual_hash) is not None]
    items = [item for item, _ in hashed]
    numbers = {label: number for number, label in enumerate(sorted({item.label for item in items}))}
    labels = [numbers[item.label] for item in items]
    splits = sorted(assignments.items())
    sides = [[_RANKS[categories[item.name]] for item in items] for _, categories in splits]
    up, down, *across = near_lower(
        [hash_ for _, hash_ in hashed],
        [item.sha256 for item in items],
        [labels, [-number for number in labels], *sides],
        NEAR_DISTANCE_BITS,
    )
    if both := up | down:
        text = f"{len(both):,} images look like one of another label{_example(both, items)}"
        yield _finding("near-duplicate-across-labels", "warning", text, [items[index].name for index in both])
    for (name, categories), partners in zip(splits, across, strict=True):
        yield from _near_leaks(name, categories, items, partners)


def _near_leaks(
    split_name: str, categories: Mapping[str, Category], items: Sequence[SplitItem], partners: Mapping[int, int]
) -> Iterator[Finding]:
    """Judging samples that look like one that the model learns from, or is chosen by."""
    for judge, learnt in _JUDGED:
        own = {index: other for index, other in partners.items() if categories[items[index].name] is judge}
        if own:
            total = sum(categories[item.name] is judge for item in items)
            text = (
                f"split `{split_name}`: {len(own):,} of {total:,} {judge.value} samples look like one in"
                f" {_joined(learnt, set(categories.values()))}{_example(own, items)}"
            )
            yield _finding("near-leak", "warning", text, [items[index].name for index in own])


def _example(partners: Mapping[int, int], items: Sequence[SplitItem]) -> str:
    """The first pair."""
    first = min(partners)
    one, other = items[first].name, items[partners[first]].name
    return f" (within {NEAR_DISTANCE_BITS} of 64 bits; e.g. '{one}' and '{other}')"


def _joined(categories: Iterable[Category], present: Collection[Category]) -> str:
    """Those of the categories that the split has, as text."""
    return " or ".join(category.value for category in categories if category in present)


def _finding(code: str, severity: Severity, message: str, names: Iterable[str]) -> Finding:
    """A finding that names its first samples."""
    rows = sorted(names)
    return Finding(code, severity, message, tuple(rows[:NAMED_SAMPLES]), len(rows))


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst first, then by code and message."""
    return tuple(sorted(findings, key=lambda one: (_SEVERITIES.index(one.severity), one.code, one.message)))
