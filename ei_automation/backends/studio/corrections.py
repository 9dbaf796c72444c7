"""Live samples whose content is right and something else is not (label, boxes, disabled): corrected in place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ei_automation.backends.studio.client import StudioClient, StudioError
from ei_automation.backends.studio.samples import for_ids
from ei_automation.errors import JobFailedError, NotFoundError
from ei_automation.schema.sample import Sample, StoredSample
from ei_automation.studio_api.samples import METADATA_GROUP, METADATA_SHA256, boxes_json

AT_ONCE = 8
"""Calls under way where an operation takes one sample only."""


@dataclass(frozen=True)
class Correction:
    """A live sample and what it should be.

    Attributes:
        stored: As it is.
        wanted: As it should be.
    """

    stored: StoredSample
    wanted: Sample

    @property
    def label(self) -> bool:
        """Whether the label differs. Studio makes up a label for a sample that has boxes and was given none."""
        made_up = not self.wanted.label and bool(self.wanted.bounding_boxes)
        return self.stored.label != self.wanted.label and not made_up

    @property
    def category(self) -> bool:
        """Whether the category differs."""
        return self.stored.category != self.wanted.category

    @property
    def group(self) -> bool:
        """Whether the group differs."""
        return self.stored.group != self.wanted.group

    @property
    def boxes(self) -> bool:
        """Whether the boxes differ; their order means nothing."""
        stored, wanted = self.stored.bounding_boxes, self.wanted.bounding_boxes
        return stored != wanted and sorted(map(repr, stored)) != sorted(map(repr, wanted))

    @property
    def enable(self) -> bool:
        """Whether it is disabled: a wanted sample takes part."""
        return self.stored.disabled

    @property
    def needed(self) -> bool:
        """Whether anything differs."""
        return self.label or self.category or self.group or self.boxes or self.enable


def correct(client: StudioClient, project_id: int, corrections: Sequence[Correction]) -> dict[str, str]:
    """Set what differs: many samples in one call where they get the same value.

    Args:
        client: To ask.
        project_id: Whose samples.
        corrections: What differs.

    Returns:
        Name to reason of those that the server would not correct.

    Raises:
        SettingsError: The key may not do this.
        NetworkError: The server cannot be reached.
    """
    failed: dict[str, str] = {}
    for (kind, value), members in _by_value(corrections).items():
        ids = [one.stored.sample_id for one in members]
        try:
            _set(client, project_id, kind, value, ids)
        except (StudioError, NotFoundError, JobFailedError) as error:
            failed.update({one.wanted.name: error.message for one in members})
    failed.update(_set_boxes(client, project_id, [one for one in corrections if one.boxes]))
    return failed


def adopt(client: StudioClient, project_id: int, sample_id: int, sha256: str) -> bool:
    """Mark a sample that another client uploaded with the hash of its content, so that it is known from now on.

    Returns:
        Whether it is there.
    """
    path = f"/api/{project_id}/raw-data/{sample_id}"
    try:
        metadata = client.get(path)["sample"].get("metadata") or {}
        client.post_again(f"{path}/metadata", {"metadata": {**metadata, METADATA_SHA256: sha256}})
    except (StudioError, NotFoundError):
        return False
    return True


def _by_value(corrections: Sequence[Correction]) -> dict[tuple[str, str], list[Correction]]:
    """(What is set, to what) to whose."""
    found: dict[tuple[str, str], list[Correction]] = defaultdict(list)
    for one in corrections:
        if one.label:
            found["label", one.wanted.label].append(one)
        if one.category:
            found["category", one.wanted.category.value].append(one)
        if one.group:
            found["group", one.wanted.group].append(one)
        if one.enable:
            found["enable", ""].append(one)
    return found


def _set(client: StudioClient, project_id: int, kind: str, value: str, ids: Sequence[int]) -> None:
    """Set one value on samples: with the operation for one sample where there is one and it is only one."""
    one = f"/api/{project_id}/raw-data/{ids[0]}"
    if kind == "label":
        _one_or_many(client, project_id, (f"{one}/edit-label", "edit-labels"), ids, {"label": value})
    elif kind == "category":
        _one_or_many(client, project_id, (f"{one}/move", "moveSamples"), ids, {"newCategory": value})
    elif kind == "enable":
        _one_or_many(client, project_id, (f"{one}/enable", "enable-samples"), ids, None)
    elif value:
        for_ids(client, project_id, "add-metadata", ids, {"metadataKey": METADATA_GROUP, "metadataValue": value})
    else:
        for_ids(client, project_id, "clear-metadata-by-key", ids, {"metadataKey": METADATA_GROUP})


def _one_or_many(
    client: StudioClient,
    project_id: int,
    operations: tuple[str, str],
    ids: Sequence[int],
    body: dict[str, Any] | None,
) -> None:
    single_path, many = operations
    if len(ids) == 1:
        client.post_again(single_path, body)
    else:
        for_ids(client, project_id, many, ids, body)


def _set_boxes(client: StudioClient, project_id: int, corrections: Sequence[Correction]) -> dict[str, str]:
    """Set bounding boxes, which go by single samples; returns name to reason of those that failed."""
    failed: dict[str, str] = {}

    def set_one(one: Correction) -> None:
        path = f"/api/{project_id}/raw-data/{one.stored.sample_id}/bounding-boxes"
        try:
            client.post_again(path, {"boundingBoxes": boxes_json(one.wanted.bounding_boxes)})
        except (StudioError, NotFoundError) as error:
            failed[one.wanted.name] = error.message

    each(set_one, corrections)
    return failed


def each(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Do something with each item, several at once; the first exception ends it."""
    if not items:
        return
    pool = ThreadPoolExecutor(max_workers=min(AT_ONCE, len(items)))
    try:
        for future in [pool.submit(work, item) for item in items]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)
