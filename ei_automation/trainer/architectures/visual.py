"""The visual editor's image classifier: layers in the order the manifest gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ei_automation.errors import UsageError
from ei_automation.schema.training import (
    BatchNormalizationLayer,
    Conv2dLayer,
    DenseLayer,
    DropoutLayer,
    FlattenLayer,
    KerasLearnBlock,
)
from ei_automation.trainer.architectures.head import glorot, scores
from ei_automation.trainer.tensorflow_door import keras

MAX_NORM = 1.0
"""Studio's scripts constrain each convolution's kernels: `kernel_constraint=tf.keras.constraints.MaxNorm(1)`."""


def build_visual(block: KerasLearnBlock, shape: tuple[int, int, int], classes: int, *, seed: int) -> Any:
    """The whole network.

    Args:
        block: The visual layers; a flatten is added where none of them flattens.
        shape: (height, width, channels).
        classes: Outputs.
        seed: Of the initial weights and of the dropout.

    Returns:
        keras.Model; its last layer is `y_pred`.

    Raises:
        UsageError: A layer cannot follow the one before it.
    """
    inputs = keras.Input(shape, name="x_input")
    outputs = inputs
    for index, layer in enumerate(block.visual_layers):
        if len(outputs.shape) != 4 and isinstance(layer, Conv2dLayer):
            raise UsageError(
                f"visual layer {index + 1} (conv2d) follows a layer that has left the image plane",
                hint="put conv2d layers before flatten and dense",
            )
        if len(outputs.shape) == 4 and isinstance(layer, DenseLayer):
            outputs = keras.layers.Flatten(name=f"flatten_{index}")(outputs)
        for made in _keras_layers(layer, index, seed):
            outputs = made(outputs)
    if len(outputs.shape) == 4:
        outputs = keras.layers.Flatten(name="flatten")(outputs)
    outputs = scores(classes, seed + len(block.visual_layers))(outputs)
    return keras.Model(inputs, outputs, name="classifier")


def _keras_layers(layer: Any, index: int, seed: int) -> Iterator[Any]:
    """What one visual layer stands for."""
    layers = keras.layers
    match layer:
        case Conv2dLayer():
            yield from _convolutions(layer, index, seed + index)
        case DenseLayer():
            yield layers.Dense(
                layer.neurons, activation="relu", kernel_initializer=glorot(seed + index), name=f"dense_{index}"
            )
        case DropoutLayer():
            yield layers.Dropout(layer.dropout_ratio, seed=seed + index, name=f"dropout_{index}")
        case FlattenLayer():
            yield layers.Flatten(name=f"flatten_{index}")
        case BatchNormalizationLayer():
            yield layers.BatchNormalization(name=f"batch_normalization_{index}")


def _convolutions(layer: Conv2dLayer, index: int, seed: int) -> Iterator[Any]:
    """`stack` convolutions, then the pooling."""
    for number in range(layer.stack):
        yield keras.layers.Conv2D(
            layer.filters,
            layer.kernel_size,
            padding="same",
            activation="relu",
            kernel_constraint=keras.constraints.MaxNorm(MAX_NORM),
            kernel_initializer=glorot(seed + 1000 * number),
            name=f"conv2d_{index}_{number}",
        )
    if layer.pool_size > 1:
        yield keras.layers.MaxPooling2D(
            layer.pool_size, strides=layer.pool_size, padding="same", name=f"max_pooling2d_{index}"
        )
