"""Which blocks the local Studio has, their parameters and defaults, and what an impulse may be made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from ei_automation.schema.impulse import Channels, Impulse, ResizeMode
from ei_automation.schema.training import TransferLayerType
from ei_automation.studio_api.training import EXPOSED, PLAIN, TRANSFER
from ei_automation.studio_server.call import RefusalError, iso
from ei_automation.studio_server.impulses import IMPULSE_ID

DSP_VERSION = 1
"""Implementation version of the image block."""
AUTHOR = "eiauto"
RESIZE_METHOD = "lanczos3"
ANCHORS = [f"{row}-{column}" for row in ("top", "middle", "bottom") for column in ("left", "center", "right")]
WEIGHTS = ("pretrained", "none")
"""Values of the custom parameter eiauto_weights: a path on the server's disk is nobody's to name."""

_TITLES = {PLAIN: "Classification", TRANSFER: "Transfer Learning (Images)"}
_FIELDS: dict[str, dict[str, type]] = {
    "inputBlocks": {"id": int, "type": str, "name": str, "title": str},
    "dspBlocks": {"id": int, "type": str, "name": str, "title": str, "axes": list},
    "learnBlocks": {"id": int, "type": str, "name": str, "title": str, "dsp": list},
}
"""What a block of each kind must have."""
_OPTIONAL: dict[str, dict[str, Any]] = {
    "inputBlocks": {
        "imageWidth": None,
        "imageHeight": None,
        "resizeMode": "squash",
        "resizeMethod": RESIZE_METHOD,
        "cropAnchor": "middle-center",
    },
    "dspBlocks": {"input": None, "implementationVersion": DSP_VERSION},
    "learnBlocks": {},
}
"""What else is kept of a block, with what stands where nothing is said."""
_KINDS = {"inputBlocks": ("image",), "dspBlocks": ("image",), "learnBlocks": (PLAIN, TRANSFER)}

_COMMON: dict[str, Any] = {
    "mode": "visual",
    "minimumConfidenceRating": 0.6,
    "selectedModelType": "int8",
    "trainingCycles": 20,
    "learningRate": 0.0005,
    "batchSize": 32,
    "trainTestSplit": 0.2,
    "autoClassWeights": False,
    "useLearnedOptimizer": False,
    "augmentationPolicyImage": "none",
    "profileInt8": True,
    "skipEmbeddingsAndMemory": False,
    "showAdvancedTrainingSettings": False,
    "showAugmentationTrainingSettings": False,
}
_LAYERS: dict[str, list[dict[str, Any]]] = {
    TRANSFER: [{"type": "transfer_mobilenetv2_a35", "neurons": 16, "dropoutRate": 0.1, "enabled": True}],
    PLAIN: [
        {"type": "conv2d", "neurons": 32, "kernelSize": 3, "stack": 1, "enabled": True},
        {"type": "conv2d", "neurons": 16, "kernelSize": 3, "stack": 1, "enabled": True},
        {"type": "flatten", "enabled": True},
        {"type": "dropout", "dropoutRate": 0.25, "enabled": True},
    ],
}


def keras_defaults(learn_type: str) -> dict[str, Any]:
    """What a learn block is set to before anybody sets it, of schema SetKerasParameterRequest.

    Source: what Studio's own new blocks show; the training parameters are also the manifest's defaults.
    """
    custom = {item.name: "" if item.default is None else str(item.default) for item in EXPOSED}
    return {**_COMMON, "visualLayers": _LAYERS[learn_type], "customParameters": custom}


def custom_parameter_items(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Our own training parameters as DSPGroupItems.

    Args:
        values: What they are set to.
    """
    return [
        {
            "name": item.key,
            "value": values.get(item.name, ""),
            "defaultValue": "" if item.default is None else str(item.default),
            "type": "string",
            "help": f"training.{item.key} of an eiauto manifest; empty for the default",
            "param": item.name,
            "readonly": False,
            "shouldShow": True,
            "required": False,
            "showClickToSet": False,
            "section": "advanced",
        }
        for item in EXPOSED
    ]


def transfer_models(learn_type: str | None, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Networks that a learn block can be made of, as TransferLearningModels.

    Args:
        learn_type: Of the block; None for every one.
        values: What the custom parameters are set to.
    """
    shared = {
        "hasImageAugmentation": True,
        "author": AUTHOR,
        "blockType": "official",
        "customParameters": custom_parameter_items(values),
        "hasExpertMode": False,
    }
    plain = {
        "name": "Visual layers",
        "shortName": "Visual layers",
        "description": "The layers of the visual editor, trained from scratch.",
        "hasNeurons": False,
        "hasDropout": False,
        "type": "conv2d",
        "learnBlockType": PLAIN,
    }
    found = [{**plain, **shared}] if learn_type in (None, PLAIN) else []
    if learn_type in (None, TRANSFER):
        found += [{**_transfer_model(name), **shared} for name in get_args(TransferLayerType)]
    return found


def _transfer_model(layer_type: str) -> dict[str, Any]:
    version = "V1" if "mobilenetv1" in layer_type else "V2"
    size = "160x160" if "_160_" in layer_type else "96x96"
    name = f"MobileNet{version} {size} ({layer_type})"
    return {
        "name": name,
        "shortName": f"MobileNet{version}",
        "description": f"{name}: pretrained on ImageNet, with a classifier of your own.",
        "hasNeurons": True,
        "hasDropout": True,
        "defaultNeurons": 16,
        "defaultDropout": 0.1,
        "defaultLearningRate": _COMMON["learningRate"],
        "defaultTrainingCycles": _COMMON["trainingCycles"],
        "type": layer_type,
        "learnBlockType": TRANSFER,
    }


def dsp_group(config: Mapping[str, str]) -> dict[str, Any]:
    """The image block's parameters as a DSPGroup."""
    options = [{"value": value, "selected": value == config["channels"]} for value in get_args(Channels)]
    item = {
        "name": "Color depth",
        "value": config["channels"],
        "defaultValue": "RGB",
        "type": "select",
        "help": "Color depth to use in the model",
        "param": "channels",
        "selectOptions": options,
        "readonly": False,
        "shouldShow": True,
        "required": True,
        "showClickToSet": False,
    }
    return {"group": "Parameters", "items": [item]}


def check_dsp_config(config: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of the image block, if they are such.

    Raises:
        RefusalError: One is not known, or has no such value.
    """
    for name, value in config.items():
        if name != "channels":
            raise RefusalError(f"The image block has no parameter '{name}'")
        if value not in get_args(Channels):
            raise RefusalError(f"Invalid value for 'channels', expected one of {', '.join(get_args(Channels))}")
    return dict(config)


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Blocks that an impulse can be made of, as GetImpulseBlocksResponse has them."""
    shared = {"author": AUTHOR, "blockType": "official"}
    image = {"type": "image", "title": "Images", "name": "Image", "description": "Images of any size.", **shared}
    dsp = {
        **image,
        "title": "Image",
        "description": "Pixels as numbers from 0 to 1, in color or gray.",
        "recommended": True,
        "experimental": False,
        "latestImplementationVersion": DSP_VERSION,
    }
    learn = [
        {
            "type": name,
            "title": title,
            "name": title,
            "description": f"{title} by the local backend.",
            "recommended": name == TRANSFER,
            **shared,
        }
        for name, title in _TITLES.items()
    ]
    return {"inputBlocks": [image], "dspBlocks": [dsp], "learnBlocks": learn, "postProcessingBlocks": []}


def new_impulse(body: Mapping[str, Any], now: float) -> dict[str, Any]:
    """An Impulse from a CreateImpulseRequest: only what the schema has, with the defaults filled in.

    Args:
        body: Of the request.
        now: Seconds since 1970.

    Raises:
        RefusalError: It is not well formed, or not one that the local Studio can work with.
    """
    name = body.get("name") or "Impulse #1"
    if not isinstance(name, str):
        raise RefusalError("Missing or invalid value for 'name'")
    blocks = {kind: [_block(kind, item, now) for item in _list(body, kind)] for kind in _FIELDS}
    numbers = [block["id"] for found in blocks.values() for block in found]
    if len(numbers) != len(set(numbers)) or any(number < 1 for number in numbers):
        raise RefusalError("Block IDs need to be unique and at least 1")
    if any(len(found) > 1 for found in blocks.values()) or body.get("postProcessingBlocks"):
        raise RefusalError("The local Studio takes one input, one processing and one learning block")
    _check_references(blocks)
    return {"id": IMPULSE_ID, "name": name, **blocks, "postProcessingBlocks": [], "type": "default"}


def _list(body: Mapping[str, Any], kind: str) -> list[Any]:
    value = body.get(kind)
    if not isinstance(value, list):
        raise RefusalError(f"Missing or invalid value for '{kind}'")
    return value


def _block(kind: str, block: Any, now: float) -> dict[str, Any]:
    """One block with the fields that it must and may have."""
    if not isinstance(block, dict):
        raise RefusalError(f"Invalid value for '{kind}'")
    for name, wanted in _FIELDS[kind].items():
        if type(block.get(name)) is not wanted:
            raise RefusalError(f"Missing or invalid value for '{kind}.{name}'")
    if block["type"] not in _KINDS[kind]:
        raise RefusalError(f"The local Studio has no block of type '{block['type']}' for {kind}")
    found = {name: block[name] for name in _FIELDS[kind]}
    for name, default in _OPTIONAL[kind].items():
        value = default if block.get(name) is None else block[name]
        if value is not None:
            found[name] = value
    _check_values(kind, found)
    return {**found, "createdBy": "createImpulse", "createdAt": iso(now)}


def _check_values(kind: str, block: Mapping[str, Any]) -> None:
    if kind == "learnBlocks" and not all(type(item) is int for item in block["dsp"]):
        raise RefusalError("Missing or invalid value for 'learnBlocks.dsp'")
    if kind == "dspBlocks":
        if block["axes"] != ["image"]:
            raise RefusalError("The image block has one axis: image")
        if block["implementationVersion"] != DSP_VERSION or type(block.get("input", 0)) is not int:
            raise RefusalError("Invalid value for 'dspBlocks.input' or 'dspBlocks.implementationVersion'")
    if kind == "inputBlocks":
        modes, sizes = get_args(ResizeMode), [block.get("imageWidth"), block.get("imageHeight")]
        if block["resizeMode"] not in modes or block["cropAnchor"] not in ANCHORS:
            raise RefusalError(f"The local Studio resizes images with {', '.join(modes)}")
        if block["resizeMethod"] != RESIZE_METHOD or block["cropAnchor"] != "middle-center":
            raise RefusalError(f"The local Studio resizes images with {RESIZE_METHOD}, and crops their middle")
        if not all(type(size) is int and 8 <= size <= 1024 for size in sizes):
            raise RefusalError("The local Studio takes images of 8 to 1024 pixels")


def _check_references(blocks: Mapping[str, list[dict[str, Any]]]) -> None:
    inputs, dsps = ({block["id"] for block in blocks[kind]} for kind in ("inputBlocks", "dspBlocks"))
    for block in blocks["dspBlocks"]:
        if block.get("input") is not None and block["input"] not in inputs:
            raise RefusalError(f"There is no input block with ID {block['input']}")
    for block in blocks["learnBlocks"]:
        if not dsps.issuperset(block["dsp"]):
            raise RefusalError("A learning block names a processing block that is not there")


def feature_count(impulse: Impulse | None) -> int:
    """Numbers that the image block makes of an image."""
    height, width, channels = impulse.input_shape if impulse else (0, 0, 0)
    return height * width * channels
