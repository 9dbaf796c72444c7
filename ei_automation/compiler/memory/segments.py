"""Which neighbouring kernels run together row by row, and which run alone.

A cut before a node keeps whole every tensor that is still read behind it; a segment that runs by rows keeps rings
inside. The best cuts are a shortest path over the cut positions, twice: first the way whose worst segment keeps
the least alive, then, among the ways that keep no more than that, the one with the fewest steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.memory.instant import alive_at, bytes_at
from ei_automation.compiler.memory.lives import Lives, find_lives
from ei_automation.compiler.memory.network import Network
from ei_automation.compiler.memory.schedule import Turn, row_turns, whole_turn

SAMPLES = 3
"""Instants at which a segment is looked at before it is run."""
LONGEST = 120
"""Nodes of a segment. Keeps Python's stack shallow; rings of so many layers are never small."""


PATIENCE = 200_000
"""Steps that the search runs at most, about two seconds; far more than networks of a hundred nodes need. Then it
goes on with the segments that it knows, and those of one node."""


class Piece(NamedTuple):
    """Nodes start..stop-1 as one segment.

    Attributes:
        start: First node.
        stop: The one after the last.
        by_rows: Whether they take turns; otherwise it is one node that runs once.
    """

    start: int
    stop: int
    by_rows: bool


def alive_bytes(buffers: list[Lives], steps: int, *, full_rings: bool) -> NDArray[np.int64]:
    """What is alive during each step, from the one before the first to the one after the last.

    Args:
        buffers: Their rows' lives.
        steps: Number of steps.
        full_rings: Count a ring whole from its first row to its last, as its place is taken; otherwise the rows
            that are alive.

    Returns:
        int64, (steps + 2,); the first is before step 0.
    """
    change = np.zeros(steps + 3, np.int64)
    for lives in buffers:
        if full_rings and 1 < lives.ring < len(lives.written):
            first, last = lives.span
            change[first + 1] += lives.bytes
            change[last + 2] -= lives.bytes
        else:
            np.add.at(change, np.asarray(lives.written, np.int64) + 1, lives.row_bytes)
            np.subtract.at(change, np.asarray(lives.read, np.int64) + 2, lives.row_bytes)
    return np.cumsum(change)[:-1]


class SegmentChooser:
    """Finds cuts, and remembers what segments cost.

    Args:
        network: All nodes.
        together: Whether several nodes may share a segment; otherwise each has its own, and runs by rows where
            that makes room for its output in its input's dead rows.
    """

    def __init__(self, network: Network, *, together: bool) -> None:
        self._network, self._together = network, together
        self._peaks: dict[Piece, int] = {}
        self._samples: dict[Piece, int] = {}
        self._patience = PATIENCE
        self._turns = [0, *accumulate(node.turns for node in network.nodes)]
        self._cuts = [_cut_bytes(network, position) for position in range(len(network.nodes) + 1)]

    def least_peak(self) -> int:
        """The bytes that the way with the least worst segment keeps alive."""
        alone = max(
            (self.peak(Piece(index, index + 1, False)) for index in range(len(self._network.nodes))), default=0
        )
        return self._search(
            (
                lambda reached, piece: _within(alone, max(reached, self._ends(piece))),
                lambda reached, piece: _within(alone, max(reached, self._floor(piece))),
                lambda reached, piece: max(reached, self.peak(piece)) if self._may_run(piece) else None,
            )
        )[0]

    def fewest_steps(self, most: int) -> list[Piece]:
        """The way with the fewest steps among those whose segments keep no more than `most` bytes alive."""
        return self._search(
            (
                lambda reached, piece: reached + self.turns(piece) if self._ends(piece) <= most else None,
                lambda reached, piece: reached + self.turns(piece) if self._floor(piece) <= most else None,
                lambda reached, piece: (
                    reached + self.turns(piece) if self._may_run(piece) and self.peak(piece) <= most else None
                ),
            )
        )[1]

    def turns(self, piece: Piece) -> int:
        """Steps of a segment."""
        return self._turns[piece.stop] - self._turns[piece.start] if piece.by_rows else 1

    def peak(self, piece: Piece) -> int:
        """The most that a segment keeps alive during one of its steps."""
        if piece not in self._peaks:
            self._peaks[piece] = self._run(piece)
        return self._peaks[piece]

    def _may_run(self, piece: Piece) -> bool:
        """Whether there is patience for a segment, or no need of it."""
        return self._patience > 0 or piece.stop - piece.start == 1 or piece in self._peaks

    def _run(self, piece: Piece) -> int:
        """Run a segment without numbers."""
        self._patience -= self.turns(piece)
        network, turns = self._network, piece_turns(self._network, piece)
        buffers = find_lives(network, turns, piece.start, piece.stop)
        touched = {tensor for lives in buffers if not lives.is_scratch for tensor in lives.holds}
        passing = sum(
            network.rows[tensor].bytes for tensor in alive_at(network, piece.start) if tensor not in touched
        )
        return passing + int(alive_bytes(buffers, len(turns), full_rings=True).max(initial=0))

    def _ends(self, piece: Piece) -> int:
        """Bytes that are alive before or after a segment; the most of all its steps where it has run."""
        return self._peaks.get(piece, max(self._cuts[piece.start], self._cuts[piece.stop]))

    def _floor(self, piece: Piece) -> int:
        """Bytes that a segment keeps alive at least, found without running it."""
        if piece not in self._samples:
            self._samples[piece] = self._sample(piece)
        return self._peaks.get(piece, max(self._ends(piece), self._samples[piece]))

    def _sample(self, piece: Piece) -> int:
        """What is alive in a segment at its last node's first, middle and last row."""
        if not piece.by_rows or not self._may_run(piece):
            return 0
        self._patience -= SAMPLES * (piece.stop - piece.start)
        turns = self._network.nodes[piece.stop - 1].turns
        return max(bytes_at(self._network, piece.start, piece.stop, turn) for turn in (1, turns // 2 + 1, turns))

    def _pieces(self, start: int) -> Iterator[Piece]:
        """The segments that can begin at a node, short ones first."""
        yield Piece(start, start + 1, False)
        nodes = self._network.nodes
        longest = min(len(nodes), start + (LONGEST if self._together else 1))
        for stop in range(start + 1, longest + 1):
            last = nodes[stop - 1]
            if last.streaming != "whole" and (stop - start > 1 or last.turns > 1):
                yield Piece(start, stop, True)
            if last.streaming != "rows":
                return

    def _search(self, costs: Sequence[Cost]) -> tuple[int, list[Piece]]:
        """The cheapest way through all nodes.

        Args:
            costs: Of a way that goes on with a piece, ever closer to the true one, which is the last; each is
                looked at only where the one before it leads.
        """
        end = len(self._network.nodes)
        heap: list[tuple[int, int, int, Piece | None, int]] = [(0, 0, 0, None, len(costs))]
        came: dict[int, tuple[int, Piece | None]] = {}
        while end not in came:
            reached, _, _, piece, known = heappop(heap)
            position = piece.stop if piece else 0
            if position in came:
                continue
            if piece and known < len(costs):
                cost = costs[known](came[piece.start][0], piece)
                if cost is not None:
                    heappush(heap, (cost, position - piece.start, -position, piece, known + 1))
                continue
            came[position] = (reached, piece)
            for onward in self._pieces(position) if position < end else ():
                cost = costs[0](reached, onward)
                if cost is not None and onward.stop not in came:
                    heappush(heap, (cost, onward.stop - position, -onward.stop, onward, 1))
        return came[end][0], _way(came, end)


Cost = Callable[[int, Piece], int | None]
"""The cost of a way that goes on with a piece, from the cost of the way so far; None where it must not."""


def _within(most: int, bytes_: int) -> int | None:
    """The bytes, if they are no more than that."""
    return bytes_ if bytes_ <= most else None


def piece_turns(network: Network, piece: Piece) -> list[Turn]:
    """The turns of a segment's nodes."""
    if piece.by_rows:
        return row_turns(network, piece.start, piece.stop)
    return whole_turn(network, piece.start)


def _way(came: dict[int, tuple[int, Piece | None]], end: int) -> list[Piece]:
    """The pieces of the way to a position."""
    way: list[Piece] = []
    piece = came[end][1]
    while piece:
        way.append(piece)
        piece = came[piece.start][1]
    return way[::-1]


def _cut_bytes(network: Network, position: int) -> int:
    """Bytes that are alive at a cut."""
    return sum(network.rows[tensor].bytes for tensor in alive_at(network, position))
