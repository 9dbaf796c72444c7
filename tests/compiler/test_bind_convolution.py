"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: their kernels, rows and scratch, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ei_automation.compiler.bind import bind_operator
from ei_automation.compiler.bind.calls import Constant, KernelCall, all_rows, same_rows
from ei_automation.compiler.read import read_graph
from ei_automation.errors import VerificationError
from tests.compiler.models import ModelBuilder

IN, OUT = (0.05, 3), (0.1, -128)
Shape = tuple[int, ...]


def call(
    kind: str,
    image: Shape,
    filters: Shape,
    output: Shape,
    *,
    quantized: tuple[float, int] = OUT,
    scales: float | list[float] = 0.01,
    weights: Any = 1,
    bias: Any = None,
    **options: Any,
) -> KernelCall:
    """The call of one operator whose weights are all alike.

    Args:
        kind: Builtin name.
        image: Shape of the input.
        filters: Shape of the weights.
        output: Shape of the output.
        quantized: The output.
        scales: Of the weights.
        weights: Their values.
        bias: Values; None leaves it out.
        options: Of the operator.
    """
    build = ModelBuilder()
    start, end = build.tensor(image, "int8", IN), build.tensor(output, "int8", quantized)
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    values = build.tensor(filters, "int8", (scales, 0), np.broadcast_to(weights, filters), axis=axis)
    added = -1 if bias is None else build.tensor(np.shape(bias), "int32", (0.0005, 0), bias)
    build.operator(kind, [start, values, added], end, **options)
    graph = read_graph(build.finish(start, end))
    return bind_operator(graph, graph.operators[0])


def members(bound: KernelCall) -> dict[str, Any]:
    """Its struct's values; arrays as they are written."""
    return {f.name: f.value.values if isinstance(f.value, Constant) else f.value for f in bound.fields}


def test_a_convolution_needs_the_rows_under_its_window() -> None:
    bound = call(
        "CONV_2D", (1, 6, 6, 3), (8, 3, 3, 3), (1, 3, 3, 8), strideH=2, strideW=2, padding=0, activation="relu"
    )
    assert (bound.function, bound.streaming, bound.in_place) == ("nn_conv_s8", "rows", ())
    assert bound.needs == (((0, 3), (2, 5), (4, 6)),)
    # Four windows of 28 values as int16, and room for one as int8.
    assert (members(bound)["depth"], bound.scratch_bytes) == (28, 9 * 28)


def test_a_pixel_of_a_multiple_of_four_channels_needs_no_window() -> None:
    direct = call("CONV_2D", (1, 5, 5, 8), (6, 1, 1, 8), (1, 5, 5, 6), strideH=1, strideW=1)
    copied = call("CONV_2D", (1, 5, 5, 6), (6, 1, 1, 6), (1, 5, 5, 6), strideH=1, strideW=1)
    assert (members(direct)["direct"], direct.scratch_bytes) == (1, 8 * 8)
    assert (members(copied)["direct"], copied.scratch_bytes) == (0, 9 * 8)


def test_the_stream_holds_starts_weights_and_multipliers_by_twos() -> None:
    weights = np.arange(1, 13).reshape(3, 1, 1, 4)
    found = members(
        call(
            "CONV_2D",
            (1, 2, 2, 4),
            (3, 1, 1, 4),
            (1, 2, 2, 3),
            weights=weights,
            activation="relu",
            strideH=1,
            strideW=1,
        )
    )
    stream = found["stream"].reshape(2, 6)
    # 0.05 * 0.01 / 0.1 = 0.005 = 0.64 * 2**-7; the input's zero point is 3.
    assert list(stream[:, 0]) == [(-3 * 10 * 256 + 6 + 7) % 2**32, (-3 * 42 * 256 + 6 + 7) % 2**32]
    assert stream[0, 2:4].astype("<u4").tobytes() == bytes([1, 5, 3, 7, 2, 6, 4, 8])
    assert stream[1, 2:4].astype("<u4").tobytes() == bytes([9, 0, 11, 0, 10, 0, 12, 0])
    assert abs(int(stream[0, 4]) - 0.64 * 2**31) < 64
    assert (stream[1, 1], stream[1, 5]) == (0, 0)


def test_groups_are_refused() -> None:
    with pytest.raises(VerificationError, match=r"CONV_2D \(operator 0.*takes 2 of 4 input channels"):
        call("CONV_2D", (1, 4, 4, 4), (4, 1, 1, 2), (1, 4, 4, 4), strideH=1, strideW=1)


def test_a_stride_beyond_the_kernels_numbers_is_refused() -> None:
    with pytest.raises(VerificationError, match="its stride_h of 300 is too large for the kernel"):
        call("CONV_2D", (1, 300, 4, 4), (4, 1, 1, 4), (1, 1, 4, 4), strideH=300, strideW=1)


def test_depthwise_keeps_its_windows_rows_of_four_channels_in_scratch() -> None:
    bound = call(
        "DEPTHWISE_CONV_2D", (1, 6, 6, 8), (1, 3, 3, 16), (1, 6, 6, 16),
        strideH=1, strideW=1, padding=0, depthMultiplier=2, activation="relu6",
    )  # fmt: skip
    found = members(bound)
    assert (bound.function, bound.streaming) == ("nn_depthwise_s8", "rows")
    assert bound.needs == (((0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 6)),)
    # Six columns are computed as eight, whose windows reach over ten.
    assert (found["multiple"], found["columns"], bound.scratch_bytes) == (2, 10, 3 * 4 * 10 * 2)
    assert len(found["weights"]) == 16 * 9 + 3


@pytest.mark.parametrize(
    ("zero_point", "activation", "away"), [(-128, "none", 0), (0, "none", 128), (0, "relu", 0)]
)
def test_roundings_below_zero_are_done_where_they_show(zero_point: int, activation: str, away: int) -> None:
    sizes: tuple[Shape, Shape, Shape] = ((1, 2, 2, 4), (2, 1, 1, 4), (1, 2, 2, 2))
    quantized = (0.1, zero_point)
    found = members(call("CONV_2D", *sizes, quantized=quantized, strideH=1, strideW=1, activation=activation))
    assert (found["away"], found["step"]) == (away, 2 * zero_point + 1)


def test_dense_at_each_position_is_a_convolution() -> None:
    bound = call("FULLY_CONNECTED", (1, 3, 2, 8), (5, 8), (1, 3, 2, 5), keepNumDims=True)
    assert (bound.function, bound.streaming) == ("nn_conv_s8", "rows")
    assert bound.needs == (same_rows(3),)
    assert members(bound)["long_count"] == 5


def test_dense_at_each_position_of_a_flat_output_runs_in_one_go() -> None:
    bound = call("FULLY_CONNECTED", (1, 3, 2, 8), (5, 8), (6, 5))
    assert (bound.function, bound.streaming, bound.needs) == ("nn_conv_s8", "whole", (all_rows(1, 3),))
    assert (members(bound)["in_width"], members(bound)["out_width"]) == (6, 6)


def test_dense_over_a_map_takes_it_row_by_row() -> None:
    bound = call("FULLY_CONNECTED", (1, 3, 2, 5), (3, 30), (1, 3))
    assert (bound.function, bound.streaming) == ("nn_fully_connected_s8", "accumulate")
    assert bound.needs == (((0, 3),),)
    assert bound.scratch_bytes == 4 * 4
    # Ten values of a row take twelve places, for four outputs.
    assert members(bound)["weights"].size * 4 == 3 * 12 * 4
    assert call("FULLY_CONNECTED", (1, 30), (3, 30), (1, 3)).streaming == "whole"


def test_weights_that_do_not_fit_the_input_are_refused() -> None:
    with pytest.raises(VerificationError, match="30 values, its weights take 7 at a time"):
        call("FULLY_CONNECTED", (1, 30), (3, 7), (1, 3))


def test_a_dead_channel_costs_nothing() -> None:
    """A weight scale near zero and a bias near 2**30, as batch normalisation leaves them: one byte, always."""
    bound = call(
        "CONV_2D", (1, 2, 2, 4), (2, 1, 1, 4), (1, 2, 2, 2), scales=[0.01, 2.0e-10], bias=[5, 1 << 30], weights=7,
        strideH=1, strideW=1,
    )  # fmt: skip
    found = members(bound)
    assert (found["long_count"], found["longs"], found["scale"]) == (0, None, 8)
    # 2**30 * 0.05 * 2e-10 / 0.1 = 0.107 rounds to the zero point: a start of 0.
    assert (int(found["stream"][1]), bytes(found["stream"][2:4].astype("<u4").tobytes())) == (
        7,
        bytes([7, 0, 7, 0] * 2),
    )


@pytest.mark.parametrize(
    ("member", "kind", "shapes"),
    [
        ("in_width", "CONV_2D", ((1, 2, 40000, 1), (2, 1, 1, 1), (1, 2, 20000, 2))),
        ("in_height", "CONV_2D", ((1, 40000, 2, 1), (2, 1, 1, 1), (1, 40000, 1, 2))),
        ("in_channels", "CONV_2D", ((1, 2, 2, 40000), (2, 1, 1, 40000), (1, 2, 1, 2))),
        ("out_channels", "CONV_2D", ((1, 2, 2, 1), (40000, 1, 1, 1), (1, 2, 1, 40000))),
        ("in_width", "FULLY_CONNECTED", ((40000, 2), (3, 2), (40000, 3))),
        ("in_height", "DEPTHWISE_CONV_2D", ((1, 70000, 2, 1), (1, 3, 3, 1), (1, 70000, 1, 1))),
        ("in_channels", "DEPTHWISE_CONV_2D", ((1, 2, 2, 40000), (1, 1, 1, 40000), (1, 2, 1, 40000))),
        ("columns", "DEPTHWISE_CONV_2D", ((1, 2, 32767, 1), (1, 3, 3, 1), (1, 2, 16384, 1))),
        ("multiple", "DEPTHWISE_CONV_2D", ((1, 2, 2, 1), (1, 1, 1, 40000), (1, 2, 1, 40000))),
    ],
)
def test_images_beyond_the_kernels_numbers_are_refused(
    member: str, kind: str, shapes: tuple[Shape, Shape, Shape]
) -> None:
    steps: dict[str, Any] = {} if kind == "FULLY_CONNECTED" else {"strideH": 1, "strideW": 2, "padding": 0}
    with pytest.raises(
        VerificationError, match=rf"its {member} of \d+ is too large for the kernel: 32767 at most"
    ):
        call(kind, *shapes, **steps)
