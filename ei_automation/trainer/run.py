"""What `train` does once TensorFlow may be imported: build, load, fit, convert."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from ei_automation.errors import DatasetError
from ei_automation.trainer.architectures.build import build_network
from ei_automation.trainer.architectures.network import Network
from ei_automation.trainer.checkpoint import Checkpoint
from ei_automation.trainer.convert import convert_float32, convert_int8
from ei_automation.trainer.determinism import prepare
from ei_automation.trainer.fit import Fit, Habits, Targets
from ei_automation.trainer.order import class_weights
from ei_automation.trainer.recipe import SCRATCH_MOMENTUM, Recipe
from ei_automation.trainer.request import (
    Floats,
    Labels,
    OnEvent,
    ShouldStop,
    TrainingEvent,
    TrainingRequest,
    TrainingResult,
)
from ei_automation.trainer.tensorflow_door import keras
from ei_automation.trainer.weight_files import arrays_sha256, load_weights


def run(request: TrainingRequest, *, on_event: OnEvent, should_stop: ShouldStop) -> TrainingResult:
    """See `train.train`."""
    _require_samples(request)
    threads = prepare(request.parameters.seed, request.parameters.threads)
    network = load_network(request, on_event)
    base_sha256 = None if network.base is None else arrays_sha256(network.base.model)
    checkpoint = Checkpoint(request.checkpoint_folder, request.inputs)
    with ExitStack() as closing:
        recipe = Recipe(request, network, base_sha256, threads, on_event, should_stop, closing)
        fit = Fit(
            recipe.trained_models(),
            targets_of(request),
            habits=Habits(
                request.parameters.seed,
                request.parameters.batch_size,
                request.parameters.early_stop_cycles,
                recipe.cycles(),
            ),
            checkpoint=checkpoint,
            on_event=on_event,
            should_stop=should_stop,
        )
        curves = fit.run(recipe.plan())
    float32, int8 = _convert(recipe, on_event, should_stop)
    checkpoint.remove()
    return TrainingResult(float32, int8, curves, threads, base_sha256)


def _require_samples(request: TrainingRequest) -> None:
    """Nothing can be learned from nothing."""
    for name, rows in (("train on", request.training_rows), ("validate with", request.validation_rows)):
        if len(rows) == 0:
            raise DatasetError(f"there are no samples to {name}", hint="add samples to the training category")
    if len(request.labels) < 2:
        raise DatasetError("a classifier needs at least two labels", hint="add samples of another label")


def load_network(request: TrainingRequest, on_event: OnEvent) -> Network:
    """The network with the weights that were resolved; a random base is said."""
    block = request.parameters.learn_block
    network = build_network(block, request.impulse.input_shape, len(request.labels), seed=request.parameters.seed)
    weights = request.weights
    if network.base is None:
        return network
    if weights is None or weights.path is None:
        on_event(TrainingEvent("log", 'No pretrained weights (weights = "none"): the whole network trains.'))
        for layer in network.base.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = SCRATCH_MOMENTUM
        return network
    load_weights(network.base.model, weights.path)
    on_event(TrainingEvent("log", f"Base weights: {weights.path.name} ({weights.source})"))
    return network


def targets_of(request: TrainingRequest) -> Targets:
    """One-hot labels, and each training sample's weight in the loss."""
    classes = len(request.labels)
    labels = np.asarray(request.training_labels)
    weights = np.ones(len(labels), np.float32)
    if request.parameters.auto_class_weights:
        weights = class_weights(labels, classes)[labels]
    return Targets(_one_hot(labels, classes), weights, _one_hot(request.validation_labels, classes))


def _one_hot(labels: Labels, classes: int) -> Floats:
    return np.eye(classes, dtype=np.float32)[np.asarray(labels)]


def _convert(recipe: Recipe, on_event: OnEvent, should_stop: ShouldStop) -> tuple[bytes, bytes]:
    """float32 and int8, with the validation images as calibration."""
    forward = recipe.network.on_images(base_trains=False)
    images = recipe.validation_images()
    on_event(TrainingEvent("log", "Converting TensorFlow Lite float32 model..."))
    float32 = convert_float32(forward, recipe.request.impulse.input_shape)
    on_event(TrainingEvent("log", "Converting TensorFlow Lite int8 quantized model..."))
    int8 = convert_int8(
        forward,
        images,
        on_row=lambda done: on_event(TrainingEvent("progress", step="conversion", done=done, total=images.count)),
        should_stop=should_stop,
    )
    return float32, int8
