"""Training parameters in Studio's JSON (SetKerasParameterRequest, KerasResponse), in both directions.

Studio has no field for some of our parameters, because it always does the same there. A block may expose them
all the same, as `customParameters` (the local Studio does); where it does not, only Studio's own way can be asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ei_automation.errors import UsageError
from ei_automation.schema.training import KerasLearnBlock, TrainingParameters, TransferLearnBlock
from ei_automation.studio_api.samples import METADATA_GROUP

TRANSFER, PLAIN = "keras-transfer-image", "keras"
POOL_SIZE = 2
"""Studio's max pooling after a convolution, in both directions."""


@dataclass(frozen=True)
class ExposedParameter:
    """A parameter of ours that Studio's request has no field for.

    Attributes:
        name: In `customParameters`.
        key: In the manifest.
        read: Its value in parameters of ours; None where it is unset, or does not belong to the learn block.
        default: What Studio always does; None for nothing of the kind.
        matters: Whether the result depends on it: what does not is dropped in silence where it is not exposed.
        convert: From text.
    """

    name: str
    key: str
    read: Callable[[TrainingParameters], Any]
    default: Any
    convert: Callable[[str], Any]
    matters: bool = True


def _pool_sizes(parameters: TrainingParameters) -> str | None:
    """Pool size of each convolution in order, e.g. `2,1`; None where all are Studio's."""
    block = parameters.learn_block
    layers = block.visual_layers if isinstance(block, KerasLearnBlock) else ()
    sizes = [layer.pool_size for layer in layers if layer.type == "conv2d"]
    return ",".join(map(str, sizes)) if any(size != POOL_SIZE for size in sizes) else None


def _validation_split(parameters: TrainingParameters) -> str | None:
    return parameters.validation_split


EXPOSED: tuple[ExposedParameter, ...] = (
    ExposedParameter(
        "eiauto_weights",
        "learn_block.weights",
        lambda p: getattr(p.learn_block, "weights", None),
        "pretrained",
        str,
    ),
    ExposedParameter("eiauto_pool_size", "learn_block.visual_layers.pool_size", _pool_sizes, None, str),
    ExposedParameter("eiauto_validation_split", "validation_split", _validation_split, "random", str),
    ExposedParameter("eiauto_early_stop_cycles", "early_stop_cycles", lambda p: p.early_stop_cycles, None, int),
    ExposedParameter("eiauto_seed", "seed", lambda p: p.seed, 3, int),
    ExposedParameter("eiauto_fine_tuning_mode", "fine_tuning.mode", lambda p: p.fine_tuning.mode, "studio", str),
    ExposedParameter("eiauto_fine_tuning_cycles", "fine_tuning.cycles", lambda p: p.fine_tuning.cycles, 10, int),
    ExposedParameter(
        "eiauto_fine_tuning_learning_rate",
        "fine_tuning.learning_rate",
        lambda p: p.fine_tuning.learning_rate,
        0.000045,
        float,
    ),
    ExposedParameter(
        "eiauto_fine_tuning_layers_ratio",
        "fine_tuning.layers_ratio",
        lambda p: p.fine_tuning.layers_ratio,
        0.65,
        float,
    ),
    ExposedParameter(
        "eiauto_augmentation_views", "augmentation_views", lambda p: p.augmentation_views, None, int, matters=False
    ),
    ExposedParameter("eiauto_threads", "threads", lambda p: p.threads, None, int, matters=False),
)
"""Source of the defaults: Studio's generated training scripts."""

_LAYER_FIELDS = {
    "filters": "neurons",
    "neurons": "neurons",
    "kernel_size": "kernelSize",
    "stack": "stack",
    "dropout_ratio": "dropoutRate",
}
"""Ours to Studio's."""
_LAYER_TYPES = {"batch_normalization": "batchNormalization"}


def custom_parameters(parameters: TrainingParameters) -> dict[str, str]:
    """Every parameter of `EXPOSED` as text; empty where it is unset."""
    values = {item.name: item.read(parameters) for item in EXPOSED}
    return {name: "" if value is None else str(value) for name, value in values.items()}


def training_request(parameters: TrainingParameters, exposed: Collection[str]) -> dict[str, Any]:
    """Studio's SetKerasParameterRequest, whole, so that nothing of an earlier training stays.

    Args:
        parameters: What is wanted.
        exposed: Names in `customParameters` of the live block.

    Raises:
        UsageError: A value is not Studio's own, and the block does not let it be chosen.
    """
    _refuse_weight_files(parameters)
    by_group = parameters.validation_split == "group"
    for item in EXPOSED:
        told = item.name in exposed or (by_group and item.key == "validation_split")
        value = item.read(parameters)
        if item.matters and not told and value is not None and value != item.default:
            raise _not_in_studio(item, value)
    block = parameters.learn_block
    layers = [block.visual_layer] if isinstance(block, TransferLearnBlock) else block.visual_layers
    custom = {name: value for name, value in custom_parameters(parameters).items() if name in exposed}
    return {
        "mode": "visual",
        "visualLayers": [_layer_json(layer.model_dump()) for layer in layers],
        "trainingCycles": parameters.training_cycles,
        "learningRate": parameters.learning_rate,
        "batchSize": parameters.batch_size,
        "trainTestSplit": parameters.validation_ratio,
        "autoClassWeights": parameters.auto_class_weights,
        "useLearnedOptimizer": False,
        "augmentationPolicyImage": parameters.augmentation,
        "profileInt8": True,
        **({"customValidationMetadataKey": METADATA_GROUP} if by_group else {}),
        **({"customParameters": custom} if custom else {}),
    }


def parameters_from(config: Mapping[str, Any]) -> TrainingParameters:
    """Parameters from Studio's KerasResponse, or from a SetKerasParameterRequest laid over one.

    What is not told is Studio's default. What is exposed counts more than customValidationMetadataKey.

    Raises:
        UsageError: It is nothing that a manifest can say: expert mode, other layers, values out of range.
    """
    if config.get("mode", "visual") != "visual":
        raise UsageError(f"the learn block is in the mode {config['mode']}, not visual")
    custom = config.get("customParameters") or {}
    values: dict[str, Any] = {"learn_block": _learn_block(config, custom)}
    for ours, studios in _FIELDS.items():
        if config.get(studios) is not None:
            values[ours] = _whole(config[studios])
    by_group = bool(config.get("customValidationMetadataKey"))
    values["validation_split"] = "group" if by_group else "random"
    for item in EXPOSED:
        if item.name in custom and not item.key.startswith("learn_block."):
            *parents, last = item.key.split(".")
            place = values.setdefault(parents[0], {}) if parents else values
            place[last] = _convert(item, str(custom[item.name])) if custom[item.name] else None
    try:
        return TrainingParameters.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"training parameter {where}: {first['msg']}") from None


_FIELDS = {
    "training_cycles": "trainingCycles",
    "learning_rate": "learningRate",
    "batch_size": "batchSize",
    "validation_ratio": "trainTestSplit",
    "auto_class_weights": "autoClassWeights",
    "augmentation": "augmentationPolicyImage",
}
"""Ours to Studio's, where both are the same value."""


def _learn_block(config: Mapping[str, Any], custom: Mapping[str, Any]) -> dict[str, Any]:
    """Our learn block, as a dictionary."""
    layers = [
        _layer_from(layer) for layer in config.get("visualLayers") or () if layer.get("enabled") is not False
    ]
    transfer = [layer for layer in layers if str(layer["type"]).startswith("transfer_")]
    kind = config.get("type") or (TRANSFER if transfer else PLAIN)
    if kind == TRANSFER:
        if len(layers) != 1:
            raise UsageError(f"a {TRANSFER} block takes one visual layer, this one has {len(layers)}")
        weights = custom.get("eiauto_weights") or "pretrained"
        return {"type": TRANSFER, "visual_layer": layers[0], "weights": weights}
    sizes = str(custom.get("eiauto_pool_size") or "")
    convolutions = [layer for layer in layers if layer["type"] == "conv2d"]
    if sizes:
        wanted = sizes.split(",")
        if len(wanted) != len(convolutions) or not all(size.isascii() and size.isdecimal() for size in wanted):
            raise UsageError(f"eiauto_pool_size is {sizes!r}; one number for each conv2d layer was expected")
        for layer, size in zip(convolutions, wanted, strict=True):
            layer["pool_size"] = int(size)
    return {"type": kind, "visual_layers": layers}


def _layer_json(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A visual layer of ours as Studio's."""
    fields = {_LAYER_FIELDS[key]: value for key, value in layer.items() if key in _LAYER_FIELDS}
    return {"type": _LAYER_TYPES.get(layer["type"], layer["type"]), **fields, "enabled": True}


def _layer_from(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A visual layer of Studio's as ours; a field that its type does not have is left out, as Studio does."""
    kind = {studios: ours for ours, studios in _LAYER_TYPES.items()}.get(layer["type"], layer["type"])
    ours = {
        "conv2d": ("filters", "kernel_size", "stack"),
        "dense": ("neurons",),
        "dropout": ("dropout_ratio",),
        "flatten": (),
        "batch_normalization": (),
    }.get(kind, ("neurons", "dropout_ratio"))
    found = {name: layer.get(_LAYER_FIELDS[name]) for name in ours}
    return {"type": kind, **{name: _whole(value) for name, value in found.items() if value is not None}}


def _whole(value: Any) -> Any:
    """JSON does not tell 32 from 32.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _convert(item: ExposedParameter, text: str) -> Any:
    try:
        return item.convert(text)
    except ValueError:
        raise UsageError(f"{item.name} is {text!r}; a number was expected") from None


def _refuse_weight_files(parameters: TrainingParameters) -> None:
    weights = getattr(parameters.learn_block, "weights", "pretrained")
    if weights not in ("pretrained", "none"):
        raise UsageError(
            "training.learn_block.weights names a file, and Studio takes no weights from a manifest",
            hint='write weights = "pretrained", or train with --backend local',
        )


def _not_in_studio(item: ExposedParameter, value: Any) -> UsageError:
    always = "nothing of the kind" if item.default is None else item.default
    if item.name == "eiauto_pool_size":
        always = POOL_SIZE
    return UsageError(
        f"training.{item.key} is {value}, and Studio always uses {always}",
        hint="leave it out, or train with --backend local",
    )
