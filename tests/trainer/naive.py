"""The other side of every comparison: made-up images, and a plain Keras fit of the whole frozen network."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.schema.impulse import Channels, DspBlock, Impulse, InputBlock
from ei_automation.schema.metrics import TrainingCurves
from ei_automation.schema.training import TrainingParameters
from ei_automation.trainer.order import shuffled_order
from ei_automation.trainer.request import Floats, ResolvedWeights, TrainingRequest
from ei_automation.trainer.rows import RowSource

EQUALITY_TOLERANCE = 3.8e-7
"""Largest difference of a weight, trained on stored features of plain images, from a fit of the whole network."""


@dataclass(frozen=True)
class Both:
    """A head trained in two ways.

    Attributes:
        ours: Its weights from our trainer.
        plain: From `model.fit`.
        curves: Of ours.
    """

    ours: list[Floats]
    plain: list[Floats]
    curves: TrainingCurves

    @property
    def differences(self) -> Floats:
        """Between all weights, as one flat array."""
        return np.concatenate([np.abs(a - b).ravel() for a, b in zip(self.ours, self.plain, strict=True)])


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


class PlainFit:
    """`model.fit` of the whole frozen network, each cycle in the trainer's order of that cycle.

    Args:
        request: What is trained.
        images: Its training images.
    """

    def __init__(self, request: TrainingRequest, images: RowSource) -> None:
        from ei_automation.trainer.run import load_network, targets_of

        self._request, self._images, self._targets = request, images, targets_of(request)
        network = load_network(request, silent)
        self.head, self._model = network.head, whole_model(network)

    def cycles(self, numbers: range, learning_rate: float) -> list[list[Floats]]:
        """Some cycles with a new optimizer.

        Returns:
            All variables of the head, those of its random generators too, after each cycle.
        """
        import keras

        from ei_automation.trainer.checkpoint import values_of

        parameters, targets = self._request.parameters, self._targets
        self._model.compile(keras.optimizers.Adam(learning_rate), "categorical_crossentropy")
        after = []
        for cycle in numbers:
            order = shuffled_order(len(targets.training), parameters.batch_size, (parameters.seed, cycle))
            self._model.fit(
                self._images.read(order, cycle),
                targets.training[order],
                sample_weight=targets.weights[order],
                batch_size=parameters.batch_size,
                shuffle=False,
                verbose=0,
            )
            after.append(values_of(self.head.variables))
        return after

    def studio_stages(self, curves: TrainingCurves) -> list[Floats]:
        """Both stages of Studio's recipe; what was best is taken from a training's curves.

        Returns:
            The head's weights after the best cycle.
        """
        from ei_automation.trainer.checkpoint import assign

        parameters = self._request.parameters
        first = parameters.training_cycles
        after = self.cycles(range(first), parameters.learning_rate)
        if len(curves.loss) > first:
            assign(self.head.variables, after[int(np.argmin(curves.validation_loss[:first]))])
            for layer in self.head.layers[:-1]:
                layer.trainable = False
            after += self.cycles(range(first, len(curves.loss)), parameters.fine_tuning.learning_rate)
        assign(self.head.variables, after[curves.best_cycle])
        return self.head.get_weights()  # type: ignore[no-any-return]


def silent(_event: object) -> None:
    """Hears and says nothing."""


def trained_both_ways(request: TrainingRequest, *, stages: int, **recipe_changes: Any) -> Both:
    """The first stages of a request: ours on stored features, and Keras' on images."""
    from ei_automation.trainer.checkpoint import Checkpoint
    from ei_automation.trainer.determinism import prepare
    from ei_automation.trainer.fit import Fit, Habits
    from ei_automation.trainer.recipe import Recipe
    from ei_automation.trainer.run import load_network, targets_of

    parameters = request.parameters
    threads = prepare(parameters.seed, parameters.threads)
    network = load_network(request, silent)
    checkpoint = Checkpoint(request.checkpoint_folder, request.inputs)
    with ExitStack() as closing:
        recipe = Recipe(request, network, "base", threads, silent, lambda: False, closing, **recipe_changes)
        fit = Fit(
            recipe.trained_models(),
            targets_of(request),
            habits=Habits(parameters.seed, parameters.batch_size, None, 1),
            checkpoint=checkpoint,
            on_event=silent,
            should_stop=lambda: False,
        )
        curves = fit.run(recipe.plan()[:stages])
    checkpoint.remove()
    plain = PlainFit(request, recipe.training_images()).studio_stages(curves)
    return Both(network.head.get_weights(), plain, curves)
