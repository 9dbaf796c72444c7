"""What is alive at one instant, found without running all steps before it: bounds for the search of segments."""

from __future__ import annotations

from ei_automation.compiler.memory.lives import is_outside
from ei_automation.compiler.memory.network import Network, Node


def alive_at(network: Network, position: int) -> list[int]:
    """The tensors in the arena that are made before a node and read by it or behind it."""
    return [
        tensor
        for tensor, last in network.last_reader.items()
        if network.producer.get(tensor, -1) < position <= last and not is_outside(network, tensor)
    ]


def bytes_at(network: Network, start: int, stop: int, turn: int) -> int:
    """Bytes that are alive when the last node of a segment that runs by rows takes a turn; never too many.

    Args:
        network: All nodes.
        start: The segment's first node.
        stop: The one after its last.
        turn: From 1.
    """
    oldest, newest = _rows_at(network, start, stop, turn)
    total = network.nodes[stop - 1].scratch_bytes
    for tensor in alive_at(network, start):
        rows = network.rows[tensor]
        dead = 0 if network.last_reader[tensor] >= stop else oldest.get(tensor, 0)
        total += (rows.height - dead) * rows.row_bytes
    for tensor, last in newest.items():
        if network.producer.get(tensor, -1) < start or is_outside(network, tensor):
            continue
        dead = 0 if network.last_reader[tensor] >= stop else oldest[tensor]
        total += max(0, last - dead) * network.rows[tensor].row_bytes
    return total


def _rows_at(network: Network, start: int, stop: int, turn: int) -> tuple[dict[int, int], dict[int, int]]:
    """For each tensor that was touched by then, the first row that is still needed, and how many are made."""
    made = {stop - 1: turn}
    newest: dict[int, int] = {}
    oldest: dict[int, int] = {}
    for index in range(stop - 1, start - 1, -1):
        node, last = network.nodes[index], made.get(index, 0)
        for position, tensor in enumerate(node.inputs if last else ()):
            high = node.reads(position, last - 1, last)[1]
            newest[tensor] = max(newest.get(tensor, 0), high)
            low = _still_needed(node, position, last, is_running=index == stop - 1)
            low = network.rows[tensor].height if low is None else low
            oldest[tensor] = min(oldest.get(tensor, low), low)
            source = network.producer.get(tensor, -1)
            made[source] = max(made.get(source, 0), high)
    return oldest, newest


def _still_needed(node: Node, position: int, last: int, *, is_running: bool) -> int | None:
    """The first row of an input that a node needs still after so many turns; None where it is done.

    In the turn that is running it needs the rows of that turn, save for the one that it replaces.
    """
    if is_running:
        return node.reads(position, last - 1, last)[0] + (position in node.in_place)
    return node.reads(position, last, last + 1)[0] if last < node.turns else None
