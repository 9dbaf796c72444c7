"""The bytes of a .tflite file to a `Graph`.

Refuses what a `Graph` cannot say: unknown operators and types, several inputs, damaged files. What the kernels ask
for beyond that is `check`'s business.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NoReturn

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ei_automation.compiler.graph import ITEM_BYTES, DType, Graph, Operator, Quantization, Tensor
from ei_automation.compiler.options import DAMAGED_HINT, READERS, RawOperator, read_options
from ei_automation.errors import VerificationError

IDENTIFIER = b"TFL3"
"""Bytes 4..7 of every .tflite file (schema.fbs, file_identifier)."""
DTYPES: dict[int, DType] = {
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
    schema.TensorType.FLOAT32: "float32",
}
LARGEST_TENSOR_BYTES = 1 << 28
"""256 MB; beyond it a shape is rubbish, and sizes would leave 32 bits in the generated C."""
FREE_SHAPE_HINT = (
    "the model was converted with a free batch or image size; fix both, e.g. "
    "keras.Input(batch_shape=(1, 96, 96, 3)), and convert it again"
)
SHAPE_KINDS = frozenset(
    {"SHAPE", "STRIDED_SLICE", "PACK", "GATHER", "REDUCE_PROD", "SLICE", "FILL", "RANGE", "RANK", "WHILE", "IF"}
)
"""What a converter writes to compute shapes while the model runs."""
READER_ERRORS = (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError)
"""What the generated flatbuffer reader raises on bytes that are no model."""


def _names(enumeration: type) -> dict[int, str]:
    """Number to name of a generated enumeration."""
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}


KIND_NAMES = _names(schema.BuiltinOperator)
TYPE_NAMES = _names(schema.TensorType)


def read_graph(model: bytes, name: str = "model") -> Graph:
    """Read a model.

    Args:
        model: Content of the .tflite file.
        name: For errors and comments, e.g. the file's name.

    Raises:
        VerificationError: The bytes are no whole .tflite file, or hold what cannot be compiled.
    """
    if len(model) < 8 or model[4:8] != IDENTIFIER:
        raise VerificationError(f"{name} is no .tflite file: its identifier is not TFL3", hint=DAMAGED_HINT)
    try:
        with np.errstate(invalid="ignore"):  # scales that are no numbers; they are refused
            return _Reader(bytes(model), name).graph()
    except READER_ERRORS as error:
        raise VerificationError(f"{name} cannot be read: {error}", hint=DAMAGED_HINT) from error


class _Reader:
    """One pass over a file; tensors are read when an operator names them."""

    def __init__(self, model: bytes, name: str) -> None:
        self.model, self.name = model, name
        self.root: Any = schema.Model.GetRootAs(model, 0)
        if self.root.SubgraphsLength() != 1:
            self.refuse(
                f"it has {self.root.SubgraphsLength()} subgraphs; one is supported",
                "convert it without control flow (if, while) and with one signature",
            )
        self.subgraph: Any = self.root.Subgraphs(0)
        self.tensors: dict[int, Tensor] = {}

    def refuse(self, problem: str, hint: str = DAMAGED_HINT) -> NoReturn:
        raise VerificationError(f"{self.name}: {problem}", hint=hint)

    def graph(self) -> Graph:
        """The whole graph."""
        ends = {"inputs": self.subgraph.InputsLength(), "outputs": self.subgraph.OutputsLength()}
        for what, count in ends.items():
            if count != 1:
                self.refuse(f"it has {count} {what}; one is supported", "convert a model with one of each")
        count = self.subgraph.OperatorsLength()
        if not 0 < count <= len(self.model):
            self.refuse(f"it has {count} operators")
        graph_input, graph_output = int(self.subgraph.Inputs(0)), int(self.subgraph.Outputs(0))
        operators = tuple(self.operator(place) for place in range(count))
        for index in (graph_input, graph_output):
            self.tensor(index, "the model's input or output")
        return Graph(
            name=self.name,
            tensors=self.tensors,
            operators=operators,
            input=graph_input,
            output=graph_output,
        )

    def operator(self, place: int) -> Operator:
        """The operator at a place of the file."""
        table: Any = self.subgraph.Operators(place)
        kind = self.kind(int(table.OpcodeIndex()))
        outputs = [int(table.Outputs(position)) for position in range(table.OutputsLength())]
        where = f"{kind} (operator {place} of {self.name})"
        if kind not in READERS:
            raise VerificationError(
                f"{where}: this operator is not supported",
                hint=FREE_SHAPE_HINT if kind in SHAPE_KINDS else f"supported are {', '.join(sorted(READERS))}",
            )
        if len(outputs) != 1 or outputs[0] < 0:
            raise VerificationError(f"{where}: it has {len(outputs)} outputs", hint=DAMAGED_HINT)
        output = self.tensor(outputs[0], where)
        where = f'{kind} (operator {place} of {self.name}, "{output.name}")'
        indices = tuple(int(table.Inputs(position)) for position in range(table.InputsLength()))
        inputs = tuple(None if index == -1 else self.tensor(index, where) for index in indices)
        raw = RawOperator(where=where, kind=kind, table=table, inputs=inputs, output=output)
        options = read_options(raw)
        return Operator(place, "PAD" if kind == "PADV2" else kind, indices, outputs[0], options)

    def kind(self, index: int) -> str:
        """An operator's builtin name, or the name of a custom one."""
        if not 0 <= index < self.root.OperatorCodesLength():
            self.refuse(f"an operator has code {index} of {self.root.OperatorCodesLength()}")
        code: Any = self.root.OperatorCodes(index)
        # Old files hold the code in the deprecated byte, new ones in both (LiteRT schema, OperatorCode).
        number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
        if number == schema.BuiltinOperator.CUSTOM:
            return f"CUSTOM {_text(code.CustomCode())}"
        return KIND_NAMES.get(number, f"BUILTIN {number}")

    def tensor(self, index: int, where: str) -> Tensor:
        """The tensor of an index, read once."""
        if index not in self.tensors:
            if not 0 <= index < self.subgraph.TensorsLength():
                self.refuse(f"{where} names tensor {index} of {self.subgraph.TensorsLength()}")
            self.tensors[index] = self.read_tensor(index, where)
        return self.tensors[index]

    def read_tensor(self, index: int, where: str) -> Tensor:
        """Read one tensor."""
        table: Any = self.subgraph.Tensors(index)
        name = _text(table.Name())
        where = f'{where}: tensor {index} "{name}"'
        number = int(table.Type())
        if number not in DTYPES:
            raise VerificationError(
                f"{where} is {TYPE_NAMES.get(number, number)}; supported are int8 and float32",
                hint="convert the model to full int8 (weights and activations) or to plain float32",
            )
        if table.Sparsity() is not None or table.IsVariable():
            raise VerificationError(
                f"{where} is sparse or a variable", hint="convert the model without sparsity and without state"
            )
        dtype, shape = DTYPES[number], self.shape(table, where)
        if prod(shape) * ITEM_BYTES[dtype] > LARGEST_TENSOR_BYTES:
            raise VerificationError(f"{where} has shape {shape}, which is too large", hint=DAMAGED_HINT)
        data = self.data(int(table.Buffer()), shape, dtype, where)
        # Runtimes do not look at the scale that some converters leave on a float32 tensor.
        quantization = None if dtype == "float32" else self.quantization(table, where)
        return Tensor(index, name, shape, dtype, quantization, data)

    def shape(self, table: Any, where: str) -> tuple[int, ...]:
        """A tensor's shape. A free batch (-1 in the signature's first place) is run as what the shape says: 1."""
        shape = tuple(int(table.Shape(axis)) for axis in range(table.ShapeLength()))
        signature = tuple(int(table.ShapeSignature(axis)) for axis in range(table.ShapeSignatureLength()))
        if any(size < 0 for size in (*shape, *signature[1:])):
            raise VerificationError(f"{where} has a free shape {signature or shape}", hint=FREE_SHAPE_HINT)
        if any(size == 0 for size in shape) or len(shape) > 6:
            raise VerificationError(f"{where} has shape {shape}", hint=DAMAGED_HINT)
        return shape

    def data(self, buffer: int, shape: tuple[int, ...], dtype: DType, where: str) -> np.ndarray[Any, Any] | None:
        """A constant's values; None for what is computed (buffer 0 is the empty one).

        They are a view of the file: many tensors may share a buffer.
        """
        if not 0 <= buffer < self.root.BuffersLength():
            raise VerificationError(f"{where} has buffer {buffer}, which is not there", hint=DAMAGED_HINT)
        table: Any = self.root.Buffers(buffer)
        if table.Offset() > 1:
            raise VerificationError(
                f"{where} lies outside the flatbuffer", hint="convert the model again, under 2 GB"
            )
        if buffer == 0 or table.DataIsNone() or table.DataLength() == 0:
            return None
        values: np.ndarray[Any, Any] = table.DataAsNumpy()
        wanted = prod(shape) * ITEM_BYTES[dtype]
        if len(values) != wanted:
            raise VerificationError(f"{where} has {len(values)} bytes; {wanted} were expected", hint=DAMAGED_HINT)
        stored = np.dtype(dtype).newbyteorder("<")
        return values.view(stored).astype(dtype, copy=False).reshape(shape)

    def quantization(self, table: Any, where: str) -> Quantization | None:
        """A tensor's scales and zero points; None where it has none."""
        found: Any = table.Quantization()
        count = 0 if found is None else int(found.ScaleLength())
        if count == 0:
            return None
        scales = tuple(np.atleast_1d(found.ScaleAsNumpy()).astype(np.float64).tolist())
        zero_points = tuple(int(found.ZeroPoint(position)) for position in range(found.ZeroPointLength()))
        zero_points = (zero_points or (0,)) * (count if len(zero_points) <= 1 else 1)
        if len(zero_points) != count or not all(0 < scale < np.inf for scale in scales):
            raise VerificationError(f"{where} has scales and zero points that cannot be", hint=DAMAGED_HINT)
        return Quantization(scales, zero_points, int(found.QuantizedDimension()))


def _text(value: bytes | None) -> str:
    """A name of the file, fit for a comment and a terminal."""
    text = (value or b"").decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)
