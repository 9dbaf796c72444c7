"""Tag impulse: the one impulse of a project."""

from __future__ import annotations

import time
from typing import Any

from ei_automation.studio_server import block_json, blocks
from ei_automation.studio_server.call import Call, RefusalError, ok
from ei_automation.studio_server.impulses import IMPULSE_ID, TESTING, TRAINING
from ei_automation.studio_server.learning import MINIMUM_CONFIDENCE
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.results import outcome_of


def check_impulse(call: Call, number: int | None = None) -> None:
    """Refuse to work on an impulse that is not the project's.

    Args:
        call: May ask for one in its query.
        number: Asked for elsewhere.
    """
    asked = number if number is not None else call.asked_number("impulseId", IMPULSE_ID)
    if asked != IMPULSE_ID:
        raise RefusalError(f"No impulse found with ID {asked}; the local Studio keeps one in a project")


def impulse_of(call: Call, number: int | None = None) -> dict[str, Any]:
    """The project's impulse.

    Raises:
        RefusalError: There is none, or another one is asked for.
    """
    check_impulse(call, number)
    impulse = call.studio.impulses.get(call.project_id)
    if impulse is None:
        raise RefusalError("No impulse found, create one first")
    return impulse


@serves("get_impulse")
@serves("get_impulse_all")
def get_impulse(call: Call) -> dict[str, Any]:
    """The impulse; nothing where there is none."""
    check_impulse(call)
    return ok(impulse=call.studio.impulses.get(call.project_id))


@serves("create_impulse")
def create_impulse(call: Call) -> dict[str, Any]:
    """Replace the impulse; features, model and test results of the one before are gone."""
    check_impulse(call)
    call.studio.impulses.set(call.project_id, blocks.new_impulse(call.body, time.time()))
    call.studio.projects.touch(call.project_id)
    return ok(id=IMPULSE_ID)


@serves("update_impulse")
def update_impulse(call: Call) -> dict[str, Any]:
    """Rename the impulse."""
    impulse_of(call)
    if call.body.get("tags") or call.body.get("type", "default") != "default":
        raise RefusalError("The local Studio changes nothing but an impulse's name")
    if call.body.get("name") is not None:
        call.studio.impulses.rename(call.project_id, call.wanted("name"))
    return ok()


@serves("delete_impulse")
def delete_impulse(call: Call) -> dict[str, Any]:
    """Forget the impulse and all that was made with it."""
    check_impulse(call)
    call.studio.impulses.delete(call.project_id)
    call.studio.projects.touch(call.project_id)
    return ok()


@serves("get_all_impulses")
def get_all_impulses(call: Call) -> dict[str, Any]:
    """The impulse as a list."""
    impulse = call.studio.impulses.get(call.project_id)
    return ok(impulses=[impulse] if impulse else [], maxImpulseCount=1)


@serves("get_all_detailed_impulses")
def get_all_detailed_impulses(call: Call) -> dict[str, Any]:
    """The impulse with the state and results of its blocks."""
    impulse = call.studio.impulses.get(call.project_id)
    return ok(
        impulses=[_detailed(call, impulse)] if impulse else [], metricKeysByCategory=[], extraTableColumns=[]
    )


def _detailed(call: Call, impulse: dict[str, Any]) -> dict[str, Any]:
    """Schema DetailedImpulse."""
    studio, project_id = call.studio, call.project_id
    dsp = [block["id"] for block in impulse["dspBlocks"]]
    learn = [block["id"] for block in impulse["learnBlocks"]]
    made = [block_json.features_of(studio, project_id, number) for number in dsp]
    trained = [studio.impulses.value(project_id, number, TRAINING) for number in learn]
    now = studio.samples.learning_fingerprint(project_id)
    return {
        "impulse": impulse,
        "metrics": [],
        "dspBlockConfigs": [
            {
                "blockId": number,
                "config": block_json.dsp_config_json(studio, project_id, number),
                "metadata": block_json.dsp_metadata_json(studio, project_id, number, with_samples=False),
            }
            for number in dsp
        ],
        "learnBlockKerasConfigs": [
            {
                "blockId": number,
                "config": block_json.keras_config_json(studio, project_id, number),
                "metadata": block_json.keras_metadata_json(studio, project_id, number),
            }
            for number in learn
        ],
        "learnBlockAnomalyConfigs": [],
        "postProcessingBlockConfigs": [],
        "isStale": any(found is not None and found["fingerprint"] != now for found in [*made, *trained]),
        "configured": bool(dsp and learn),
        "complete": bool(learn) and all(made) and all(trained),
        "tags": [],
    }


@serves("get_impulse_blocks")
def get_impulse_blocks(call: Call) -> dict[str, Any]:
    """What an impulse can be made of."""
    del call
    return ok(**blocks.catalogue())


@serves("get_new_block_id")
def get_new_block_id(call: Call) -> dict[str, Any]:
    """A number that no block of the project has had."""
    return ok(blockId=call.studio.impulses.new_block(call.project_id))


@serves("set_impulse_thresholds")
def set_impulse_thresholds(call: Call) -> dict[str, Any]:
    """Set the minimum confidence; test results are counted anew from their scores."""
    impulse, impulses = impulse_of(call, call.number("impulseId")), call.studio.impulses
    known = [block["id"] for block in impulse["learnBlocks"]]
    wanted = [_threshold(item, known) for item in call.wanted("thresholds", list)]
    had = any(impulses.value(call.project_id, number, TESTING) for number in known)
    for number, value in wanted:
        impulses.set_keras_config(call.project_id, number, {MINIMUM_CONFIDENCE: value})
    status = "regenerated" if had else "not_regenerated"
    return ok(hadModelTestingResults=had, regenerateModelTestingStatus=status)


@serves("regenerate_model_testing_summary")
def regenerate_model_testing_summary(call: Call) -> dict[str, Any]:
    """A job with nothing to do: test results are always counted from their scores with today's threshold."""
    impulse_of(call, call.number("impulseId"))
    found = outcome_of(call.studio, call.project_id, "")
    job_id = call.studio.workshop.start(
        call.project_id,
        category="Regenerating model testing summary",
        category_key="regenerate-model-testing-summary",
        key="classify",
        work=lambda talk: talk.line(f"Counted {len(found.tested)} samples"),
    )
    return ok(id=job_id)


def _threshold(item: object, known: list[int]) -> tuple[int, float]:
    """Block and value of one threshold of a request."""
    if not isinstance(item, dict) or item.get("blockId") not in known:
        raise RefusalError("A threshold names a block that the impulse does not have")
    if item.get("key") != block_json.THRESHOLD_KEY:
        raise RefusalError(f"A learn block has one threshold, {block_json.THRESHOLD_KEY}")
    value = item.get("value")
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise RefusalError("The minimum confidence is a number between 0 and 1")
    return item["blockId"], number


@serves("get_all_transfer_learning_models")
def get_all_transfer_learning_models(call: Call) -> dict[str, Any]:
    """Networks that a learn block can be made of."""
    del call
    return ok(transferLearningModels=blocks.transfer_models(None, {}))
