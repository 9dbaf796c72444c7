"""Placement: rows that are alive together never meet, and dead ones make room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ei_automation.compiler.memory.lives import Lives
from ei_automation.compiler.memory.placement import Shape, arena_extent, forbidden_distances, place, shape_of


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


def meeting(one: Shape, other: Shape, distance: int) -> bool:
    """Whether living rows share a byte at a distance, found byte by byte."""
    return any(
        times & other_times
        and max(first, other_first + distance) < min(last, other_last + distance)
        for first, last, times in one.blocks
        for other_first, other_last, other_times in other.blocks
    )  # fmt: skip


@given(buffers(), buffers())
def test_forbidden_distances_are_those_at_which_living_rows_meet(one: Lives, other: Lives) -> None:
    first, second = shape_of(one), shape_of(other)
    intervals = forbidden_distances(first, second)
    for distance in range(-second.bytes - 1, first.bytes + 2):
        assert any(low < distance < high for low, high in intervals) == meeting(first, second, distance)


@given(st.lists(buffers(), max_size=7))
def test_placed_rows_never_meet(given_buffers: list[Lives]) -> None:
    offsets = place(given_buffers, 0)
    shapes = [shape_of(each) for each in given_buffers]
    assert all(offset >= 0 for offset in offsets)
    assert not given_buffers or min(offsets) == 0
    for index, (shape, offset) in enumerate(zip(shapes, offsets, strict=True)):
        assert offset % 4 == 0
        for other in range(index):
            assert not meeting(shapes[other], shape, offset - offsets[other])


def test_a_ring_is_as_long_as_the_rows_that_wait() -> None:
    assert buffer(4, [0, 1, 2, 3], [1, 2, 3, 4]).ring == 2
    assert buffer(4, [0, 1, 2, 3], [3, 3, 3, 4]).ring == 4
    assert buffer(4, [0, 2, 4], [1, 3, 5]).ring == 1


def test_rows_with_the_same_life_are_one_block() -> None:
    assert len(shape_of(buffer(4, [0, 0, 0], [5, 5, 5])).blocks) == 1
    assert len(shape_of(buffer(4, [0, 0, 0], [5, 5, 6])).blocks) == 2


def test_rows_move_into_the_place_of_dead_ones() -> None:
    dying = buffer(8, [-1, -1, -1, -1], [0, 1, 2, 3])
    growing = buffer(8, [1, 2, 3, 4], [9, 9, 9, 9])
    offsets = place([dying, growing], 32)
    assert arena_extent(offsets, [shape_of(dying), shape_of(growing)]) == 32


def test_what_never_lives_together_lies_at_the_same_place() -> None:
    assert place([buffer(8, [0], [1]), buffer(8, [2], [3]), buffer(4, [4], [5])], 8) == [0, 0, 0]


def test_nothing_to_place() -> None:
    assert place([], 0) == []
