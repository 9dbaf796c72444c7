"""The networks that the trainer makes, small, as .tflite: weights made up, batch statistics of real passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ei_automation.schema.training import KerasLearnBlock, TransferLayer, TransferLayerType, TransferLearnBlock

Shape = tuple[int, int, int]
SEED = 3
CLASSES = 3
CALIBRATION_IMAGES = 6


def _settled(model: Any, shape: Shape) -> None:
    from ei_automation.trainer.made_up import settle

    settle(model, np.random.default_rng(SEED).random((16, *shape), np.float32))


def _transfer(layer: TransferLayerType, shape: Shape, neurons: int = 16) -> tuple[Any, Shape]:
    """A base with Studio's head."""
    from ei_automation.trainer.architectures.build import build_network

    visual = TransferLayer(type=layer, neurons=neurons, dropout_ratio=0.1)
    block = TransferLearnBlock(type="keras-transfer-image", visual_layer=visual)
    network = build_network(block, shape, CLASSES, seed=SEED)
    assert network.base is not None
    _settled(network.base.model, shape)
    return network.on_images(base_trains=False), shape


def _visual(layers: list[dict[str, Any]], shape: Shape) -> tuple[Any, Shape]:
    """A classifier of the visual editor."""
    from ei_automation.trainer.architectures.build import build_network

    block = KerasLearnBlock.model_validate({"type": "keras", "visual_layers": layers})
    network = build_network(block, shape, CLASSES, seed=SEED)
    _settled(network.head, shape)
    return network.on_images(base_trains=False), shape


def _conv2d(filters: int, size: int, pool: int = 2, stack: int = 1) -> dict[str, Any]:
    return {"type": "conv2d", "filters": filters, "kernel_size": size, "pool_size": pool, "stack": stack}


def _fomo(alpha: float, shape: Shape) -> tuple[Any, Shape]:
    """MobileNetV2 up to an eighth of the size, and a score for each cell, as FOMO is cut."""
    from ei_automation.trainer.architectures.mobilenet_v2 import build_base
    from ei_automation.trainer.tensorflow_door import keras

    base = build_base(shape, alpha)
    _settled(base, shape)
    cells = base.get_layer("block_6_expand_relu").output
    cells = keras.layers.Conv2D(32, 1, activation="relu")(cells)
    cells = keras.layers.Softmax()(keras.layers.Conv2D(CLASSES, 1)(cells))
    model = keras.Model(base.input, cells)
    return lambda images, training: model(images, training=training), shape


def _densenet(shape: Shape, layers: int, growth: int) -> tuple[Any, Shape]:
    """Two dense blocks: batch normalization that nothing folds, concatenations, a transition, a sigmoid."""
    from ei_automation.trainer.tensorflow_door import keras

    make = keras.layers
    inputs = keras.Input(shape)
    values = make.Conv2D(2 * growth, 3, strides=2, padding="same", use_bias=False)(make.ZeroPadding2D(1)(inputs))
    for _block in range(2):
        for _layer in range(layers):
            bottleneck = make.ReLU()(make.BatchNormalization()(values))
            bottleneck = make.Conv2D(2 * growth, 1, use_bias=False)(bottleneck)
            bottleneck = make.ReLU()(make.BatchNormalization()(bottleneck))
            grown = make.Conv2D(growth, 3, padding="same", use_bias=False)(bottleneck)
            values = make.Concatenate()([values, grown])
        values = make.ReLU()(make.BatchNormalization()(values))
        values = make.Conv2D(values.shape[3] // 2, 1, use_bias=False)(values)
        values = make.AveragePooling2D(2)(values)
    values = make.GlobalAveragePooling2D()(make.ReLU()(make.BatchNormalization()(values)))
    model = keras.Model(inputs, make.Dense(CLASSES, activation="sigmoid")(values))
    _settled(model, shape)
    return lambda images, training: model(images, training=training), shape


QUICK: dict[str, Callable[[], tuple[Any, Shape]]] = {
    "mobilenet_v1_01_32": lambda: _transfer("transfer_mobilenetv1_a1_d100", (32, 32, 3)),
    "mobilenet_v2_005_48_gray": lambda: _transfer("transfer_mobilenetv2_a05", (48, 48, 1), neurons=0),
    "conv2d_20": lambda: _visual([_conv2d(8, 3), _conv2d(16, 3), {"type": "dense", "neurons": 10}], (20, 20, 3)),
    "fomo_01_64": lambda: _fomo(0.1, (64, 64, 3)),
    "densenet_24": lambda: _densenet((24, 24, 3), layers=2, growth=4),
}
"""In every run."""

LONG: dict[str, Callable[[], tuple[Any, Shape]]] = {
    "mobilenet_v1_025_96": lambda: _transfer("transfer_mobilenetv1_a25_d100", (96, 96, 3)),
    "mobilenet_v1_02_65x47_gray": lambda: _transfer("transfer_mobilenetv1_a2_d100", (65, 47, 1)),
    "mobilenet_v2_035_96": lambda: _transfer("transfer_mobilenetv2_a35", (96, 96, 3)),
    "mobilenet_v2_01_50_gray": lambda: _transfer("transfer_mobilenetv2_a1", (50, 50, 1), neurons=0),
    "mobilenet_v2_05_160": lambda: _transfer("transfer_mobilenetv2_160_a5", (160, 160, 3)),
    "mobilenet_v2_1_64": lambda: _transfer("transfer_mobilenetv2_160_a1", (64, 64, 3)),
    "conv2d_stack_33": lambda: _visual(
        [_conv2d(7, 5, pool=3, stack=2), {"type": "batch_normalization"}, _conv2d(12, 3, pool=1)], (33, 33, 1)
    ),
    "fomo_035_96": lambda: _fomo(0.35, (96, 96, 3)),
    "densenet_96": lambda: _densenet((96, 96, 3), layers=3, growth=8),
}
"""Slow: larger ones, and odd sizes."""


@cache
def architecture(name: str, dtype: str) -> bytes:
    """The .tflite file of an architecture; made once a session.

    Args:
        name: A key of `QUICK` or `LONG`.
        dtype: int8 or float32.
    """
    forward, shape = _network(name)
    from ei_automation.trainer.convert import convert_float32, convert_int8
    from ei_automation.trainer.rows import ArrayRows

    if dtype == "float32":
        return convert_float32(forward, shape)
    images = np.random.default_rng(SEED).random((CALIBRATION_IMAGES, *shape), np.float32)
    return convert_int8(forward, ArrayRows({-1: images}))


@cache
def _network(name: str) -> tuple[Any, Shape]:
    from ei_automation.trainer.tensorflow_door import keras

    keras.utils.set_random_seed(SEED)
    return {**QUICK, **LONG}[name]()
