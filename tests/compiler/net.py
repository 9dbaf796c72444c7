"""A network under construction: tensors with quantization, over the builder of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.compiler.models import ModelBuilder

FULL_STEPS = 40.0
"""A layer's outputs have about this standard deviation, in steps of int8."""


@dataclass(frozen=True)
class Value:
    """A tensor of the network being built."""

    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: float = 1.0
    zero_point: int = 0

    @property
    def is_float(self) -> bool:
        return self.dtype == "float32"

    @property
    def quantization(self) -> tuple[float, int] | None:
        return None if self.is_float else (self.scale, self.zero_point)


class Net:
    """A model under construction: a builder, random numbers, and the values so far."""

    def __init__(self, seed: int) -> None:
        self.build = ModelBuilder()
        self.random = np.random.default_rng(seed)
        self.values: list[Value] = []

    def value(
        self, shape: Sequence[int], dtype: str, scale: float = 1.0, zero_point: int = 0, data: Any = None
    ) -> Value:
        """A new tensor with one scale (float32: with none)."""
        made = Value(-1, tuple(shape), dtype, float(np.float32(scale)), zero_point)
        quantization = None if dtype in ("int32", "float32") else (made.scale, zero_point)
        index = self.build.tensor(shape, dtype, quantization, data)
        return Value(index, made.shape, dtype, made.scale, zero_point)

    def like(
        self, value: Value, shape: Sequence[int] | None = None, scale: float = 0, zero_point: int = 0
    ) -> Value:
        """A new tensor of the same type, and of the same quantization unless a scale is given."""
        if scale:
            return self.value(shape or value.shape, value.dtype, scale, zero_point)
        return self.value(shape or value.shape, value.dtype, value.scale, value.zero_point)

    def integers(self, values: Sequence[Any]) -> int:
        """A constant of int32, e.g. a shape."""
        array = np.array(values, np.int32)
        return self.build.tensor(array.shape, "int32", data=array)

    def apply(self, kind: str, inputs: Sequence[Any], output: Value, **options: Any) -> Value:
        """Add an operator; its output."""
        indices = [entry.index if isinstance(entry, Value) else entry for entry in inputs]
        self.build.operator(kind, indices, output.index, **options)
        return output

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """RESHAPE."""
        shape = tuple(shape)
        if shape == value.shape:
            return value
        return self.apply("RESHAPE", [value, self.integers(shape)], self.like(value, shape), newShape=list(shape))

    def requantize(self, value: Value, scale: float, zero_point: int) -> Value:
        """QUANTIZE from int8 to int8, where the quantization is another one."""
        made = self.like(value, None, scale, zero_point)
        same = value.is_float or value.quantization == made.quantization
        return value if same else self.apply("QUANTIZE", [value], made)
