"""Builds .tflite files operator by operator: what a test wants to say of a model, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}
ACTIVATIONS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3, "tanh": 4}
OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "MEAN": "ReducerOptions",
    "CONCATENATION": "ConcatenationOptions",
    "SOFTMAX": "SoftmaxOptions",
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
}
VERSIONS = {
    "FULLY_CONNECTED": 4,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 3,
    "RESHAPE": 1,
    "HARD_SWISH": 1,
    "CUSTOM": 1,
}
"""The lowest that has int8 and all options used here; 2 for the others."""


class ModelBuilder:
    """Collects tensors, buffers and operators of one subgraph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.model.operatorCodes = []
        self._codes: dict[str, int] = {}

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str,
        quantization: tuple[float | Sequence[float], int] | None = None,
        data: Any = None,
        *,
        axis: int = 0,
    ) -> int:
        """Add a tensor.

        Args:
            shape: With the batch.
            dtype: A key of `TYPES`.
            quantization: Scale or scales, and the zero point of all of them.
            data: The values of a constant.
            axis: That of the scales, where there are several.

        Returns:
            Its index.
        """
        entry = schema.TensorT()
        entry.shape, entry.type, entry.buffer = list(shape), TYPES[dtype], 0
        entry.name = f"t{len(self.graph.tensors)}"
        if quantization is not None:
            entry.quantization = _parameters(*quantization, axis)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), dtype=np.uint8)
            entry.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(entry)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, inputs: Sequence[int], output: int, **options: Any) -> None:
        """Add an operator.

        Args:
            kind: Builtin name.
            inputs: Tensor indices; -1 for one that is left out.
            output: Tensor index.
            options: As the format's table names them, e.g. strideW=2; `activation` by name.
        """
        entry = schema.OperatorT()
        entry.opcodeIndex = self._code(kind)
        entry.inputs, entry.outputs = list(inputs), [output]
        if kind in OPTIONS:
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, OPTIONS[kind])
            entry.builtinOptions = getattr(schema, OPTIONS[kind] + "T")()
        if "activation" in options:
            options["fusedActivationFunction"] = ACTIVATIONS[options.pop("activation")]
        for name, value in options.items():
            assert hasattr(entry.builtinOptions, name), f"{kind} has no option {name}"
            setattr(entry.builtinOptions, name, value)
        self.graph.operators.append(entry)

    def custom(self, name: str, inputs: Sequence[int], output: int) -> None:
        """Add a custom operator."""
        self.operator("CUSTOM", inputs, output)
        self.model.operatorCodes[self._codes["CUSTOM"]].customCode = name

    def finish(self, inputs: int | Sequence[int], outputs: int | Sequence[int]) -> bytes:
        """The file's bytes."""
        self.graph.inputs = [inputs] if isinstance(inputs, int) else list(inputs)
        self.graph.outputs = [outputs] if isinstance(outputs, int) else list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, kind: str) -> int:
        if kind not in self._codes:
            entry = schema.OperatorCodeT()
            number = getattr(schema.BuiltinOperator, kind)
            # Numbers above 127 stand in the newer field only; readers take the larger of the two.
            entry.builtinCode, entry.deprecatedBuiltinCode = number, min(number, 127)
            entry.version = VERSIONS.get(kind, 2)
            self._codes[kind] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(entry)
        return self._codes[kind]


def _parameters(scales: float | Sequence[float], zero_point: int, axis: int) -> Any:
    entry = schema.QuantizationParametersT()
    entry.scale = [float(scales)] if isinstance(scales, int | float) else [float(scale) for scale in scales]
    entry.zeroPoint = [zero_point] * len(entry.scale)
    entry.quantizedDimension = axis
    return entry
