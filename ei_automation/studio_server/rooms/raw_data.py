"""Samples one at a time, and their listing."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ei_automation.dsp.image import resize
from ei_automation.schema.impulse import InputBlock
from ei_automation.studio_server.call import Call, File, RefusalError, ok
from ei_automation.studio_server.image_file import PNG_START
from ei_automation.studio_server.multipart import harmless_name
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.sample_files import is_label, read_boxes, read_metadata
from ei_automation.studio_server.sample_filter import EVERYTHING, Filter
from ei_automation.studio_server.sample_json import decoded, payload_json, png, project_facts, sample_json
from ei_automation.studio_server.sample_query import asked_filter
from ei_automation.studio_server.samples import CATEGORIES, SampleRow


@serves("list_samples")
def list_samples(call: Call) -> dict[str, Any]:
    """Samples of a category, newest first; `totalCount` is of all pages."""
    which, samples = asked_filter(call), call.studio.samples
    rows = samples.find(call.project_id, which)
    is_all = which.offset == 0 and (which.limit is None or len(rows) < which.limit)
    total = len(rows) if is_all else samples.count(call.project_id, which)
    project, sensors = project_facts(call.studio, call.project_id), not call.asked_switch("excludeSensors")
    return ok(samples=[sample_json(row, project, sensors=sensors) for row in rows], totalCount=total)


@serves("count_samples")
def count_samples(call: Call) -> dict[str, Any]:
    """How many a filter means."""
    return ok(count=call.studio.samples.count(call.project_id, asked_filter(call)))


@serves("get_sample")
def get_sample(call: Call) -> dict[str, Any]:
    """A sample and its pixels."""
    row = _row(call)
    project = project_facts(call.studio, call.project_id)
    limit = call.asked_number("limitPayloadValues")
    return ok(sample=sample_json(row, project), **payload_json(row, _content(call, row), limit))


@serves("get_sample_as_image")
def get_sample_as_image(call: Call) -> File:
    """The image as it was uploaded, or as the impulse's input block makes it."""
    row = _row(call)
    content = _content(call, row)
    if call.asked_switch("afterInputBlock"):
        pixels = resize(np.asarray(decoded(content)[0]), _input_block(call))
        return File(png(Image.fromarray(pixels)), "image/png")
    return File(content, _media_type(content))


@serves("get_sample_as_raw")
def get_sample_as_raw(call: Call) -> File:
    """The file as it was uploaded."""
    row = _row(call)
    content = _content(call, row)
    return File(content, _media_type(content), row.filename + row.extension)


@serves("delete_sample")
def delete_sample(call: Call) -> dict[str, Any]:
    """Delete one."""
    return _changed(call, call.studio.samples.delete(call.project_id, _which(call)))


@serves("delete_all_samples")
def delete_all_samples(call: Call) -> dict[str, Any]:
    """Delete all, and what the impulse's blocks have made of them."""
    return _delete_all(call)


@serves("delete_all_samples_by_category")
def delete_all_samples_by_category(call: Call) -> dict[str, Any]:
    """Delete all of a category."""
    category = call.path["category"]
    if category == EVERYTHING:
        return _delete_all(call)
    call.studio.samples.delete(call.project_id, Filter(category=known_category(category)))
    return ok()


@serves("move_sample")
def move_sample(call: Call) -> dict[str, Any]:
    """Move one to another category."""
    category = known_category(call.wanted("newCategory"))
    return _changed(call, call.studio.samples.move(call.project_id, _which(call), category))


@serves("edit_label")
def edit_label(call: Call) -> dict[str, Any]:
    """Set a label; without one it is taken away."""
    return _changed(call, call.studio.samples.relabel(call.project_id, _which(call), asked_label(call)))


@serves("rename_sample")
def rename_sample(call: Call) -> dict[str, Any]:
    """Set the name that is shown."""
    name = harmless_name(call.wanted("name"))
    if not name:
        raise RefusalError("Missing or invalid value for 'name'")
    return _changed(call, call.studio.samples.rename(call.project_id, _which(call), name))


@serves("disable_sample")
def disable_sample(call: Call) -> dict[str, Any]:
    """Leave one out of the data set."""
    return _changed(call, call.studio.samples.disable(call.project_id, _which(call)))


@serves("enable_sample")
def enable_sample(call: Call) -> dict[str, Any]:
    """Take one into the data set again."""
    return _changed(call, call.studio.samples.enable(call.project_id, _which(call)))


@serves("set_sample_bounding_boxes")
def set_sample_bounding_boxes(call: Call) -> dict[str, Any]:
    """Set the bounding boxes, pixels of the stored image."""
    boxes = read_boxes("boundingBoxes", call.wanted("boundingBoxes", list), status=200)
    return _changed(call, call.studio.samples.set_boxes(call.project_id, _which(call), boxes))


@serves("set_sample_metadata")
def set_sample_metadata(call: Call) -> dict[str, Any]:
    """Set the metadata to what is sent; a key that is not sent is gone."""
    metadata = read_metadata("metadata", call.body.get("metadata") or {}, status=200)
    return _changed(call, call.studio.samples.set_metadata(call.project_id, _which(call), metadata))


def known_category(value: str) -> str:
    """A category, checked.

    Raises:
        RefusalError: There is none of this name.
    """
    if value not in CATEGORIES:
        raise RefusalError(f"Invalid category '{value}', expected one of {', '.join(CATEGORIES)}")
    return value


def asked_label(call: Call) -> str:
    """The label of an EditSampleLabelRequest; empty for none.

    Raises:
        RefusalError: It is no text, too long, or has control characters.
    """
    label = call.body.get("label") or ""
    if not isinstance(label, str) or not is_label(label.strip()):
        raise RefusalError("Missing or invalid value for 'label'")
    return label.strip()


def _delete_all(call: Call) -> dict[str, Any]:
    call.studio.samples.delete(call.project_id, Filter())
    call.studio.impulses.drop(call.project_id)
    return ok()


def _which(call: Call) -> Filter:
    return Filter(ids=(call.number("sampleId"),))


def _changed(call: Call, count: int) -> dict[str, Any]:
    """The answer to a change of one sample."""
    if not count:
        raise RefusalError(f"No sample found with ID {call.path['sampleId']}")
    return ok()


def _row(call: Call) -> SampleRow:
    if call.asked_number("datasetVersionId") is not None:
        raise RefusalError("The local Studio has no datasetVersionId")
    row = call.studio.samples.get(call.project_id, call.number("sampleId"))
    if row is None:
        raise RefusalError(f"No sample found with ID {call.path['sampleId']}")
    return row


def _content(call: Call, row: SampleRow) -> bytes:
    try:
        return call.studio.samples.content(row).read_bytes()
    except OSError as error:
        raise RefusalError(f"The file of this sample cannot be read: {error.strerror}") from error


def _media_type(content: bytes) -> str:
    return "image/png" if content.startswith(PNG_START) else "image/jpeg"


def _input_block(call: Call) -> InputBlock:
    impulse = call.studio.impulses.get(call.project_id)
    blocks = impulse["inputBlocks"] if impulse else []
    if not blocks:
        raise RefusalError("The project has no impulse with an image input block")
    return InputBlock(
        image_width=blocks[0]["imageWidth"],
        image_height=blocks[0]["imageHeight"],
        resize_mode=blocks[0].get("resizeMode", "squash"),
    )
