"""Tiny .tflite classifiers made of given weights, so that every score can be computed by hand."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FULLY_CONNECTED, SOFTMAX = schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOperator.SOFTMAX
TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
INPUT_SCALE = 1 / 255
LOGITS_SCALE = 0.25


class _Builder:
    """Collects tensors, buffers and operators of one subgraph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.model.operatorCodes = []
        for code in (FULLY_CONNECTED, SOFTMAX):
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = 4 if code == FULLY_CONNECTED else 2
            self.model.operatorCodes.append(entry)

    def tensor(
        self, shape: tuple[int, ...], dtype: str, quantization: tuple[float, int] | None = None, data: Any = None
    ) -> int:
        """Add a tensor; its index."""
        entry = schema.TensorT()
        entry.shape, entry.type, entry.buffer = list(shape), TYPES[dtype], 0
        entry.name = f"t{len(self.graph.tensors)}"
        if quantization is not None:
            parameters = schema.QuantizationParametersT()
            parameters.scale, parameters.zeroPoint = [quantization[0]], [quantization[1]]
            entry.quantization = parameters
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), dtype=np.uint8)
            entry.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(entry)
        return len(self.graph.tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, *, relu: bool = False) -> None:
        """Add an operator."""
        entry = schema.OperatorT()
        entry.opcodeIndex = (FULLY_CONNECTED, SOFTMAX).index(code)
        entry.inputs, entry.outputs = inputs, [output]
        if code == FULLY_CONNECTED:
            entry.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
            entry.builtinOptions = schema.FullyConnectedOptionsT()
            entry.builtinOptions.fusedActivationFunction = int(relu)
        else:
            entry.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
            entry.builtinOptions = schema.SoftmaxOptionsT()
            entry.builtinOptions.beta = 1.0
        self.graph.operators.append(entry)

    def finish(self, inputs: int, outputs: int) -> bytes:
        """The file's bytes."""
        self.graph.inputs, self.graph.outputs = [inputs], [outputs]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def float_model(shape: tuple[int, int, int], *layers: np.ndarray) -> bytes:
    """Fully connected layers (ReLU between them), then softmax.

    Args:
        shape: (height, width, channels).
        layers: float32 weights, (outputs, inputs) each.
    """
    build = _Builder()
    start = at = build.tensor((1, *shape), "float32")
    for number, weights in enumerate(layers):
        inputs = [at, build.tensor(weights.shape, "float32", data=weights.astype(np.float32))]
        inputs.append(build.tensor((len(weights),), "float32", data=np.zeros(len(weights), np.float32)))
        at = build.tensor((1, len(weights)), "float32")
        build.operator(FULLY_CONNECTED, inputs, at, relu=number < len(layers) - 1)
    end = build.tensor((1, len(layers[-1])), "float32")
    build.operator(SOFTMAX, [at], end)
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
    build, outputs = _Builder(), len(weights)
    start = build.tensor((1, *shape), "int8", (input_scale, -128))
    kernel = build.tensor(weights.shape, "int8", (scale, 0), weights.astype(np.int8))
    bias = build.tensor((outputs,), "int32", (input_scale * scale, 0), np.zeros(outputs, np.int32))
    logits = build.tensor((1, outputs), "int8", (LOGITS_SCALE, 0))
    end = build.tensor((1, outputs), "int8", (1 / 256, -128))
    build.operator(FULLY_CONNECTED, [start, kernel, bias], logits)
    build.operator(SOFTMAX, [logits], end)
    return build.finish(start, end)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to one."""
    powers: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return total
