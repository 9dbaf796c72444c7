"""The tensor arena that TensorFlow Lite Micro takes for a model: what firmware with an interpreter needs.

Its planner (GreedyMemoryPlanner) is followed step by step: whole tensors, each alive from the operator that writes
it to the last one that reads it, the largest placed first at the lowest free offset. On top comes what kernels and
interpreter keep for good, fitted to what the `tflite-micro` package (64-bit) reports for 34 models; there it is
100 to 550 bytes too many. Microcontrollers have 32 bits and take less: an upper bound, by 1 to 5 % of the arena.
"""

from __future__ import annotations

from dataclasses import dataclass

from ei_automation.compiler.graph import Graph, Operator

ALIGNMENT = 16
"""Of buffers in the arena (micro_arena_constants.h)."""
CHANNEL_BYTES = 8
"""Kept for each output channel of a convolution: multiplier and shift."""
OPERATOR_BYTES = 78
"""Kept for each operator, with its kernel's own data."""
TENSOR_BYTES = 58
"""Kept for each tensor."""
INTERPRETER_BYTES = 1_024
"""Kept once."""
PER_CHANNEL = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True)
class _Buffer:
    bytes: int
    first: int
    last: int
    offset: int = 0


def interpreter_arena_bytes(graph: Graph) -> int:
    """An upper bound of the arena.

    Args:
        graph: As read: an interpreter folds nothing.
    """
    channels = sum(_channels(graph, operator) for operator in graph.operators)
    tensors = {
        index for operator in graph.operators for index in (*operator.inputs, operator.output) if index >= 0
    }
    kept = CHANNEL_BYTES * channels + OPERATOR_BYTES * len(graph.operators) + TENSOR_BYTES * len(tensors)
    return planned_bytes(graph) + kept + INTERPRETER_BYTES


def _channels(graph: Graph, operator: Operator) -> int:
    """Output channels of a convolution; 0 for other operators."""
    return graph.tensor(operator.output).shape[-1] if operator.kind in PER_CHANNEL else 0


def planned_bytes(graph: Graph) -> int:
    """The part of the arena that tensors share; exact, save for what single kernels use for a moment."""
    placed: list[_Buffer] = []
    # The largest first; of equal ones the one with the highest number.
    for buffer in sorted(reversed(_buffers(graph)), key=lambda each: -each.bytes):
        placed.append(_place(buffer, placed))
    return max(buffer.offset + buffer.bytes for buffer in placed)


def _buffers(graph: Graph) -> list[_Buffer]:
    """The computed tensors by their number, with the operators at which they live."""
    first, last = {graph.input: 0}, {graph.input: 0}
    for time, operator in enumerate(graph.operators):
        first[operator.output] = last[operator.output] = time
        last.update((index, time) for index in operator.inputs if index in first)
    last[graph.output] = len(graph.operators)
    return [
        _Buffer(-(-graph.tensor(index).bytes // ALIGNMENT) * ALIGNMENT, first[index], last[index])
        for index in sorted(first)
    ]


def _place(buffer: _Buffer, placed: list[_Buffer]) -> _Buffer:
    """Put a buffer into the first gap between those that live at the same time."""
    offset = 0
    together = (other for other in placed if other.first <= buffer.last and buffer.first <= other.last)
    for other in sorted(together, key=lambda each: each.offset):
        if other.offset - offset >= buffer.bytes:
            break
        offset = max(offset, other.offset + other.bytes)
    return _Buffer(buffer.bytes, buffer.first, buffer.last, offset)
