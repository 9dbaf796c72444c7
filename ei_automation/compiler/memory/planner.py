"""From kernel calls to a memory plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ei_automation.compiler.bind.calls import KernelCall
from ei_automation.compiler.graph import Rows
from ei_automation.compiler.memory.lives import Lives, find_lives
from ei_automation.compiler.memory.network import Network, network_of
from ei_automation.compiler.memory.placement import place
from ei_automation.compiler.memory.plan import Buffer, MemoryPlan, Segment, Step
from ei_automation.compiler.memory.segments import Piece, SegmentChooser, alive_bytes, piece_turns
from ei_automation.schema.deployment import Memory


def plan_memory(
    calls: Sequence[KernelCall],
    rows: Mapping[int, Rows],
    *,
    model_input: int,
    model_output: int,
    memory: Memory,
) -> MemoryPlan:
    """Order the steps and place the buffers.

    Args:
        calls: In an order in which they can run.
        rows: Geometry of every tensor that they name, of the model's input and output.
        model_input: Tensor index.
        model_output: Tensor index; it lies in the caller's array.
        memory: How tensors are kept.
    """
    network = network_of(
        calls, rows, model_input=model_input, model_output=model_output, pulled=memory == "streamed-input"
    )
    draft = _best_draft(network, SegmentChooser(network, together=memory != "planned"))
    buffers = _buffers(draft.lives, draft.offsets)
    return MemoryPlan(
        memory=memory,
        rows=dict(rows),
        input=model_input,
        output=model_output,
        steps=tuple(Step(network.nodes[turn.node].call, turn.first, turn.last) for turn in draft.turns),
        segments=_segments(network, draft),
        buffers=buffers,
        arena_bytes=draft.arena_bytes,
        live_bytes=max(draft.alive),
    )


class _Draft:
    """Segments, what they keep alive, and where it lies."""

    def __init__(self, network: Network, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.schedules = [piece_turns(network, piece) for piece in pieces]
        self.turns = [turn for schedule in self.schedules for turn in schedule]
        self.lives = find_lives(network, self.turns, 0, len(network.nodes))
        self.alive: list[int] = alive_bytes(self.lives, len(self.turns), full_rings=False).tolist()
        self.offsets = place(self.lives, max(self.alive))
        ends = (offset + each.bytes for offset, each in zip(self.offsets, self.lives, strict=True))
        self.arena_bytes = max(ends, default=0)


def _best_draft(network: Network, chooser: SegmentChooser) -> _Draft:
    """The smallest arena, with the fewest steps in which it was reached.

    What is alive at once does not always find a place without gaps; a way with fewer steps may then do as well.
    """
    most = chooser.least_peak()
    draft = _Draft(network, chooser.fewest_steps(most))
    if draft.arena_bytes > most:
        other = chooser.fewest_steps(draft.arena_bytes)
        if other != draft.pieces:
            draft = min(draft, _Draft(network, other), key=lambda each: (each.arena_bytes, len(each.turns)))
    return draft


def _buffers(lives: Sequence[Lives], offsets: Sequence[int]) -> tuple[Buffer, ...]:
    """The placed buffers, lowest first."""
    placed = [
        Buffer(
            "scratch" if each.is_scratch else "rows",
            tuple(each.holds),
            offset=offset,
            ring=each.ring,
            row_bytes=each.row_bytes,
            first_step=each.span[0],
            last_step=each.span[1],
        )
        for each, offset in zip(lives, offsets, strict=True)
    ]
    return tuple(sorted(placed, key=lambda buffer: (buffer.offset, buffer.first_step, buffer.holds)))


def _segments(network: Network, draft: _Draft) -> tuple[Segment, ...]:
    """The segments with their steps and what is alive in them."""
    found, first = [], 0
    for piece, schedule in zip(draft.pieces, draft.schedules, strict=True):
        last = first + len(schedule)
        numbers = tuple(node.call for node in network.nodes[piece.start : piece.stop])
        alive = max(draft.alive[first + 1 : last + 1], default=0)
        found.append(Segment(numbers, first, last, piece.by_rows, alive))
        first = last
    return tuple(found)
