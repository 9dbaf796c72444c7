"""Tiny .tflite classifiers made of given weights, so that every score can be computed by hand."""

from __future__ import annotations

import numpy as np

from tests.compiler.models import ModelBuilder

INPUT_SCALE = 1 / 255
LOGITS_SCALE = 0.25


def float_model(shape: tuple[int, int, int], *layers: np.ndarray) -> bytes:
    """Fully connected layers (ReLU between them), then softmax.

    Args:
        shape: (height, width, channels).
        layers: float32 weights, (outputs, inputs) each.
    """
    build = ModelBuilder()
    start = at = build.tensor((1, *shape), "float32")
    for number, weights in enumerate(layers):
        inputs = [at, build.tensor(weights.shape, "float32", data=weights.astype(np.float32))]
        inputs.append(build.tensor((len(weights),), "float32", data=np.zeros(len(weights), np.float32)))
        at = build.tensor((1, len(weights)), "float32")
        activation = "relu" if number < len(layers) - 1 else "none"
        build.operator("FULLY_CONNECTED", inputs, at, activation=activation)
    end = build.tensor((1, len(layers[-1])), "float32")
    build.operator("SOFTMAX", [at], end, beta=1.0)
    return build.finish(start, end)


def int8_model(
    shape: tuple[int, int, int], weights: np.ndarray, *, scale: float = 0.05, input_scale: float = INPUT_SCALE
) -> bytes:
    """One fully connected int8 layer, then softmax, quantized as Studio's models are.

    Args:
        shape: (height, width, channels).
        weights: int8, (outputs, inputs).
        scale: Of the weights.
        input_scale: Studio's is 1/255.
    """
    build, outputs = ModelBuilder(), len(weights)
    start = build.tensor((1, *shape), "int8", (input_scale, -128))
    kernel = build.tensor(weights.shape, "int8", (scale, 0), weights.astype(np.int8))
    bias = build.tensor((outputs,), "int32", (input_scale * scale, 0), np.zeros(outputs, np.int32))
    logits = build.tensor((1, outputs), "int8", (LOGITS_SCALE, 0))
    end = build.tensor((1, outputs), "int8", (1 / 256, -128))
    build.operator("FULLY_CONNECTED", [start, kernel, bias], logits)
    build.operator("SOFTMAX", [logits], end, beta=1.0)
    return build.finish(start, end)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to one."""
    powers: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return total
