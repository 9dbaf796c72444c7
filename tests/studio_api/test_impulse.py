"""The impulse goes to Studio and comes back."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.schema.impulse import Channels, Impulse, ResizeMode
from ei_automation.studio_api.impulse import dsp_request, impulse_from, impulse_request, live_blocks
from tests.studio_server.official import problems

IMPULSE = Impulse.model_validate({"input_block": {"image_width": 96, "image_height": 64}})


def live(request, **changes):
    return {"id": 1, "postProcessingBlocks": [], "type": "default", **request, **changes}


def dsp_reply(channels):
    item = {"param": "channels", "value": channels, "defaultValue": "RGB"}
    return {"config": [{"group": "Parameters", "items": [item]}]}


@given(
    st.integers(8, 1024),
    st.integers(8, 1024),
    st.sampled_from(get_args(ResizeMode)),
    st.sampled_from(get_args(Channels)),
)
def test_there_and_back(width, height, mode, channels):
    impulse = Impulse.model_validate(
        {
            "input_block": {"image_width": width, "image_height": height, "resize_mode": mode},
            "dsp_block": {"channels": channels},
        }
    )
    request = impulse_request(impulse, "keras", dsp_version=1)
    assert impulse_from(live(request), dsp_reply(dsp_request(impulse)["config"]["channels"])) == impulse


@pytest.mark.parametrize("kind", ["keras", "keras-transfer-image"])
def test_the_requests_are_of_the_official_schema(kind):
    request = impulse_request(IMPULSE, kind, dsp_version=1, ids=(4, 9, 12), resize_method="nearest")
    assert problems("CreateImpulseRequest", request) == []
    assert problems("DSPConfigRequest", dsp_request(IMPULSE)) == []
    blocks = live_blocks(live(request))
    assert (blocks.input_id, blocks.dsp_id, blocks.learn_id, blocks.learn_type) == (4, 9, 12, kind)
    assert (blocks.resize_method, blocks.alone) == ("nearest", True)


def test_a_default_counts_where_no_value_is_set():
    request = impulse_request(IMPULSE, "keras", dsp_version=1)
    assert impulse_from(live(request), {"config": [{"items": [{"param": "channels", "defaultValue": "RGB"}]}]})
    assert impulse_from(live(request), {}) == IMPULSE


def test_an_impulse_that_no_manifest_describes_is_none():
    request = impulse_request(IMPULSE, "keras", dsp_version=1)
    (image,) = request["inputBlocks"]
    for other in (
        {"inputBlocks": [{**image, "resizeMode": "crop"}]},
        {"inputBlocks": [{**image, "imageWidth": None}]},
        {"inputBlocks": [{**image, "type": "time-series"}]},
        {"dspBlocks": request["dspBlocks"] * 2},
        {"learnBlocks": []},
        {"learnBlocks": [{**request["learnBlocks"][0], "type": "anomaly"}]},
    ):
        assert impulse_from(live(request, **other), {}) is None
    assert live_blocks({"id": 3}).alone is False
