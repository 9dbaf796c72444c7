"""Tag classify: results of model testing, and the model on single images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ei_automation.dsp.image import UnusableImageError
from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_server import results
from ei_automation.studio_server.block_json import keras_settings
from ei_automation.studio_server.call import Call, RefusalError, ok
from ei_automation.studio_server.impulses import TRAINING
from ei_automation.studio_server.learning import current_impulse, kept_models
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.rooms.impulse import check_impulse
from ei_automation.studio_server.sample_json import payload_json, project_facts, sample_json
from ei_automation.studio_server.sample_query import asked_filter
from ei_automation.studio_server.strict_json import read_strictly

if TYPE_CHECKING:
    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.studio_server.samples import SampleRow


def asked_result(call: Call) -> results.Outcome:
    """What testing found with the variant of the query.

    Raises:
        RefusalError: Another category is asked for, or there is nothing.
    """
    check_impulse(call)
    if call.query.get("category") not in (None, "", "testing"):
        raise RefusalError("The local Studio tests with the testing data only")
    return results.outcome_of(call.studio, call.project_id, call.query.get("variant", ""))


def _result_json(call: Call, found: results.Outcome, tested: Sequence[results.Tested]) -> dict[str, Any]:
    """Samples with their scores and predictions."""
    facts = project_facts(call.studio, call.project_id)
    return {
        "result": [
            {
                "sampleId": item.row.sample_id,
                "sample": sample_json(item.row, facts),
                "classifications": [
                    results.classification_json(found.block, found.settings, _named(found, item), item.actual)
                ],
            }
            for item in tested
        ],
        "predictions": [results.prediction_json(found, item) for item in tested],
    }


def _named(found: results.Outcome, item: results.Tested) -> dict[str, float]:
    return dict(zip(found.labels, item.scores, strict=True))


@serves("get_classify_job_result")
def get_classify_job_result(call: Call) -> dict[str, Any]:
    """Every testing sample's scores, and what they come to."""
    found = asked_result(call)
    listed: dict[str, Any] = {"result": [], "predictions": []}
    if not call.asked_switch("featureExplorerOnly"):
        listed = _result_json(call, found, found.tested)
    return ok(
        **listed,
        accuracy=results.accuracy_json(found),
        additionalMetricsByLearnBlock=results.block_metrics_json(found),
        availableVariants=list(VARIANTS),
    )


@serves("get_classify_job_result_page")
def get_classify_job_result_page(call: Call) -> dict[str, Any]:
    """Testing samples' scores, a page at a time."""
    found = asked_result(call)
    query = {name: text for name, text in call.query.items() if name not in ("limit", "offset")}
    which = asked_filter(replace(call, query={**query, "category": "testing"}))
    wanted = {row.sample_id for row in call.studio.samples.find(call.project_id, which)}
    tested = [item for item in found.tested if item.row.sample_id in wanted]
    offset, limit = call.asked_number("offset", 0) or 0, call.asked_number("limit")
    if offset < 0 or (limit is not None and limit < 0):
        raise RefusalError("Invalid value for limit or offset")
    page = tested[offset : None if limit is None else offset + limit]
    return ok(**_result_json(call, found, page), totalCount=len(tested))


@serves("get_evaluate_job_result")
@serves("get_evaluate_job_result_cache")
def get_evaluate_job_result(call: Call) -> dict[str, Any]:
    """Every variant on the testing samples."""
    check_impulse(call)
    found = [results.outcome_of(call.studio, call.project_id, variant) for variant in VARIANTS]
    return ok(result=[results.variant_stats_json(item) for item in found])


# Single images


def scores_of(call: Call, content: bytes, variants: Sequence[ModelVariant]) -> dict[str, dict[str, float]]:
    """Run the trained model on an image.

    Args:
        call: Whose project.
        content: The image file.
        variants: Of the model.

    Returns:
        Variant to label to score, 0..1.

    Raises:
        RefusalError: Nothing is trained, or it is no image.
    """
    from ei_automation.studio_server.scoring import score

    block = results.learn_block(call.studio, call.project_id)
    impulse = current_impulse(call.studio.impulses, call.project_id)
    made = call.studio.impulses.value(call.project_id, block["id"], TRAINING)
    if impulse is None or made is None:
        raise RefusalError("No trained impulse found, train your impulse first")
    models = kept_models(call.studio.projects, call.project_id, made)
    try:
        found = score({variant: models[variant] for variant in variants}, impulse, [content])
    except UnusableImageError as error:
        raise RefusalError(f"This image cannot be decoded: {error}") from error
    return {
        variant: dict(zip(made["labels"], map(float, scores[0]), strict=True)) for variant, scores in found.items()
    }


def _sample(call: Call) -> SampleRow:
    number = call.number("sampleId")
    row = call.studio.samples.get(call.project_id, number)
    if row is None:
        raise RefusalError(f"No sample found with ID {number}")
    return row


def _classified(call: Call, variants: Sequence[ModelVariant]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The sample of the path under each variant, and what every answer says of it."""
    check_impulse(call)
    row = _sample(call)
    block, content = (
        results.learn_block(call.studio, call.project_id),
        call.studio.samples.content(row).read_bytes(),
    )
    settings = keras_settings(call.studio, call.project_id, block)
    found = scores_of(call, content, variants)
    told = {
        "sample": {
            "sample": sample_json(row, project_facts(call.studio, call.project_id)),
            **payload_json(row, content, 0),
        },
        "windowSizeMs": 0,
        "windowIncreaseMs": 0,
        "alreadyInDatabase": row.category != "testing",
    }
    listed = {
        variant: [results.classification_json(block, settings, scores, row.label)]
        for variant, scores in found.items()
    }
    return listed, told


@serves("classify_sample")
@serves("classify_sample_v2")
def classify_sample(call: Call) -> dict[str, Any]:
    """The model's scores of one sample."""
    settings = _trained_settings(call)
    variant = results.chosen_variant(settings, call.query.get("variant", ""))
    found, told = _classified(call, [variant])
    return ok(classifications=found[variant], **told)


@serves("classify_sample_for_variants")
def classify_sample_for_variants(call: Call) -> dict[str, Any]:
    """The scores of several variants of the model of one sample."""
    settings, names = _trained_settings(call), _variant_names(call.query.get("variants", ""))
    found, told = _classified(call, [results.chosen_variant(settings, name) for name in names])
    listed = [{"variant": variant, "classifications": items} for variant, items in found.items()]
    return ok(results=listed, **told)


def _variant_names(text: str) -> list[str]:
    """Names as a JSON list, or with commas between them; all where there are none."""
    try:
        names = read_strictly(text) if text.startswith("[") else text.split(",") if text else VARIANTS
    except ValueError:
        raise RefusalError("variants is not JSON") from None
    return [str(name) for name in names]


@serves("classify_image")
def classify_image(call: Call) -> dict[str, Any]:
    """The model's scores of an image of the request."""
    check_impulse(call)
    image = next((item for item in call.uploads if item.field == "image"), None)
    if image is None:
        raise RefusalError("Missing or invalid value for 'image'")
    variant = results.chosen_variant(_trained_settings(call), "")
    return ok(result=scores_of(call, image.content, [variant])[variant])


def _trained_settings(call: Call) -> dict[str, Any]:
    return keras_settings(call.studio, call.project_id, results.learn_block(call.studio, call.project_id))
