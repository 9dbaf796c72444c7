"""From bytes to a graph: what is read, and that rubbish is refused and nothing worse."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.check import check
from ei_automation.compiler.fold import fold
from ei_automation.compiler.graph import (
    ConcatOptions,
    ConvOptions,
    Graph,
    MeanOptions,
    Padding,
    PadOptions,
    PoolOptions,
    SoftmaxOptions,
)
from ei_automation.compiler.read import read_graph
from ei_automation.errors import EiautoError, VerificationError
from tests.compiler.models import ModelBuilder

SAME, VALID = 0, 1
UNIT = (1 / 256, -128)


def small_model() -> bytes:
    """A convolution, a pool, a reshape, a dense layer and softmax on 8x8x2, int8."""
    build, random = ModelBuilder(), np.random.default_rng(0)
    image = build.tensor((1, 8, 8, 2), "int8", (0.02, -3))
    filters = build.tensor(
        (4, 3, 3, 2), "int8", ([0.01, 0.02, 0.03, 0.04], 0), random.integers(-127, 128, (4, 3, 3, 2))
    )
    bias = build.tensor((4,), "int32", (0.0002, 0), random.integers(-99, 99, 4))
    convolved = build.tensor((1, 4, 4, 4), "int8", (0.05, -128))
    build.operator(
        "CONV_2D", [image, filters, bias], convolved, activation="relu6", strideH=2, strideW=2, padding=SAME,
        dilationHFactor=1, dilationWFactor=1,
    )  # fmt: skip
    pooled = build.tensor((1, 2, 2, 4), "int8", (0.05, -128))
    build.operator(
        "MAX_POOL_2D", [convolved], pooled, filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=VALID
    )
    flat = build.tensor((1, 16), "int8", (0.05, -128))
    build.operator("RESHAPE", [pooled, build.tensor((2,), "int32", data=[1, 16])], flat, newShape=[1, 16])
    weights = build.tensor((3, 16), "int8", (0.01, 0), random.integers(-127, 128, (3, 16)))
    logits, scores = build.tensor((1, 3), "int8", (0.25, 0)), build.tensor((1, 3), "int8", UNIT)
    build.operator("FULLY_CONNECTED", [flat, weights, -1], logits)
    build.operator("SOFTMAX", [logits], scores, beta=1.5)
    return build.finish(image, scores)


SMALL = small_model()


def test_a_model_is_read() -> None:
    graph = read_graph(SMALL, "small.tflite")
    assert [operator.kind for operator in graph.operators] == [
        "CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"
    ]  # fmt: skip
    convolution, pool, _, dense, softmax = graph.operators
    # SAME of 8 by stride 2 and 3 taps: 4 windows reach over 9 pixels, the odd one is below and to the right.
    assert convolution.options == ConvOptions(
        2, 2, 1, 1, Padding(top=0, left=0, bottom=1, right=1), "relu6", same=True
    )
    assert pool.options == PoolOptions(2, 2, 2, 2, Padding(), "none")
    assert softmax.options == SoftmaxOptions(1.5)
    assert dense.inputs[2] == -1
    assert graph.constant(dense, 2) is None
    filters = graph.tensor(convolution.inputs[1])
    assert filters.q.scales == tuple(float(np.float32(scale)) for scale in (0.01, 0.02, 0.03, 0.04))
    assert filters.q.zero_points == (0, 0, 0, 0)
    wanted = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 2))
    assert filters.data is not None
    assert np.array_equal(filters.data, wanted)
    assert filters.data.dtype == np.int8
    assert (graph.input, graph.tensor(graph.output).shape) == (0, (1, 3))
    assert graph.values(convolution) == (graph.tensor(0),)


def one(kind: str, source: tuple[int, ...], made: tuple[int, ...], *constants: Any, **options: Any) -> Graph:
    """The graph of one float32 operator with int32 constants behind its input."""
    build = ModelBuilder()
    first, last = build.tensor(source, "float32"), build.tensor(made, "float32")
    rest = [build.tensor(np.shape(value), "int32", data=value) for value in constants]
    build.operator(kind, [first, *rest], last, **options)
    return read_graph(build.finish(first, last))


def test_axes_are_counted_from_the_front() -> None:
    assert one("MEAN", (1, 4, 4, 3), (1, 3), [-2, 1]).operators[0].options == MeanOptions((1, 2))
    assert one("CONCATENATION", (1, 4, 4, 3), (1, 4, 4, 3), axis=-1).operators[0].options == ConcatOptions(
        3, "none"
    )


def test_a_padding_has_its_value() -> None:
    pairs = [[0, 0], [1, 2], [3, 4], [0, 0]]
    assert one("PAD", (1, 4, 4, 3), (1, 7, 11, 3), pairs).operators[0].options == PadOptions(
        (0, 1, 3, 0), (0, 2, 4, 0), 0.0
    )
    build = ModelBuilder()
    image, made = build.tensor((1, 4, 4, 3), "int8", (0.1, 7)), build.tensor((1, 7, 11, 3), "int8", (0.1, 7))
    paddings = build.tensor((4, 2), "int32", data=pairs)
    build.operator("PADV2", [image, paddings, build.tensor((1,), "int8", (0.1, 7), [-5])], made)
    operator = read_graph(build.finish(image, made)).operators[0]
    assert (operator.kind, operator.options) == ("PAD", PadOptions((0, 1, 3, 0), (0, 2, 4, 0), -5.0))


@pytest.mark.parametrize(
    ("size", "window", "stride", "dilation", "before", "after"),
    [
        (96, 3, 2, 1, 0, 1),
        (97, 3, 2, 1, 1, 1),
        (8, 5, 1, 1, 2, 2),
        (8, 3, 1, 2, 2, 2),
        (8, 2, 1, 1, 0, 1),
        (9, 1, 4, 1, 0, 0),
    ],
)
def test_same_is_resolved(size: int, window: int, stride: int, dilation: int, before: int, after: int) -> None:
    build = ModelBuilder()
    image = build.tensor((1, size, size, 1), "float32")
    filters = build.tensor((1, window, window, 1), "float32", data=np.ones((1, window, window, 1)))
    out = -(-size // stride)
    made = build.tensor((1, out, out, 1), "float32")
    build.operator(
        "CONV_2D", [image, filters], made, strideH=stride, strideW=stride, padding=SAME,
        dilationHFactor=dilation, dilationWFactor=dilation,
    )  # fmt: skip
    graph = read_graph(build.finish(image, made))
    check(graph)
    options = graph.operators[0].options
    assert isinstance(options, ConvOptions)
    assert options.padding == Padding(top=before, left=before, bottom=after, right=after)


def _two_ends(inputs: int, outputs: int) -> bytes:
    build = ModelBuilder()
    values = [build.tensor((1, 4), "float32") for _ in range(4)]
    build.operator("ADD", values[:2], values[2])
    build.operator("RELU", [values[2]], values[3])
    return build.finish(values[:inputs], values[4 - outputs :])


def _unknown() -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.operator("GELU", [first], last)
    return build.finish(first, last)


def _custom() -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.custom("TFLite_Detection_PostProcess", [first], last)
    return build.finish(first, last)


def _wide() -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "int16", (0.1, 0)), build.tensor((1, 4), "int16", (0.1, 0))
    build.operator("RELU", [first], last)
    return build.finish(first, last)


def _free() -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4, 4, 1), "float32"), build.tensor((1, 4, 4, 1), "float32")
    build.graph.tensors[first].shapeSignature = [-1, -1, -1, 1]
    build.operator("RELU", [first], last)
    return build.finish(first, last)


def _computed_shape() -> bytes:
    build = ModelBuilder()
    first, shape = build.tensor((1, 4), "float32"), build.tensor((2,), "int32")
    build.operator("SHAPE", [first], shape)
    return build.finish(first, shape)


def _tanh() -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.operator("ADD", [first, first], last, activation="tanh")
    return build.finish(first, last)


def _stateful() -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.graph.tensors[last].isVariable = True
    build.operator("RELU", [first], last)
    return build.finish(first, last)


@pytest.mark.parametrize(
    ("make", "problem", "hint"),
    [
        (lambda: b"", "identifier", "damaged"),
        (lambda: b"\xff\0\0\0TFL3", "cannot be read", "damaged"),
        (lambda: _two_ends(2, 1), "it has 2 inputs", "one of each"),
        (lambda: _two_ends(1, 2), "it has 2 outputs", "one of each"),
        (_unknown, r"GELU \(operator 0 of model\): this operator is not supported", "CONV_2D"),
        (_custom, "CUSTOM TFLite_Detection_PostProcess", "supported are"),
        (_wide, 'RELU .*"t1" is INT16', "full int8"),
        (_free, "has a free shape", "batch_shape"),
        (_computed_shape, r"SHAPE \(operator 0", "batch_shape"),
        (_tanh, r"ADD \(operator 0 of model, \"t1\"\): fused activation 4", "ReLU"),
        (_stateful, "variable", "state"),
    ],
)
def test_what_no_graph_can_say_is_refused(make: Callable[[], bytes], problem: str, hint: str) -> None:
    with pytest.raises(VerificationError, match=problem) as caught:
        read_graph(make())
    assert hint in caught.value.hint


def test_a_free_batch_is_run_as_one() -> None:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.graph.tensors[first].shapeSignature = [-1, 4]
    build.operator("RELU", [first], last)
    assert read_graph(build.finish(first, last)).tensor(first).shape == (1, 4)


def test_tensors_that_share_a_buffer_share_its_memory() -> None:
    build = ModelBuilder()
    at, shared = (
        build.tensor((1, 1 << 16), "float32"),
        build.tensor((1, 1 << 16), "float32", data=np.ones(1 << 16)),
    )
    first = at
    for _ in range(200):
        constant, last = build.tensor((1, 1 << 16), "float32"), build.tensor((1, 1 << 16), "float32")
        build.graph.tensors[constant].buffer = build.graph.tensors[shared].buffer
        build.operator("ADD", [at, constant], last)
        at = last
    model = build.finish(first, at)
    tracemalloc.start()
    graph = read_graph(model)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20  # each a copy, they would be 50 MB
    values = graph.constant(graph.operators[199], 1)
    assert values is not None
    assert values.dtype == np.float32
    assert np.all(values == 1)


def left_out(*places: int) -> bytes:
    """A CONCATENATION of the input with itself, with inputs that are not there."""
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "int8", (0.1, 0)), build.tensor((1, 8), "int8", (0.1, 0))
    build.operator("CONCATENATION", [-1 if place in places else first for place in range(3)], last, axis=1)
    return build.finish(first, last)


def flat_beside_flat() -> bytes:
    """Inputs of rank 2, joined on an axis that only the output has."""
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "int8", (0.1, 0)), build.tensor((1, 1, 4, 2), "int8", (0.1, 0))
    build.operator("CONCATENATION", [first, first], last, axis=3)
    return build.finish(first, last)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: left_out(1), "input 1 is missing"),
        (lambda: left_out(2), "input 2 is missing"),
        (flat_beside_flat, "axis 3 does not exist"),
    ],
)
def test_inputs_that_are_not_there_are_refused(make: Callable[[], bytes], problem: str) -> None:
    with pytest.raises(VerificationError, match=f"CONCATENATION.*{problem}"):
        read_graph(make())


def test_a_float32_tensor_has_no_scale() -> None:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32", (0.5, 3)), build.tensor((1, 4), "float32", (0.5, 3))
    build.operator("RELU", [first], last)
    graph = read_graph(build.finish(first, last))
    assert [graph.tensor(index).quantization for index in (first, last)] == [None, None]


def test_names_cannot_write_on_a_terminal() -> None:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.graph.tensors[last].name = "a\x1b[2J*/\nb"
    build.operator("RELU", [first], last)
    assert read_graph(build.finish(first, last)).tensor(last).name == "a?[2J*/?b"


def passes(model: bytes) -> None:
    """Everything that looks at a model before C is written."""
    graph = read_graph(model)
    check(graph)
    bind_graph(fold(graph))


@pytest.mark.parametrize("size", range(0, len(SMALL), 13))
def test_a_file_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(VerificationError):
        passes(SMALL[:size])


WORDS = st.sampled_from(
    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\x7f"]
)


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), WORDS | st.binary(min_size=1, max_size=4)), max_size=6))
@example([(0, b"\xff\xff\xff\x7f")])
def test_damaged_bytes_are_refused_or_read_and_nothing_worse(changes: list[tuple[int, bytes]]) -> None:
    model = bytearray(SMALL)
    for position, new in changes:
        model[position : position + len(new)] = new
    try:
        passes(bytes(model))
    except EiautoError as refused:
        problem = refused
    else:
        return
    assert problem.hint


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(VerificationError):
        read_graph(noise[:4] + b"TFL3" + noise[4:])


REAL = (
    ("openmv_rubbish", 72, (1, 96, 96, 3)),
    ("studio_deployments/openmv_cls_2020_mask", 72, (1, 96, 96, 3)),
    ("studio_deployments/openmv_cls_2023_person", 35, (1, 96, 96, 1)),
    ("studio_deployments/openmv_cls_2025_speed_sign", 70, (1, 160, 160, 1)),
    ("studio_deployments/openmv_cls_2026_food", 70, (1, 96, 96, 1)),
    ("studio_deployments/openmv_fomo_2023_balloon", 27, (1, 96, 96, 3)),
)


@pytest.mark.parametrize(("folder", "operators", "shape"), REAL)
def test_real_models_of_studio(shared_data: Path, folder: str, operators: int, shape: tuple[int, ...]) -> None:
    graph = read_graph((shared_data / folder / "trained.tflite").read_bytes(), folder)
    check(graph)
    assert len(graph.operators) == operators
    assert graph.tensor(graph.input).shape == shape
    assert graph.tensor(graph.input).dtype == "int8"
