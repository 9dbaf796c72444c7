"""The filters of the raw-data operations, from a query string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ei_automation.studio_server.call import Call, RefusalError
from ei_automation.studio_server.sample_filter import EVERYTHING, Filter, MetadataFilter, MetadataRule
from ei_automation.studio_server.samples import CATEGORIES
from ei_automation.studio_server.strict_json import read_strictly

DISABLED = {"": None, "both": None, "enabled": False, "disabled": True}
"""Values of includeDisabled, and what `Filter.disabled` makes of them."""
SIGNATURES = ("", "both", "valid")
"""Values of signatureValidity that do not leave every image out: none of ours is invalid."""
DATA_TYPES = ("", "image", "images")
NOT_SERVED = ("datasetVersionId", "proposedActionsJobId")
MOST_ROWS = 2**53


def asked_filter(call: Call) -> Filter:
    """Which samples a call means.

    Raises:
        RefusalError: A value that cannot be understood, or one of the parts of Studio that are not here.
    """
    query = call.query
    for name in NOT_SERVED:
        if call.asked_number(name) is not None:
            raise RefusalError(f"The local Studio has no {name}")
    limit, offset = call.asked_number("limit"), call.asked_number("offset", 0)
    assert offset is not None
    if not 0 <= offset <= MOST_ROWS or (limit is not None and not 0 <= limit <= MOST_ROWS):
        raise RefusalError("limit and offset cannot be negative")
    return Filter(
        category=_choice(call, "category", (*CATEGORIES, EVERYTHING), needed=True),
        labels=_labels(call),
        filename=query.get("filename", ""),
        search=query.get("search", ""),
        ids=_ids(call, "ids"),
        exclude_ids=_ids(call, "excludeIds") or (),
        min_id=call.asked_number("minId"),
        max_id=call.asked_number("maxId"),
        min_date=call.asked_moment("minDate"),
        max_date=call.asked_moment("maxDate"),
        min_label=_number(call, "minLabel"),
        max_label=_number(call, "maxLabel"),
        disabled=DISABLED[_choice(call, "includeDisabled", tuple(DISABLED))],
        metadata=_metadata(call.asked_json("metadata")),
        nothing=_leaves_images_out(call),
        limit=limit,
        offset=offset,
        shuffled=_choice(call, "sortBy", ("", "id-desc", "random")) == "random",
    )


def _choice(call: Call, name: str, choices: Sequence[str], *, needed: bool = False) -> str:
    value = call.query.get(name, "")
    if value not in choices or (needed and not value):
        raise RefusalError(f"Invalid value for {name}, expected one of {', '.join(filter(None, choices))}")
    return value


def _labels(call: Call) -> tuple[str, ...] | None:
    value = call.asked_json("labels")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise RefusalError("labels is not a JSON list of strings")
    return tuple(value)


def _ids(call: Call, name: str) -> tuple[int, ...] | None:
    """Sample ids: a JSON list, or numbers with commas between them."""
    text = call.query.get(name, "")
    if text in ("", "null"):
        return None
    try:
        value = read_strictly(text if text.startswith("[") else f"[{text}]")
    except ValueError:
        value = None
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise RefusalError(f"{name} is not a list of sample ids")
    return tuple(value)


def _number(call: Call, name: str) -> float | None:
    text = call.query.get(name, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise RefusalError(f"{name} is not a number") from None


def _leaves_images_out(call: Call) -> bool:
    """Whether a filter wants what no image has: images last 0 ms, at 0 Hz, and are all signed validly."""
    least = [_number(call, name) for name in ("minLength", "minFrequency")]
    most = [_number(call, name) for name in ("maxLength", "maxFrequency")]
    return (
        any(value is not None and value >= 0 for value in least)
        or any(value is not None and value <= 0 for value in most)
        or call.query.get("signatureValidity", "") not in SIGNATURES
        or call.query.get("dataType", "") not in DATA_TYPES
    )


def _metadata(asked: Any) -> MetadataFilter | None:
    """The metadata filter: a list of rules, and of objects with options."""
    if asked is None:
        return None
    if not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked):
        raise RefusalError("metadata is not a JSON list of objects")
    options = {name: value for item in asked if "key" not in item for name, value in item.items()}
    combinator, without = options.get("filters_combinator", "and"), options.get("no_metadata")
    if combinator not in ("and", "or") or not isinstance(without, bool | None):
        raise RefusalError("metadata: filters_combinator is 'and' or 'or', no_metadata is true or false")
    rules = tuple(_rule(item) for item in asked if "key" in item)
    return MetadataFilter(rules, combinator == "or", without)


def _rule(item: dict[str, Any]) -> MetadataRule:
    key, operator, values = item["key"], item.get("op", "eq"), item.get("values") or []
    known = isinstance(key, str) and operator in ("eq", "neq") and isinstance(values, list)
    if not known or not all(isinstance(value, str) for value in values):
        raise RefusalError("metadata: every filter has a key, an op (eq, neq), and values that are strings")
    return MetadataRule(key, operator == "eq", tuple(values))
