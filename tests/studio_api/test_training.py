"""Training parameters go to Studio and come back, and what Studio cannot do is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.errors import UsageError
from ei_automation.schema.training import TrainingParameters
from ei_automation.studio_api.samples import METADATA_GROUP
from ei_automation.studio_api.training import EXPOSED, custom_parameters, parameters_from, training_request
from tests.studio_server.official import problems

NAMES = [item.name for item in EXPOSED]
RATIO = st.floats(0, 0.99, allow_nan=False)
RATE = st.floats(1e-9, 1, allow_nan=False)
SOME = st.integers(1, 500)
TRANSFER = st.fixed_dictionaries(
    {
        "type": st.just("keras-transfer-image"),
        "visual_layer": st.fixed_dictionaries(
            {
                "type": st.sampled_from(["transfer_mobilenetv2_a35", "transfer_mobilenetv1_a1_d100"]),
                "neurons": st.integers(0, 4096),
                "dropout_ratio": RATIO,
            }
        ),
        "weights": st.sampled_from(["pretrained", "none"]),
    }
)
LAYER = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("conv2d"),
            "filters": SOME,
            "kernel_size": st.integers(1, 11),
            "stack": st.integers(1, 8),
            "pool_size": st.integers(1, 8),
        }
    ),
    st.fixed_dictionaries({"type": st.just("dense"), "neurons": SOME}),
    st.fixed_dictionaries({"type": st.just("dropout"), "dropout_ratio": RATIO}),
    st.sampled_from([{"type": "flatten"}, {"type": "batch_normalization"}]),
)
KERAS = st.fixed_dictionaries({"type": st.just("keras"), "visual_layers": st.lists(LAYER, min_size=1, max_size=5)})
PARAMETERS = st.fixed_dictionaries(
    {
        "learn_block": st.one_of(TRANSFER, KERAS),
        "training_cycles": st.integers(1, 1000),
        "learning_rate": RATE,
        "batch_size": st.integers(1, 4096),
        "validation_ratio": st.floats(0.01, 0.99, allow_nan=False),
        "validation_split": st.sampled_from([None, "random", "group"]),
        "augmentation": st.sampled_from(["none", "all"]),
        "augmentation_views": st.one_of(st.none(), SOME),
        "auto_class_weights": st.booleans(),
        "early_stop_cycles": st.one_of(st.none(), SOME),
        "fine_tuning": st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["studio", "base", "off"]),
                "cycles": SOME,
                "learning_rate": RATE,
                "layers_ratio": RATE,
            }
        ),
        "seed": st.integers(0, 2**31 - 1),
        "threads": st.one_of(st.none(), st.integers(1, 256)),
    }
).map(TrainingParameters.model_validate)


def plain(**changes):
    block = {"type": "keras", "visual_layers": [{"type": "conv2d", "filters": 8}, {"type": "flatten"}]}
    return TrainingParameters.model_validate({"learn_block": block, **changes})


@given(PARAMETERS)
def test_there_and_back_where_the_block_exposes_everything(parameters):
    request = training_request(parameters, NAMES)
    assert problems("SetKerasParameterRequest", request) == []
    assert parameters_from(request) == parameters


def test_every_parameter_of_ours_is_either_studios_or_exposed():
    studios = {"training_cycles", "learning_rate", "batch_size", "validation_ratio", "augmentation"}
    studios |= {"auto_class_weights", "learn_block"}
    exposed = {item.key.split(".")[0] for item in EXPOSED}
    assert studios | exposed == set(TrainingParameters.model_fields)
    assert set(custom_parameters(plain())) == set(NAMES)


def test_studios_own_way_needs_nothing_exposed():
    request = training_request(plain(validation_split="random", threads=2, augmentation_views=3), ())
    assert "customParameters" not in request
    assert parameters_from(request) == plain(validation_split="random")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 4}, r"training\.seed is 4, and Studio always uses 3"),
        (
            {"early_stop_cycles": 2},
            r"training\.early_stop_cycles is 2, and Studio always uses nothing of the kind",
        ),
        ({"fine_tuning": {"mode": "base"}}, r"training\.fine_tuning\.mode is base, and Studio always uses studio"),
        (
            {
                "learn_block": {
                    "type": "keras",
                    "visual_layers": [{"type": "conv2d", "filters": 8, "pool_size": 1}],
                }
            },
            r"visual_layers\.pool_size is 1, and Studio always uses 2",
        ),
    ],
)
def test_what_studio_does_not_do_is_refused_unless_it_is_exposed(changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        training_request(plain(**changes), ())
    assert "local" in caught.value.hint
    assert training_request(plain(**changes), NAMES)["customParameters"]


def test_weights_from_a_file_are_refused():
    block = {"type": "keras-transfer-image", "visual_layer": {"type": "transfer_mobilenetv2_a35"}}
    with pytest.raises(UsageError, match="names a file"):
        training_request(
            TrainingParameters.model_validate({"learn_block": {**block, "weights": "mine.h5"}}), NAMES
        )
    with pytest.raises(UsageError, match=r"learn_block\.weights is none, and Studio always uses pretrained"):
        training_request(TrainingParameters.model_validate({"learn_block": {**block, "weights": "none"}}), ())


def test_groups_travel_in_studios_own_field():
    request = training_request(plain(validation_split="group"), ())
    assert request["customValidationMetadataKey"] == METADATA_GROUP
    assert parameters_from(request).validation_split == "group"
    left_over = {**training_request(plain(validation_split="random"), NAMES), "customValidationMetadataKey": "x"}
    assert parameters_from(left_over).validation_split == "random"


def test_a_live_block_with_fractions_of_zero_and_disabled_layers_is_read():
    layers = [
        {"type": "conv2d", "neurons": 8.0, "kernelSize": 3, "stack": 1, "enabled": True},
        {"type": "dense", "neurons": 5, "enabled": False},
        {"type": "flatten", "neurons": 4},
    ]
    read = parameters_from({"visualLayers": layers, "batchSize": 16.0, "trainTestSplit": None, "type": "keras"})
    assert read == plain(batch_size=16, validation_split="random")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"mode": "expert", "script": "x"}, "expert, not visual"),
        ({"visualLayers": [{"type": "reshape", "columns": 3}]}, "reshape"),
        ({"visualLayers": []}, "visual_layers"),
        ({"visualLayers": [{"type": "flatten"}], "learningRate": 7}, "learning_rate"),
        ({"visualLayers": [{"type": "transfer_mobilenetv2_a35"}] * 2}, "takes one visual layer, this one has 2"),
        ({"visualLayers": [{"type": "flatten"}], "customParameters": {"eiauto_seed": "x"}}, "eiauto_seed is 'x'"),
        (
            {"visualLayers": [{"type": "flatten"}], "customParameters": {"eiauto_pool_size": "2"}},
            "one number for each conv2d",
        ),
    ],
)
def test_what_no_manifest_can_say_is_refused_with_a_reason(config, said):
    with pytest.raises(UsageError, match=said):
        parameters_from(config)
