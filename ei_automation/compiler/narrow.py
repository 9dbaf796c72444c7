"""The same network with fewer channels, to find out what a smaller alpha would take.

Weights are cut, not trained: such a graph can be planned and compiled; its scores are void. A real network of that
alpha has about these channels, because the ones that are cut were rounded already.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ei_automation.compiler.graph import Graph, Operator, Tensor
from ei_automation.compiler.rescale import STATED
from ei_automation.compiler.shapes import Shape, output_shape

STEP = 8
"""MobileNet rounds channels to multiples of it (keras.applications: _make_divisible)."""
LEAST_RATIO = 0.9
"""Of channels that rounding may leave (the same function)."""
EXPANSION = 6
"""A block of MobileNetV2 has so many times its input's channels inside, whatever alpha is."""
LAST_CHANNELS = 1_280
"""MobileNetV2's last convolution has so many at every alpha up to 1."""
CONVOLUTIONS = ("CONV_2D", "TRANSPOSE_CONV")
OPERANDS = ("ADD", "SUB", "MUL")


def narrow(graph: Graph, ratio: float) -> Graph:
    """The network with fewer channels between its input and its head.

    The image's channels stay, as do the outputs of dense layers, of a convolution that gives the classes and of
    the one straight before it (FOMO's head), and MobileNetV2's 1280.

    Args:
        graph: As read and checked, before any fold.
        ratio: Of alpha to this network's: above 0, at most 1.

    Raises:
        ValueError: It has no such likeness.
    """
    tensors = dict(graph.tensors)
    kept = _head(graph)
    operators = []
    for operator in graph.operators:
        made = graph.tensor(operator.output)
        if made.data is None:
            operator = _cut(operator, graph, tensors, ratio=1.0 if operator.place in kept else ratio)
            tensors[made.index] = replace(made, shape=_shape_made(operator, graph, tensors))
        operators.append(operator)
    return replace(graph, tensors=tensors, operators=tuple(operators))


def narrower(channels: int, ratio: float) -> int:
    """How many of some channels are left, rounded as MobileNet rounds where they are a multiple of 8.

    Args:
        channels: At least 1.
        ratio: Above 0, at most 1.
    """
    wanted = channels * ratio
    if channels % STEP:
        return math.ceil(wanted)
    found = max(STEP, int(wanted + STEP / 2) // STEP * STEP)
    return found + STEP if found < LEAST_RATIO * wanted else found


def _head(graph: Graph) -> set[int]:
    """Places of the convolutions whose outputs alpha does not change."""
    convolutions = [operator for operator in graph.operators if operator.kind in CONVOLUTIONS]
    kept = {each.place for each in convolutions if graph.tensor(each.output).shape[-1] == LAST_CHANNELS}
    if convolutions and all(operator.kind != "FULLY_CONNECTED" for operator in graph.operators):
        classes = convolutions[-1]
        before = {each.place for each in convolutions if each.output in classes.inputs}
        kept |= {classes.place, *before}
    return kept


def _cut(operator: Operator, graph: Graph, tensors: dict[int, Tensor], *, ratio: float) -> Operator:
    """The operator with constants for its new input, each a tensor of its own."""
    shapes: dict[int, Shape] = {}
    if operator.kind in CONVOLUTIONS:
        channels = _channels_in(operator, tensors)
        shapes = _filter_shapes(operator, graph, channels, ratio)
    elif operator.kind == "DEPTHWISE_CONV_2D":
        before = graph.tensor(operator.inputs[0]).shape[-1]
        _, height, width, outputs = graph.tensor(operator.inputs[1]).shape
        outputs = outputs // before * tensors[operator.inputs[0]].shape[-1]
        shapes = {1: (1, height, width, outputs), 2: (outputs,)}
    elif operator.kind == "FULLY_CONNECTED":
        units, depth = graph.tensor(operator.inputs[1]).shape
        given = operator.inputs[0]
        shapes = {1: (units, depth * tensors[given].count // graph.tensor(given).count)}
    elif operator.kind in OPERANDS:
        shapes = _operand_shapes(operator, graph, tensors)
    return _with_constants(operator, tensors, shapes)


def _channels_in(operator: Operator, tensors: dict[int, Tensor]) -> int:
    """Of a convolution's image."""
    return tensors[operator.inputs[2 if operator.kind == "TRANSPOSE_CONV" else 0]].shape[-1]


def _filter_shapes(operator: Operator, graph: Graph, channels: int, ratio: float) -> dict[int, Shape]:
    """New shapes of a convolution's filter and bias, by their position among the inputs."""
    outputs, height, width, inputs = graph.tensor(operator.inputs[1]).shape
    if ratio < 1 and (height, width) == (1, 1) and outputs == EXPANSION * inputs:
        outputs = EXPANSION * channels
    elif ratio < 1:
        outputs = narrower(outputs, ratio)
    bias = 3 if operator.kind == "TRANSPOSE_CONV" else 2
    return {1: (outputs, height, width, channels), bias: (outputs,)}


def _operand_shapes(operator: Operator, graph: Graph, tensors: dict[int, Tensor]) -> dict[int, Shape]:
    """New shape of a constant with a value for each channel."""
    flowing = [tensors[index].shape[-1] for index in operator.inputs if not tensors[index].is_constant]
    channels = graph.tensor(operator.output).shape[-1]
    return {
        position: (*tensors[index].shape[:-1], flowing[0])
        for position, index in enumerate(operator.inputs)
        if tensors[index].is_constant and tensors[index].shape[-1:] == (channels,)
    }


def _with_constants(operator: Operator, tensors: dict[int, Tensor], shapes: dict[int, Shape]) -> Operator:
    """The operator with the first values of its constants."""
    inputs = list(operator.inputs)
    for position, shape in shapes.items():
        if position >= len(inputs) or inputs[position] < 0 or tensors[inputs[position]].shape == shape:
            continue
        index = max(tensors) + 1
        tensors[index] = _first(tensors[inputs[position]], index, shape)
        inputs[position] = index
    return replace(operator, inputs=tuple(inputs))


def _first(constant: Tensor, index: int, shape: Shape) -> Tensor:
    """The first values along each axis, with their scales."""
    if constant.data is None or any(new > old for new, old in zip(shape, constant.shape, strict=True)):
        raise ValueError(f"{constant.name} cannot become {shape}")
    found = constant.quantization
    if found is not None and len(found.scales) > 1:
        count = shape[found.axis]
        found = replace(found, scales=found.scales[:count], zero_points=found.zero_points[:count])
    data = constant.data[tuple(slice(size) for size in shape)]
    return replace(constant, index=index, shape=shape, data=data, quantization=found)


def _shape_made(operator: Operator, graph: Graph, tensors: dict[int, Tensor]) -> Shape:
    """The new shape of the operator's output."""
    stated = graph.tensor(operator.output).shape
    position = 2 if operator.kind == "TRANSPOSE_CONV" else 0
    before, now = graph.tensor(operator.inputs[position]).shape, tensors[operator.inputs[position]].shape
    if operator.kind in STATED:
        stated = STATED[operator.kind](operator, before, now, stated)
    if operator.kind in ("TRANSPOSE_CONV", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        stated = (*stated[:-1], tensors[operator.inputs[1]].shape[0] if position else now[-1])
    shapes = {index: tensors[index].shape for index in operator.inputs if index >= 0}
    return output_shape(operator, {**shapes, operator.output: stated})
