"""What the bind functions of the simple operators share: operands, broadcasting, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NoReturn, cast

import numpy as np

from ei_automation.compiler.bind.calls import Constant, CType, Field, KernelCall, RowRange, all_rows, same_rows
from ei_automation.compiler.graph import ITEM_BYTES, Activation, ActivationOptions, Graph, Operator, Tensor
from ei_automation.compiler.quantize import ScaleError, activation_range, rescale_factor
from ei_automation.errors import VerificationError

SCALE_HINT = "convert the model again, with a representative data set"
"""What to do about scales that do not go together."""


def refuse(graph: Graph, operator: Operator, problem: str, hint: str = "") -> NoReturn:
    """Raise a `VerificationError` that names the operator and its place."""
    raise VerificationError(f"{graph.name}: {graph.describe(operator)}: {problem}", hint=hint)


def tensors(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor]:
    """The first input and the output."""
    return graph.tensor(operator.inputs[0]), graph.tensor(operator.output)


def image_pair(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor]:
    """The first input and the output of an operator that works on images (1, height, width, channels)."""
    source, target = tensors(graph, operator)
    for tensor in (source, target):
        if len(tensor.shape) != 4:
            refuse(graph, operator, f"tensor {tensor.name} has shape {tensor.shape}; an image was expected")
    return source, target


def same_shape_pair(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor]:
    """The first input and the output of an operator that goes value by value."""
    source, target = tensors(graph, operator)
    if (source.rows.height, source.count) != (target.rows.height, target.count):
        refuse(graph, operator, f"input shape {source.shape} and output shape {target.shape} differ")
    return source, target


def activation_limits(graph: Graph, operator: Operator, activation: Activation) -> tuple[int, int]:
    """Lowest and highest int8 value that the fused activation lets pass.

    Raises:
        VerificationError: The output's scale is so small that a bound is no 32-bit integer.
    """
    try:
        return activation_range(activation, graph.tensor(operator.output).q)
    except ValueError as error:
        refuse(graph, operator, f"its activation {activation} cannot be quantized: {error}")


def fused(operator: Operator) -> Activation:
    """The fused activation of ADD, SUB, MUL or FULLY_CONNECTED."""
    assert isinstance(operator.options, ActivationOptions)
    return operator.options.activation


def float_limits(activation: Activation) -> tuple[float, float]:
    """Lowest and highest float32 that a fused activation lets pass (`CalculateActivationRange` of kernel_util.h).

    Without one, infinities become the largest floats, as there.
    """
    largest = float(np.finfo(np.float32).max)
    limits: dict[Activation, tuple[float, float]] = {
        "none": (-largest, largest),
        "relu": (0.0, largest),
        "relu6": (0.0, 6.0),
        "relu_n1_to_1": (-1.0, 1.0),
    }
    return limits[activation]


def fields(c_type: CType = "int32_t", /, **values: int | float | Constant | None) -> tuple[Field, ...]:
    """The members of a struct, in their order.

    Args:
        c_type: Of those that are integers.
        values: Of each member, by its name in C.
    """
    return tuple(Field(name, value, c_type) for name, value in values.items())


def refuse_what_a_struct_cannot_hold(graph: Graph, call: KernelCall) -> None:
    """Refuse a call with a number that does not fit its member of the kernel's struct.

    Raises:
        VerificationError: Names the member, its value and its limits.
    """
    for field in call.fields:
        if field.limits is None or field.limits[0] <= cast(int, field.value) <= field.limits[1]:
            continue
        bound = field.limits[cast(int, field.value) > 0]
        refuse(
            graph, call.operator,
            f"its {field.name} of {field.value} is too large for the kernel: {bound} at most",
            "use a smaller image, or fewer channels, or a smaller window",
        )  # fmt: skip


def factor_of(graph: Graph, operator: Operator, real: float) -> tuple[int, int]:
    """Multiplier and shift between two scales (`rescale_factor`).

    Raises:
        VerificationError: The scales are too far apart.
    """
    try:
        return rescale_factor(real)
    except ScaleError as error:
        refuse(graph, operator, str(error), SCALE_HINT)


@dataclass(frozen=True, eq=False)
class Operands:
    """The two inputs of ADD, SUB or MUL, sorted: the first has the output's shape and is computed.

    Attributes:
        first: Computed, of the output's shape.
        second: Computed or constant; of the output's shape, or repeated along some axes.
        swapped: Whether the file has them the other way round.
        width: Pixels of a row, 1 where pixels and channels can be walked as one.
        channels: Values of a pixel.
        steps: How far the second goes from row to row, pixel to pixel, channel to channel: 0 where it is repeated.
    """

    first: Tensor
    second: Tensor
    swapped: bool
    width: int
    channels: int
    steps: tuple[int, int, int]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tensor indices of the kernel's views."""
        return (self.first.index,) if self.second.is_constant else (self.first.index, self.second.index)

    @property
    def needs(self) -> tuple[tuple[RowRange, ...], ...]:
        """Rows of each view for each output row."""
        height = self.first.rows.height
        whole = same_rows(height) if self.steps[0] else all_rows(height, self.second.rows.height)
        return (same_rows(height),) if self.second.is_constant else (same_rows(height), whole)

    @property
    def in_place(self) -> tuple[int, ...]:
        """Views that the output may overwrite."""
        alike = not self.second.is_constant and self.second.rows == self.first.rows
        return (0, 1) if alike and self.second.index != self.first.index else (0,)

    @property
    def constant(self) -> Constant | None:
        """The second as an array in flash, where it is constant."""
        if self.second.data is None:
            return None
        c_type: CType = "float" if self.second.dtype == "float32" else "int8_t"
        return Constant(
            "operand",
            c_type,
            np.ascontiguousarray(self.second.data).ravel(),
            f"{self.second.name}, second operand",
        )

    def struct(self) -> tuple[Field, ...]:
        """The members with which the structs of nn_add_s8.h, nn_mul_s8.h and nn_binary_f32.h begin."""
        return fields(
            width=self.width,
            channels=self.channels,
            constant=self.constant,
            step_row=self.steps[0],
            step_pixel=self.steps[1],
            step_channel=self.steps[2],
        )


def two_operands(graph: Graph, operator: Operator) -> Operands:
    """Sort the inputs of ADD, SUB or MUL and find out how the second is repeated.

    Raises:
        VerificationError: Both are constant, or both are repeated, or shapes do not fit.
    """
    target = graph.tensor(operator.output)
    pair = [graph.tensor(index) for index in operator.inputs[:2]]
    order = [at for at in (0, 1) if not pair[at].is_constant and pair[at].rows == target.rows]
    if not order:
        refuse(
            graph, operator, f"inputs of shapes {pair[0].shape} and {pair[1].shape} for an output {target.shape}:"
            " one of them must be computed and have the output's shape",
            "a constant, a value a channel, a value a pixel or a single value can be repeated, of one input only",
        )  # fmt: skip
    first, second = pair[order[0]], pair[1 - order[0]]
    strides = _strides(second, target)
    if strides is None:
        refuse(graph, operator, f"an operand of shape {second.shape} cannot be repeated over {target.shape}")
    rows = target.rows
    flat = strides[1] == strides[2] * rows.channels
    width, channels = (1, rows.width * rows.channels) if flat else (rows.width, rows.channels)
    return Operands(first, second, order[0] == 1, width, channels, strides)


def _strides(second: Tensor, target: Tensor) -> tuple[int, int, int] | None:
    """Steps by row, pixel and channel; None where it does not fit."""
    rank = max(len(second.shape), len(target.shape), 1)
    out = (1,) * (rank - len(target.shape)) + target.shape
    shape = (1,) * (rank - len(second.shape)) + second.shape
    if any(size not in (1, wanted) for size, wanted in zip(shape, out, strict=True)):
        return None
    # A rank other than 4 has one row, in which all axes but the last make the pixels: all of them or none.
    split = 2 if len(target.shape) == 4 and rank == 4 else 0
    groups = ((shape[:split], out[:split]), (shape[split:-1], out[split:-1]), (shape[-1:], out[-1:]))
    steps, step = [0, 0, 0], 1
    for position in (2, 1, 0):
        has, wanted = prod(groups[position][0]), prod(groups[position][1])
        if has not in (1, wanted):
            return None
        steps[position] = step if has == wanted else 0
        step *= has
    return steps[0], steps[1], steps[2]


def item_bytes(tensor: Tensor) -> int:
    """Bytes of a value."""
    return ITEM_BYTES[tensor.dtype]
