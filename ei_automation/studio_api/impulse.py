"""The impulse in Studio's JSON, one image input, one image DSP block and one learn block, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ei_automation.schema.impulse import Impulse

DEFAULT_RESIZE_METHOD = "lanczos3"
CROP_ANCHOR = "middle-center"
"""fit-short crops the centre, as our own image block does."""
LEARN_TITLES = {
    "keras": ("NN Classifier", "Classification"),
    "keras-transfer-image": ("Transfer learning", "Transfer Learning (Images)"),
}
"""Learn block type to name and title."""


@dataclass(frozen=True)
class LiveBlocks:
    """The blocks of a live impulse that we set; a number is None where there is no such block.

    Attributes:
        impulse_id: The impulse's number.
        input_id: Of the image input block.
        dsp_id: Of the image DSP block.
        learn_id: Of the learn block.
        learn_type: Its type; empty where there is none.
        resize_method: lanczos3 or nearest.
        alone: Whether these are all the blocks that there are, one of each.
    """

    impulse_id: int
    input_id: int | None
    dsp_id: int | None
    learn_id: int | None
    learn_type: str
    resize_method: str
    alone: bool


def impulse_request(
    impulse: Impulse,
    learn_block_type: str,
    *,
    dsp_version: int,
    ids: tuple[int, int, int] = (1, 2, 3),
    name: str = "Impulse #1",
    resize_method: str = DEFAULT_RESIZE_METHOD,
) -> dict[str, Any]:
    """Studio's CreateImpulseRequest. The DSP block's channels are set by a call of their own (`dsp_request`).

    Args:
        impulse: What is wanted.
        learn_block_type: keras-transfer-image or keras.
        dsp_version: Implementation version of the image block; an omitted one would mean version 1.
        ids: Of the input, DSP and learn block; an unchanged block keeps its number.
        name: The impulse's, for people.
        resize_method: lanczos3 or nearest.
    """
    input_id, dsp_id, learn_id = ids
    learn_name, title = LEARN_TITLES.get(learn_block_type, (learn_block_type, learn_block_type))
    return {
        "name": name,
        "inputBlocks": [
            {
                "id": input_id,
                "type": "image",
                "name": "Image",
                "title": "Image data",
                "imageWidth": impulse.input_block.image_width,
                "imageHeight": impulse.input_block.image_height,
                "resizeMode": impulse.input_block.resize_mode,
                "resizeMethod": resize_method,
                "cropAnchor": CROP_ANCHOR,
            }
        ],
        "dspBlocks": [
            {
                "id": dsp_id,
                "type": "image",
                "name": "Image",
                "title": "Image",
                "axes": ["image"],
                "input": input_id,
                "implementationVersion": dsp_version,
            }
        ],
        "learnBlocks": [
            {"id": learn_id, "type": learn_block_type, "name": learn_name, "title": title, "dsp": [dsp_id]}
        ],
    }


def dsp_request(impulse: Impulse) -> dict[str, Any]:
    """Studio's DSPConfigRequest for the image block."""
    return {"config": {"channels": impulse.dsp_block.channels}}


def live_blocks(reply_impulse: Mapping[str, Any]) -> LiveBlocks:
    """Which blocks of a live impulse are ours.

    Args:
        reply_impulse: Studio's Impulse.
    """
    inputs, dsps, learns = (reply_impulse.get(key) or [] for key in ("inputBlocks", "dspBlocks", "learnBlocks"))
    image = next((block for block in inputs if block.get("type") == "image"), None)
    dsp = next((block for block in dsps if block.get("type") == "image"), None)
    learn = next((block for block in learns if block.get("type") in LEARN_TITLES), None)
    return LiveBlocks(
        impulse_id=int(reply_impulse.get("id", 1)),
        input_id=image["id"] if image else None,
        dsp_id=dsp["id"] if dsp else None,
        learn_id=learn["id"] if learn else None,
        learn_type=learn["type"] if learn else "",
        resize_method=(image or {}).get("resizeMethod") or DEFAULT_RESIZE_METHOD,
        alone=[len(inputs), len(dsps), len(learns)] == [1, 1, 1] and None not in (image, dsp, learn),
    )


def dsp_values(dsp_config: Mapping[str, Any]) -> dict[str, str]:
    """Parameter to value of a DSP block, from Studio's DSPConfigResponse."""
    items = [item for group in dsp_config.get("config") or () for item in group.get("items") or ()]
    return {item["param"]: str(item.get("value", item["defaultValue"])) for item in items}


def impulse_from(reply_impulse: Mapping[str, Any], dsp_config: Mapping[str, Any]) -> Impulse | None:
    """A live impulse as our noun.

    Args:
        reply_impulse: Studio's Impulse.
        dsp_config: Studio's DSPConfigResponse of its image block.

    Returns:
        None where it is none that a manifest can describe: other blocks, more of them, a resize mode `crop`.
    """
    blocks = live_blocks(reply_impulse)
    if not blocks.alone:
        return None
    (image,) = reply_impulse["inputBlocks"]
    wanted = {
        "input_block": {
            "image_width": image.get("imageWidth"),
            "image_height": image.get("imageHeight"),
            "resize_mode": image.get("resizeMode") or "squash",
        },
        "dsp_block": {"channels": dsp_values(dsp_config).get("channels", "RGB")},
    }
    try:
        return Impulse.model_validate(wanted)
    except ValidationError:
        return None
