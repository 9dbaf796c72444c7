"""When each row is written and last read, which tensors can share a buffer row by row, and how many rows it needs.

Time is the number of the step: a row is alive from the step that writes it to the last one that reads it, both
included. So what a step reads never lies where it writes, save for rows that it may replace in place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from ei_automation.compiler.memory.network import Network, Node
from ei_automation.compiler.memory.schedule import Turn

BEFORE = -1
"""The time at which what is given was written."""


@dataclass
class Lives:
    """The rows of a buffer.

    Attributes:
        holds: Tensors that take it over from each other in place.
        row_bytes: Bytes of a row.
        written: For each row that is made, the step that writes it.
        read: For each of them, the last step that reads it.
        is_scratch: Whether it is the working memory of a call; `holds` then names the call.
        ring: Rows that it has room for; 0 before `fit_ring`.
    """

    holds: list[int]
    row_bytes: int
    written: list[int]
    read: list[int]
    is_scratch: bool = False
    ring: int = field(init=False, default=0)

    def fit_ring(self) -> None:
        """Room for as many rows as lie between one that is still read and the newest that is written."""
        written = self.written
        self.ring = max(
            (bisect_right(written, read) - row for row, read in enumerate(self.read)),
            default=0,
        )

    @property
    def bytes(self) -> int:
        """Size of the buffer."""
        return self.ring * self.row_bytes

    @property
    def span(self) -> tuple[int, int]:
        """First and last step of its life."""
        return self.written[0], max(self.read)


def find_lives(network: Network, turns: Sequence[Turn], start: int, stop: int) -> list[Lives]:
    """The buffers that the nodes start..stop-1 touch while they take their turns.

    What was made before is there from `BEFORE`; what is read afterwards lives to the step after the last.

    Args:
        network: All nodes.
        turns: Of these nodes.
        start: First node.
        stop: The one after the last.
    """
    tensors = _tensor_lives(network, turns, start, stop)
    made = {network.nodes[index].output for index in range(start, stop)}
    groups = {tensor: lives for tensor, lives in tensors.items() if tensor not in made}
    for node in network.nodes[start:stop]:
        if node.output in tensors:
            host = _host(node, groups, tensors)
            groups[node.output] = _take_over(host, tensors[node.output]) if host else tensors[node.output]
    buffers = [*{id(lives): lives for lives in groups.values()}.values(), *_scratch(network, turns)]
    for lives in buffers:
        lives.fit_ring()
    return buffers


def is_outside(network: Network, tensor: int) -> bool:
    """Whether a tensor is the model's output, which lies in the caller's array."""
    return tensor == network.output and tensor in network.producer


def _tensor_lives(network: Network, turns: Sequence[Turn], start: int, stop: int) -> dict[int, Lives]:
    """Each tensor's own rows; none of the model's output."""
    made: dict[int, Lives] = {}
    touched = [tensor for node in network.nodes[start:stop] for tensor in (*node.inputs, node.output)]
    for tensor in dict.fromkeys([network.input, *touched] if start == 0 else touched):
        if not is_outside(network, tensor):
            given = network.producer.get(tensor, -1) < start
            rows = network.rows[tensor].height if given else 0
            made[tensor] = Lives([tensor], network.rows[tensor].row_bytes, [BEFORE] * rows, [BEFORE] * rows)
    for time, turn in enumerate(turns):
        _live_through(network, turn, time, made)
    for tensor, lives in made.items():
        if network.last_reader[tensor] >= stop:
            lives.read[:] = [len(turns)] * len(lives.read)
    return made


def _live_through(network: Network, turn: Turn, time: int, made: dict[int, Lives]) -> None:
    """Note what a step reads and writes."""
    node = network.nodes[turn.node]
    for position, tensor in enumerate(node.inputs):
        if tensor in made:
            low, high = node.reads(position, turn.first, turn.last)
            made[tensor].read[low:high] = [time] * (high - low)
    if node.output in made:
        low, high = network.written(node, turn.first, turn.last)
        made[node.output].written += [time] * (high - low)
        made[node.output].read += [time] * (high - low)


def _host(node: Node, groups: dict[int, Lives], tensors: dict[int, Lives]) -> Lives | None:
    """The buffer that a node's output takes over; of several the one that needs the fewest bytes more."""
    output = tensors[node.output]
    best, least = None, 0
    for position in node.in_place:
        host = groups.get(node.inputs[position])
        if host is None or not _may_replace(node, position, host, output):
            continue
        joined = _joined(host, output)
        host.fit_ring()
        joined.fit_ring()
        if best is None or joined.bytes - host.bytes < least:
            best, least = host, joined.bytes - host.bytes
    return best


def _may_replace(node: Node, position: int, host: Lives, output: Lives) -> bool:
    """Whether each row of the host is read for the last time when its successor is written."""
    tensor = node.inputs[position]
    same = [other for other, index in enumerate(node.inputs) if index in host.holds]
    if host.holds[-1] != tensor or any(other not in node.in_place for other in same):
        return False
    return len(host.read) >= len(output.written) and all(
        read <= written for read, written in zip(host.read, output.written, strict=False)
    )


def _joined(host: Lives, output: Lives) -> Lives:
    """Two tensors in one buffer."""
    rest = host.read[len(output.read) :]
    return Lives([*host.holds, *output.holds], host.row_bytes, list(host.written), [*output.read, *rest])


def _take_over(host: Lives, output: Lives) -> Lives:
    """Let a tensor follow in a buffer."""
    joined = _joined(host, output)
    host.holds, host.read = joined.holds, joined.read
    return host


def _scratch(network: Network, turns: Sequence[Turn]) -> list[Lives]:
    """The working memories: a row for each step that needs it, or one for all of an accumulating kernel."""
    found: dict[int, Lives] = {}
    for time, turn in enumerate(turns):
        node = network.nodes[turn.node]
        if not node.scratch_bytes:
            continue
        lives = found.setdefault(turn.node, Lives([node.call], node.scratch_bytes, [], [], is_scratch=True))
        if node.streaming == "accumulate" and lives.read:
            lives.read[0] = time
        else:
            lives.written.append(time)
            lives.read.append(time)
    return list(found.values())
