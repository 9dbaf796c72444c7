"""Run a .tflite model over features, one single-threaded interpreter per core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.files import require_model_parts, storage_errors

Features = NDArray[np.float32]
Scores = NDArray[np.float32]

MODEL_HINT = "train again, or build the deployment again"
LARGEST_TENSOR_BYTES = 1 << 30
"""Beyond it a shape is rubbish: an image of 2048 x 2048 with 64 float32 channels has as many."""


@dataclass(frozen=True)
class Quantization:
    """How a tensor's integers stand for real numbers: real = (integer - zero_point) * scale.

    Attributes:
        dtype: int8, uint8 or float32.
        scale: 0.0 for float32.
        zero_point: 0 for float32.
    """

    dtype: str
    scale: float
    zero_point: int

    @classmethod
    def of(cls, details: dict[str, Any]) -> Quantization:
        """From LiteRT's tensor details."""
        scale, zero_point = details["quantization"]
        return cls(np.dtype(details["dtype"]).name, float(scale), int(zero_point))

    def quantize(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Real numbers to the tensor's type.

        Round half to even, then clip: what Studio does before it runs a model
        (ei_tensorflow/inference.py, process_input).
        """
        if self.dtype == "float32":
            return values
        limits = np.iinfo(self.dtype)
        return np.clip(np.around(values / self.scale + self.zero_point), limits.min, limits.max).astype(self.dtype)

    def dequantize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The tensor's type to real numbers."""
        if self.dtype == "float32":
            return values
        return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


def read_model(model: bytes | Path) -> bytes:
    """The model's bytes, from a file where a path is given.

    Raises:
        NotFoundError: There is no such file.
    """
    if isinstance(model, bytes):
        return model
    if not model.is_file():
        raise NotFoundError(f"there is no model at {model}", hint=MODEL_HINT)
    with storage_errors(model, "reading a model"):
        return model.read_bytes()


def open_interpreter(model: bytes, *, keep_all_tensors: bool = False) -> Any:
    """A LiteRT interpreter on one thread, tensors allocated.

    Args:
        model: Bytes of the .tflite file.
        keep_all_tensors: Whether the values inside the network can be read after a run.

    Raises:
        VerificationError: The bytes are no model that LiteRT can run.
    """
    # A delegate computes whole stretches of the network and leaves no values in between.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_all_tensors else OpResolverType.AUTO
    try:
        require_model_parts(model)
        interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=keep_all_tensors,
        )
        _require_sane_sizes(interpreter)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise VerificationError(f"the .tflite model cannot be used: {error}", hint=MODEL_HINT) from error
    return interpreter


def _require_sane_sizes(interpreter: Any) -> None:
    """Refuse a model whose tensors would take all memory, and with it the whole process.

    Raises:
        ValueError: As LiteRT does for other damage.
    """
    for details in interpreter.get_tensor_details():
        size = math.prod(int(side) for side in details["shape"]) * np.dtype(details["dtype"]).itemsize
        if size > LARGEST_TENSOR_BYTES:
            raise ValueError(f"tensor {details['name']} would take {size:,} bytes")


class Worker:
    """One interpreter; used by one thread at a time.

    Args:
        model: Bytes of the .tflite file.
        tensor_index: The tensor to read after each run; None for the model's output.

    Raises:
        VerificationError: The bytes are no model with one image input and a supported type.
    """

    def __init__(self, model: bytes, tensor_index: int | None = None) -> None:
        self._interpreter = open_interpreter(model, keep_all_tensors=tensor_index is not None)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise VerificationError(
                "the .tflite model is no image classifier: one input (1, height, width, channels) and one output "
                f"were expected, it has {len(inputs)} and {len(outputs)}"
            )
        self._input_index = inputs[0]["index"]
        self.input_shape: tuple[int, ...] = tuple(int(side) for side in inputs[0]["shape"][1:])
        self.input_quantization = Quantization.of(inputs[0])
        details = outputs[0] if tensor_index is None else self._details(tensor_index)
        self._read_index = details["index"]
        self.output_shape: tuple[int, ...] = tuple(int(side) for side in details["shape"][1:])
        self.output_count = int(np.prod(details["shape"]))
        self.output_quantization = Quantization.of(details)
        for quantization in (self.input_quantization, self.output_quantization):
            if quantization.dtype not in ("int8", "uint8", "float32"):
                raise VerificationError(
                    f"the .tflite model uses {quantization.dtype}; int8, uint8 or float32 were expected"
                )

    def _details(self, tensor_index: int) -> dict[str, Any]:
        """LiteRT's details of any tensor."""
        found: dict[str, Any] = next(
            tensor for tensor in self._interpreter.get_tensor_details() if tensor["index"] == tensor_index
        )
        return found

    def run(self, features: Features) -> NDArray[np.float32]:
        """Run the model on each sample in turn.

        Args:
            features: float32, (N, H, W, C), 0..1.

        Returns:
            float32, (N, output_count).
        """
        quantized = self.input_quantization.quantize(features)
        raw = np.empty((len(quantized), self.output_count), dtype=self.output_quantization.dtype)
        for row, sample in enumerate(quantized):
            self._interpreter.set_tensor(self._input_index, sample[np.newaxis])
            self._interpreter.invoke()
            raw[row] = self._interpreter.get_tensor(self._read_index).reshape(-1)
        return self.output_quantization.dequantize(raw)


def run_workers(workers: Sequence[Worker], features: Features) -> NDArray[np.float32]:
    """Share samples among workers, one thread each; the order of the rows is that of the samples.

    LiteRT frees the interpreter lock while it computes, so threads scale as processes would. Each sample is
    run alone on one thread, so the result does not depend on how many workers there are.

    Args:
        workers: At least one.
        features: float32, (N, H, W, C), 0..1.

    Raises:
        VerificationError: The features' shape is not the model's.
    """
    expected = workers[0].input_shape
    if features.ndim != 4 or features.shape[1:] != expected:
        raise VerificationError(
            f"the model takes images of {expected} (height, width, channels), "
            f"the features are {features.shape[1:]}",
            hint="the model belongs to another impulse; train again",
        )
    features = np.ascontiguousarray(features, dtype=np.float32)
    if len(workers) == 1 or len(features) < 2:
        return workers[0].run(features)
    pieces = np.array_split(features, len(workers))
    with ThreadPoolExecutor(len(workers)) as pool:
        return np.concatenate(list(pool.map(lambda job: job[0].run(job[1]), zip(workers, pieces, strict=True))))


class Classifier:
    """A .tflite image classifier. Not shared between threads.

    Args:
        model: Bytes of the .tflite file, or where it is.
        threads: Interpreters that run side by side; one per core is best.

    Attributes:
        input_shape: (height, width, channels).
        output_count: Scores a sample gets; one per label.
        output_shape: (labels,), or (rows, columns, labels) of a network that looks for objects.
        input_quantization: Type, scale and zero point of the input.
        output_quantization: Type, scale and zero point of the output.

    Raises:
        NotFoundError: There is no such file.
        VerificationError: The model is corrupt or no image classifier.
    """

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        content = read_model(model)
        self._workers = [Worker(content) for _ in range(max(1, threads))]
        first = self._workers[0]
        self.input_shape = first.input_shape
        self.output_count = first.output_count
        self.output_shape = first.output_shape
        self.input_quantization = first.input_quantization
        self.output_quantization = first.output_quantization

    def scores(self, features: Features) -> Scores:
        """Classify samples.

        Args:
            features: float32, (N, H, W, C), 0..1.

        Returns:
            float32, (N, K), 0..1: a score for each label.

        Raises:
            VerificationError: The features' shape is not the model's.
        """
        return run_workers(self._workers, features)
