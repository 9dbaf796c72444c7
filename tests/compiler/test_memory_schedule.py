"""Schedules and lives of rows: what is made when, and for how long it is kept."""

from __future__ import annotations

from hypothesis import given, settings

from ei_automation.compiler.memory.lives import BEFORE, Lives, find_lives
from ei_automation.compiler.memory.network import Network, network_of
from ei_automation.compiler.memory.schedule import Turn, row_turns, whole_turn
from tests.compiler.test_memory_calls import Calls, networks


def network(calls: Calls, *, pulled: bool = False) -> Network:
    """The calls as the planner sees them."""
    return network_of(calls.made, calls.rows, model_input=0, model_output=calls.last, pulled=pulled)


def holding(lives: list[Lives], tensor: int) -> Lives:
    """The buffer of a tensor."""
    return next(each for each in lives if tensor in each.holds and not each.is_scratch)


def test_rows_are_made_when_they_are_needed() -> None:
    calls = Calls.on(4, 2, 1)
    calls.window(calls.window(0, 1), 1, size=1)
    made = network(calls, pulled=True)
    order = [(turn.node, turn.first) for turn in row_turns(made, 0, 3)]
    assert order == [
        (0, 0), (0, 1), (1, 0), (2, 0), (0, 2), (1, 1), (2, 1), (0, 3), (1, 2), (2, 2), (1, 3), (2, 3)
    ]  # fmt: skip


def test_a_whole_kernel_takes_one_turn() -> None:
    calls = Calls.on(5, 2, 1)
    calls.sums(calls.window(0, 3))
    made = network(calls)
    assert whole_turn(made, 0) == [Turn(0, 0, 5)]
    assert whole_turn(made, 1) == [Turn(1, 0, 5)]


def test_the_longer_branch_runs_first() -> None:
    calls = Calls.on(3, 2, 1)
    short = calls.window(0, 2, size=1)
    long = calls.window(calls.window(0, 4, size=1), 2, size=1)
    calls.join(short, long)
    assert [turn.node for turn in row_turns(network(calls), 0, 4)[:4]] == [1, 2, 0, 3]


@settings(deadline=None)
@given(networks())
def test_each_row_is_made_once_and_in_order(calls: Calls) -> None:
    made = network(calls, pulled=True)
    stop = next((index + 1 for index, node in enumerate(made.nodes) if node.streaming != "rows"), len(made.nodes))
    turns = row_turns(made, 0, stop)
    for index in range(stop):
        rows = [turn.first for turn in turns if turn.node == index]
        assert rows == list(range(len(rows)))
        assert len(rows) >= 1


def test_rows_live_from_the_step_that_writes_them_to_the_last_that_reads_them() -> None:
    calls = Calls.on(4, 2, 1)
    calls.window(calls.window(0, 1), 1)
    made = network(calls)
    lives = find_lives(made, row_turns(made, 0, 2), 0, 2)
    image, middle = holding(lives, 0), holding(lives, 1)
    assert image.written == [BEFORE] * 4
    assert image.read == [1, 3, 5, 5]  # steps: row 0, 1 of the first kernel, 0 of the second, then in turn
    assert middle.written == [0, 1, 3, 5]
    assert middle.ring == 3


def test_what_is_read_later_lives_on() -> None:
    calls = Calls.on(4, 2, 1)
    first = calls.window(0, 1)
    calls.join(first, calls.window(first, 1))
    made = network(calls)
    lives = find_lives(made, whole_turn(made, 0), 0, 1)
    assert holding(lives, first).read == [1] * 4


def test_a_tensor_takes_over_the_rows_that_it_replaces() -> None:
    calls = Calls.on(4, 2, 1)
    calls.window(calls.activate(calls.window(0, 3)), 1)
    made = network(calls)
    lives = find_lives(made, row_turns(made, 0, 3), 0, 3)
    assert holding(lives, 2) is holding(lives, 1)
    assert holding(lives, 1).holds == [1, 2]


def test_a_tensor_that_is_read_once_more_is_not_replaced() -> None:
    calls = Calls.on(4, 2, 1)
    value = calls.window(0, 3)
    calls.join(value, calls.window(calls.activate(value), 3), in_place=())
    made = network(calls)
    turns = [turn for index in range(4) for turn in whole_turn(made, index)]
    assert holding(find_lives(made, turns, 0, 4), 2).holds == [2]


def test_sums_keep_their_scratch_from_the_first_row_to_the_last() -> None:
    calls = Calls.on(4, 2, 3)
    calls.sums(0)
    calls.activate(calls.last)
    made = network(calls)
    turns = [*row_turns(made, 0, 1), *whole_turn(made, 1)]
    (scratch,) = [each for each in find_lives(made, turns, 0, 2) if each.is_scratch]
    assert scratch.span == (0, 3)
    assert scratch.bytes == 12
