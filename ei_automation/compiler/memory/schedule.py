"""The order in which the kernels of a segment make their rows, found by running it without numbers.

It is driven from its last kernel: each row is made when it is needed, after the rows that it needs. So only the
newest rows wait, which keeps the rings short, and no row is made twice.
"""

from __future__ import annotations

from typing import NamedTuple

from ei_automation.compiler.memory.network import Network


class Turn(NamedTuple):
    """A step, before the steps are numbered: a node and its rows (of its input where it accumulates)."""

    node: int
    first: int
    last: int


def whole_turn(network: Network, index: int) -> list[Turn]:
    """One node that makes everything in one step."""
    return [Turn(index, 0, network.nodes[index].turns)]


def row_turns(network: Network, start: int, stop: int) -> list[Turn]:
    """Nodes start..stop-1 taking turns row by row.

    Rows below the last that is needed are not made, save the first, so that each tensor has a place; of tensors
    that are read after the segment, or never, all are made.
    """
    run = _Run(network, start, stop)
    for index in range(stop - 1, start - 1, -1):
        node = network.nodes[index]
        inside = node.output != network.output and start <= network.last_reader[node.output] < stop
        run.make(index, 1 if inside else node.turns)
    return run.turns


class _Run:
    """How far each node of a segment has come."""

    def __init__(self, network: Network, start: int, stop: int) -> None:
        self.turns: list[Turn] = []
        self._nodes = network.nodes
        self._made = dict.fromkeys(range(start, stop), 0)
        self._sources = {index: _sources(network, index, start) for index in range(start, stop)}

    def make(self, index: int, upto: int) -> None:
        """Let a node make its rows up to a number, and before each what it needs."""
        node, sources = self._nodes[index], self._sources[index]
        while self._made[index] < upto:
            turn = self._made[index]
            for position, source in sources:
                last = node.reads(position, turn, turn + 1)[1]
                if last > self._made[source]:
                    self.make(source, last)
            self._made[index] = turn + 1
            self.turns.append(Turn(index, turn, turn + 1))


def _sources(network: Network, index: int, start: int) -> list[tuple[int, int]]:
    """The inputs of a node that its segment makes, as (position, node); the longest way first.

    A long way has wide rows on it, which are gone again before the row of a short way is made.
    """
    node = network.nodes[index]
    found = [
        (position, network.producer[tensor])
        for position, tensor in enumerate(node.inputs)
        if network.producer.get(tensor, -1) >= start
    ]
    return sorted(found, key=lambda item: -network.nodes[item[1]].depth)
