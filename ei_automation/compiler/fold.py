"""Operators that need not run: they become a part of their neighbours, and the bytes that come out stay the same.

Constants that are computed from constants, RESHAPEs (the order of the bytes is the same), activations after an
operator that has one built in, paddings before a convolution that pads by itself, and what nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.graph import (
    Activation,
    ActivationOptions,
    ConvOptions,
    Graph,
    NoOptions,
    Operator,
    Padding,
    PadOptions,
    PoolOptions,
    Quantization,
    Tensor,
)

ALIASES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
"""Kinds whose output is the bytes of their input."""
UNARY = frozenset({"RELU", "RELU6", "LOGISTIC", "HARD_SWISH", "QUANTIZE", "DEQUANTIZE"})
"""Kinds that compute each value from the one at its place, whatever the shape."""
AXIS_KINDS = frozenset({"CONCATENATION", "PAD", *ALIASES})
"""Kinds whose options speak of axes, so that their output's rank must stay."""


def fold(graph: Graph) -> Graph:
    """The same network in fewer operators.

    Args:
        graph: Checked (`check`).

    Returns:
        A graph that computes the same bytes. A RESHAPE is left only where both neighbours insist on their shape.
    """
    for step in (fold_constants, keep_heights, fold_reshapes, fold_activations, fold_paddings, drop_dead):
        graph = step(graph)
    used = {graph.input, graph.output}.union(*(operator.inputs for operator in graph.operators))
    used.update(operator.output for operator in graph.operators)
    return replace(graph, tensors={index: tensor for index, tensor in graph.tensors.items() if index in used})


def fold_constants(graph: Graph) -> Graph:
    """Compute DEQUANTIZEs and RESHAPEs of constants."""
    tensors, operators = dict(graph.tensors), []
    for operator in graph.operators:
        source = tensors[operator.inputs[0]]
        if operator.kind in ALIASES | {"DEQUANTIZE"} and source.data is not None:
            tensors[operator.output] = _computed(source, tensors[operator.output], operator.kind)
        else:
            operators.append(operator)
    return replace(graph, tensors=tensors, operators=tuple(operators))


def _computed(source: Tensor, target: Tensor, kind: str) -> Tensor:
    """The constant that a RESHAPE or DEQUANTIZE of a constant gives."""
    assert source.data is not None
    values = source.data
    if kind == "DEQUANTIZE":
        values = _dequantized(values, source.q)
    return replace(target, data=values.reshape(target.shape))


def _dequantized(values: NDArray[Any], quantization: Quantization) -> NDArray[np.float32]:
    """The float32 values of a constant (reference/dequantize.h: a double product, per channel a float32 one)."""
    if len(quantization.scales) == 1:
        centred = values.astype(np.int64) - quantization.zero_point
        return (quantization.scale * centred.astype(np.float64)).astype(np.float32)
    along = [-1 if axis == quantization.axis else 1 for axis in range(values.ndim)]
    zero_points = np.array(quantization.zero_points, np.int64).reshape(along)
    scales = np.array(quantization.scales, np.float32).reshape(along)
    return scales * (values.astype(np.int64) - zero_points).astype(np.float32)


def keep_heights(graph: Graph) -> Graph:
    """Give a FULLY_CONNECTED that runs per position its input's height; the file may say (positions, units)."""
    for operator in graph.operators:
        if operator.kind != "FULLY_CONNECTED":
            continue
        source, made = graph.tensor(operator.inputs[0]), graph.tensor(operator.output)
        units, depth = graph.tensor(operator.inputs[1]).shape
        fresh = replace(made, index=_free_index(graph), shape=(*source.shape[:-1], units))
        per_position = len(source.shape) == 4 and source.shape[-1] == depth and source.count > depth
        if not per_position or fresh.shape == made.shape or made.index == graph.output:
            continue
        if all(_shape_made_of(graph, reader, fresh, made) for reader in consumers(graph, made.index)):
            graph = _reshape_behind(graph, operator, fresh)
    return graph


def fold_reshapes(graph: Graph) -> Graph:
    """Let the consumers of a RESHAPE read its input; it moves behind those whose output then changes shape."""
    position = 0
    while position < len(graph.operators):
        operator = graph.operators[position]
        if operator.kind in ALIASES or _is_identity(graph, operator):
            graph = _pass_by(graph, operator)
        # Where it is gone, the next one has come to this place.
        position += operator in graph.operators[position : position + 1]
    return graph


def _is_identity(graph: Graph, operator: Operator) -> bool:
    """Whether a QUANTIZE goes from a type and scale to the same ones."""
    source, target = graph.tensor(operator.inputs[0]), graph.tensor(operator.output)
    same = (source.dtype, source.quantization) == (target.dtype, target.quantization)
    return operator.kind == "QUANTIZE" and same


def _pass_by(graph: Graph, alias: Operator) -> Graph:
    """Take an alias out of the way of everything that does not insist on its shape."""
    source, target = alias.inputs[0], alias.output
    if graph.output == target and source != graph.input:
        graph = _note(replace(graph, output=source), producer(graph, source), alias)
    for consumer in consumers(graph, target):
        graph = _read_source(graph, alias, consumer)
    if not consumers(graph, target) and graph.output != target:
        return _without(graph, alias)
    return _write_target(graph, alias)


def _read_source(graph: Graph, alias: Operator, consumer: Operator) -> Graph:
    """Let a consumer read the alias's input, where it gives the same bytes from it."""
    source, target = graph.tensor(alias.inputs[0]), graph.tensor(alias.output)
    shape = _shape_made_of(graph, consumer, source, target)
    if shape is None:
        return graph
    inputs = tuple(source.index if index == target.index else index for index in consumer.inputs)
    moved = replace(consumer, inputs=inputs, folded=_folded(consumer, alias))
    made = graph.tensor(consumer.output)
    if shape == made.shape:
        return _swap(graph, consumer, moved)
    fresh = replace(made, index=_free_index(graph), shape=shape)
    return _reshape_behind(_swap(graph, consumer, moved), moved, fresh)


def _reshape_behind(graph: Graph, operator: Operator, fresh: Tensor) -> Graph:
    """Let an operator write a tensor of another shape, and a RESHAPE make its old output from that."""
    behind = Operator(operator.place, "RESHAPE", (fresh.index,), operator.output, NoOptions())
    graph = replace(graph, tensors={**graph.tensors, fresh.index: fresh})
    return _swap(graph, operator, replace(operator, output=fresh.index), behind)


def _shape_made_of(graph: Graph, consumer: Operator, source: Tensor, target: Tensor) -> tuple[int, ...] | None:
    """The shape of a consumer's output if it read `source` in place of `target`; None if it cannot."""
    made = graph.tensor(consumer.output)
    if consumer.kind in ALIASES:
        return made.shape
    if consumer.kind in UNARY:
        return source.shape
    if consumer.kind == "SOFTMAX" and source.shape[-1:] == target.shape[-1:]:
        return source.shape
    if consumer.kind == "FULLY_CONNECTED":
        units, depth = graph.tensor(consumer.inputs[1]).shape
        if target.count == depth:
            return made.shape
        # One product a position: keep the height, so that it can go row by row.
        return (*source.shape[:-1], units) if len(source.shape) == 4 and source.shape[-1] == depth else None
    return None


def _write_target(graph: Graph, alias: Operator) -> Graph:
    """Let the producer write the alias's output, where only the rank or the model's input changes."""
    source, target = graph.tensor(alias.inputs[0]), graph.tensor(alias.output)
    if len(consumers(graph, source.index)) > 1 or source.index == graph.output:
        return graph
    if source.index == graph.input:
        if target.index == graph.output:
            return graph  # a model that only copies
        return replace(_without(graph, alias), input=target.index)
    maker = producer(graph, source.index)
    if maker.kind in AXIS_KINDS or source.rows != target.rows:
        return graph
    graph = _swap(graph, maker, replace(maker, output=target.index, folded=_folded(maker, alias)))
    return _without(graph, alias)


def fold_activations(graph: Graph) -> Graph:
    """Let an operator clip its own output in place of the int8 RELU or RELU6 behind it.

    Not float32: a built-in ReLU of TFLite clips infinity to the largest number, one that stands alone does not.
    """
    for operator in graph.operators:
        if operator.kind not in ("RELU", "RELU6"):
            continue
        source, target = graph.tensor(operator.inputs[0]), graph.tensor(operator.output)
        alone = len(consumers(graph, source.index)) == 1 and source.index not in (graph.input, graph.output)
        if not alone or target.dtype != "int8" or source.quantization != target.quantization:
            continue
        maker = producer(graph, source.index)
        options = maker.options
        if not isinstance(options, ConvOptions | PoolOptions | ActivationOptions):
            continue
        if (both := _both(options.activation, operator.kind)) is not None:
            clipped = replace(options, activation=both)
            fused = replace(maker, options=clipped, output=target.index, folded=_folded(maker, operator))
            graph = _without(_swap(graph, maker, fused), operator)
    return graph


def _both(built_in: Activation, kind: str) -> Activation | None:
    """The activation that a built-in one and a RELU or RELU6 behind it are together; None if it has no name."""
    if built_in == "relu_n1_to_1":
        return None
    return "relu6" if "relu6" in (built_in, kind.lower()) else "relu"


def fold_paddings(graph: Graph) -> Graph:
    """Let convolutions pad their own input in place of the PAD before them."""
    for pad in graph.operators:
        if isinstance(pad.options, PadOptions):
            for consumer in consumers(graph, pad.output):
                graph = _absorb_padding(graph, pad, consumer)
    return drop_dead(graph)


def _absorb_padding(graph: Graph, pad: Operator, convolution: Operator) -> Graph:
    """Move a PAD into one convolution, where that is exact."""
    source, target, options = graph.tensor(pad.inputs[0]), graph.tensor(pad.output), convolution.options
    if not isinstance(options, ConvOptions) or not isinstance(pad.options, PadOptions):
        return graph
    zero = target.quantization.zero_point if target.quantization else 0
    if source.quantization != target.quantization or pad.options.value != zero:
        return graph
    (none_n, top, left, none_c), (tail_n, bottom, right, tail_c) = pad.options.before, pad.options.after
    window = graph.tensor(convolution.inputs[1]).shape
    padding = options.padding
    total = Padding(padding.top + top, padding.left + left, padding.bottom + bottom, padding.right + right)
    reach_h = (window[1] - 1) * options.dilation_h + 1
    reach_w = (window[2] - 1) * options.dilation_w + 1
    # A window that sees nothing but padding is more than the kernels care to handle.
    small = max(total.top, total.bottom) < reach_h and max(total.left, total.right) < reach_w
    if any((none_n, none_c, tail_n, tail_c)) or not small:
        return graph
    inputs = (source.index, *convolution.inputs[1:])
    folded = _folded(convolution, pad)
    absorbed = replace(options, padding=total, same=False)
    return _swap(graph, convolution, replace(convolution, inputs=inputs, options=absorbed, folded=folded))


def drop_dead(graph: Graph) -> Graph:
    """Leave out operators whose output nobody needs."""
    needed, kept = {graph.output}, []
    for operator in reversed(graph.operators):
        if operator.output in needed:
            needed.update(operator.inputs)
            kept.append(operator)
    return replace(graph, operators=tuple(reversed(kept)))


def consumers(graph: Graph, index: int) -> list[Operator]:
    """The operators that read a tensor."""
    return [operator for operator in graph.operators if index in operator.inputs]


def producer(graph: Graph, index: int) -> Operator:
    """The operator that writes a tensor, which is neither a constant nor the model's input."""
    return next(operator for operator in graph.operators if operator.output == index)


def _swap(graph: Graph, old: Operator, *new: Operator) -> Graph:
    """Put operators in the place of one."""
    position = graph.operators.index(old)
    return replace(graph, operators=(*graph.operators[:position], *new, *graph.operators[position + 1 :]))


def _without(graph: Graph, operator: Operator) -> Graph:
    """Take an operator out."""
    return _swap(graph, operator)


def _note(graph: Graph, operator: Operator, gone: Operator) -> Graph:
    """Remember in an operator that another went into it."""
    return _swap(graph, operator, replace(operator, folded=_folded(operator, gone)))


def _folded(operator: Operator, gone: Operator) -> tuple[int, ...]:
    """The places that went into an operator, with one more and its own."""
    more: Iterable[int] = (gone.place, *gone.folded)
    return tuple(sorted({*operator.folded, *more} - {operator.place}))


def _free_index(graph: Graph) -> int:
    """A number for a new tensor."""
    return max(graph.tensors) + 1
