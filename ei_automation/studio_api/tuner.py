"""The EON Tuner's JSON: `OptimizeConfig` of a `[tuner]` section and back, and a `TunerTrial` as a `Trial`.

Keys of a search space are Studio's: `dimension`, `resizeMode`, `channels`, `model`, `denseNeurons`, `dropout`,
`learningRate`, `trainingCycles` and `augmentationPolicyImage` stand in its documentation and its own templates.
`batchSize` and `visualLayers` are its names for the learn block's parameters; that a search space takes them as
alternatives too is concluded, not documented.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, get_args

from ei_automation.errors import UsageError
from ei_automation.schema.metrics import VARIANTS, EvaluationCategory, ModelVariant
from ei_automation.schema.tuner import (
    Trial,
    TrialFootprint,
    TrialMetrics,
    TrialStatus,
    TunerConfig,
    TunerSpace,
)

CATEGORY_KEYS: dict[EvaluationCategory, str] = {"validation": "validation", "testing": "test"}
"""Our category to Studio's key in a trial's metrics."""
ENGINE_KEYS = {"tflite": "tflite", "tflite-eon": "eon", "tflite-eon-ram-optimized": "eon_ram_optimized"}
"""Engine to Studio's key in an on-device performance."""
RESULT_KEYS = frozenset({"metadata", "metrics", "performance"})
"""Keys of a trial's block that say what it gave, not what was chosen."""
CATALOGUE_KEYS = frozenset({"transferLearningModels", "dependencies"})
"""Keys of a block's configuration that list what could have been chosen."""
KERNEL_SIZE = 3


def optimize_config(config: TunerConfig) -> dict[str, Any]:
    """The body of `POST optimize/config`.

    Raises:
        UsageError: It names no search space, or two.
    """
    if bool(config.space) == (config.template is not None):
        raise UsageError(
            "[tuner] needs either a template or a space" + (", not both" if config.space else ""),
            hint='write template = "visual" for Studio\'s own search space, or [[tuner.space]]',
        )
    body: dict[str, Any] = {
        "name": config.name or None,
        "targetLatency": config.target_latency_ms,
        "targetDevice": _without_none(
            name=config.target_device.name, ram=config.target_device.ram_bytes, rom=config.target_device.rom_bytes
        ),
        "compiler": list(config.compilers),
        "trainingCycles": config.training_cycles,
        "tuningMaxTrials": config.max_trials,
        "tuningWorkers": config.workers,
        "tuningAlgorithm": config.algorithm,
        "optimizationObjectives": [item.model_dump() for item in config.objectives] or None,
        "optimizationPrecision": config.precision,
        "earlyStopping": config.early_stopping,
        "maxTotalTrainingTime": config.max_total_training_time_s,
    }
    return _without_none(**body, **_search_space(config))


def trial_from(row: Mapping[str, Any]) -> Trial:
    """A trial as Studio tells it. What it leaves out, or tells in another form than known, is unknown: None."""
    status: TrialStatus = next((known for known in get_args(TrialStatus) if known == row.get("status")), "pending")
    added = _mapping(row.get("impulseAddedToProject"))
    identity = str(row.get("id") or "")
    return Trial(
        trial_id=identity,
        name=str(row.get("name") or identity),
        status=status,
        parameters=_parameters(row),
        metrics=tuple(_metrics(row)),
        footprints=tuple(_footprints(row)),
        impulse_id=_whole(added.get("impulseId")),
    )


# Search space


def _search_space(config: TunerConfig) -> dict[str, Any]:
    if config.template is not None:
        return {
            "searchSpaceTemplate": {"identifier": config.template, "classification": True},
            "searchSpaceSource": {"type": "template"},
        }
    return {"space": [_space(item) for item in config.space], "searchSpaceSource": {"type": "custom"}}


def _space(space: TunerSpace) -> dict[str, Any]:
    """One `TunerSpaceImpulse`; `learnBlocks` is a list of lists since API 1.9x."""
    return {
        "inputBlocks": [
            {
                "type": "image",
                "dimension": [list(size) for size in space.image_sizes],
                "resizeMode": list(space.resize_modes),
            }
        ],
        "dspBlocks": [{"type": "image", "channels": list(space.channels)}],
        "learnBlocks": [[_learn_block(space)]],
    }


def _learn_block(space: TunerSpace) -> dict[str, Any]:
    common = {
        "type": space.learn_block,
        "learningRate": list(space.learning_rates),
        "trainingCycles": list(space.training_cycles),
        "batchSize": list(space.batch_sizes),
        "augmentationPolicyImage": list(space.augmentations),
    }
    if space.learn_block == "keras-transfer-image":
        return {
            **common,
            "model": list(space.visual_layers),
            "denseNeurons": list(space.neurons),
            "dropout": list(space.dropout_ratios),
        }
    networks = product(space.conv2d_filters, space.neurons, space.dropout_ratios)
    return {**common, "dimension": ["conv2d"], "visualLayers": [_network(*choice) for choice in networks]}


def _network(filters: Sequence[int], neurons: int, dropout_ratio: float) -> list[dict[str, Any]]:
    """A classification block's layers: convolutions, flatten, a dense layer unless it has 0 units, dropout."""
    layers: list[dict[str, Any]] = [
        {"type": "conv2d", "neurons": count, "kernelSize": KERNEL_SIZE, "stack": 1} for count in filters
    ]
    layers.append({"type": "flatten"})
    if neurons:
        layers.append({"type": "dense", "neurons": neurons})
    return [*layers, {"type": "dropout", "dropoutRate": dropout_ratio}]


# Trials


def _parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was chosen, block by block, without results and without catalogues."""
    impulse = _mapping(row.get("impulse"))
    blocks = {
        "input": [_chosen(block) for block in _mappings(impulse.get("inputBlocks"))],
        "dsp": [_chosen(block) for block in _mappings(impulse.get("dspBlocks"))],
        "learn": [_chosen(block) for block in _mappings(impulse.get("learnBlocks"))],
        "model": dict(_mapping(row.get("model"))),
    }
    return {kind: value for kind, value in blocks.items() if value}


def _chosen(block: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in block.items() if key not in RESULT_KEYS}
    if config := _mapping(kept.get("config")):
        # In visual mode Studio generates the script from the other parameters.
        left_out = CATALOGUE_KEYS | (set() if config.get("mode") == "expert" else {"script"})
        kept["config"] = {key: value for key, value in config.items() if key not in left_out}
    return kept


def _metrics(row: Mapping[str, Any]) -> Iterator[TrialMetrics]:
    for category, variant in product(CATEGORY_KEYS, VARIANTS):
        sources = list(_evaluations(row, category, variant))
        accuracy = next((found for item in sources if (found := _ratio(item.get("accuracy"))) is not None), None)
        loss = next((found for item in sources if (found := _number(item.get("loss"))) is not None), None)
        if accuracy is not None or loss is not None:
            yield TrialMetrics(variant=variant, category=category, accuracy=accuracy, loss=loss)


def _evaluations(
    row: Mapping[str, Any], category: EvaluationCategory, variant: ModelVariant
) -> Iterator[Mapping[str, Any]]:
    """Where a trial may tell a variant's numbers: its own metrics, else those of its learn block."""
    learn = next(iter(_mappings(_mapping(row.get("impulse")).get("learnBlocks"))), {})
    for holder in (row, learn):
        yield _mapping(_mapping(_mapping(holder.get("metrics")).get(CATEGORY_KEYS[category])).get(variant))
    if category == "validation":
        measured = _mappings(_mapping(learn.get("metadata")).get("modelValidationMetrics"))
        yield next((item for item in measured if item.get("type") == variant), {})


def _footprints(row: Mapping[str, Any]) -> Iterator[TrialFootprint]:
    for variant in VARIANTS:
        performance = _performance(row, variant)
        latency = _number(performance.get("latency"))
        for engine, key in ENGINE_KEYS.items():
            needs = _mapping(performance.get(key))
            ram, rom = _whole(needs.get("ramRequired")), _whole(needs.get("romRequired"))
            if ram is not None or rom is not None:
                yield TrialFootprint(
                    variant=variant, engine=engine, ram_bytes=ram, rom_bytes=rom, latency_ms=latency
                )


def _performance(row: Mapping[str, Any], variant: ModelVariant) -> Mapping[str, Any]:
    """What the target device needs for a variant; empty where nothing was profiled."""
    if told := _mapping(_mapping(row.get("devicePerformance")).get(variant)):
        return {} if told.get("hasPerformance") is False else told
    for item in _evaluations(row, "validation", variant):
        devices = [entry for entry in _mappings(item.get("onDevicePerformance")) if entry.get("hasPerformance")]
        if default := next((entry for entry in devices if entry.get("isDefault")), None):
            return default
    return {}


# Values


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 else round(number)


def _ratio(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None
