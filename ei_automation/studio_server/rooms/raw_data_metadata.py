"""What the metadata and labels of a project's samples are."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.sample_query import asked_filter

IMPORTED_FROM = "imported from"
"""Metadata key that Studio's importers set."""


@serves("get_sample_metadata")
def get_sample_metadata(call: Call) -> dict[str, Any]:
    """Metadata of every sample of a category."""
    rows = call.studio.samples.find(call.project_id, asked_filter(call))
    return ok(metadata=[{"id": row.sample_id, "metadata": row.metadata} for row in rows])


@serves("get_sample_metadata_filter_options")
def get_sample_metadata_filter_options(call: Call) -> dict[str, Any]:
    """Metadata keys with their values; a page is one of keys."""
    which = asked_filter(call)
    found = call.studio.samples.metadata_values(call.project_id, Filter(category=which.category))
    end = None if which.limit is None else which.offset + which.limit
    page = [{"key": key, "options": values} for key, values in list(found.items())[which.offset : end]]
    return ok(totalCount=len(found), count=len(page), optionsList=page)


@serves("get_raw_data_project_metadata")
def get_raw_data_project_metadata(call: Call) -> dict[str, Any]:
    """Labels, counts and metadata keys of a project; the API's schema leaves open what stands in it."""
    samples = call.studio.samples
    found = samples.summary(call.project_id)
    counts: dict[str, int] = {}
    for (category, _), count in found.items():
        counts[category] = counts.get(category, 0) + count
    return ok(
        metadata={
            "labels": sorted({label for _, label in found if label}),
            "counts": counts,
            "metadataKeys": list(samples.metadata_values(call.project_id)),
            "dataTypes": ["image"] if found else [],
        }
    )


@serves("get_all_imported_from")
def get_all_imported_from(call: Call) -> dict[str, Any]:
    """Samples that an importer brought, and where from."""
    start, limit = call.asked_number("offset", 0) or 0, call.asked_number("limit")
    data = [
        {"id": row.sample_id, "category": row.category, "importedFrom": row.metadata[IMPORTED_FROM]}
        for row in call.studio.samples.find(call.project_id)
        if IMPORTED_FROM in row.metadata
    ]
    return ok(data=data[max(start, 0) : None if limit is None else max(start, 0) + max(limit, 0)])
