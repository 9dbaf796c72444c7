"""The same network at another size."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.check import check
from ei_automation.compiler.compiling import plan_graph
from ei_automation.compiler.fold import fold
from ei_automation.compiler.graph import Graph, Padding, PoolOptions
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.rescale import rescale
from tests.compiler.architectures import architecture
from tests.compiler.test_fold import SAME, VALID, Sketch, classifier
from tests.compiler.test_read import REAL


def read(model: bytes | Sketch) -> Graph:
    graph = read_graph(model.finish() if isinstance(model, Sketch) else model)
    check(graph)
    return graph


def arena(graph: Graph) -> int:
    """What the planner makes of it, which a graph with wrong shapes would not survive."""
    check(graph)
    graph = fold(graph)
    return plan_graph(graph, bind_graph(graph), "planned").arena_bytes


def shapes(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.tensor(operator.output).shape for operator in graph.operators]


@pytest.mark.parametrize(("folder", "operators", "shape"), REAL)
def test_real_models_at_other_sizes(
    shared_data: Path, folder: str, operators: int, shape: tuple[int, ...]
) -> None:
    graph = read((shared_data / folder / "trained.tflite").read_bytes())
    assert shapes(rescale(graph, shape[1], shape[2])) == shapes(graph)
    smaller = rescale(graph, 64, 64)
    assert smaller.tensor(smaller.input).shape == (1, 64, 64, shape[3])
    assert smaller.tensor(smaller.output).shape[-1] == graph.tensor(graph.output).shape[-1]
    assert arena(smaller) < arena(graph)
    assert len(smaller.operators) == operators


def steps(graph: Graph) -> list[tuple[int, ...]]:
    """The heights and widths that an image goes through."""
    sizes = [graph.tensor(operator.output).shape[1:3] for operator in fold(graph).operators]
    return [size for size, _ in groupby(sizes)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "large"), [("mobilenet_v2_1_64", "mobilenet_v2_035_96"), ("fomo_01_64", "fomo_035_96")]
)
def test_a_rescaled_network_has_the_sizes_of_one_made_so(small: str, large: str) -> None:
    """Of another width; heights and widths do not depend on that."""
    wanted, graph = read(architecture(small, "int8")), read(architecture(large, "int8"))
    _, height, width, _ = wanted.tensor(wanted.input).shape
    assert steps(rescale(graph, height, width)) == steps(wanted)
    assert steps(graph) != steps(wanted)


def test_a_head_over_all_positions_gets_new_weights() -> None:
    graph = read(classifier((9, 5), first_reshape=True))
    larger = rescale(graph, 11, 9)
    assert shapes(larger) == [(1, 5, 4, 4), (20, 4), (20, 5), (1, 100), (1, 3)]
    weights = larger.constant(larger.operators[-1], 1)
    assert weights is not None
    assert weights.shape == (3, 100)
    assert not weights.any()
    untouched = larger.constant(larger.operators[2], 1)
    assert untouched is graph.constant(graph.operators[2], 1)
    assert arena(larger) > arena(graph)


def test_a_dense_layer_that_keeps_its_axes() -> None:
    larger = rescale(read(classifier((1, 3, 3, 5), first_reshape=False)), 11, 11)
    assert shapes(larger) == [(1, 5, 5, 4), (1, 5, 5, 5), (1, 125), (1, 3)]


def pool(size: int, padding: int = VALID, stride: int = 2) -> Sketch:
    sketch = Sketch((1, 9, 9, 2))
    out = (9 - size) // stride + 1 if padding == VALID else -(-9 // stride)
    sizes = {"filterHeight": size, "filterWidth": size, "strideH": stride, "strideW": stride, "padding": padding}
    sketch.layer("AVERAGE_POOL_2D", (1, out, out, 2), **sizes)
    return sketch


def test_a_global_pool_stays_global() -> None:
    larger = rescale(read(pool(9)), 12, 10)
    assert shapes(larger) == [(1, 1, 1, 2)]
    options = larger.operators[0].options
    assert isinstance(options, PoolOptions)
    assert (options.filter_h, options.filter_w) == (12, 10)


def test_same_padding_is_resolved_anew() -> None:
    graph = read(pool(3, SAME))
    assert graph.operators[0].options.padding == Padding(1, 1, 1, 1)  # type: ignore[union-attr]
    larger = rescale(graph, 10, 9)
    assert larger.operators[0].options.padding == Padding(0, 1, 1, 1)  # type: ignore[union-attr]
    assert shapes(larger) == [(1, 5, 5, 2)]


def test_a_resize_keeps_its_ratio() -> None:
    sketch = Sketch((1, 4, 4, 2))
    sizes = sketch.build.tensor((2,), "int32", data=[8, 12])
    sketch.layer("RESIZE_NEAREST_NEIGHBOR", (1, 8, 12, 2), sizes)
    assert shapes(rescale(read(sketch), 5, 3)) == [(1, 10, 9, 2)]


def flat() -> Sketch:
    sketch = Sketch((1, 8))
    sketch.layer("RELU", (1, 8))
    return sketch


def regrouped() -> Sketch:
    sketch = Sketch((1, 9, 9, 2))
    sketch.reshape((1, 27, 6))
    return sketch


def upsampled() -> Sketch:
    sketch = Sketch((1, 4, 4, 2))
    sizes = sketch.build.tensor((2,), "int32", data=[7, 7])
    sketch.layer("RESIZE_BILINEAR", (1, 7, 7, 2), sizes)
    return sketch


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (flat, "no height and width"),
        (lambda: pool(5), "does not fit"),
        (regrouped, "no like at another size"),
        (upsampled, "no like for"),
    ],
)
def test_what_cannot_be_at_that_size(make: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        rescale(read(make()), 3, 3)
