"""What goes into its neighbours, and that the bytes stay the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.check import check
from ei_automation.compiler.fold import fold
from ei_automation.compiler.graph import ActivationOptions, ConvOptions, Graph, Padding
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.toolchain import CCompiler
from tests.compiler.models import ModelBuilder
from tests.compiler.test_read import REAL

INT8 = (0.05, -7)
STEPS = {"strideH": 2, "strideW": 2, "dilationHFactor": 1, "dilationWFactor": 1}
SAME, VALID = 0, 1


class Sketch:
    """A model of int8 or float32 layers that fold looks at, made one after another."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "int8", quantization: Any = INT8) -> None:
        self.build, self.dtype, self.random = ModelBuilder(), dtype, np.random.default_rng(1)
        self.start = self.at = self.tensor(shape, quantization)
        self.shape = shape

    def tensor(self, shape: tuple[int, ...], quantization: Any = INT8) -> int:
        return self.build.tensor(shape, self.dtype, quantization if self.dtype == "int8" else None)

    def layer(
        self, kind: str, shape: tuple[int, ...], *more: int, quantization: Any = INT8, **options: Any
    ) -> int:
        self.at, before = self.tensor(shape, quantization), self.at
        self.build.operator(kind, [before, *more], self.at, **options)
        self.shape = shape
        return self.at

    def pad(self, top: int, bottom: int, *, value: int | None = None, **options: Any) -> int:
        pairs = self.build.tensor((4, 2), "int32", data=[[0, 0], [top, bottom], [top, bottom], [0, 0]])
        _, height, width, channels = self.shape
        made = (1, height + top + bottom, width + top + bottom, channels)
        if value is None:
            return self.layer("PAD", made, pairs, **options)
        constant = self.build.tensor((1,), self.dtype, INT8 if self.dtype == "int8" else None, [value])
        return self.layer("PADV2", made, pairs, constant, **options)

    def weights(self, shape: tuple[int, ...]) -> int:
        if self.dtype == "float32":
            return self.build.tensor(shape, "float32", data=self.random.uniform(-1, 1, shape))
        return self.build.tensor(shape, "int8", (0.02, 0), self.random.integers(-127, 128, shape))

    def bias(self) -> int:
        if self.dtype == "float32":
            return self.build.tensor((4,), "float32", data=self.random.uniform(-1, 1, 4))
        return self.build.tensor((4,), "int32", (0.001, 0), self.random.integers(-999, 999, 4))

    def convolve(self, *, size: int = 3, padding: int = VALID, **options: Any) -> int:
        _, height, width, channels = self.shape
        reach = size if padding == VALID else 1
        made = (1, (height - reach) // 2 + 1, (width - reach) // 2 + 1, 4)
        weights = self.weights((4, size, size, channels))
        return self.layer("CONV_2D", made, weights, self.bias(), padding=padding, **STEPS, **options)

    def reshape(self, shape: tuple[int, ...]) -> int:
        return self.layer("RESHAPE", shape, self.build.tensor((len(shape),), "int32", data=shape), newShape=shape)

    def dense(self, units: int, depth: int, made: tuple[int, ...]) -> int:
        return self.layer("FULLY_CONNECTED", made, self.weights((units, depth)))

    def finish(self) -> bytes:
        return self.build.finish(self.start, self.at)


def folded(model: bytes | Sketch) -> Graph:
    graph = read_graph(model.finish() if isinstance(model, Sketch) else model)
    check(graph)
    return fold(graph)


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def shapes(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.tensor(operator.output).shape for operator in graph.operators]


def padded(**options: Any) -> Sketch:
    sketch = Sketch((1, 9, 9, 2))
    sketch.pad(1, 2, **options)
    sketch.convolve()
    return sketch


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_pad_goes_into_the_convolution(dtype: str) -> None:
    sketch = Sketch((1, 9, 9, 2), dtype)
    sketch.pad(1, 2)
    sketch.convolve()
    (operator,) = folded(sketch).operators
    assert isinstance(operator.options, ConvOptions)
    assert operator.options.padding == Padding(top=1, left=1, bottom=2, right=2)
    assert (operator.inputs[0], operator.folded, operator.place) == (sketch.start, (0,), 1)


def test_a_pad_adds_to_what_the_convolution_pads() -> None:
    sketch = Sketch((1, 9, 9, 2))
    sketch.pad(1, 0)
    sketch.convolve(size=5, padding=SAME)
    (operator,) = folded(sketch).operators
    assert isinstance(operator.options, ConvOptions)
    assert operator.options.padding == Padding(top=2, left=2, bottom=2, right=2)


def unlike_zero() -> Sketch:
    return padded(value=-6)


def unlike_scale() -> Sketch:
    return padded(quantization=(0.06, -7))


def larger_than_the_window() -> Sketch:
    sketch = Sketch((1, 9, 9, 2))
    sketch.pad(3, 0)
    sketch.convolve()
    return sketch


def before_a_pool() -> Sketch:
    sketch = Sketch((1, 9, 9, 2))
    sketch.pad(1, 0)
    sizes = {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2, "padding": VALID}
    sketch.layer("AVERAGE_POOL_2D", (1, 5, 5, 2), **sizes)
    return sketch


PADS_THAT_STAY = (unlike_zero, unlike_scale, larger_than_the_window, before_a_pool)


@pytest.mark.parametrize("make", PADS_THAT_STAY)
def test_a_pad_stays_where_it_would_not_be_exact(make: Any) -> None:
    assert kinds(folded(make()))[0] == "PAD"


def test_a_pad_with_two_readers_goes_into_the_one_that_can() -> None:
    sketch = padded()
    convolved = sketch.at
    build = sketch.build
    sizes = {"filterHeight": 3, "filterWidth": 3, "strideH": 2, "strideW": 2, "padding": VALID}
    pooled, last = sketch.tensor((1, 5, 5, 2)), sketch.tensor((1, 5, 5, 6))
    build.operator("MAX_POOL_2D", [2], pooled, **sizes)
    build.operator("CONCATENATION", [convolved, pooled], last, axis=3)
    sketch.at = last
    graph = folded(sketch)
    assert kinds(graph) == ["PAD", "CONV_2D", "MAX_POOL_2D", "CONCATENATION"]
    assert graph.operators[1].inputs[0] == sketch.start


def classifier(per_position: tuple[int, ...], *, first_reshape: bool) -> Sketch:
    """A convolution and Studio's head: a dense layer per position, then one on all of them."""
    sketch = Sketch((1, 7, 7, 2))
    sketch.convolve()
    if first_reshape:
        sketch.reshape((9, 4))
    sketch.dense(5, 4, per_position)
    sketch.reshape((1, 45))
    sketch.dense(3, 45, (1, 3))
    return sketch


@pytest.mark.parametrize(
    ("per_position", "first_reshape"), [((9, 5), True), ((9, 5), False), ((1, 3, 3, 5), False), ((1, 9, 5), True)]
)
def test_a_head_keeps_the_height_of_its_image(per_position: tuple[int, ...], first_reshape: bool) -> None:
    if per_position == (1, 9, 5):
        sketch = classifier((9, 5), first_reshape=True)
    else:
        sketch = classifier(per_position, first_reshape=first_reshape)
    graph = folded(sketch)
    assert kinds(graph) == ["CONV_2D", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    assert shapes(graph) == [(1, 3, 3, 4), (1, 3, 3, 5), (1, 3)]
    places = {place for operator in graph.operators for place in (operator.place, *operator.folded)}
    assert places >= set(range(5 if first_reshape else 4))


def test_a_flat_input_becomes_the_image_that_it_is() -> None:
    sketch = Sketch((1, 162))
    sketch.reshape((1, 9, 9, 2))
    sketch.convolve()
    graph = folded(sketch)
    assert kinds(graph) == ["CONV_2D"]
    assert graph.tensor(graph.input).shape == (1, 9, 9, 2)


def test_a_reshape_at_the_end_goes() -> None:
    sketch = Sketch((1, 9, 9, 2))
    sketch.convolve()
    sketch.reshape((1, 64))
    graph = folded(sketch)
    assert kinds(graph) == ["CONV_2D"]
    assert graph.operators[0].folded == (1,)
    assert graph.output == graph.operators[0].output


def test_a_reshape_stays_between_two_that_insist() -> None:
    sketch = Sketch((1, 8, 8, 2))
    sketch.convolve(padding=SAME)
    sketch.reshape((1, 8, 2, 4))
    sketch.convolve(padding=SAME)
    assert kinds(folded(sketch)) == ["CONV_2D", "RESHAPE", "CONV_2D"]


def test_a_model_that_only_copies_keeps_its_copy() -> None:
    sketch = Sketch((1, 4))
    sketch.reshape((4, 1))
    sketch.reshape((1, 2, 2))
    assert kinds(folded(sketch)) == ["RESHAPE"]


def test_a_reshape_moves_behind_what_it_does_not_concern() -> None:
    sketch = Sketch((1, 9, 9, 2))
    sketch.convolve()
    sketch.reshape((1, 16, 4))
    sketch.layer("RELU", (1, 16, 4), quantization=(0.07, 3))
    sketch.layer("SOFTMAX", (1, 16, 4), quantization=(1 / 256, -128), beta=1.0)
    graph = folded(sketch)
    assert kinds(graph) == ["CONV_2D", "RELU", "SOFTMAX"]
    assert shapes(graph) == [(1, 4, 4, 4)] * 3


def test_softmax_over_another_axis_keeps_its_shape() -> None:
    sketch = Sketch((1, 9, 9, 2))
    sketch.convolve()
    sketch.reshape((1, 64))
    sketch.layer("SOFTMAX", (1, 64), quantization=(1 / 256, -128), beta=1.0)
    assert kinds(folded(sketch)) == ["CONV_2D", "RESHAPE", "SOFTMAX"]


@pytest.mark.parametrize(
    ("built_in", "behind", "together"),
    [
        ("none", "RELU", "relu"),
        ("none", "RELU6", "relu6"),
        ("relu", "RELU6", "relu6"),
        ("relu6", "RELU", "relu6"),
        ("relu", "RELU", "relu"),
        ("relu_n1_to_1", "RELU", None),
    ],
)
def test_an_activation_goes_into_its_producer(built_in: str, behind: str, together: str | None) -> None:
    sketch = Sketch((1, 4, 4, 2))
    sketch.layer("ADD", (1, 4, 4, 2), sketch.start, activation=built_in)
    sketch.layer(behind, (1, 4, 4, 2))
    graph = folded(sketch)
    if together is None:
        assert kinds(graph) == ["ADD", behind]
    else:
        assert kinds(graph) == ["ADD"]
        assert graph.operators[0].options == ActivationOptions(together)  # type: ignore[arg-type]
        assert graph.operators[0].output == sketch.at


@pytest.mark.parametrize("case", ["another scale", "float32", "two readers"])
def test_an_activation_stays_where_it_would_not_be_exact(case: str) -> None:
    sketch = Sketch((1, 4, 4, 2), "float32" if case == "float32" else "int8")
    summed = sketch.layer("ADD", (1, 4, 4, 2), sketch.start)
    sketch.layer("RELU", (1, 4, 4, 2), quantization=(0.06, -7) if case == "another scale" else INT8)
    if case == "two readers":
        sketch.layer("ADD", (1, 4, 4, 2), summed)
    assert "RELU" in kinds(folded(sketch))


def test_constants_are_computed() -> None:
    build = ModelBuilder()
    first = build.tensor((1, 2), "float32")
    stored = build.tensor((2, 3), "int8", ([0.5, 0.25], 0), [[1, 2, 3], [4, 5, 6]])
    widened, turned = build.tensor((2, 3), "float32"), build.tensor((3, 2), "float32")
    last = build.tensor((1, 3), "float32")
    build.operator("DEQUANTIZE", [stored], widened)
    build.operator("RESHAPE", [widened, build.tensor((2,), "int32", data=[3, 2])], turned, newShape=[3, 2])
    build.operator("FULLY_CONNECTED", [first, turned, -1], last)
    graph = folded(build.finish(first, last))
    assert kinds(graph) == ["FULLY_CONNECTED"]
    weights = graph.constant(graph.operators[0], 1)
    assert weights is not None
    assert weights.dtype == np.float32
    assert weights.tolist() == [[0.5, 1.0], [1.5, 1.0], [1.25, 1.5]]


def test_what_nobody_reads_goes() -> None:
    sketch = Sketch((1, 4))
    sketch.build.operator("RELU", [sketch.start], sketch.tensor((1, 4)))
    sketch.layer("RELU6", (1, 4))
    graph = folded(sketch)
    assert kinds(graph) == ["RELU6"]
    assert set(graph.tensors) == {graph.input, graph.output}


def test_a_requantization_to_the_same_scale_goes() -> None:
    sketch = Sketch((1, 4))
    sketch.layer("RELU6", (1, 4))
    sketch.layer("QUANTIZE", (1, 4))
    sketch.layer("LOGISTIC", (1, 4), quantization=(1 / 256, -128))
    graph = folded(sketch)
    assert kinds(graph) == ["RELU6", "LOGISTIC"]
    assert graph.operators[1].folded == (1,)


@pytest.mark.parametrize(("folder", "operators", "shape"), REAL)
def test_real_models_lose_pads_and_reshapes(
    shared_data: Path, folder: str, operators: int, shape: tuple[int, ...]
) -> None:
    graph = folded((shared_data / folder / "trained.tflite").read_bytes())
    assert not {"PAD", "RESHAPE"} & set(kinds(graph))
    places = sorted(place for operator in graph.operators for place in (operator.place, *operator.folded))
    assert set(places) == set(range(operators))
    assert graph.tensor(graph.input).shape == shape


def test_folding_twice_changes_nothing() -> None:
    once = folded(classifier((9, 5), first_reshape=True))
    again = fold(once)
    assert again.operators == once.operators
    assert replace(again, tensors={}) == replace(once, tensors={})


def bytes_stay(models: dict[str, bytes], host: CCompiler, folder: Path) -> None:
    """Compiled, they give TFLite's bytes, which runs them unfolded."""
    from tests.compiler.harness import check_on_host, make_cases

    cases = [case for name, model in models.items() for case in make_cases(name, model, inputs=4)]
    check_on_host(cases, host, folder)


def test_the_bytes_stay_the_same(host: CCompiler, tmp_path: Path) -> None:
    models = {make.__name__: make().finish() for make in PADS_THAT_STAY}
    models |= {
        "padded": padded().finish(),
        "head": classifier((9, 5), first_reshape=True).finish(),
        "head_4d": classifier((1, 3, 3, 5), first_reshape=False).finish(),
    }
    for number, (built_in, kind) in enumerate([("none", "RELU"), ("relu", "RELU6"), ("relu_n1_to_1", "RELU")]):
        sketch = Sketch((1, 4, 4, 2))
        sketch.layer("ADD", (1, 4, 4, 2), sketch.start, activation=built_in)
        sketch.layer(kind, (1, 4, 4, 2))
        models[f"activation_{number}"] = sketch.finish()
    insisting = Sketch((1, 8, 8, 2))
    insisting.convolve(padding=SAME)
    insisting.reshape((1, 8, 2, 4))
    insisting.convolve(padding=SAME)
    models["insisting"] = insisting.finish()
    bytes_stay(models, host, tmp_path)


@pytest.mark.parametrize("kind", ["SQUEEZE", "EXPAND_DIMS"])
def test_other_aliases_are_like_reshapes(kind: str) -> None:
    """EXPAND_DIMS before a convolution, SQUEEZE behind one, both where it must stay and where it goes."""
    if kind == "SQUEEZE":
        sketch = Sketch((1, 3, 3, 2))
        sketch.convolve()
        sketch.layer("SQUEEZE", (1, 4))
        sketch.dense(3, 4, (1, 3))
        assert kinds(folded(sketch)) == ["CONV_2D", "FULLY_CONNECTED"]
    else:
        sketch = Sketch((1, 8, 8, 2))
        sketch.convolve(padding=SAME)
        sketch.reshape((1, 8, 8))
        sketch.layer("EXPAND_DIMS", (1, 8, 8, 1), sketch.build.tensor((1,), "int32", data=[-1]))
        sketch.convolve(padding=SAME)
        graph = folded(sketch)
        assert kinds(graph) == ["CONV_2D", "EXPAND_DIMS", "CONV_2D"]
        assert [call.function for call in bind_graph(graph)][1] == "nn_reshape_s8"
