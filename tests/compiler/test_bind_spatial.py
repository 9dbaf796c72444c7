"""Pooling, MEAN, PAD, CONCATENATION, RESIZE and TRANSPOSE_CONV: the rows that they need, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ei_automation.compiler.bind import bind_operator
from ei_automation.compiler.bind.calls import KernelCall, all_rows, same_rows
from ei_automation.compiler.bind.resize import Axis
from ei_automation.compiler.read import read_graph
from ei_automation.errors import VerificationError
from tests.compiler.models import ModelBuilder

QUANTIZED = (0.1, 3)


def call(
    kind: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    *integers: Any,
    quantized: tuple[float, int] = QUANTIZED,
    **options: Any,
) -> KernelCall:
    """The call of one operator.

    Args:
        kind: Builtin name.
        shapes: Of input and output.
        integers: Constant inputs behind the first, of int32.
        quantized: Of the output.
        options: Of the operator.
    """
    build = ModelBuilder()
    start, end = build.tensor(shapes[0], "int8", QUANTIZED), build.tensor(shapes[1], "int8", quantized)
    constants = [build.tensor(np.shape(values), "int32", data=values) for values in integers]
    build.operator(kind, [start, *constants], end, **options)
    graph = read_graph(build.finish(start, end))
    return bind_operator(graph, graph.operators[0])


def members(bound: KernelCall) -> dict[str, Any]:
    """Its struct's values."""
    return {field.name: field.value for field in bound.fields}


def test_a_pool_needs_the_rows_under_its_window() -> None:
    bound = call(
        "MAX_POOL_2D", ((1, 5, 5, 2), (1, 3, 3, 2)), filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=0
    )
    assert bound.needs == (((0, 2), (2, 4), (4, 5)),)
    assert (bound.function, bound.in_place) == ("nn_max_pool_s8", ())


def test_a_pool_between_scales_that_nearly_agree() -> None:
    """What `check` lets pass is compared as bytes, as TFLite does."""
    bound = call(
        "AVERAGE_POOL_2D", ((1, 4, 4, 2), (1, 2, 2, 2)), quantized=(0.1 + 1e-7, 3),
        filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=1,
    )  # fmt: skip
    assert bound.function == "nn_average_pool_s8"


def test_a_mean_takes_rows_as_they_come() -> None:
    bound = call("MEAN", ((1, 6, 5, 7), (1, 7)), [1, 2], quantized=(0.05, -4))
    assert (bound.streaming, bound.needs, bound.scratch_bytes) == ("accumulate", (all_rows(1, 6),), 28)
    assert members(bound)["start"] == -3 * 30


@pytest.mark.parametrize(
    ("axes", "shape", "steps"),
    [
        ([1], (1, 1, 5, 7), (0, 7, 1)),
        ([2], (1, 6, 1, 7), (7, 0, 1)),
        ([3], (1, 6, 5, 1), (5, 1, 0)),
        ([1, 2, 3], (1, 1, 1, 1), (0, 0, 0)),
    ],
)
def test_a_mean_over_any_axes(axes: list[int], shape: tuple[int, ...], steps: tuple[int, int, int]) -> None:
    of = members(call("MEAN", ((1, 6, 5, 7), shape), axes, keepDims=True))
    assert (of["step_row"], of["step_pixel"], of["step_channel"]) == steps
    assert of["outputs"] == np.prod(shape)


def test_a_mean_between_scales_that_are_too_far_apart_is_refused() -> None:
    with pytest.raises(VerificationError, match=r"MEAN \(operator 0.*output scale is too small"):
        call("MEAN", ((1, 6, 5, 7), (1, 7)), [1, 2], quantized=(1e-12, 0))


def test_a_mean_whose_sum_may_overflow_is_refused() -> None:
    assert call("MEAN", ((1, 2896, 2896, 1), (1, 1)), [1, 2]).function == "nn_mean_s8"
    with pytest.raises(VerificationError, match="over 8388608 values"):
        call("MEAN", ((1, 2048, 4096, 1), (1, 1)), [1, 2])


def test_a_border_needs_no_row() -> None:
    bound = call("PAD", ((1, 2, 3, 4), (1, 5, 4, 4)), [[0, 0], [1, 2], [0, 1], [0, 0]])
    assert bound.needs == (((0, 0), (0, 1), (1, 2), (2, 2), (2, 2)),)
    assert members(bound)["value"] == 3
    assert (members(bound)["pixels"], members(bound)["size"], members(bound)["right"]) == (1, 12, 4)


def test_a_border_of_channels_goes_pixel_by_pixel() -> None:
    of = members(call("PAD", ((1, 2, 3, 4), (1, 2, 3, 7)), [[0, 0], [0, 0], [0, 0], [1, 2]]))
    assert (of["pixels"], of["before"], of["size"], of["after"]) == (3, 1, 4, 2)


def test_a_border_along_the_batch_is_refused() -> None:
    with pytest.raises(VerificationError):
        call("PAD", ((1, 2, 3, 4), (2, 2, 3, 4)), [[0, 1], [0, 0], [0, 0], [0, 0]])


def concatenation(axis: int) -> KernelCall:
    """The input joined with a copy of itself."""
    build = ModelBuilder()
    shape = (1, 4, 5, 3)
    start, copy = build.tensor(shape, "int8", QUANTIZED), build.tensor(shape, "int8", QUANTIZED)
    build.operator("QUANTIZE", [start], copy)
    joined = tuple(size * 2 if at == axis else size for at, size in enumerate(shape))
    end = build.tensor(joined, "int8", QUANTIZED)
    build.operator("CONCATENATION", [start, copy], end, axis=axis)
    graph = read_graph(build.finish(start, end))
    return bind_operator(graph, graph.operators[1])


@pytest.mark.parametrize(("axis", "pieces", "sizes"), [(3, 5, [3, 3]), (2, 1, [15, 15])])
def test_channels_and_pixels_are_joined_row_by_row(axis: int, pieces: int, sizes: list[int]) -> None:
    bound = concatenation(axis)
    assert (bound.streaming, bound.needs) == ("rows", (same_rows(4), same_rows(4)))
    assert members(bound)["pieces"] == pieces
    assert list(members(bound)["bytes"].values) == sizes


def test_rows_are_joined_whole() -> None:
    bound = concatenation(1)
    assert (bound.function, bound.streaming) == ("nn_concat_rows", "whole")
    assert bound.needs == (all_rows(8, 4), all_rows(8, 4))


def test_nearest_needs_one_row_each() -> None:
    bound = call("RESIZE_NEAREST_NEIGHBOR", ((1, 2, 2, 3), (1, 4, 6, 3)), [4, 6])
    assert bound.needs == (((0, 1), (0, 1), (1, 2), (1, 2)),)
    assert list(members(bound)["columns"].values) == [0, 0, 0, 1, 1, 1]


def test_bilinear_needs_two_rows_at_most() -> None:
    bound = call("RESIZE_BILINEAR", ((1, 2, 2, 3), (1, 4, 4, 3)), [4, 4], halfPixelCenters=True)
    assert bound.needs == (((0, 1), (0, 2), (0, 2), (1, 2)),)


@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("sides", [(1, 32769), (32769, 1)])
def test_a_side_beyond_the_positions_is_refused(kind: str, sides: tuple[int, int]) -> None:
    assert call(kind, ((1, 1, 32768, 1), (1, 1, 2, 1)), [1, 2]).function.startswith("nn_resize")
    with pytest.raises(VerificationError, match=rf"{kind} \(operator 0.*side of 32769 pixels; 32768"):
        call(kind, ((1, *sides, 1), (1, 1, 1, 1)), [1, 1])


def test_rounded_steps_that_leave_the_image_are_refused() -> None:
    assert call("RESIZE_BILINEAR", ((1, 48, 48, 1), (1, 320, 320, 1)), [320, 320]).needs[0][-1] == (47, 48)
    with pytest.raises(VerificationError, match="rounded steps lead out of the input"):
        call("RESIZE_BILINEAR", ((1, 2, 2, 1), (1, 2, 700, 1)), [2, 700])


def test_positions_of_aligned_corners() -> None:
    axis = Axis(3, 5, corners=True, centers=False)
    assert axis.integer() == [(0, 0, 0), (0, 1, 512), (1, 1, 0), (1, 2, 512), (2, 2, 0)]
    assert axis.nearest() == [0, 1, 1, 2, 2]
    assert axis.real()[3] == (1, 2, np.float32(0.5))


def test_a_transposed_convolution_needs_the_rows_that_reach_it() -> None:
    build = ModelBuilder()
    sizes = build.tensor((4,), "int32", data=[1, 5, 5, 2])
    filters = build.tensor((2, 3, 3, 4), "int8", (0.01, 0), np.ones((2, 3, 3, 4)))
    start, end = build.tensor((1, 2, 2, 4), "int8", QUANTIZED), build.tensor((1, 5, 5, 2), "int8", QUANTIZED)
    build.operator("TRANSPOSE_CONV", [sizes, filters, start], end, strideH=2, strideW=2, padding=1)
    graph = read_graph(build.finish(start, end))
    bound = bind_operator(graph, graph.operators[0])
    assert bound.needs == (((0, 1), (0, 1), (0, 2), (1, 2), (1, 2)),)
    assert bound.inputs == (start,)
    assert list(members(bound)["bias"].values) == [0, 0]
