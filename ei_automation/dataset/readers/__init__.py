"""Readers: from a folder to labelled samples, by the manifest's `[dataset]`.

A new reader is a module with a `Reader` here, a line in `READERS`, and its name in `schema/manifest.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ei_automation.dataset.names import listed, nearest, one_spelling
from ei_automation.dataset.readers.base import FolderFile, Found, Listing, Reader, is_junk, walk
from ei_automation.dataset.readers.image_folder import read_image_folder
from ei_automation.dataset.readers.openmv import CLASS_SUFFIX, read_openmv
from ei_automation.errors import DatasetError, ManifestError, NotFoundError
from ei_automation.schema.manifest import Dataset
from ei_automation.schema.sample import Category, SourceSample

READERS: dict[str, Reader] = {"image-folder": read_image_folder, "openmv": read_openmv}
"""`dataset.reader` to what reads it."""

CATEGORY_FOLDERS: dict[str, Category] = {
    "train": Category.TRAINING,
    "training": Category.TRAINING,
    "val": Category.VALIDATION,
    "valid": Category.VALIDATION,
    "validation": Category.VALIDATION,
    "test": Category.TESTING,
    "testing": Category.TESTING,
}
"""Category folders that are known where `dataset.categories` is unset; any case."""
ANYWHERE = "**"


@dataclass(frozen=True)
class ReadResult:
    """What a data set holds.

    Attributes:
        samples: The samples, sorted by name.
        ignored: Name of each file that is no sample to the reason, sorted by name; junk of operating
            systems is not listed.
        left_out: Name in `dataset.leave_out` to the number of files that it left out.
        labels: Labels after the mapping, in the source's order where it gives one, else alphabetical.
    """

    samples: tuple[SourceSample, ...]
    ignored: dict[str, str]
    left_out: dict[str, int]
    labels: tuple[str, ...]


def read(root: Path, dataset: Dataset) -> ReadResult:
    """Read the samples below a folder.

    Args:
        root: Folder of the fetched data.
        dataset: Root, reader, label mapping, category folders and what is left out.

    Raises:
        NotFoundError: `dataset.root` is not there.
        DatasetError: There is no image, or the layout is not the reader's.
        ManifestError: The mapping, the category folders or `leave_out` name what is not there.
    """
    start = resolve_root(root, dataset.root)
    left_out: Counter[str] = Counter()
    files = list(_kept(walk(start), {one_spelling(name) for name in dataset.leave_out}, left_out))
    known: dict[str, Category] = {
        one_spelling(name).casefold(): Category(value) for name, value in dataset.categories.items()
    }
    categories = known or CATEGORY_FOLDERS
    listing = READERS[dataset.reader](start, files, frozenset(categories))
    if not listing.found:
        raise _no_images(start, files, listing)
    _check_names(dataset, listing, left_out)
    mapping = {one_spelling(source): label for source, label in dataset.labels.items()}
    samples = sorted((_sample(item, mapping, categories) for item in listing.found), key=lambda one: one.name)
    return ReadResult(
        samples=tuple(samples),
        ignored=dict(sorted(listing.ignored.items())),
        left_out=dict(sorted(left_out.items())),
        labels=_labels(listing, mapping, samples),
    )


def resolve_root(root: Path, inner: str) -> Path:
    """The folder where the reader starts.

    Args:
        root: Folder of the fetched data.
        inner: `dataset.root`: a relative path; with `**/` in front it may stand at any depth.

    Raises:
        NotFoundError: It is not there.
        DatasetError: `**/` finds several.
        ManifestError: It leads out of the data.
    """
    parts = Path(inner).parts
    if Path(inner).is_absolute() or ".." in parts:
        raise ManifestError(f"'{inner}' leads out of the data set", key="dataset.root")
    if parts[:1] != (ANYWHERE,):
        matches = [root / inner]
    else:
        matches = _outermost(_anywhere(root, "/".join(parts[1:]) or "*"))
    matches = [path for path in matches if path.is_dir()]
    if not matches:
        raise NotFoundError(
            f"the data set has no folder '{inner}'; {root} holds {listed(_entries(root))}",
            hint="correct dataset.root in project.toml",
        )
    if len(matches) > 1:
        places = listed(sorted(path.relative_to(root).as_posix() for path in matches))
        raise DatasetError(
            f"the data set has {len(matches)} folders '{inner}': {places}",
            hint="let dataset.root name one of them",
        )
    return matches[0]


def _anywhere(root: Path, inner: str) -> Iterator[Path]:
    """Folders that end in `inner`, at any depth, but in no junk."""
    for path in root.rglob(inner):
        if path.is_dir() and not any(is_junk(part) for part in path.relative_to(root).parts):
            yield path


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """The folders that stand in none of the others; `a/a` is found as `a`."""
    found = set(paths)
    return sorted(path for path in found if found.isdisjoint(path.parents))


def _kept(files: Iterable[FolderFile], leave_out: set[str], left_out: Counter[str]) -> Iterator[FolderFile]:
    """The files in no folder that is left out; the others are counted."""
    if not leave_out:
        yield from files
        return
    for file in files:
        names = {name for folder in file.folders for name in (folder, folder.removesuffix(CLASS_SUFFIX))}
        hits = names & leave_out
        left_out.update(hits)
        if not hits:
            yield file


def _sample(item: Found, mapping: dict[str, str], categories: dict[str, Category]) -> SourceSample:
    """The sample under the manifest's names."""
    category = categories[item.category.casefold()] if item.category else None
    return SourceSample(item.file.path, item.file.name, mapping.get(item.label, item.label), category)


def _labels(listing: Listing, mapping: dict[str, str], samples: Sequence[SourceSample]) -> tuple[str, ...]:
    """Labels in the source's order, each once."""
    ordered = [mapping.get(label, label) for label in listing.labels]
    return tuple(dict.fromkeys(ordered or sorted({sample.label for sample in samples})))


def _check_names(dataset: Dataset, listing: Listing, left_out: Counter[str]) -> None:
    """Refuse names in the manifest that the data set does not have: each is most likely misspelt."""
    labels = {item.label for item in listing.found}
    folders = {item.category for item in listing.found if item.category}
    _check_known("dataset.labels", dataset.labels, labels, labels)
    _check_known("dataset.leave_out", dataset.leave_out, set(left_out), labels | folders)
    wanted = [name.casefold() for name in dataset.categories]
    _check_known("dataset.categories", wanted, {name.casefold() for name in folders}, folders)


def _check_known(key: str, names: Iterable[str], present: set[str], known: set[str]) -> None:
    """Refuse the first name that is not present."""
    for name in names:
        spelt = one_spelling(name)
        if spelt not in present:
            raise ManifestError(f"the data set has no '{name}'", key=key, hint=nearest(spelt, known))


def _no_images(start: Path, files: Sequence[FolderFile], listing: Listing) -> DatasetError:
    """Say where was looked and what is there instead."""
    if not files:
        entries = _entries(start)
        there = f"it holds {listed(entries)}" if entries else "it is empty"
    else:
        reasons = Counter(listing.ignored.values())
        there = f"it holds {len(files):,} files: " + ", ".join(
            f"{count:,} {reason}" for reason, count in sorted(reasons.items())
        )
    return DatasetError(
        f"there are no labelled images in {start}; {there}",
        hint="each label needs a folder with images; check dataset.root, dataset.reader and dataset.leave_out",
    )


def _entries(folder: Path) -> list[str]:
    """Names in a folder, folders with a `/`."""
    return sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())


__all__ = ["READERS", "ReadResult", "read", "resolve_root"]
