from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ei_automation.schema.training import FineTuning
from ei_automation.trainer.recipe import SCRATCH_MOMENTUM, Recipe
from ei_automation.trainer.request import ResolvedWeights, TrainingEvent, TrainingRequest
from ei_automation.trainer.run import load_network
from ei_automation.trainer.tensorflow_door import keras
from tests.trainer.conftest import SMALL, transfer_parameters
from tests.trainer.naive import pictures, request_for


@pytest.fixture
def request_(small_weights: Path, tmp_path: Path) -> TrainingRequest:
    parameters = transfer_parameters(
        learn_block=SMALL, fine_tuning=FineTuning(mode="base", cycles=1, layers_ratio=0.5)
    )
    return request_for(*pictures(20, 32, 2), parameters, folder=tmp_path, weights=small_weights)


def recipe_for(request: TrainingRequest, events: list[TrainingEvent], closing: ExitStack) -> Recipe:
    network = load_network(request, events.append)
    return Recipe(request, network, "base", 1, events.append, lambda: False, closing)


def names(variables: Any) -> set[str]:
    return {variable.path for variable in variables}


def test_given_weights_train_the_head_only(request_: TrainingRequest) -> None:
    events: list[TrainingEvent] = []
    with ExitStack() as closing:
        recipe = recipe_for(request_, events, closing)
        assert names(recipe.plan()[0]().variables) == names(recipe.network.head.trainable_variables)
    assert events[0].text == "Base weights: mobilenet_v1_01.h5 (pretrained)"


def test_fine_tuning_takes_the_last_layers_but_no_normalization(request_: TrainingRequest) -> None:
    with ExitStack() as closing:
        recipe = recipe_for(request_, [], closing)
        tuned = names(recipe.plan()[1]().variables)
        assert recipe.trained_models() == recipe.network.models
    assert names(recipe.network.head.trainable_variables) <= tuned
    convolutions = {path for path in tuned if path.startswith("conv_")}
    assert "conv_pw_13/kernel" in convolutions
    assert "conv_pw_1/kernel" not in convolutions
    assert not any("gamma" in path or "beta" in path for path in tuned)


def test_from_scratch_trains_everything_with_quick_running_averages(request_: TrainingRequest) -> None:
    events: list[TrainingEvent] = []
    request = replace(request_, weights=ResolvedWeights(None, "none", None))
    with ExitStack() as closing:
        recipe = recipe_for(request, events, closing)
        variables = names(recipe.plan()[0]().variables)
    assert recipe.network.base is not None
    base = recipe.network.base.model
    assert variables == names(base.trainable_variables) | names(recipe.network.head.trainable_variables)
    assert any("gamma" in path for path in variables)
    momenta = {layer.momentum for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {SCRATCH_MOMENTUM}
    assert 'weights = "none"' in events[0].text
