"""Small models of pictures: a classifier and FOMO's grid, quantized as Studio does or otherwise, and float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ei_automation.deployment.contents import BuildContents, DatasetSummary
from ei_automation.schema.impulse import ResizeMode
from ei_automation.schema.metrics import ModelVariant
from tests.compiler.models import ModelBuilder

LABELS = ("cat {a}", 'dög "b"', "none\\")
"""With everything that a client could stumble over: braces, quotes, a backslash, letters beyond ASCII."""
STUDIO_INPUT = (1 / 255, -128)


@dataclass(frozen=True)
class PictureModel:
    """What to build.

    Attributes:
        kind: A classifier, or FOMO's grid of an eighth of the size.
        shape: (height, width, channels).
        input: Scale and zero point; None for float32.
    """

    kind: Literal["classifier", "fomo"]
    shape: tuple[int, int, int]
    input: tuple[float, int] | None = STUDIO_INPUT

    @property
    def variant(self) -> ModelVariant:
        """Of its build."""
        return "int8" if self.input else "float32"


MODELS = {
    "rgb": PictureModel("classifier", (20, 24, 3)),
    "gray": PictureModel("classifier", (16, 16, 1)),
    "other scale": PictureModel("classifier", (12, 12, 3), (0.0051, -100)),
    "gray, other scale": PictureModel("classifier", (12, 12, 1), (0.0037, -120)),
    "float32": PictureModel("classifier", (12, 12, 3), None),
    "fomo": PictureModel("fomo", (64, 64, 3)),
    "fomo float32": PictureModel("fomo", (32, 48, 3), None),
}


class _Layers:
    """Convolutions of made-up weights, one after another."""

    def __init__(self, model: PictureModel) -> None:
        self.build, self.random, self.quantized = ModelBuilder(), np.random.default_rng(5), bool(model.input)
        self.shape, self.scale = (1, *model.shape), model.input[0] if model.input else 1.0
        self.start = self.at = self._tensor(self.shape, model.input)

    def conv(self, size: int, stride: int, filters: int, scale: float, zero_point: int = -128) -> None:
        """A convolution; scale and zero point are its output's."""
        _, height, width, channels = self.shape
        weight_scale = 0.006
        weights = self.random.integers(-127, 128, (filters, size, size, channels))
        bias_scale = self.scale * weight_scale
        bias = np.round(self.random.normal(0, 0.4, filters) / bias_scale)
        inputs = [
            self.at,
            self._tensor(weights.shape, (weight_scale, 0), weights, real=weight_scale),
            self._bias(bias, bias_scale),
        ]
        self.shape = (1, -(-height // stride), -(-width // stride), filters)
        self.at = self._tensor(self.shape, (scale, zero_point))
        activation = "relu" if zero_point == -128 else "none"
        options = {"strideW": stride, "strideH": stride, "activation": activation}
        self.build.operator("CONV_2D", inputs, self.at, **options)
        self.scale = scale

    def finish(self) -> bytes:
        """Softmax over the channels; the file."""
        end = self._tensor(self.shape, (1 / 256, -128))
        self.build.operator("SOFTMAX", [self.at], end, beta=1.0)
        return self.build.finish(self.start, end)

    def flatten(self) -> None:
        """From (1, 1, 1, n) to (1, n)."""
        self.shape = (1, self.shape[-1])
        at = self._tensor(self.shape, (self.scale, 0))
        wanted = self.build.tensor((2,), "int32", data=np.array(self.shape, np.int32))
        self.build.operator("RESHAPE", [self.at, wanted], at, newShape=list(self.shape))
        self.at = at

    def _tensor(
        self, shape: Any, quantization: tuple[float, int] | None, data: Any = None, real: float = 1.0
    ) -> int:
        if self.quantized:
            return self.build.tensor(shape, "int8", quantization, data)
        values = None if data is None else (data * real).astype(np.float32)
        return self.build.tensor(shape, "float32", data=values)

    def _bias(self, values: NDArray[np.float64], scale: float) -> int:
        if self.quantized:
            return self.build.tensor(values.shape, "int32", (scale, 0), values.astype(np.int32))
        return self.build.tensor(values.shape, "float32", data=(values * scale).astype(np.float32))


@cache
def model_file(model: PictureModel) -> bytes:
    """The .tflite file."""
    layers = _Layers(model)
    layers.conv(3, 2, 6, 0.02)
    layers.conv(3, 2, 8, 0.02)
    if model.kind == "fomo":
        layers.conv(3, 2, 8, 0.02)
        layers.conv(1, 1, len(LABELS) + 1, 0.05, 0)
        return layers.finish()
    _, height, width, _ = layers.shape
    assert height == width or model.shape == (20, 24, 3)
    layers.conv(max(height, width), max(height, width), len(LABELS), 0.05, 0)
    layers.flatten()
    return layers.finish()


def contents_of(model: PictureModel, resize_mode: ResizeMode = "fit-short") -> BuildContents:
    """What a build puts in."""
    labels = ("background", *LABELS) if model.kind == "fomo" else LABELS
    return BuildContents(
        project='Doors {1} "ö"',
        labels=labels,
        models={model.variant: model_file(model)},
        input_shape=model.shape,
        resize_mode=resize_mode,
        channels="RGB" if model.shape[2] == 3 else "Grayscale",
        dataset=DatasetSummary(origin="", split_method="", counts={}),
    )


def pictures(model: PictureModel, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures with large and small things in them: uint8, (count, height, width, 3), 0..255, RGB."""
    random = np.random.default_rng(seed)
    height, width, _ = model.shape
    coarse = random.integers(0, 256, (count, height // 4, width // 4, 3))
    fine = random.integers(-40, 41, (count, height, width, 3))
    blocks = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(blocks + fine, 0, 255).astype(np.uint8)


def model_input(model: PictureModel, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """A picture as the model's input, as Edge Impulse's SDK computes it.

    Args:
        model: Its input's type and quantization count.
        pixels: uint8, (height, width, 3).
    """
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    if model.input == STUDIO_INPUT:
        luma = (299 * red + 587 * green + 114 * blue + 500) // 1000
        whole = luma[..., None] if model.shape[2] == 1 else pixels.astype(np.int64)
        return (whole - 128).astype(np.int8)
    real = pixels.astype(np.float32) / np.float32(255)
    if model.shape[2] == 1:
        weights = [np.float32(weight) for weight in (0.299, 0.587, 0.114)]
        real = sum((weight * real[..., place] for place, weight in enumerate(weights)), np.float32(0))[..., None]
    if model.input is None:
        return real
    scale, zero_point = np.float32(model.input[0]), model.input[1]
    stored = np.floor((real / scale).astype(np.float64) + 0.5) + zero_point
    return np.clip(stored, -128, 127).astype(np.int8)
