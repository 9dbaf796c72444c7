"""Placement: rows that are alive together never meet, and dead ones make room."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.compiler.memory.lives import Lives
from ei_automation.compiler.memory.placement import MOST_RUNS, arena_extent, forbidden_distances, place, shape_of


def buffer(row_bytes: int, written: list[int], read: list[int]) -> Lives:
    """Rows with their lives."""
    made = Lives([0], row_bytes, written, read)
    made.fit_ring()
    return made


@st.composite
def buffers(draw: st.DrawFn) -> Lives:
    """Rows that are written in order and read some time later."""
    written = sorted(draw(st.lists(st.integers(-1, 20), min_size=1, max_size=6)))
    read = [time + draw(st.integers(0, 12)) for time in written]
    return buffer(draw(st.integers(1, 9)), written, read)


def meeting(one: Lives, other: Lives, distance: int) -> bool:
    """Whether living rows share a byte at a distance, found row by row."""
    return any(
        written <= other_read
        and other_written <= read
        and -other.row_bytes < distance + other_row % other.ring * other.row_bytes - row % one.ring * one.row_bytes
        and distance + other_row % other.ring * other.row_bytes - row % one.ring * one.row_bytes < one.row_bytes
        for row, (written, read) in enumerate(zip(one.written, one.read, strict=True))
        for other_row, (other_written, other_read) in enumerate(zip(other.written, other.read, strict=True))
    )


@given(buffers(), buffers())
def test_forbidden_distances_are_those_at_which_living_rows_meet(one: Lives, other: Lives) -> None:
    intervals = forbidden_distances(shape_of(one), shape_of(other))
    for distance in range(-other.bytes - 1, one.bytes + 2):
        assert any(low < distance < high for low, high in intervals) == meeting(one, other, distance)
    assert all(before <= low for (_, before), (low, _) in pairwise(intervals)), "open, so they may touch"


def test_rows_that_die_in_a_wild_order_live_longer_rather_than_too_short() -> None:
    times = range(MOST_RUNS * 3)
    wild = buffer(4, list(times), [step + 5 * (step % 2) for step in times])
    steady = buffer(4, list(times), [step + 2 for step in times])
    assert len(shape_of(wild).runs) == 1
    for one, other in ((wild, steady), (steady, wild), (wild, wild)):
        intervals = forbidden_distances(shape_of(one), shape_of(other))
        for distance in range(-other.bytes - 1, one.bytes + 2):
            assert any(low < distance < high for low, high in intervals) or not meeting(one, other, distance)


@given(st.lists(buffers(), max_size=7))
def test_placed_rows_never_meet(given_buffers: list[Lives]) -> None:
    offsets = place(given_buffers, 0)
    assert all(offset >= 0 for offset in offsets)
    assert not given_buffers or min(offsets) == 0
    for index, (lives, offset) in enumerate(zip(given_buffers, offsets, strict=True)):
        assert offset % 4 == 0
        for other in range(index):
            assert not meeting(given_buffers[other], lives, offset - offsets[other])


@pytest.mark.timeout(60)  # row against row, these would be billions of pairs; else it takes a second
def test_many_rows_are_placed_as_tightly_as_few() -> None:
    rows = range(20_000)
    chain = [
        buffer(4, [20_000 * layer + row for row in rows], [20_000 * (layer + 1) + row for row in rows])
        for layer in range(10)
    ]
    offsets = place(chain, 4 * 20_001)
    assert arena_extent(offsets, [shape_of(each) for each in chain]) < 4 * 20_020


def test_a_ring_is_as_long_as_the_rows_that_wait() -> None:
    assert buffer(4, [0, 1, 2, 3], [1, 2, 3, 4]).ring == 2
    assert buffer(4, [0, 1, 2, 3], [3, 3, 3, 4]).ring == 4
    assert buffer(4, [0, 2, 4], [1, 3, 5]).ring == 1


def test_a_run_of_rows_ends_where_one_dies_before_the_one_above_it() -> None:
    assert shape_of(buffer(4, [0, 0, 0], [5, 5, 6])).runs == ((0, 3),)
    assert shape_of(buffer(4, [0, 0, 0], [5, 4, 6])).runs == ((0, 1), (1, 3))


def test_rows_move_into_the_place_of_dead_ones() -> None:
    dying = buffer(8, [-1, -1, -1, -1], [0, 1, 2, 3])
    growing = buffer(8, [1, 2, 3, 4], [9, 9, 9, 9])
    offsets = place([dying, growing], 32)
    assert arena_extent(offsets, [shape_of(dying), shape_of(growing)]) == 32


def test_what_never_lives_together_lies_at_the_same_place() -> None:
    assert place([buffer(8, [0], [1]), buffer(8, [2], [3]), buffer(4, [4], [5])], 8) == [0, 0, 0]


def test_nothing_to_place() -> None:
    assert place([], 0) == []
