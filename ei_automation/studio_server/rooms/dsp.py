"""Tag dsp: the image block's parameters and features."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server import block_json
from ei_automation.studio_server.blocks import check_dsp_config
from ei_automation.studio_server.call import Call, ok
from ei_automation.studio_server.operations import serves


def dsp_block(call: Call) -> int:
    """Number of the block in the path.

    Raises:
        RefusalError: The impulse has none of this number.
    """
    number = call.number("dspId")
    block_json.block_of(call.studio, call.project_id, "dspBlocks", number)
    return number


@serves("get_dsp_config")
def get_dsp_config(call: Call) -> dict[str, Any]:
    """The block's parameters."""
    return ok(**block_json.dsp_config_json(call.studio, call.project_id, dsp_block(call)))


@serves("set_dsp_config")
def set_dsp_config(call: Call) -> dict[str, Any]:
    """Change parameters; where one is new, features, model and test results are gone."""
    number, config = dsp_block(call), check_dsp_config(call.wanted("config", dict))
    call.studio.impulses.set_dsp_config(call.project_id, number, config)
    call.studio.projects.touch(call.project_id)
    return ok()


@serves("get_dsp_metadata")
def get_dsp_metadata(call: Call) -> dict[str, Any]:
    """What the block has made."""
    with_samples = not call.asked_switch("excludeIncludedSamples")
    found = block_json.dsp_metadata_json(call.studio, call.project_id, dsp_block(call), with_samples=with_samples)
    return ok(**found)


@serves("get_dsp_feature_labels")
def get_dsp_feature_labels(call: Call) -> dict[str, Any]:
    """Pixels have no names."""
    dsp_block(call)
    return ok(labels=[])


@serves("get_dsp_feature_importance")
def get_dsp_feature_importance(call: Call) -> dict[str, Any]:
    """The local Studio ranks no pixels."""
    dsp_block(call)
    return ok(hasFeatureImportance=False, labels={})


@serves("get_performance_all_variants")
def get_performance_all_variants(call: Call) -> dict[str, Any]:
    """The local Studio invents no latency."""
    dsp_block(call)
    return ok(performance=[])


@serves("clear_dsp_block")
def clear_dsp_block(call: Call) -> dict[str, Any]:
    """Forget the features, and with them model and test results."""
    dsp_block(call)
    call.studio.impulses.drop(call.project_id)
    return ok()
