"""Healthy weights made up on the spot, for tests and benchmarks: no training, no download.

A network with purely random weights has activations that vanish, and int8 scales that no runtime accepts.
Here each batch normalization takes the statistics of what really passes through it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ei_automation.trainer.request import Floats
from ei_automation.trainer.tensorflow_door import keras


def settle(base: Any, images: Floats) -> None:
    """Give every batch normalization the mean and variance of its input over some images.

    Args:
        base: keras.Model.
        images: float32, (n, H, W, C), 0..1.
    """
    normalizations = [layer for layer in base.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    base(images, training=True)
    for layer, momentum in zip(normalizations, kept, strict=True):
        layer.momentum = momentum


def save_weights(base: Any, path: Path) -> None:
    """Write a base in the layout of keras.applications' weight files without top.

    Args:
        base: keras.Model.
        path: The .h5 file to write.
    """
    import h5py

    layers = [layer for layer in base.layers if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, variable in zip(names, layer.weights, strict=True):
                group[name] = variable.numpy()
