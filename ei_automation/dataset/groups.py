"""Groups: what each sample was made from (patient, original image), from a CSV or a pattern."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ei_automation.dataset.names import listed, nearest, one_spelling
from ei_automation.errors import DatasetError, ManifestError, NotFoundError
from ei_automation.schema.manifest import Groups

_KEY = "dataset.groups"


def load_groups(groups: Groups, project_folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The group of each sample.

    Args:
        groups: Section `[dataset.groups]`: a CSV or a pattern.
        project_folder: A relative CSV path starts here.
        names: Names of all samples.

    Returns:
        Name to group. A sample for which the source names none is a group of its own, under its own name;
        the audit counts those.

    Raises:
        ManifestError: Neither or both of CSV and pattern, a wrong pattern, or a column that is not there.
        NotFoundError: The CSV is not there.
        DatasetError: The CSV cannot be read, lacks samples, or fits some more than once; or the pattern
            fits no sample.
    """
    if (groups.csv is None) == (groups.pattern is None):
        raise ManifestError("give either csv or pattern", key=_KEY)
    if groups.csv is not None:
        path = project_folder / Path(groups.csv).expanduser()
        found = _match(_read_csv(path, groups), names, path)
    else:
        found = _search(groups.pattern or "", names)
    return {name: found.get(name) or name for name in names}


def _search(pattern: str, names: Sequence[str]) -> dict[str, str]:
    """Groups by a regular expression over the names."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ManifestError(f"'{pattern}' is no regular expression: {error}", key=f"{_KEY}.pattern") from error
    if not expression.groups:
        raise ManifestError(
            f"'{pattern}' has no group",
            key=f"{_KEY}.pattern",
            hint="put brackets around the part that names the original, e.g. '(patient\\d+)_'",
        )
    key: str | int = "group" if "group" in expression.groupindex else 1
    hits = {name: hit[key] for name in names if (hit := expression.search(name))}
    if names and not hits:
        raise DatasetError(
            f"the pattern '{pattern}' fits none of {len(names):,} samples (first: {listed(names[:3])})",
            hint="correct dataset.groups.pattern",
        )
    return {name: one_spelling(group) for name, group in hits.items() if group}


def _read_csv(path: Path, groups: Groups) -> dict[str, set[str]]:
    """Path to the groups that the CSV gives it: one, unless it contradicts itself."""
    if not path.is_file():
        raise NotFoundError(f"the groups' CSV {path} is not there", hint="correct dataset.groups.csv")
    rows: dict[str, set[str]] = defaultdict(set)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            for key, column in (("path_column", groups.path_column), ("group_column", groups.group_column)):
                _check_column(path, key, column, table.fieldnames or ())
            for row in table:
                rows[_plain(row[groups.path_column] or "")].add(
                    one_spelling((row[groups.group_column] or "").strip())
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"the groups' CSV {path} cannot be read: {error}", hint="write it as UTF-8 CSV"
        ) from error
    return rows


def _check_column(path: Path, key: str, column: str, columns: Iterable[str]) -> None:
    """Refuse a column that the CSV does not have."""
    if column not in columns:
        raise ManifestError(
            f"{path.name} has no column '{column}'", key=f"{_KEY}.{key}", hint=nearest(column, list(columns))
        )


def _plain(path: str) -> str:
    """A path of the CSV as our names are written."""
    return one_spelling(PurePosixPath(path.strip().replace("\\", "/").lstrip("/")).as_posix())


def _match(rows: dict[str, set[str]], names: Sequence[str], path: Path) -> dict[str, str]:
    """Match names and the CSV's paths: one must be the end of the other, and the longest such end counts.

    Not any common end: `TRAIN/1.jpg` must never take the group of `TEST/1.jpg`.
    """
    ends: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for end in _ends(row):
            ends[end].add(row)
    hits = {name: _rows_for(name, rows, ends) for name in names}
    missing = [name for name in names if not hits[name]]
    if missing:
        raise _trouble(path, missing, len(names), "are not in it", "add them, or check dataset.groups.path_column")
    takers: dict[str, set[str]] = defaultdict(set)
    for name in names:
        takers[next(iter(hits[name]))].add(name)
    unclear = [name for name in names if len(hits[name]) > 1 or len(takers[next(iter(hits[name]))]) > 1]
    if unclear:
        raise _trouble(
            path, unclear, len(names), "fit several of its rows, or share one", "give longer paths in the CSV"
        )
    found = {name: rows[next(iter(hits[name]))] for name in names}
    torn = [name for name in names if len(found[name]) > 1]
    if torn:
        raise _trouble(path, torn, len(names), "stand in several groups", "keep one row for each")
    return {name: next(iter(values)) for name, values in found.items()}


def _rows_for(name: str, rows: dict[str, set[str]], ends: dict[str, set[str]]) -> set[str]:
    """The CSV's paths for a sample; more than one when it is not clear which."""
    if name in rows:
        return {name}
    if name in ends:
        return ends[name]
    return next(({end} for end in _ends(name) if end in rows), set())


def _ends(path: str) -> list[str]:
    """`a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _trouble(path: Path, names: Sequence[str], total: int, what: str, hint: str) -> DatasetError:
    """The error for samples that the CSV does not place."""
    return DatasetError(
        f"the groups' CSV {path}: {len(names):,} of {total:,} samples {what} (first: {listed(names[:3])})",
        hint=hint,
    )
