"""Where buffers lie, so that no two rows that are alive at the same time share a byte.

Two buffers may overlap: a row may lie where a row of another buffer lay that is dead by then. For each pair the
distances at which living rows would meet are known beforehand, as intervals; what is left is to choose offsets
that avoid them. Buffers are placed one after the other where the arena grows least; the order is improved until
the arena is no larger than what is alive at the worst step, or patience ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.memory.lives import Lives

ALIGNMENT = 4
"""Bytes: a float32 and a scratch memory lie on a word; int8 rows could lie anywhere."""
STARTS = 3
"""Searches, from the same order in different directions."""
ROUNDS = 40
"""Orders that a search tries at most, for each buffer that is hard to place."""
MOVES = 12_000
"""Buffers that a search places at most."""
MOST_RUNS = 64
"""Runs of rows that are told apart in a buffer; one is usual, and each costs a search."""
Interval = tuple[int, int]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shape:
    """A buffer as rows that lie somewhere and live for some time.

    Attributes:
        bytes: Size.
        row_bytes: Bytes of a row.
        ring: Rows that it has room for.
        written: int64, (rows,): the step that writes each, ascending.
        read: int64, (rows,): the last step that reads it.
        runs: Neighbouring rows (first, the one after the last) of which none dies before the one above it.
        deaths: int64, (rows,): as `read`, but ascending inside each run.
    """

    bytes: int
    row_bytes: int
    ring: int
    written: Numbers
    read: Numbers
    runs: tuple[tuple[int, int], ...]
    deaths: Numbers


def shape_of(lives: Lives) -> Shape:
    """The rows of a buffer.

    Where they die in too wild an order, each is taken to live as long as those above it; no kernel reads so.
    """
    written, read = np.asarray(lives.written, np.int64), np.asarray(lives.read, np.int64)
    ends = [*(np.flatnonzero(np.diff(read) < 0) + 1).tolist(), len(read)]
    deaths = read
    if len(ends) > MOST_RUNS:
        ends, deaths = [len(read)], np.maximum.accumulate(read)
    runs = tuple(zip([0, *ends], ends, strict=False))
    return Shape(lives.bytes, lives.row_bytes, lives.ring, written, read, runs, deaths)


def forbidden_distances(one: Shape, other: Shape) -> list[Interval]:
    """Open intervals of `offset of other - offset of one` at which living rows would meet; merged, in order.

    The rows of a run that are alive at some time of a given row's life are neighbours, so what they forbid is one
    interval: the work grows with the rows, and not with their square.
    """
    if one.written[0] > other.read.max() or other.written[0] > one.read.max():
        return []
    if len(one.runs) < len(other.runs):
        return [(-high, -low) for low, high in reversed(forbidden_distances(other, one))]
    found = [_meeting(one, other, first, last) for first, last in other.runs]
    return _joined(np.concatenate([begin for begin, _ in found]), np.concatenate([end for _, end in found]))


def _meeting(one: Shape, other: Shape, first: int, last: int) -> tuple[Numbers, Numbers]:
    """Begins and ends of the distances that a run of the other's rows forbids, not in order."""
    low = first + np.searchsorted(other.deaths[first:last], one.written, "left")
    high = first + np.searchsorted(other.written[first:last], one.read, "right")
    meets = np.flatnonzero(low < high)
    place = meets % one.ring * one.row_bytes
    start, count = low[meets] % other.ring, (high - low)[meets]
    everywhere = count >= other.ring
    start, count = np.where(everywhere, 0, start), np.where(everywhere, other.ring, count)
    # What goes over the ring's end goes on at its beginning.
    beyond = start + count - other.ring
    over = beyond > 0
    begin = place - np.minimum(start + count, other.ring) * other.row_bytes
    end = place + one.row_bytes - start * other.row_bytes
    wrapped = place[over]
    return (
        np.concatenate((begin, wrapped - beyond[over] * other.row_bytes)),
        np.concatenate((end, wrapped + one.row_bytes)),
    )


def _joined(begins: Numbers, ends: Numbers) -> list[Interval]:
    """Open intervals in any order as those that do not overlap, in order."""
    if not len(begins):
        return []
    order = np.argsort(begins)
    begins, reach = begins[order], np.maximum.accumulate(ends[order])
    gaps = np.flatnonzero(begins[1:] >= reach[:-1])
    firsts, lasts = [0, *(gaps + 1).tolist()], [*gaps.tolist(), len(begins) - 1]
    return list(zip(begins[firsts].tolist(), reach[lasts].tolist(), strict=True))


def place(buffers: Sequence[Lives], least: int) -> list[int]:
    """An offset for each buffer, the smallest 0.

    Args:
        buffers: Rings fitted.
        least: Bytes below which no arena can be; there the search ends.
    """
    shapes = [shape_of(lives) for lives in buffers]
    stage = _Stage(shapes, _all_distances(shapes))
    hard, easy = _split(stage, least)
    placed = _search(stage, sorted(hard, key=lambda index: (-shapes[index].bytes, index)), least)
    for index in reversed(easy):
        stage.put(index, placed)
    return [placed.offsets[index] - placed.low for index in range(len(shapes))]


def arena_extent(offsets: Sequence[int], shapes: Sequence[Shape]) -> int:
    """The end of the last buffer."""
    return max((offset + shape.bytes for offset, shape in zip(offsets, shapes, strict=True)), default=0)


def _all_distances(shapes: Sequence[Shape]) -> list[dict[int, list[Interval]]]:
    """For each buffer the others that it must keep away from, with the forbidden `its offset - the other's`."""
    found: list[dict[int, list[Interval]]] = [{} for _ in shapes]
    for index, shape in enumerate(shapes):
        for other in range(index):
            intervals = forbidden_distances(shapes[other], shape)
            if intervals:
                found[index][other] = intervals
                found[other][index] = [(-high, -low) for low, high in reversed(intervals)]
    return found


@dataclass
class _Placed:
    """Offsets so far, and the arena that they span."""

    offsets: dict[int, int] = field(default_factory=dict)
    low: int = 0
    high: int = 0

    @property
    def extent(self) -> int:
        """Bytes from the first to the last."""
        return self.high - self.low


@dataclass(frozen=True)
class _Stage:
    """Buffers, and the distances that they must keep."""

    shapes: list[Shape]
    distances: list[dict[int, list[Interval]]]

    def put(self, index: int, placed: _Placed) -> None:
        """Place a buffer where the arena grows least, lowest of such places.

        Looked at are the ends of the intervals that the placed buffers forbid, and the arena's start.
        """
        low, high, size = placed.low, placed.high, self.shapes[index].bytes
        forbidden = _merged(
            sorted(
                (placed.offsets[other] + begin, placed.offsets[other] + end)
                for other, intervals in self.distances[index].items()
                if other in placed.offsets
                for begin, end in intervals
            )
        )
        _, offset = min(
            (max(high, offset + size) - min(low, offset), offset) for offset in _allowed(forbidden, low)
        )
        placed.offsets[index] = offset
        placed.low, placed.high = min(low, offset), max(high, offset + size)

    def put_all(self, order: Sequence[int], most: int | None) -> _Placed | None:
        """Place buffers in this order; None where the arena grows over `most` bytes."""
        placed = _Placed()
        for index in order:
            self.put(index, placed)
            if most is not None and placed.extent > most:
                return None
        return placed


def _split(stage: _Stage, room: int) -> tuple[list[int], list[int]]:
    """Tell buffers that are hard to place from those that find a place in `room` bytes wherever the others lie.

    Easy is a buffer whose neighbours together forbid fewer offsets than there are. Easy ones are placed last, in
    the reverse of the order in which they are found, so they do not count for those that are found after them.
    """
    left = dict.fromkeys(range(len(stage.shapes)))
    easy: list[int] = []
    found = True
    while found:
        found = False
        for index in list(left):
            taken = sum(
                high - low + 2 * ALIGNMENT
                for other, intervals in stage.distances[index].items()
                if other in left
                for low, high in intervals
            )
            if taken <= room - stage.shapes[index].bytes:
                del left[index]
                easy.append(index)
                found = True
    return list(left), easy


def _search(stage: _Stage, order: list[int], least: int) -> _Placed:
    """Place buffers in many orders, each a small change of the best so far; the same every time.

    Args:
        stage: The buffers.
        order: The first order.
        least: Bytes that are enough.
    """
    best = stage.put_all(order, None) or _Placed()
    for start in range(STARTS):
        found = _climb(stage, order, least, Random(start))
        if found.extent < best.extent:
            best = found
    return best


def _climb(stage: _Stage, order: list[int], least: int, chance: Random) -> _Placed:
    """Move buffers about in the order for as long as the arena does not grow."""
    best = stage.put_all(order, None) or _Placed()
    rounds = min(MOVES // max(1, len(order)), ROUNDS * len(order))
    while best.extent > least and rounds > 0:
        rounds -= 1
        changed = list(order)
        for _ in range(1 + int(chance.random() * 3)):
            moved = changed.pop(int(chance.random() * len(changed)))
            changed.insert(int(chance.random() * (len(changed) + 1)), moved)
        placed = stage.put_all(changed, best.extent)
        if placed is not None:
            best, order = placed, changed
    return best


def _allowed(forbidden: Sequence[Interval], wanted: int) -> Iterator[int]:
    """Offsets outside of open intervals: the words at the ends of each gap, and a wanted one if it is in a gap."""
    after = None
    for begin, end in forbidden:
        before = begin // ALIGNMENT * ALIGNMENT
        if after is None or after <= before:
            yield before
            if after is not None:
                yield after
            if wanted <= before and (after is None or after <= wanted):
                yield wanted
        after = -(-end // ALIGNMENT) * ALIGNMENT
    if after is not None:
        yield after
    if after is None or after <= wanted:
        yield wanted


def _merged(intervals: Sequence[Interval]) -> list[Interval]:
    """Overlapping open intervals as one; sorted ones in, sorted ones out."""
    merged: list[Interval] = []
    for begin, end in intervals:
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
