"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR: which pixels are read, as tables in flash."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.calls import Constant, KernelCall, RowRange
from ei_automation.compiler.bind.operands import fields, image_pair, item_bytes, refuse
from ei_automation.compiler.graph import Graph, Operator, ResizeOptions, Tensor
from ei_automation.compiler.quantize import round_half_away

BITS = 10
"""Fraction bits of positions in RESIZE_BILINEAR, int8 (`ResizeBilinearInteger`, reference/resize_bilinear.h)."""
ONE = 1 << BITS
LONGEST_SIDE = 1 << 15
"""Of an input; its pixels' positions are int16."""


@dataclass(frozen=True)
class Axis:
    """One direction of a resize.

    Attributes:
        size_in: Pixels of the input.
        size_out: Pixels of the output.
        corners: Whether the first and last pixels of both meet.
        centers: Whether positions are those of the pixels' middles.
    """

    size_in: int
    size_out: int
    corners: bool
    centers: bool

    @property
    def _spans(self) -> tuple[int, int]:
        """What is divided by what for the step from pixel to pixel."""
        if self.corners and self.size_out > 1:
            return self.size_in - 1, self.size_out - 1
        return self.size_in, self.size_out

    def nearest(self) -> list[int]:
        """Input pixel of each output pixel; float32 as in `GetNearestNeighbor`."""
        across, by = self._spans
        scale, offset = np.float32(across) / np.float32(by), np.float32(0.5 if self.centers else 0)
        found = []
        for pixel in range(self.size_out):
            position = float((np.float32(pixel) + offset) * scale)
            near = round_half_away(position) if self.corners else math.floor(position)
            found.append(max(0, min(near, self.size_in - 1)))
        return found

    def integer(self) -> list[tuple[int, int, int]]:
        """Lower and upper input pixel and 1024ths on the way up, for each output pixel."""
        across, by = self._spans
        step = (ONE * across + by // 2) // by
        found = []
        for pixel in range(self.size_out):
            position = pixel * step + (step // 2 - ONE // 2 if self.centers else 0)
            lower = max(position // ONE, 0)
            upper = min(-(-position // ONE), self.size_in - 1)
            found.append((lower, upper, position - ONE * lower))
        return found

    def real(self) -> list[tuple[int, int, np.float32]]:
        """Lower and upper input pixel and share of the upper, for each output pixel, in float32."""
        across, by = self._spans
        step, half = np.float32(across) / np.float32(by), np.float32(0.5)
        found = []
        for pixel in range(self.size_out):
            at = np.float32(pixel)
            position = (at + half) * step - half if self.centers else at * step
            lower = max(math.floor(position), 0)
            upper = min(math.ceil(position), self.size_in - 1)
            found.append((lower, upper, np.float32(position - np.float32(lower))))
        return found


def _axes(graph: Graph, operator: Operator) -> tuple[Tensor, Tensor, Axis, Axis]:
    """Input, output, vertical, horizontal."""
    source, target = image_pair(graph, operator)
    options = operator.options
    assert isinstance(options, ResizeOptions)
    if source.dtype != "float32" and (source.q.scale, source.q.zero_point) != (
        target.q.scale,
        target.q.zero_point,
    ):
        refuse(graph, operator, "its input and output are quantized differently")
    flags = (options.align_corners, options.half_pixel_centers)
    vertical = Axis(source.rows.height, target.rows.height, *flags)
    horizontal = Axis(source.rows.width, target.rows.width, *flags)
    _refuse_what_positions_cannot_hold(graph, operator, (vertical, horizontal))
    return source, target, vertical, horizontal


def _refuse_what_positions_cannot_hold(graph: Graph, operator: Operator, axes: tuple[Axis, Axis]) -> None:
    """Positions are int16."""
    for axis in axes:
        if axis.size_in > LONGEST_SIDE:
            refuse(
                graph, operator, f"its input has a side of {axis.size_in} pixels; {LONGEST_SIDE} are supported",
                "make the image smaller before it",
            )  # fmt: skip


def _positions(name: str, values: object, comment: str) -> Constant:
    array: NDArray[np.int16] = np.asarray(values, np.int16).ravel()
    return Constant(name, "int16_t", array, comment)


def bind_resize_nearest_neighbor(graph: Graph, operator: Operator) -> KernelCall:
    """RESIZE_NEAREST_NEIGHBOR of any type: pixels are copied.

    Raises:
        VerificationError: No images, a side that is too long, or input and output are quantized differently.
    """
    source, target, vertical, horizontal = _axes(graph, operator)
    rows = vertical.nearest()
    members = fields(
        width=source.rows.width,
        pixel_bytes=source.rows.channels * item_bytes(source),
        width_out=target.rows.width,
        rows=_positions("rows", rows, "input row of each output row"),
        columns=_positions("columns", horizontal.nearest(), "input pixel of each output pixel"),
    )
    needs = tuple((row, row + 1) for row in rows)
    return KernelCall(
        operator, "nn_resize.h", "nn_resize_nearest", "nn_resize_nearest_t", members,
        (source.index,), operator.output, "rows", (needs,),
    )  # fmt: skip


def bind_resize_bilinear(graph: Graph, operator: Operator) -> KernelCall:
    """RESIZE_BILINEAR, int8 or float32.

    Raises:
        VerificationError: No images, a side that is too long, or input and output are quantized differently.
    """
    source, target, vertical, horizontal = _axes(graph, operator)
    sizes = fields(width=source.rows.width, channels=source.rows.channels, width_out=target.rows.width)
    if source.dtype == "float32":
        rows, columns = vertical.real(), horizontal.real()
        members = sizes + fields(
            rows=_positions("rows", [row[:2] for row in rows], "upper and lower input row of each output row"),
            columns=_positions("columns", [column[:2] for column in columns], "left and right, of each pixel"),
            row_shares=_shares("row_shares", rows),
            column_shares=_shares("column_shares", columns),
        )
        function, pairs = "nn_resize_bilinear_f32", [row[:2] for row in rows]
    else:
        steps, across = vertical.integer(), horizontal.integer()
        if steps[-1][0] >= vertical.size_in or across[-1][0] >= horizontal.size_in:
            refuse(
                graph, operator, f"from {source.shape} to {target.shape} its rounded steps lead out of the input",
                "TFLite reads other memory there; enlarge it less, or in several steps",
            )  # fmt: skip
        members = sizes + fields(
            rows=_positions("rows", steps, "upper and lower input row of each output row, 1024ths of the lower"),
            columns=_positions("columns", across, "left, right, 1024ths of the right, of each pixel"),
        )
        function, pairs = "nn_resize_bilinear_s8", [step[:2] for step in steps]
    needs: tuple[RowRange, ...] = tuple((min(pair), max(pair) + 1) for pair in pairs)
    return KernelCall(
        operator, "nn_resize.h", function, f"{function}_t", members,
        (source.index,), operator.output, "rows", (needs,),
    )  # fmt: skip


def _shares(name: str, positions: list[tuple[int, int, np.float32]]) -> Constant:
    shares = np.array([position[2] for position in positions], np.float32)
    return Constant(name, "float", shares, "how much of the second")
