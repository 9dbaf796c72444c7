"""ADD, SUB, MUL and the functions of one value: which kernel is called, and that the short way of ADD is exact."""

from __future__ import annotations

import numpy as np
import pytest

from ei_automation.compiler.bind import bind_operator
from ei_automation.compiler.bind.calls import KernelCall, all_rows, same_rows
from ei_automation.compiler.bind.short_sums import rounding_half
from ei_automation.compiler.quantize import quantize_multiplier
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.tables import multiply
from ei_automation.errors import VerificationError
from tests.compiler.models import ModelBuilder

SHAPE = (1, 4, 5, 3)


def call(model: bytes, position: int = -1) -> KernelCall:
    """The call of one of a model's operators."""
    graph = read_graph(model)
    return bind_operator(graph, graph.operators[position])


def members(bound: KernelCall) -> dict[str, int]:
    """The integers of its struct."""
    return {field.name: field.value for field in bound.fields if isinstance(field.value, int)}


def two_values(
    kind: str = "ADD",
    shape: tuple[int, ...] = SHAPE,
    *,
    scales: tuple[float, float, float] = (0.1, 0.05, 0.2),
    zero_points: tuple[int, int, int] = (3, -7, 11),
) -> bytes:
    """Two computed operands: the input, and a mean or a requantized copy of it."""
    build = ModelBuilder()
    start = build.tensor(SHAPE, "int8", (scales[0], zero_points[0]))
    other = build.tensor(shape, "int8", (scales[1], zero_points[1]))
    if shape == SHAPE:
        build.operator("QUANTIZE", [start], other)
    else:
        build.operator("MEAN", [start, build.tensor((2,), "int32", data=[1, 2])], other, keepDims=True)
    end = build.tensor(SHAPE, "int8", (scales[2], zero_points[2]))
    build.operator(kind, [start, other], end)
    return build.finish(start, end)


def with_constant(kind: str, shape: tuple[int, ...], *, first: bool = False) -> bytes:
    """The input and a constant."""
    build = ModelBuilder()
    start = build.tensor(SHAPE, "int8", (0.1, 3))
    constant = build.tensor(shape, "int8", (0.05, -7), np.arange(np.prod(shape)))
    end = build.tensor(SHAPE, "int8", (0.2, 11))
    build.operator(kind, [constant, start] if first else [start, constant], end)
    return build.finish(start, end)


def reference_sum(
    values: np.ndarray, scales: tuple[float, float, float], zeros: tuple[int, int, int]
) -> np.ndarray:
    """ADD of all pairs by the reference's arithmetic (`AddElementwise` of reference/add.h), not yet clipped.

    Args:
        values: int64, (256,).
        scales: Of both inputs and the output.
        zeros: Likewise.
    """
    common = 2 * max(scales[:2])
    scaled = []
    for scale, zero in zip(scales[:2], zeros[:2], strict=True):
        factor = quantize_multiplier(scale / common)
        scaled.append(np.array([multiply(int(value - zero) << 20, *factor) for value in values]))
    sums = (scaled[0][:, None] + scaled[1][None, :]).astype(np.int64)
    multiplier, shift = quantize_multiplier(common / ((1 << 20) * scales[2]))
    high = (sums * multiplier + (1 << 30)) >> 31
    rounded = (high + (1 << (-shift - 1)) - (high < 0)) >> -shift
    total: np.ndarray = rounded + zeros[2]
    return total


def short(x: np.ndarray, multiplier: int, half: int) -> np.ndarray:
    """`nn_short` of nn_short_s8.h up to its shift, with every step held in 32 bits."""
    high: np.ndarray = ((x * multiplier + (1 << 31)) >> 32) + half
    assert max(np.abs(x).max(), np.abs(high).max() + 1) < 2**31
    made: np.ndarray = high + (x >> 31)
    return made


def short_sum(values: np.ndarray, of: dict[str, int]) -> np.ndarray:
    """ADD of all pairs by the arithmetic of nn_add_same_s8, with every step held in 32 bits."""

    second = short(values * of["step_b"] + of["start_b"], of["multiplier_b"], of["half_b"]) >> of["shift_b"]
    sums = (values * (1 << 20) + of["start_a"])[:, None] + second[None, :] * 2
    total: np.ndarray = short(sums, of["multiplier"], of["half"]) >> of["shift"]
    return total


def test_the_short_way_of_add_is_the_references_for_all_pairs() -> None:
    random = np.random.default_rng(1)
    values = np.arange(-128, 128).astype(np.int64)
    for number in range(120):
        first = float(np.float32(2.0 ** random.uniform(-8, 3)))
        ratio = (1.0, 2.0 ** -float(random.integers(0, 12)), 2.0 ** random.uniform(-14, 0))[number % 3]
        second = float(np.float32(first * ratio))
        out = float(np.float32(first * 2.0 ** random.uniform(-6, 2)))
        drawn = random.choice([-128, 127, 0, 5, -77], 3)
        zeros = int(drawn[0]), int(drawn[1]), int(drawn[2])
        bound = call(two_values(scales=(first, second, out), zero_points=zeros))
        assert bound.function == "nn_add_same_s8"
        assert bound.inputs == (0, 1)
        expected = reference_sum(values, (first, second, out), zeros)
        np.testing.assert_array_equal(short_sum(values, members(bound)), expected)


def test_the_short_way_of_a_constant_is_the_references_for_all_pairs() -> None:
    random = np.random.default_rng(2)
    values = np.arange(-128, 128).astype(np.int64)
    for number in range(60):
        first, other = (float(np.float32(2.0 ** random.uniform(-8, 3))) for _ in range(2))
        scales = (first, first if number % 4 == 0 else other)
        out = float(np.float32(max(scales) * 2.0 ** random.uniform(-6, 2)))
        drawn = random.choice([-128, 127, 0, 5, -77], 3)
        zeros = int(drawn[0]), int(drawn[1]), int(drawn[2])
        build = ModelBuilder()
        shape = (1, 2, 2, 256)
        start = build.tensor(shape, "int8", (scales[0], zeros[0]))
        constant = build.tensor((256,), "int8", (scales[1], zeros[1]), values)
        end = build.tensor(shape, "int8", (out, zeros[2]))
        build.operator("ADD", [start, constant], end)
        bound = call(build.finish(start, end))
        assert bound.function == "nn_add_constant_s8"
        of = members(bound)
        wide = values * of["step"] + of["start"]
        scaled = short(wide, of["multiplier_in"], of["half_in"]) >> of["shift_in"]
        sums = (scaled * 2)[:, None] + bound.constants[0].values.astype(np.int64)[None, :]
        made = short(sums, of["multiplier"], of["half"]) >> of["shift"]
        np.testing.assert_array_equal(made, reference_sum(values, (scales[0], scales[1], out), zeros))


def test_the_short_way_of_mul_is_the_references_for_all_products() -> None:
    random = np.random.default_rng(4)
    products = np.arange(-255 * 255, 255 * 255 + 1, dtype=np.int64)
    for number in range(60):
        scale = float(np.float32(2.0 ** random.uniform(-20, -1.01)))
        if number % 3 == 0:
            scale = float(2.0 ** random.integers(-20, -2))
        multiplier, shift = quantize_multiplier(scale)
        half = rounding_half(shift, -77)
        assert half is not None
        high = (products * multiplier + (1 << 30)) >> 31
        expected = ((high + (1 << (-shift - 1)) - (high < 0)) >> -shift) - 77
        np.testing.assert_array_equal(short(products * 2, multiplier, half) >> -shift, expected)


def test_mul_by_more_than_one_half_goes_the_long_way() -> None:
    assert call(two_values("MUL", scales=(0.1, 0.05, 0.001))).function == "nn_mul_exact_s8"
    assert call(two_values("MUL", scales=(0.1, 0.05, 0.2))).function == "nn_mul_s8"


def test_add_takes_the_long_way_where_the_short_one_would_overflow() -> None:
    assert call(two_values(scales=(0.1, 0.05, 50.0), zero_points=(3, -7, 127))).function == "nn_add_s8"
    assert call(two_values(scales=(0.1, 1e-12, 0.2))).function == "nn_add_s8"


def test_the_larger_scale_comes_first() -> None:
    assert call(two_values(scales=(0.05, 0.1, 0.2))).inputs == (1, 0)


def test_an_output_scale_that_tflite_refuses() -> None:
    with pytest.raises(VerificationError, match=r"ADD \(operator 1.*too small"):
        call(two_values(scales=(0.1, 0.05, 1e-9)))


def test_a_sum_may_overwrite_either_input() -> None:
    bound = call(two_values())
    assert bound.in_place == (0, 1)
    assert bound.needs == (same_rows(4), same_rows(4))
    assert bound.streaming == "rows"


def test_a_value_for_each_channel_is_needed_whole() -> None:
    bound = call(two_values("MUL", (1, 1, 1, 3)))
    assert bound.needs == (same_rows(4), all_rows(4, 1))
    assert bound.in_place == (0,)
    assert (members(bound)["step_row"], members(bound)["step_pixel"], members(bound)["step_channel"]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("shape", "steps", "walk"),
    [
        ((1, 1, 1, 1), (0, 0, 0), (1, 15)),
        ((3,), (0, 0, 1), (5, 3)),
        ((1, 4, 5, 3), (15, 3, 1), (1, 15)),
        ((1, 4, 1, 1), (1, 0, 0), (1, 15)),
        ((5, 1), (0, 1, 0), (5, 3)),
    ],
)
def test_how_a_constant_is_repeated(
    shape: tuple[int, ...], steps: tuple[int, int, int], walk: tuple[int, int]
) -> None:
    of = members(call(with_constant("MUL", shape)))
    assert (of["step_row"], of["step_pixel"], of["step_channel"]) == steps
    assert (of["width"], of["channels"]) == walk


def test_sub_knows_what_is_taken_away() -> None:
    added, taken = (call(with_constant(kind, (3,))).constants[0].values for kind in ("ADD", "SUB"))
    np.testing.assert_array_equal(taken, -added)
    of = members(call(with_constant("SUB", (3,), first=True)))
    assert (of["sign_a"], of["sign_b"]) == (-1, 1)
    assert members(call(two_values("SUB")))["sign_b"] == -1


def test_both_operands_repeated_are_refused_in_words() -> None:
    build = ModelBuilder()
    start = build.tensor((1, 4, 1, 3), "int8", (0.1, 0))
    constant = build.tensor((1, 1, 5, 1), "int8", (0.1, 0), np.arange(5))
    end = build.tensor((1, 4, 5, 3), "int8", (0.1, 0))
    build.operator("MUL", [start, constant], end)
    with pytest.raises(VerificationError, match=r"MUL \(operator 0, .*output's shape") as caught:
        call(build.finish(start, end))
    assert "one input only" in caught.value.hint


def test_a_table_may_lie_on_its_input() -> None:
    build = ModelBuilder()
    start, end = build.tensor(SHAPE, "int8", (0.1, 0)), build.tensor(SHAPE, "int8", (1 / 256, -128))
    build.operator("LOGISTIC", [start], end)
    bound = call(build.finish(start, end))
    assert (bound.function, bound.in_place) == ("nn_table_s8", (0,))
    assert [constant.bytes for constant in bound.constants] == [256]


@pytest.mark.parametrize(
    ("kind", "source", "target"),
    [
        ("RELU", 3e38, 1e-38),
        ("RELU", 1e10, 1e-10),
        ("RELU6", 1e-38, 1e-38),
        ("HARD_SWISH", 3e38, 1e-38),
        ("HARD_SWISH", 128 * 0.05, 0.05),
        ("QUANTIZE", 1e10, 1e-10),
    ],
)
def test_tables_between_scales_that_are_too_far_apart_are_refused(kind: str, source: float, target: float) -> None:
    build = ModelBuilder()
    start, end = build.tensor(SHAPE, "int8", (source, 0)), build.tensor(SHAPE, "int8", (target, 0))
    build.operator(kind, [start], end)
    with pytest.raises(VerificationError, match=rf"{kind} \(operator 0.*( scale|representable)") as caught:
        call(build.finish(start, end))
    assert "representative data" in caught.value.hint


@pytest.mark.parametrize("scales", [(1000.0, 1000.0, 1e-4), (1e30, 1e30, 1e-10)])
def test_a_product_that_would_be_shifted_out_of_32_bits_is_refused(scales: tuple[float, float, float]) -> None:
    with pytest.raises(VerificationError, match=r"MUL \(operator 1.*output scale is too small"):
        call(two_values("MUL", scales=scales))


def test_a_product_with_the_largest_shift() -> None:
    assert members(call(two_values("MUL", scales=(1.0, 2.0**20, 2.0**-9))))["shift"] == 30
