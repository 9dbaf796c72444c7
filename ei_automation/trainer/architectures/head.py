"""The classification head of Studio's transfer learning block."""

from __future__ import annotations

from typing import Any

from ei_automation.trainer.tensorflow_door import keras


def classification_head(
    shape: tuple[int, int, int], classes: int, *, neurons: int, dropout_ratio: float, seed: int
) -> Any:
    """Reshape to positions, optional dense layer for each position, dropout, flatten, softmax.

    As in Studio's generated scripts: the dense layer is applied per spatial position, before the map is
    flattened. Names and seeds are fixed so that equal requests give equal bytes.

    Args:
        shape: (height, width, channels) of the base's output.
        classes: Outputs.
        neurons: Of the dense layer; 0 for none.
        dropout_ratio: 0..1.
        seed: Of the initial weights and of the dropout.

    Returns:
        keras.Model; its last layer is `y_pred`.
    """
    layers = keras.layers
    inputs = keras.Input(shape, name="head_input")
    outputs = layers.Reshape((-1, shape[2]), name="positions")(inputs)
    if neurons:
        outputs = layers.Dense(neurons, activation="relu", kernel_initializer=glorot(seed), name="dense")(outputs)
    outputs = layers.Dropout(dropout_ratio, seed=seed, name="dropout")(outputs)
    outputs = layers.Flatten(name="flatten")(outputs)
    outputs = scores(classes, seed + 1)(outputs)
    return keras.Model(inputs, outputs, name="head")


def glorot(seed: int) -> Any:
    """Keras' default initial weights, with a seed of their own instead of a global one."""
    return keras.initializers.GlorotUniform(seed=seed)


def scores(classes: int, seed: int) -> Any:
    """The last layer of every classifier."""
    return keras.layers.Dense(classes, activation="softmax", kernel_initializer=glorot(seed), name="y_pred")
