"""The nouns between an operator and the C that computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.graph import Operator

CType = Literal["int8_t", "uint8_t", "int16_t", "int32_t", "uint32_t", "float"]
Streaming = Literal["rows", "accumulate", "whole"]
"""rows: makes any range of output rows from the rows they need. accumulate: takes input rows in order, a range a
call, and writes its whole output with the last one. whole: needs its whole input and makes its whole output in one
call."""
RowRange = tuple[int, int]
"""First row and the one after the last, clipped to the tensor."""


@dataclass(frozen=True, eq=False)
class Constant:
    """An array in flash.

    Attributes:
        name: Ends its C name, e.g. `weights`.
        c_type: Of its elements.
        values: One axis; written in this order.
        comment: What it is, for the generated file.
        alignment: Bytes; 1 where the element's own is enough.
    """

    name: str
    c_type: CType
    values: NDArray[Any]
    comment: str = ""
    alignment: int = 1

    @property
    def bytes(self) -> int:
        """Size in flash."""
        return int(self.values.size) * {"int8_t": 1, "uint8_t": 1, "int16_t": 2}.get(self.c_type, 4)


@dataclass(frozen=True)
class Field:
    """A member of a kernel's parameter struct.

    Attributes:
        name: As in the C struct; written as a comment beside the value.
        value: An integer, a float32, a constant (its address), or None (a null pointer).
        c_type: Of an integer, as in the C struct; `bind_operator` refuses what it does not hold.
    """

    name: str
    value: int | float | Constant | None
    c_type: CType = "int32_t"

    @property
    def limits(self) -> tuple[int, int] | None:
        """Lowest and highest value of an integer; None for all others."""
        if not isinstance(self.value, int | np.integer):
            return None
        found = np.iinfo(self.c_type.removesuffix("_t"))
        return int(found.min), int(found.max)


@dataclass(frozen=True, eq=False)
class KernelCall:
    """One operator as a call of a kernel.

    Attributes:
        operator: What it computes.
        header: File under `kernels/` that has the function.
        function: Name of the C function.
        struct: C type of its parameters.
        fields: The parameters, in the order of the C struct.
        inputs: Tensor indices of its views, in the order in which the kernel takes them (no constants).
        output: Tensor index.
        streaming: How it can be taken apart.
        needs: For each input, for each output row, the input rows it needs. Of an `accumulate` kernel and of a
            `whole` one: all rows.
        scratch_bytes: Working memory, 4-byte aligned. Of an `accumulate` kernel it holds the sums from the first
            call to the last; of all others nothing survives a call.
        in_place: Positions in `inputs` that the output may overwrite: output row y may lie where input row y lay.
    """

    operator: Operator
    header: str
    function: str
    struct: str
    fields: tuple[Field, ...]
    inputs: tuple[int, ...]
    output: int
    streaming: Streaming
    needs: tuple[tuple[RowRange, ...], ...]
    scratch_bytes: int = 0
    in_place: tuple[int, ...] = ()

    @property
    def constants(self) -> tuple[Constant, ...]:
        """The arrays that its parameters point to."""
        return tuple(field.value for field in self.fields if isinstance(field.value, Constant))


def window_rows(
    height_out: int, height_in: int, *, stride: int, size: int, padding: int, dilation: int = 1
) -> tuple[RowRange, ...]:
    """The input rows under a sliding window, for each output row.

    Args:
        height_out: Output rows.
        height_in: Input rows.
        stride: Rows between windows.
        size: Taps of the window.
        padding: Rows added above the input.
        dilation: Rows between taps.
    """
    reach = (size - 1) * dilation + 1
    starts = (row * stride - padding for row in range(height_out))
    return tuple((min(max(start, 0), height_in), max(0, min(start + reach, height_in))) for start in starts)


def same_rows(height: int) -> tuple[RowRange, ...]:
    """Each output row needs the input row of its number."""
    return tuple((row, row + 1) for row in range(height))


def all_rows(height_out: int, height_in: int) -> tuple[RowRange, ...]:
    """Each output row needs the whole input."""
    return ((0, height_in),) * height_out
