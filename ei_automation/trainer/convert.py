"""From a network to .tflite files: float32, and int8 that every Edge Impulse runtime can run.

The graph is frozen first (variables become constants) with a fixed batch of 1: converting a Keras 3 model in any
other way leaves shape arithmetic or variable reads in the file. Dense weights are quantized per tensor, because
the SDK's FULLY_CONNECTED uses the first scale only and is silently wrong with more.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ei_automation.errors import JobFailedError
from ei_automation.trainer.architectures.network import Forward
from ei_automation.trainer.features import stop_if
from ei_automation.trainer.request import Floats, ShouldStop
from ei_automation.trainer.rows import RowSource
from ei_automation.trainer.tensorflow_door import Tensor, convert_variables_to_constants_v2, tf

READ_ROWS = 64

Freeze = Callable[[Tensor], Tensor]


def frozen_converter(function: Freeze, shape: tuple[int, ...]) -> Any:
    """A TFLiteConverter over the function with its weights as constants.

    Args:
        function: From a batch of 1 to its result.
        shape: Of one input.
    """

    def network(x_input: Tensor) -> Tensor:
        return function(x_input)

    concrete = tf.function(network).get_concrete_function(tf.TensorSpec((1, *shape), name="x_input"))
    return tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(concrete)])


def convert_float32(forward: Forward, shape: tuple[int, ...]) -> bytes:
    """A float32 .tflite file.

    Args:
        forward: The network.
        shape: (height, width, channels).
    """
    return converted(lambda images: forward(images, False), shape)


def converted(function: Freeze, shape: tuple[int, ...]) -> bytes:
    """A float32 .tflite file of any function, e.g. of a base up to its cut."""
    with _quiet():
        return bytes(frozen_converter(function, shape).convert())


def convert_int8(
    forward: Forward,
    validation: RowSource,
    *,
    on_row: Callable[[int], None] = lambda _done: None,
    should_stop: ShouldStop = lambda: False,
) -> bytes:
    """An int8 .tflite file, int8 in and out, calibrated with every validation image, one at a time.

    Args:
        forward: The network.
        validation: Images, float32, 0..1.
        on_row: Gets the images done.
        should_stop: Asked after each image.

    Returns:
        The file; its input has scale 1/255 and zero point -128.

    Raises:
        JobFailedError: The converter did not give that input scale and zero point.
        InterruptedRunError: `should_stop` said so.
    """
    images = _Calibration(validation, on_row, should_stop)
    with _quiet():
        converter = frozen_converter(lambda batch: forward(batch, False), validation.row_shape)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images.samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.target_spec.supported_types = [tf.int8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        model = bytes(converter.convert())
    _require_image_input(model)
    return model


class _Calibration:
    """The representative set; its inputs are made to span 0..1 exactly.

    The int8 fast path of the SDK needs scale 1/255 and zero point -128, which calibration gives only when some
    image has a black and some a white value. Where none does, one more sample follows: the image of the
    widest range with its darkest value set to 0 and its brightest set to 1. Two changed values in one more image
    leave the ranges of the inner layers as they are, or nearly so.
    """

    def __init__(self, validation: RowSource, on_row: Callable[[int], None], should_stop: ShouldStop) -> None:
        self._validation, self._on_row, self._should_stop = validation, on_row, should_stop

    def samples(self) -> Iterator[list[Floats]]:
        """What the converter asks for."""
        low, high = 1.0, 0.0
        widest: Floats | None = None
        for done, image in enumerate(self._images(), start=1):
            stop_if(self._should_stop)
            low, high = min(low, float(image.min())), max(high, float(image.max()))
            if widest is None or np.ptp(image) > np.ptp(widest):
                widest = image
            yield [image[None]]
            self._on_row(done)
        if widest is not None and (low > 0.0 or high < 1.0):
            yield [spanning(widest)[None]]

    def _images(self) -> Iterator[Floats]:
        for start in range(0, self._validation.count, READ_ROWS):
            places = np.arange(start, min(start + READ_ROWS, self._validation.count))
            yield from np.clip(self._validation.read(places, 0), 0.0, 1.0)


def spanning(image: Floats) -> Floats:
    """The image with its darkest value at 0 and its brightest at 1."""
    changed = image.copy()
    changed.flat[int(image.argmin())] = 0.0
    changed.flat[int(image.size - 1 - image.ravel()[::-1].argmax())] = 1.0
    return changed


def _require_image_input(model: bytes) -> None:
    """The promise of `convert_int8`, checked on the file itself."""
    (details,) = Interpreter(model_content=model).get_input_details()
    scale, zero_point = details["quantization"]
    if np.float32(scale) != np.float32(1 / 255) or zero_point != -128:
        raise JobFailedError(
            f"the int8 model's input has scale {scale} and zero point {zero_point}, not 1/255 and -128",
            hint="this is a fault of the conversion; report it with the versions that `eiauto doctor` lists",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The converter warns of its own deprecated path, and of stateful parts it does not find: not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
