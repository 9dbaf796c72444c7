"""Studio's recipe: from a request to the stages that train its network."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ei_automation.schema.training import KerasLearnBlock
from ei_automation.trainer.architectures.network import Base, Forward, Network
from ei_automation.trainer.cuts import STORED_BYTES, Cut, choose_cut
from ei_automation.trainer.features import FeatureCache, FreshFeatures
from ei_automation.trainer.fit import Stage
from ei_automation.trainer.request import OnEvent, ShouldStop, TrainingEvent, TrainingRequest
from ei_automation.trainer.rows import ArrayRows, ImageRows, RowSource, Views
from ei_automation.trainer.tensorflow_door import Tensor, keras, tf

SCRATCH_MOMENTUM = 0.9
"""Of the base's batch normalization where the base trains from a random start: with the 0.999 of
keras.applications its running averages need thousands of steps. Studio sets the same where its bases train."""

KEPT_BYTES = 256 << 20
"""Inputs of the last dense layer are kept in memory up to this size."""

Plan = list[Callable[[], Stage]]


@dataclass(frozen=True)
class Recipe:
    """A request made into a plan.

    Attributes:
        request: What is wanted.
        network: With its weights loaded.
        base_sha256: Of the base's arrays; None without a base.
        threads: For the extraction.
        on_event: Progress of the extraction.
        should_stop: Asked by the extraction.
        closing: Closes what the plan opens.
        stored_bytes: Most that the features of plain images may take.
    """

    request: TrainingRequest
    network: Network
    base_sha256: str | None
    threads: int
    on_event: OnEvent
    should_stop: ShouldStop
    closing: ExitStack
    stored_bytes: int = STORED_BYTES

    @property
    def base_is_frozen(self) -> bool:
        """Whether a base with given weights serves as it is, so that its features can be kept."""
        weights = self.request.weights
        return self.network.base is not None and weights is not None and weights.path is not None

    def plan(self) -> Plan:
        """The stages, each built when its turn comes."""
        base = self.network.base
        if base is None or not self.base_is_frozen:
            return [self._on_images, *self._second(self._last_layer_on_images)]
        frozen = _Frozen(self, base)
        return [frozen.first, *self._second(frozen.last_layer)]

    def trained_models(self) -> tuple[Any, ...]:
        """Models whose weights the plan may change."""
        if self.base_is_frozen and self._mode != "base":
            return (self.network.head,)
        return self.network.models

    def cycles(self) -> int:
        """Of all stages."""
        parameters = self.request.parameters
        second = 0 if self._mode == "off" else parameters.fine_tuning.cycles
        return parameters.training_cycles + second

    @property
    def _mode(self) -> str:
        """off, studio or base; a classifier without a base has no second stage."""
        parameters = self.request.parameters
        return "off" if isinstance(parameters.learn_block, KerasLearnBlock) else parameters.fine_tuning.mode

    def _second(self, studio: Callable[[], Stage]) -> Plan:
        return {"off": [], "studio": [studio], "base": [self._base_layers]}[self._mode]

    def training_images(self) -> ImageRows:
        """With the views that the parameters ask for."""
        parameters = self.request.parameters
        views = Views(parameters.augmentation == "all", parameters.augmentation_views)
        return self._images(self.request.training_rows, views)

    def validation_images(self) -> ImageRows:
        """Always plain."""
        return self._images(self.request.validation_rows, Views())

    def _images(self, rows: Any, views: Views) -> ImageRows:
        request = self.request
        return ImageRows(
            request.pixels,
            np.asarray(rows, np.int64),
            tuple(request.content_ids[row] for row in rows),
            request.impulse.dsp_block.channels,
            request.parameters.seed,
            views,
        )

    def _on_images(self) -> Stage:
        """The whole network trains: a visual classifier, or a base from a random start."""
        variables = [v for model in self.network.models for v in model.trainable_variables]
        return self.first_stage(
            self.training_images(), self.validation_images(), self.network.on_images(base_trains=True), variables
        )

    def _last_layer_on_images(self) -> Stage:
        """Studio's second stage where the base's features changed during the first."""
        return self.second_stage(
            self.training_images(),
            self.validation_images(),
            self.network.on_images(base_trains=False),
            last_layer(self.network.head).trainable_variables,
        )

    def _base_layers(self) -> Stage:
        """Real fine-tuning: the end of the base and the head; batch normalization stays as it was learned."""
        layers = self.network.base.model.layers if self.network.base is not None else []
        ratio = self.request.parameters.fine_tuning.layers_ratio
        first = math.ceil(len(layers) * (1 - ratio))
        tuned = [layer for layer in layers[first:] if not isinstance(layer, keras.layers.BatchNormalization)]
        variables = [v for layer in tuned for v in layer.trainable_variables]
        return self.second_stage(
            self.training_images(),
            self.validation_images(),
            self.network.on_images(base_trains=False),
            variables + self.network.head.trainable_variables,
        )

    def first_stage(self, training: RowSource, validation: RowSource, forward: Forward, variables: Any) -> Stage:
        """With the parameters' cycles and learning rate."""
        parameters = self.request.parameters
        title = "Training model..."
        return Stage(
            title, parameters.training_cycles, parameters.learning_rate, training, validation, forward, variables
        )

    def second_stage(self, training: RowSource, validation: RowSource, forward: Forward, variables: Any) -> Stage:
        """With the fine-tuning's cycles and learning rate."""
        tuning = self.request.parameters.fine_tuning
        title = f"Fine-tuning best model for {tuning.cycles} epochs ({self._mode})..."
        return Stage(title, tuning.cycles, tuning.learning_rate, training, validation, forward, variables)


class _Frozen:
    """Both stages over the features of a frozen base.

    Args:
        recipe: Whose base it is.
        base: With its final weights.
    """

    def __init__(self, recipe: Recipe, base: Base) -> None:
        self._recipe, self._base = recipe, base
        self._made: tuple[Cut, RowSource, RowSource] | None = None

    def first(self) -> Stage:
        """The head trains on features."""
        cut, training, validation = self._features()
        head, tail = self._recipe.network.head, cut.tail
        return self._recipe.first_stage(
            training,
            validation,
            lambda features, is_training: head(tail(features), training=is_training),
            head.trainable_variables,
        )

    def last_layer(self) -> Stage:
        """Studio's second stage: everything but the last dense layer is frozen, so its input can be kept too."""
        cut, training, validation = self._features()
        head, tail = self._recipe.network.head, cut.tail
        before, after = split_head(head)

        def inputs(features: Tensor) -> Tensor:
            return through(before, tail(features), False)

        def outputs(kept: Tensor, is_training: bool) -> Tensor:
            return through(after, kept, is_training)

        variables = last_layer(head).trainable_variables
        views = self._recipe.training_images().views
        rows = training.count * len(views.numbers) + validation.count
        if not views.numbers or not _worth_keeping(inputs, training.row_shape, rows):
            return self._recipe.second_stage(
                training, validation, lambda rows, is_training: outputs(inputs(rows), is_training), variables
            )
        keep = partial(_kept, inputs)
        return self._recipe.second_stage(keep(training, views), keep(validation, Views()), outputs, variables)

    def _features(self) -> tuple[Cut, RowSource, RowSource]:
        """The cut, training and validation features; made on first use."""
        if self._made is None:
            self._made = self._make_features()
        return self._made

    def _make_features(self) -> tuple[Cut, RowSource, RowSource]:
        recipe = self._recipe
        training, validation = recipe.training_images(), recipe.validation_images()
        views = training.views
        cut = choose_cut(
            self._base,
            plain=not views.augmented,
            rows=training.count + validation.count,
            threads=recipe.threads,
            stored_bytes=recipe.stored_bytes,
        )
        recipe.closing.callback(cut.extractor.close)
        progress = _Rows(recipe, len(views.numbers) * training.count + validation.count)
        cache = self._cache(cut)
        if not views.numbers:
            return cut, FreshFeatures(cut.extractor, training), self._stored(cache, validation, progress)
        return cut, self._stored(cache, training, progress), self._stored(cache, validation, progress)

    def _stored(self, cache: FeatureCache, images: ImageRows, progress: _Rows) -> RowSource:
        stored = cache.store(images, on_rows=progress, should_stop=self._recipe.should_stop)
        for file in stored.files.values():
            self._recipe.closing.callback(file.close)
        return stored

    def _cache(self, cut: Cut) -> FeatureCache:
        request = self._recipe.request
        return FeatureCache(
            request.cache_folder,
            cut.extractor,
            self._recipe.base_sha256 or "",
            cut.name,
            request.impulse,
        )


class _Rows:
    """Counts extracted rows into progress events."""

    def __init__(self, recipe: Recipe, total: int) -> None:
        self._recipe, self._total, self._done = recipe, total, 0

    def __call__(self, more: int) -> None:
        self._done += more
        self._recipe.on_event(TrainingEvent("progress", step="features", done=self._done, total=self._total))


def last_layer(head: Any) -> Any:
    """The softmax layer."""
    return head.layers[-1]


def split_head(head: Any) -> tuple[list[Any], list[Any]]:
    """Layers up to the dropout, which do not change in Studio's second stage, and those from it on."""
    layers = head.layers[1:]
    names = [layer.name for layer in layers]
    at = names.index("dropout")
    return layers[:at], layers[at:]


def through(layers: list[Any], values: Tensor, training: bool) -> Tensor:
    """Apply layers in a row."""
    for layer in layers:
        values = layer(values, training=training) if layer.name == "dropout" else layer(values)
    return values


def _worth_keeping(function: Callable[[Tensor], Tensor], row_shape: tuple[int, ...], rows: int) -> bool:
    """Whether the function's outputs take fewer bytes than its inputs, and few enough for memory."""
    values = int(np.prod(function(tf.zeros((1, *row_shape))).shape))
    return values < int(np.prod(row_shape)) and 4 * values * rows <= KEPT_BYTES


def _kept(function: Callable[[Tensor], Tensor], rows: RowSource, views: Views) -> ArrayRows:
    """A frozen function's outputs for every stored view, in memory."""
    run = tf.function(function, input_signature=[tf.TensorSpec((None, *rows.row_shape))])
    arrays = {
        view: np.concatenate(
            [
                run(rows.read(places, max(view, 0))).numpy()
                for places in np.array_split(np.arange(rows.count), math.ceil(rows.count / 64))
            ]
        )
        for view in views.numbers
    }
    return ArrayRows(arrays, views)
