"""The tuner's JSON, both ways, against the official schemas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ei_automation.errors import UsageError
from ei_automation.schema.tuner import (
    TargetDevice,
    TrialFootprint,
    TrialMetrics,
    TunerConfig,
    TunerObjective,
    TunerSpace,
)
from ei_automation.studio_api.tuner import optimize_config, trial_from
from tests.backends.studio.tuner_server import device, evaluation, trial
from tests.studio_server.official import problems


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, min_size=1, max_size=3, unique=True).map(tuple)


ratios = st.floats(0, 0.9).map(lambda value: round(value, 3))
shared = {
    "image_sizes": some(st.tuples(st.integers(8, 320), st.integers(8, 320))),
    "resize_modes": some(st.sampled_from(["squash", "fit-short", "fit-long"])),
    "channels": some(st.sampled_from(["RGB", "Grayscale"])),
    "neurons": some(st.integers(0, 128)),
    "dropout_ratios": some(ratios),
    "learning_rates": some(st.sampled_from([0.0005, 0.001, 0.01])),
    "training_cycles": some(st.integers(1, 100)),
    "batch_sizes": some(st.sampled_from([16, 32, 64])),
    "augmentations": some(st.sampled_from(["none", "all"])),
}
spaces = st.one_of(
    st.builds(
        TunerSpace,
        visual_layers=some(st.sampled_from(["transfer_mobilenetv2_a35", "transfer_mobilenetv1_a1_d100"])),
        **shared,
    ),
    st.builds(
        TunerSpace,
        learn_block=st.just("keras"),
        conv2d_filters=some(st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple)),
        **shared,
    ),
)
configs = st.builds(
    TunerConfig,
    name=st.sampled_from(["", "erster Lauf", "ラン"]),
    target_device=st.builds(TargetDevice, ram_bytes=st.none() | st.integers(1, 10**9)),
    max_trials=st.integers(1, 1000),
    workers=st.integers(1, 100),
    training_cycles=st.none() | st.integers(1, 1000),
    algorithm=st.sampled_from(["random", "hyperband", "bayesian"]),
    precision=st.sampled_from(["float32", "int8"]),
    compilers=some(st.sampled_from(["tflite", "tflite-eon", "tflite-eon-ram-optimized"])),
    objectives=st.just(()) | st.just((TunerObjective(objective="test_accuracy", label="Accuracy", weight=2.5),)),
    early_stopping=st.booleans(),
    max_total_training_time_s=st.none() | st.integers(1, 10**6),
    space=st.lists(spaces, min_size=1, max_size=2).map(tuple),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs)
def test_a_configuration_is_official(config: TunerConfig) -> None:
    body = optimize_config(config)
    assert problems("OptimizeConfig", body) == []
    assert body["tuningMaxTrials"] == config.max_trials
    assert len(body["space"]) == len(config.space)


def test_a_template_goes_without_a_space() -> None:
    config = TunerConfig(template="visual", target_device=TargetDevice(name="cortex-m4f-80mhz", ram_bytes=256_000))
    body = optimize_config(config)
    assert problems("OptimizeConfig", body) == []
    assert body["searchSpaceTemplate"] == {"identifier": "visual", "classification": True}
    assert body["targetDevice"] == {"name": "cortex-m4f-80mhz", "ram": 256_000}
    assert "space" not in body
    assert "name" not in body


def test_alternatives_of_a_space_are_named_as_studio_documents_them() -> None:
    space = TunerSpace(image_sizes=((96, 96), (160, 120)), channels=("RGB", "Grayscale"), neurons=(0, 64))
    (made,) = optimize_config(TunerConfig(space=(space,)))["space"]
    assert made["inputBlocks"] == [
        {"type": "image", "dimension": [[96, 96], [160, 120]], "resizeMode": ["squash"]}
    ]
    assert made["dspBlocks"] == [{"type": "image", "channels": ["RGB", "Grayscale"]}]
    ((learn,),) = made["learnBlocks"]
    assert learn["model"] == ["transfer_mobilenetv2_a35"]
    assert (learn["denseNeurons"], learn["dropout"]) == ([0, 64], [0.1])
    assert learn["augmentationPolicyImage"] == ["none"]


def test_a_plain_network_is_said_layer_by_layer() -> None:
    space = TunerSpace(learn_block="keras", conv2d_filters=((16, 8),), neurons=(0,), dropout_ratios=(0.25,))
    ((learn,),) = optimize_config(TunerConfig(space=(space,)))["space"][0]["learnBlocks"]
    assert learn["visualLayers"] == [
        [
            {"type": "conv2d", "neurons": 16, "kernelSize": 3, "stack": 1},
            {"type": "conv2d", "neurons": 8, "kernelSize": 3, "stack": 1},
            {"type": "flatten"},
            {"type": "dropout", "dropoutRate": 0.25},
        ]
    ]


@pytest.mark.parametrize("config", [TunerConfig(), TunerConfig(template="visual", space=(TunerSpace(),))])
def test_one_search_space_is_wanted(config: TunerConfig) -> None:
    with pytest.raises(UsageError, match="either a template or a space"):
        optimize_config(config)


def test_a_finished_trial_is_read_whole() -> None:
    row = trial(
        1,
        "completed",
        metrics={
            "validation": {"float32": evaluation("float32", 0.91), "int8": evaluation("int8", 0.9)},
            "test": {"int8": evaluation("int8", 0.85, 0.6)},
        },
        devicePerformance={"int8": device(ram=60_000, rom=300_000, latency=12.5)},
        impulseAddedToProject={"impulseId": 5, "link": "https://studio.edgeimpulse.com/studio/7/impulse/5"},
    )
    assert problems("TunerTrial", row) == []
    read = trial_from(row)
    assert (read.trial_id, read.name, read.status, read.impulse_id) == (
        "trial-1",
        "rgb-mobilenetv2-1",
        "completed",
        5,
    )
    assert read.metrics == (
        TrialMetrics(variant="float32", category="validation", accuracy=0.91, loss=0.4),
        TrialMetrics(variant="int8", category="validation", accuracy=0.9, loss=0.4),
        TrialMetrics(variant="int8", category="testing", accuracy=0.85, loss=0.6),
    )
    assert TrialFootprint(
        variant="int8", engine="tflite-eon", ram_bytes=55_000, rom_bytes=280_000, latency_ms=12.5
    ) in (read.footprints)
    assert TrialFootprint(
        variant="int8", engine="tflite", ram_bytes=60_000, rom_bytes=300_000, latency_ms=12.5
    ) in (read.footprints)


def test_every_choice_is_kept_and_no_result_and_no_catalogue() -> None:
    read = trial_from(trial(1, "running")).parameters
    assert read["input"] == [{"type": "image", "imageWidth": 96, "imageHeight": 96, "resizeMode": "squash"}]
    assert read["dsp"] == [{"block": {"type": "image"}, "config": {"channels": "RGB"}}]
    (learn,) = read["learn"]
    assert learn["block"]["type"] == "keras-transfer-image"
    assert learn["config"] == {
        "mode": "visual",
        "visualLayers": [{"type": "transfer_mobilenetv2_a35", "neurons": 16, "dropoutRate": 0.1}],
        "trainingCycles": 20,
        "learningRate": 0.0005,
        "batchSize": 32,
    }
    assert read["model"] == {"inputBlocks": [{"dimension": [96, 96]}]}


def test_a_script_that_somebody_wrote_is_a_parameter() -> None:
    row = trial(1, "running")
    row["impulse"]["learnBlocks"][0]["config"]["mode"] = "expert"
    assert "script" in trial_from(row).parameters["learn"][0]["config"]


def test_numbers_may_stand_in_the_learn_block_alone() -> None:
    """Where the official package looks for them."""
    row = trial(2, "completed")
    row["impulse"]["learnBlocks"][0] |= {
        "metadata": {"modelValidationMetrics": [evaluation("int8", 0.8), evaluation("float32", 0.82)]},
        "metrics": {"test": {"int8": {"accuracy": 0.75}}},
    }
    read = trial_from(row)
    assert [(item.variant, item.category, item.accuracy) for item in read.metrics] == [
        ("float32", "validation", 0.82),
        ("int8", "validation", 0.8),
        ("int8", "testing", 0.75),
    ]
    assert {item.variant for item in read.footprints} == {"float32", "int8"}
    assert "metrics" not in read.parameters["learn"][0]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"id": 5, "status": "odd"},
        {"id": "a", "impulse": None, "metrics": [], "devicePerformance": "none", "impulseAddedToProject": None},
        {"id": "a", "impulse": {"learnBlocks": [None, {"metadata": {"modelValidationMetrics": {"int8": 1}}}]}},
        {"id": "a", "metrics": {"test": {"int8": {"accuracy": "0.9", "loss": float("nan")}}}},
        {"id": "a", "metrics": {"validation": {"int8": {"accuracy": 87.5}}}},
        {"id": "a", "devicePerformance": {"int8": {"hasPerformance": False, "tflite": {"ramRequired": 0}}}},
    ],
)
def test_what_is_missing_or_odd_is_unknown(row: dict[str, Any]) -> None:
    read = trial_from(row)
    assert read.status == "pending"
    assert read.metrics == ()
    assert read.footprints == ()
    assert read.impulse_id is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["id", "status", "impulse", "learnBlocks", "metrics", "test", "int8", "metadata", "devicePerformance", "model"]
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(names, st.dictionaries(names, json_values | st.dictionaries(names, json_values)) | json_values)
)
def test_no_answer_breaks_it(row: dict[str, Any]) -> None:
    assert trial_from(row).status in ("pending", "running", "completed", "failed")
