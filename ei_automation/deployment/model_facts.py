"""What a .tflite file says about its input and output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from ei_automation.errors import VerificationError
from ei_automation.files import require_model_parts


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of a model.

    Attributes:
        shape: With the batch in front.
        dtype: int8, uint8, float32, ...
        scale: real = (integer - zero_point) * scale; 0.0 for float32.
        zero_point: 0 for float32.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class ModelFacts:
    """A model's one input and one output.

    Attributes:
        input: (1, height, width, channels).
        output: (1, labels), or (1, height, width, classes + 1) for FOMO.
    """

    input: TensorFacts
    output: TensorFacts

    @property
    def is_fomo(self) -> bool:
        """Whether it gives a grid of cells rather than one score a label."""
        return len(self.output.shape) == 4


def read_model_facts(model: bytes) -> ModelFacts:
    """Read them with LiteRT, which checks the whole file on the way.

    Args:
        model: Bytes of the .tflite file.

    Raises:
        VerificationError: The bytes are no .tflite model, or one with several inputs or outputs.
    """
    try:
        interpreter = _open(model)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise VerificationError(f"the .tflite model cannot be read: {error}") from error
    if len(inputs) != 1 or len(outputs) != 1:
        raise VerificationError(
            f"the .tflite model has {len(inputs)} inputs and {len(outputs)} outputs, one of each was expected"
        )
    return ModelFacts(_tensor(inputs[0]), _tensor(outputs[0]))


def is_whole(model: bytes) -> bool:
    """Whether LiteRT opens a .tflite file: all that it refers to lies inside. Bytes behind it do no harm."""
    try:
        _open(model)
    except (ValueError, RuntimeError):
        return False
    return True


def reference_output(model: bytes, values: NDArray[Any]) -> NDArray[Any]:
    """What LiteRT's reference kernels give: the judge of what compiled code must give.

    Args:
        model: Bytes of the .tflite file.
        values: In the type of its input; (N, height, width, channels).

    Returns:
        In the type of its output; (N, ...).
    """
    interpreter = Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for item in values:
        interpreter.set_tensor(place, item[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result)[0])
    return np.stack(outputs)


def _open(model: bytes) -> Interpreter:
    """Have LiteRT check and open a file.

    Raises:
        ValueError: It is no .tflite model, or not whole.
        RuntimeError: It holds what LiteRT does not know.
    """
    require_model_parts(model)
    return Interpreter(model_content=model, num_threads=1)


def _tensor(details: dict[str, Any]) -> TensorFacts:
    """From LiteRT's tensor details."""
    scale, zero_point = details["quantization"]
    shape = tuple(int(side) for side in details["shape"])
    return TensorFacts(shape, np.dtype(details["dtype"]).name, float(scale), int(zero_point))
