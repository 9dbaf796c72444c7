"""The other side of every comparison: made-up images, and a plain Keras fit of the whole frozen network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.schema.impulse import Channels, DspBlock, Impulse, InputBlock
from ei_automation.schema.training import TrainingParameters
from ei_automation.trainer.order import shuffled_order
from ei_automation.trainer.request import Floats, ResolvedWeights, TrainingRequest


@dataclass
class Pictures:
    """A PixelSource over an array or a memory map, uint8 (n, H, W, 3), which counts its largest read."""

    array: NDArray[np.uint8]
    largest_read: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.array.shape

    def read(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        self.largest_read = max(self.largest_read, len(rows))
        return np.asarray(self.array[rows])


def draw_pictures(out: NDArray[np.uint8], labels: NDArray[np.int64], seed: int = 0) -> None:
    """Fill `out` with waves whose number depends on the label, in random phase and colour, with noise."""
    generator = np.random.default_rng(seed)
    height, width = out.shape[1:3]
    rows, columns = np.mgrid[:height, :width].astype(np.float32) * (2 * np.pi / width)
    noise = generator.normal(0, 12, (8, *out.shape[1:])).astype(np.float32)
    for index, label in enumerate(labels):
        phases = generator.uniform(0, 2 * np.pi, 2)
        wave = np.sin((label + 1) * columns + phases[0]) * np.cos((label + 2) * rows / 2 + phases[1])
        colour = generator.uniform(0.5, 1, 3)
        out[index] = np.clip(127 + 110 * wave[..., None] * colour + noise[index % 8], 0, 255)


def pictures(count: int, size_px: int, classes: int) -> tuple[Pictures, NDArray[np.int64]]:
    """Made-up images in memory, and their labels."""
    labels = np.arange(count) % classes
    array = np.empty((count, size_px, size_px, 3), np.uint8)
    draw_pictures(array, labels)
    return Pictures(array), labels


def request_for(
    source: Pictures,
    labels: NDArray[np.int64],
    parameters: TrainingParameters,
    *,
    folder: Path,
    weights: Path | None = None,
    channels: Channels = "RGB",
) -> TrainingRequest:
    """A request whose last fifth of the images validates."""
    count, height, width = source.shape[:3]
    split = count * 4 // 5
    return TrainingRequest(
        parameters=parameters,
        impulse=Impulse(
            input_block=InputBlock(image_width=width, image_height=height), dsp_block=DspBlock(channels=channels)
        ),
        labels=tuple(f"label {number}" for number in range(int(labels.max()) + 1)),
        pixels=source,
        training_rows=np.arange(split),
        training_labels=labels[:split],
        validation_rows=np.arange(split, count),
        validation_labels=labels[split:],
        content_ids=tuple(hashlib.sha256(f"{number}".encode()).hexdigest() for number in range(count)),
        weights=ResolvedWeights(weights, "pretrained", None) if weights else ResolvedWeights(None, "none", None),
        cache_folder=folder / "cache",
        checkpoint_folder=folder / "checkpoints",
        inputs="0123abcd",
    )


def whole_model(network: Any) -> Any:
    """Base and head as one Keras model, the base frozen as Studio freezes it."""
    import keras

    base = network.base.model
    base.trainable = False
    inputs = keras.Input(base.input.shape[1:])
    return keras.Model(inputs, network.head(base(inputs, training=False)))


def fit_in_order(
    model: Any,
    read: Callable[[NDArray[np.int64], int], Floats],
    targets: Floats,
    *,
    weights: Floats | None = None,
    cycles: int,
    batch_size: int,
    seed: int,
) -> list[list[Floats]]:
    """`model.fit` for some cycles, each in the trainer's order of that cycle.

    Returns:
        The trainable variables after each cycle.
    """
    after = []
    for cycle in range(cycles):
        order = shuffled_order(len(targets), batch_size, (seed, cycle))
        model.fit(
            read(order, cycle),
            targets[order],
            sample_weight=None if weights is None else weights[order],
            batch_size=batch_size,
            shuffle=False,
            epochs=1,
            verbose=0,
        )
        after.append([np.array(variable.numpy()) for variable in model.trainable_variables])
    return after


def first_stage_of_both(request: TrainingRequest) -> tuple[list[Floats], list[Floats]]:
    """The head's arrays after the first stage's best cycle: ours on features, and Keras' on images."""
    import keras

    from ei_automation.trainer.checkpoint import Checkpoint, values_of
    from ei_automation.trainer.determinism import prepare
    from ei_automation.trainer.fit import Fit, Habits
    from ei_automation.trainer.recipe import Recipe
    from ei_automation.trainer.run import load_network, targets_of

    parameters, targets = request.parameters, targets_of(request)
    threads = prepare(parameters.seed, parameters.threads)

    def silent(_event: object) -> None:
        pass

    network = load_network(request, silent)
    checkpoint = Checkpoint(request.checkpoint_folder, request.inputs)
    with ExitStack() as closing:
        recipe = Recipe(request, network, "base", threads, silent, lambda: False, closing)
        fit = Fit(
            recipe.trained_models(),
            targets,
            habits=Habits(parameters.seed, parameters.batch_size, None, 1),
            checkpoint=checkpoint,
            on_event=silent,
            should_stop=lambda: False,
        )
        curves = fit.run(recipe.plan()[:1])
    checkpoint.remove()
    images = recipe.training_images()
    other = load_network(request, silent)
    model = whole_model(other)
    model.compile(keras.optimizers.Adam(parameters.learning_rate), "categorical_crossentropy")
    after = fit_in_order(
        model,
        images.read,
        targets.training,
        weights=targets.weights,
        cycles=parameters.training_cycles,
        batch_size=parameters.batch_size,
        seed=parameters.seed,
    )
    return values_of(network.head.trainable_variables), after[curves.best_cycle]
