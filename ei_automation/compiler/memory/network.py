"""What the planner needs to know of the kernel calls: who makes which rows from which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ei_automation.compiler.bind.calls import KernelCall, RowRange, Streaming, same_rows
from ei_automation.compiler.graph import Rows
from ei_automation.compiler.memory.plan import PULL


@dataclass(frozen=True, eq=False)
class Node:
    """A kernel call, or the step that pulls the model's input.

    Attributes:
        call: Its number, or `PULL`.
        streaming: How it can be taken apart.
        inputs: Tensor indices.
        output: Tensor index.
        needs: For each input, for each output row, the input rows.
        in_place: Positions in `inputs` that the output may overwrite row by row.
        scratch_bytes: Working memory.
        turns: Steps if it runs row by row: rows of its output, or of the input where it accumulates.
        depth: Kernels on the longest way to it.
    """

    call: int
    streaming: Streaming
    inputs: tuple[int, ...]
    output: int
    needs: tuple[tuple[RowRange, ...], ...]
    in_place: tuple[int, ...]
    scratch_bytes: int
    turns: int
    depth: int

    def reads(self, position: int, first: int, last: int) -> RowRange:
        """The rows of an input that the step with these rows reads; (0, 0) for none."""
        if self.streaming == "accumulate":
            return first, last
        ranges = self.needs[position][first:last]
        wanted = [row_range for row_range in ranges if row_range[1] > row_range[0]]
        if not wanted:
            return 0, 0
        return min(low for low, _ in wanted), max(high for _, high in wanted)


@dataclass(frozen=True, eq=False)
class Network:
    """All nodes, in an order in which they can run.

    Attributes:
        nodes: In that order.
        rows: Geometry of the tensors.
        input: The model's input.
        output: The model's output; it lies outside the arena.
        producer: The node that makes a tensor; the input has none unless it is pulled.
        last_reader: The last node that reads a tensor; -1 for none.
    """

    nodes: tuple[Node, ...]
    rows: Mapping[int, Rows]
    input: int
    output: int
    producer: Mapping[int, int]
    last_reader: Mapping[int, int]

    def written(self, node: Node, first: int, last: int) -> RowRange:
        """The output rows that a step writes: an accumulating kernel writes all of them with its last."""
        if node.streaming != "accumulate":
            return first, last
        return (0, self.rows[node.output].height) if last == node.turns else (0, 0)


def network_of(
    calls: Sequence[KernelCall],
    rows: Mapping[int, Rows],
    *,
    model_input: int,
    model_output: int,
    pulled: bool,
) -> Network:
    """The calls as the planner sees them.

    Args:
        calls: In an order in which they can run.
        rows: Geometry of every tensor that they name.
        model_input: Tensor index.
        model_output: Tensor index.
        pulled: Whether the input's rows come from a callback.
    """
    nodes = [_pull(model_input, rows[model_input])] if pulled else []
    depth = {model_input: 0}
    for number, call in enumerate(calls):
        node = _node(number, call, rows, 1 + max((depth[index] for index in call.inputs), default=0))
        depth[call.output] = node.depth
        nodes.append(node)
    producer = {node.output: index for index, node in enumerate(nodes)}
    last_reader = dict.fromkeys((model_input, *producer), -1)
    for index, node in enumerate(nodes):
        last_reader.update(dict.fromkeys(node.inputs, index))
    return Network(tuple(nodes), rows, model_input, model_output, producer, last_reader)


def _pull(tensor: int, rows: Rows) -> Node:
    """The callback as a node that makes rows from nothing."""
    return Node(PULL, "rows", (), tensor, (), (), 0, rows.height, 0)


def _node(number: int, call: KernelCall, rows: Mapping[int, Rows], depth: int) -> Node:
    """A kernel call as a node; in place only where each row needs just the row that it replaces."""
    output = rows[call.output]
    turns = rows[call.inputs[0]].height if call.streaming == "accumulate" else output.height
    in_place = tuple(
        position
        for position in call.in_place
        if rows[call.inputs[position]].height == output.height
        and rows[call.inputs[position]].row_bytes == output.row_bytes
        and call.needs[position] == same_rows(output.height)
    )
    return Node(
        call=number,
        streaming=call.streaming,
        inputs=call.inputs,
        output=call.output,
        needs=call.needs,
        in_place=in_place,
        scratch_bytes=call.scratch_bytes,
        turns=turns,
        depth=depth,
    )
