"""Changes of many samples at once, chosen by a filter. Large ones become jobs, as in Studio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ei_automation.studio_server.call import Call, RefusalError, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.rooms.raw_data import asked_label, known_category
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.sample_query import asked_filter
from ei_automation.studio_server.workshop import JobTalk

LARGE = 1000
"""Samples from which on a change is a job. Where Studio draws the line is not documented."""


def at_once_or_job(call: Call, count: int, work: Callable[[], object]) -> dict[str, Any]:
    """Do something now, or start it as a job.

    Args:
        call: What asks for it.
        count: How many samples it is about.
        work: Does it.

    Returns:
        The answer; with the job's id where there is one.
    """
    if count < LARGE:
        work()
        return ok()

    def job(talk: JobTalk) -> None:
        talk.line(f"{call.operation}: {count:,} samples...")
        work()
        talk.line(f"{call.operation}: done")

    number = call.studio.workshop.start(
        call.project_id, category="Changing samples", category_key="raw-data", key=call.operation, work=job
    )
    return ok(id=number)


def _batch(call: Call, change: Callable[[int, Filter], int]) -> dict[str, Any]:
    which = asked_filter(call)
    count = call.studio.samples.count(call.project_id, which)
    return at_once_or_job(call, count, lambda: change(call.project_id, which))


@serves("batch_delete")
def batch_delete(call: Call) -> dict[str, Any]:
    """Delete them."""
    return _batch(call, call.studio.samples.delete)


@serves("batch_move")
def batch_move(call: Call) -> dict[str, Any]:
    """Move them to another category."""
    category = known_category(call.wanted("newCategory"))
    return _batch(call, lambda project_id, which: call.studio.samples.move(project_id, which, category))


@serves("batch_edit_labels")
def batch_edit_labels(call: Call) -> dict[str, Any]:
    """Give them one label."""
    label = asked_label(call)
    return _batch(call, lambda project_id, which: call.studio.samples.relabel(project_id, which, label))


@serves("batch_enable")
def batch_enable(call: Call) -> dict[str, Any]:
    """Take them into the data set again."""
    return _batch(call, call.studio.samples.enable)


@serves("batch_disable")
def batch_disable(call: Call) -> dict[str, Any]:
    """Leave them out of the data set."""
    return _batch(call, call.studio.samples.disable)


@serves("batch_edit_bounding_boxes")
def batch_edit_bounding_boxes(call: Call) -> dict[str, Any]:
    """Give bounding boxes with certain labels another one; an empty one takes the boxes away."""
    old, new = call.wanted("oldLabels", list), call.wanted("newLabel").strip()
    if not all(isinstance(label, str) for label in old):
        raise RefusalError("Missing or invalid value for 'oldLabels'")
    return _batch(call, lambda project_id, which: call.studio.samples.relabel_boxes(project_id, which, old, new))


@serves("clear_all_object_detection_labels")
def clear_all_object_detection_labels(call: Call) -> dict[str, Any]:
    """Take all bounding boxes away."""
    call.studio.samples.set_boxes(call.project_id, Filter(), ())
    return ok()


@serves("batch_add_metadata")
def batch_add_metadata(call: Call) -> dict[str, Any]:
    """Set one metadata key."""
    key, value = _key(call), call.wanted("metadataValue")
    return _batch(call, lambda project_id, which: call.studio.samples.add_metadata(project_id, which, key, value))


@serves("batch_clear_metadata_by_key")
def batch_clear_metadata_by_key(call: Call) -> dict[str, Any]:
    """Take one metadata key away."""
    key = _key(call)
    return _batch(call, lambda project_id, which: call.studio.samples.clear_metadata(project_id, which, key))


@serves("batch_clear_metadata")
def batch_clear_metadata(call: Call) -> dict[str, Any]:
    """Take all metadata away; never a job, since its answer has no place for one."""
    call.studio.samples.clear_metadata(call.project_id, asked_filter(call))
    return ok()


def _key(call: Call) -> str:
    key: str = call.wanted("metadataKey")
    if not key:
        raise RefusalError("Missing or invalid value for 'metadataKey'")
    return key
