"""The audit: what is set aside, what leaks, and that it is fast."""

from __future__ import annotations

import csv
import random
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ei_automation.dataset.audit import audit, leaks, screen
from ei_automation.dataset.groups import load_groups
from ei_automation.dataset.near import near_lower, near_pairs
from ei_automation.dataset.split import SplitItem, split
from ei_automation.files import sha256_bytes
from ei_automation.schema.findings import Finding, ImageFacts
from ei_automation.schema.manifest import Groups, Split
from ei_automation.schema.sample import Category

TRAIN, VALID, TEST = Category.TRAINING, Category.VALIDATION, Category.TESTING


def facts_of(samples: Iterable[SplitItem], **changes: Any) -> dict[str, ImageFacts]:
    """Good images with hashes far from one another, save for what `changes` (name to values) says."""
    found = {}
    for one in samples:
        values: dict[str, Any] = {
            "width": 32,
            "height": 24,
            "mode": "RGB",
            "perceptual_hash": random.Random(one.sha256).getrandbits(64),
        }
        found[one.sha256] = ImageFacts(one.sha256, **(values | changes.get(one.name, {})))
    return found


def make(name: str, label: str, content: str = "", category: Category | None = None) -> SplitItem:
    return SplitItem(name, sha256_bytes((content or name).encode()), label, category=category)


def codes(findings: Iterable[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_a_clean_set_has_no_findings() -> None:
    samples = [make(f"{n}", "ab"[n % 2]) for n in range(20)]
    result = audit(samples, facts_of(samples), {"main": split(samples, Split())}, {}, min_image_px=8)
    assert (result.set_aside, result.findings) == ({}, ())


def test_unusable_images_are_set_aside_with_their_reason() -> None:
    samples = [make(f"{n}", "ab"[n % 2]) for n in range(10)]
    facts = facts_of(
        samples,
        **{
            "1": {"problem": "empty", "width": 0, "height": 0},
            "2": {"problem": "truncated", "detail": "image file is truncated (20 bytes not processed)"},
            "3": {"problem": "unreadable", "width": 0, "height": 0},
            "4": {"problem": "wrong-mode", "mode": "CMYK"},
            "5": {"width": 100, "height": 7},
            "6": {"problem": "truncated"},
        },
    )
    result = screen(samples, facts, min_image_px=8)
    assert result.set_aside == {
        "1": "empty",
        "2": "truncated",
        "3": "unreadable",
        "4": "wrong-mode",
        "5": "tiny",
        "6": "truncated",
    }
    by_code = {finding.code: finding for finding in result.findings}
    assert by_code["truncated"].message == (
        "2 of 10 files are cut short, such as '2' (image file is truncated (20 bytes not processed))"
    )
    assert by_code["tiny"].message == "1 of 10 files have a side under 8 px, such as '5' (100 x 7 px)"
    assert (by_code["truncated"].samples, by_code["truncated"].count) == (("2", "6"), 2)
    assert {finding.severity for finding in result.findings} == {"set-aside"}


def test_duplicates_keep_the_first_and_torn_labels_none() -> None:
    samples = [
        *(
            make("TEST/a/1", "a", "x", TEST),
            make("TRAIN/a/9", "a", "x", TRAIN),
            make("TRAIN/a/8", "a", "x", TRAIN),
        ),
        *(make("TRAIN/a/2", "a", "y", TRAIN), make("TRAIN/b/2", "b", "y", TRAIN)),
        *(make(f"TRAIN/{label}/{n}", label, category=TRAIN) for label in "ab" for n in (5, 6, 7)),
    ]
    result = screen(samples, facts_of(samples), min_image_px=8)
    assert result.set_aside == {
        "TRAIN/a/2": "duplicate-across-labels",
        "TRAIN/a/8": "duplicate",
        "TRAIN/a/9": "duplicate",
        "TRAIN/b/2": "duplicate-across-labels",
    }
    assert [finding.message for finding in result.findings] == [
        "2 of 11 files repeat another (e.g. 'TRAIN/a/8' is 'TEST/a/1'); of these images 1 stood in several of the"
        " source's categories",
        "2 of 11 files show an image that stands under several labels, so that none is sure"
        " (e.g. 'TRAIN/a/2' and 'TRAIN/b/2', 'a' and 'b')",
    ]


def test_uneven_labels() -> None:
    samples = [make(f"a{n}", "a") for n in range(31)] + [make(f"b{n}", "b") for n in range(20)]
    (finding,) = screen(samples, facts_of(samples), min_image_px=8).findings
    assert (finding.code, finding.severity) == ("imbalance", "warning")
    assert finding.message == "the labels are uneven: 'a' has 31 samples, 'b' 20 (1.6 to 1)"
    assert screen(samples[1:], facts_of(samples), min_image_px=8).findings == ()


def test_converted_modes() -> None:
    samples = [make(f"{n}", "ab"[n % 2]) for n in range(10)]
    (finding,) = screen(
        samples, facts_of(samples, **{"1": {"mode": "L"}, "2": {"mode": "RGBA"}}), min_image_px=8
    ).findings
    assert (finding.code, finding.severity, finding.samples) == ("converted-mode", "note", ("1", "2"))
    assert finding.message == "2 of 10 images are converted; most are RGB, these are not: 1 L, 1 RGBA"
    gray = {str(n): {"mode": "L"} for n in range(10)}
    assert screen(samples, facts_of(samples, **gray), min_image_px=8).findings == ()
    palette = {str(n): {"mode": "P"} for n in range(10)}
    (finding,) = screen(samples, facts_of(samples, **palette), min_image_px=8).findings
    assert finding.message == "10 of 10 images are converted: 10 P"


def test_exact_and_near_leaks_per_split() -> None:
    samples = [make(f"{n}", "ab"[n % 2]) for n in range(12)]
    near = 0x0F0F0F0F0F0F0F0F
    facts = facts_of(
        samples,
        **{
            "0": {"perceptual_hash": near},
            "2": {"perceptual_hash": near ^ 0b1111},  # four bits away, same label
            "4": {"perceptual_hash": near ^ 0b11111 << 40},  # five bits: not near to 0
            "1": {"perceptual_hash": near ^ (1 << 63)},  # another label
        },
    )
    sides = {one.name: TEST if one.name in ("0", "3") else VALID if one.name == "2" else TRAIN for one in samples}
    found = leaks(samples, facts, {"main": sides, "other": dict.fromkeys(sides, TRAIN)}, {})
    assert [finding.message for finding in found] == [
        "2 images look like one of another label (within 4 of 64 bits; e.g. '0' and '1')",
        "split `main`: 1 of 2 testing samples look like one in training or validation (within 4 of 64 bits;"
        " e.g. '0' and '2')",
    ]
    assert codes(found) == ["near-duplicate-across-labels", "near-leak"]
    twins = [*samples, make("12", "b", "3")]
    (leak,) = leaks(twins, facts_of(twins), {"main": {**sides, "12": TRAIN}}, {})  # and no near-leak
    assert leak.message == "split `main`: 1 of 2 testing samples have the same content in training or validation"


def test_group_leaks_and_unknown_groups() -> None:
    samples = [make(f"{n}", "ab"[n % 2]) for n in range(12)]
    groups = {str(n): f"g{n // 4}" for n in range(11)} | {"11": "11"}
    torn = {str(n): TEST if n in (0, 4) else VALID if n == 5 else TRAIN for n in range(12)}
    whole = {str(n): TEST if n < 4 else TRAIN for n in range(12)}
    found = leaks(samples, facts_of(samples), {"torn": torn, "whole": whole}, groups)
    assert [finding.message for finding in found] == [
        "split `torn`: 1 of 1 validation samples have a sibling of the same original in training",
        "split `torn`: 2 of 2 testing samples have a sibling of the same original in training or validation",
        "12 files were made of 4 originals (3 each)",
        "split `whole`: none of 4 originals stands on both sides",
        "1 of 12 samples have no known original; each counts as its own",
    ]
    assert codes(found) == ["group-leak", "group-leak", "augmented-set", "groups-whole", "ungrouped"]


def test_findings_do_not_depend_on_order() -> None:
    samples = [make(f"{n}", "abc"[n % 3], content=str(n // 2)) for n in range(60)]
    facts, groups = facts_of(samples), {one.name: str(int(one.name) % 7) for one in samples}
    assignments = {"main": {one.name: TEST if int(one.name) % 5 == 0 else TRAIN for one in samples}}
    mixed = random.Random(1).sample(samples, len(samples))
    backwards = {name: dict(reversed(row.items())) for name, row in assignments.items()}
    assert audit(samples, facts, assignments, groups, min_image_px=8) == audit(
        mixed, dict(reversed(facts.items())), backwards, groups, min_image_px=8
    )


def test_near_pairs_against_a_plain_count() -> None:
    rng = random.Random(5)
    hashes = [rng.getrandbits(64) for _ in range(300)]
    hashes += [value ^ sum(1 << bit for bit in rng.sample(range(64), rng.randint(0, 8))) for value in hashes]
    pairs = {(int(i), int(j)) for left, right in near_pairs(hashes, 4) for i, j in zip(left, right, strict=True)}
    expected = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] ^ hashes[j]).bit_count() <= 4
    }
    assert pairs == expected
    assert len(expected) > 100


@pytest.mark.parametrize(("count", "kinds", "limit_s"), [(12_500, 1 << 64, 3), (4_000, 1, 10)])
def test_the_near_search_is_fast_and_small(count: int, kinds: int, limit_s: float) -> None:
    rng = random.Random(7)
    hashes = [rng.randrange(kinds) for _ in range(count)]
    ranks = [n % 4 for n in range(count)]
    tracemalloc.start()
    start = time.perf_counter()
    near_lower(hashes, [str(n) for n in range(count)], [ranks, ranks, ranks], 4)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < limit_s
    assert peak < 200 * 2**20  # the matrix of all pairs of 12,500 would take 1.2 GiB


def test_the_white_blood_cells_of_kaggle(shared_data: Path) -> None:
    folder = shared_data / "wbc4_meta"
    with (folder / "groups.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    own = {"TRAIN": TRAIN, "TEST": TEST, "TEST_SIMPLE": TEST}
    names = [row["path"].removeprefix("images/") for row in rows]
    samples = [
        make(name, row["class"], category=own[row["official_split"]])
        for name, row in zip(names, rows, strict=True)
    ]
    groups = load_groups(Groups(csv="groups.csv", group_column="original"), folder, names)
    grouped = [SplitItem(s.name, s.sha256, s.label, groups[s.name], s.category) for s in samples]
    assignments = {method: split(grouped, Split(method=method)) for method in ("source", "stratified", "group")}
    start = time.perf_counter()
    result = audit(samples, facts_of(samples), assignments, groups, min_image_px=8)
    seconds = time.perf_counter() - start
    messages = [finding.message for finding in result.findings]
    assert "12,515 files were made of 348 originals (36 each)" in messages
    assert "split `group`: none of 348 originals stands on both sides" in messages
    leak = "split `stratified`: 2,503 of 2,503 testing samples have a sibling of the same original in training"
    assert leak in messages
    # SIFT put one training file on an original of the other side (wbc4_meta, SOURCE.md): its 14 testing files
    assert (
        "split `source`: 14 of 2,558 testing samples have a sibling of the same original in training" in messages
    )
    assert seconds < 5
