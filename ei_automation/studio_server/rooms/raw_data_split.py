"""Dividing the samples into training, validation and testing."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, RefusalError, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.rooms.raw_data_batch import LARGE, at_once_or_job
from ei_automation.studio_server.sample_files import split_category
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.sample_split import SPLIT_CATEGORIES, preview, split_options, split_samples

PREVIEW = "splitPreview"
"""Setting of a project: the preview that a job has made."""


@serves("rebalance_dataset")
def rebalance_dataset(call: Call) -> dict[str, Any]:
    """Training and testing anew by the hash of each name, 12 to 3; returns how many each has."""
    _rebalance(call)
    return _ratio(call)


@serves("rebalance_dataset_v2")
def rebalance_dataset_v2(call: Call) -> dict[str, Any]:
    """The same, as a job where there are many samples."""
    return at_once_or_job(call, call.studio.samples.count(call.project_id), lambda: _rebalance(call))


@serves("get_dataset_ratio")
def get_dataset_ratio(call: Call) -> dict[str, Any]:
    """How many samples each category has; testing without labels that training does not know."""
    return _ratio(call)


def _ratio(call: Call) -> dict[str, Any]:
    found = call.studio.samples.summary(call.project_id, Filter(disabled=False))
    known = {label for category, label in found if category == "training"}
    ratio = dict.fromkeys(SPLIT_CATEGORIES, 0)
    for (category, label), count in found.items():
        if category in ratio and (category != "testing" or label in known):
            ratio[category] += count
    return ok(ratio=ratio)


@serves("split_dataset")
def split_dataset(call: Call) -> dict[str, Any]:
    """Divide by ratios, balanced, with groups kept together."""
    options, samples = split_options(call.body), call.studio.samples

    def work() -> None:
        samples.distribute(call.project_id, split_samples(samples.find(call.project_id), options))

    return at_once_or_job(call, samples.count(call.project_id), work)


@serves("split_dataset_preview")
def split_dataset_preview(call: Call) -> dict[str, Any]:
    """What `split_dataset` would do."""
    options, studio = split_options(call.body), call.studio

    def work() -> None:
        data = preview(studio.samples.find(call.project_id), options)
        studio.projects.set(call.project_id, PREVIEW, data)

    count = studio.samples.count(call.project_id)
    answer = at_once_or_job(call, count, work)
    return answer if count >= LARGE else _last_preview(call)


@serves("get_split_preview_results")
def get_split_preview_results(call: Call) -> dict[str, Any]:
    """The preview that was made last."""
    return _last_preview(call)


def _last_preview(call: Call) -> dict[str, Any]:
    data = call.studio.projects.get(call.project_id, PREVIEW)
    if data is None:
        raise RefusalError("There is no split preview; start one with split-preview")
    return ok(data=data)


def _rebalance(call: Call) -> None:
    samples = call.studio.samples
    rows = [row for row in samples.find(call.project_id) if row.category in SPLIT_CATEGORIES]
    samples.distribute(call.project_id, {row.sample_id: split_category(row.filename.encode()) for row in rows})
