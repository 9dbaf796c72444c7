"""Narrower networks: channels as MobileNet rounds them, and what the compiler makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.compiler.check import check
from ei_automation.compiler.compiling import CompileOptions, compile_model
from ei_automation.compiler.narrow import narrow, narrower
from ei_automation.compiler.read import read_graph
from ei_automation.workflow.sized import Sized
from tests.compiler.architectures import architecture

V2_035 = "studio_deployments/openmv_cls_2026_food/trained.tflite"
V1_025 = "studio_deployments/openmv_cls_2023_person/trained.tflite"


@pytest.mark.parametrize(
    ("channels", "ratio", "left"),
    [(32, 0.35, 16), (96, 0.35, 32), (320, 0.35, 112), (32, 0.1, 8), (320, 0.1, 32), (24, 1.0, 24), (5, 0.5, 3)],
)
def test_channels_are_rounded_as_mobilenet_does(channels: int, ratio: float, left: int) -> None:
    assert narrower(channels, ratio) == left


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("name", ["fomo_01_64", "densenet_24", "mobilenet_v1_01_32"])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0])
def test_every_architecture_has_narrower_likes(name: str, dtype: str, ratio: float) -> None:
    graph = read_graph(architecture(name, dtype))
    found = narrow(graph, ratio)
    check(found)
    ends = [(graph.tensor(index).shape, found.tensor(index).shape) for index in (graph.input, graph.output)]
    assert all(before == after for before, after in ends)
    weights = [
        sum(each.tensor(operator.inputs[1]).count for operator in each.operators if operator.kind == "CONV_2D")
        for each in (found, graph)
    ]
    assert weights[0] == weights[1] if ratio == 1 else weights[0] <= weights[1]


def test_a_narrower_mobilenet_takes_what_a_real_one_takes(shared_data: Path) -> None:
    """MobileNetV2 at alpha 0.1, cut out of a real one at 0.35 and built by Keras, 96x96 grayscale, dense 16."""
    wide = Sized.read((shared_data / V2_035).read_bytes())
    cut = wide.narrower(0.1 / 0.35)
    channels = {operator.place: cut.graph.tensor(operator.output).shape[-1] for operator in cut.graph.operators}
    assert 1280 in channels.values()
    # Keras's 0.1 has 128,951 bytes of constants with three classes at 48x48, where the head is 9 times smaller.
    assert cut.at(48, 48).constant_bytes == pytest.approx(128_951, rel=0.02)
    assert cut.file_bytes / wide.file_bytes == pytest.approx(0.375, abs=0.02), "by far not 0.286 squared"


def test_what_a_narrower_mobilenet_v1_keeps(shared_data: Path) -> None:
    """All of its convolutions go with alpha, but neither the image nor the classes."""
    graph = read_graph((shared_data / V1_025).read_bytes())
    found = narrow(graph, 0.5)
    check(found)
    convolutions = [operator for operator in graph.operators if operator.kind == "CONV_2D"]
    halves = [(graph.tensor(each.output).shape[-1], found.tensor(each.output).shape[-1]) for each in convolutions]
    assert all(after == max(8, before // 2) for before, after in halves)
    assert found.tensor(found.input).shape == graph.tensor(graph.input).shape


def test_a_ratio_of_one_changes_nothing_of_what_compiles() -> None:
    model = architecture("fomo_01_64", "int8")
    compiled, same = compile_model(model, CompileOptions()), Sized.read(model).narrower(1.0)
    assert (same.arena_bytes("streamed"), same.constant_bytes) == (compiled.arena_bytes, compiled.constant_bytes)
    assert same.file_bytes == len(model)
