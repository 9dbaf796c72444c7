"""Plans: every row that is read still holds what was written, and little is alive at once."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings

from ei_automation.compiler.graph import Rows
from ei_automation.compiler.memory.lives import find_lives
from ei_automation.compiler.memory.network import Network, network_of
from ei_automation.compiler.memory.plan import PULL, MemoryPlan
from ei_automation.compiler.memory.planner import plan_memory
from ei_automation.compiler.memory.segments import Piece, SegmentChooser, alive_bytes, piece_turns
from ei_automation.compiler.memory.verify import PlanError, verify_plan
from ei_automation.schema.deployment import MEMORY_MODES, Memory
from tests.compiler.test_memory_calls import Calls, mobilenet, networks


def plan(calls: Calls, memory: Memory, output: int | None = None) -> MemoryPlan:
    """A plan that was verified."""
    made = plan_memory(
        calls.made,
        calls.rows,
        model_input=0,
        model_output=calls.last if output is None else output,
        memory=memory,
    )
    verify_plan(made, calls.made)
    return made


@settings(max_examples=120, deadline=None)
@given(networks())
def test_any_network_has_a_plan_that_holds(calls: Calls) -> None:
    arenas = {memory: plan(calls, memory).arena_bytes for memory in MEMORY_MODES}
    everything = sum(-(-rows.bytes // 4) * 4 for rows in calls.rows.values())
    everything += sum(-(-call.scratch_bytes // 4) * 4 for call in calls.made)
    assert max(arenas.values()) <= everything


@settings(max_examples=60, deadline=None)
@given(networks())
def test_an_output_that_is_read_again_has_a_plan_that_holds(calls: Calls) -> None:
    for memory in MEMORY_MODES:
        made = plan(calls, memory, output=1)
        assert made.buffer(1) is None


@pytest.mark.parametrize(
    ("memory", "most"), [("planned", 112_200), ("streamed", 30_800), ("streamed-input", 15_500)]
)
def test_mobilenet_needs_no_more_than_was_reached(memory: Memory, most: int) -> None:
    calls = mobilenet()
    made = plan(calls, memory)
    assert made.arena_bytes <= most
    assert made.live_bytes <= made.arena_bytes


def test_the_output_of_a_kernel_slides_into_its_dead_input() -> None:
    """48 rows of 384 bytes become 48 of 2,304, these 24 of 1,152: a row of each lies beside the largest tensor."""
    calls = Calls.on(48, 48, 8)
    calls.window(calls.window(0, 48, size=1), 48, stride=2)
    calls.window(calls.last, 8, size=1)
    made = plan(calls, "planned")
    assert made.arena_bytes == 384 + 48 * 2304 + 1152
    assert [segment.by_rows for segment in made.segments] == [True, True, False]


def test_planned_runs_each_kernel_by_itself_and_whole_where_that_costs_nothing() -> None:
    made = plan(mobilenet(), "planned")
    assert all(len(segment.calls) == 1 for segment in made.segments)
    assert sum(segment.by_rows for segment in made.segments) == 2


def test_rows_are_pulled_into_a_ring() -> None:
    made = plan(mobilenet(), "streamed-input")
    image = made.buffer(0)
    assert image is not None
    assert (image.ring, image.bytes) == (3, 864)
    assert sum(step.last - step.first for step in made.steps if step.call == PULL) == 96


def test_where_the_first_kernel_needs_everything_all_rows_are_pulled_first() -> None:
    calls = Calls.on(9, 4, 2)
    calls.whole(0, Rows(3, 2, 2))
    made = plan(calls, "streamed-input")
    image = made.buffer(0)
    assert image is not None
    assert (image.ring, image.first_step) == (9, 0)


def test_sums_take_the_rows_of_a_large_tensor_one_by_one() -> None:
    calls = Calls.on(16, 16, 4)
    calls.sums(calls.window(0, 512, size=1))
    made = plan(calls, "streamed")
    assert made.arena_bytes == 15 * 16 * 4 + 16 * 512 + 4 * 512  # the sums begin when the first row is dead


def test_a_residual_is_added_in_place() -> None:
    calls = Calls.on(12, 4, 4)
    first = calls.activate(0)
    branch = calls.window(first, 4)
    calls.activate(calls.join(first, branch))
    made = plan(calls, "planned")
    joined = made.buffer(branch + 1)
    assert joined is not None
    assert branch in joined.holds or first in joined.holds


def test_the_same_calls_give_the_same_plan() -> None:
    one, other = plan(mobilenet(48), "streamed"), plan(mobilenet(48), "streamed")
    assert (one.buffers, one.steps, one.segments) == (other.buffers, other.steps, other.segments)


@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_no_kernel_at_all(memory: Memory) -> None:
    made = plan_memory((), {0: Rows(4, 2, 3)}, model_input=0, model_output=0, memory=memory)
    verify_plan(made, ())
    assert made.arena_bytes == (0 if memory == "streamed-input" else 24)
    assert len(made.steps) == (1 if memory == "streamed-input" else 0)


def ways(network: Network, start: int, together: bool) -> list[list[Piece]]:
    """Every way to cut the nodes from `start` on."""
    nodes = network.nodes
    if start == len(nodes):
        return [[]]
    found = [[Piece(start, start + 1, False), *rest] for rest in ways(network, start + 1, together)]
    for stop in range(start + 1, (len(nodes) if together else start + 1) + 1):
        inside = nodes[start : stop - 1]
        if any(node.streaming != "rows" for node in inside) or nodes[stop - 1].streaming == "whole":
            break
        found += [[Piece(start, stop, True), *rest] for rest in ways(network, stop, together)]
    return found


def best_way(network: Network, *, together: bool) -> list[Piece]:
    """The cuts that the planner begins with."""
    chooser = SegmentChooser(network, together=together)
    return chooser.fewest_steps(chooser.least_peak())


def worst(network: Network, way: list[Piece]) -> int:
    """The most that is alive in one of the segments, with what only passes through."""
    peaks = [0]
    for piece in way:
        turns = piece_turns(network, piece)
        lives = find_lives(network, turns, piece.start, piece.stop)
        touched = {tensor for each in lives if not each.is_scratch for tensor in each.holds}
        passing = sum(
            rows.bytes
            for tensor, rows in network.rows.items()
            if network.producer.get(tensor, -1) < piece.start <= network.last_reader.get(tensor, -1)
            and tensor not in touched
            and tensor != network.output
        )
        peaks.append(passing + int(alive_bytes(lives, len(turns), full_rings=True).max()))
    return max(peaks)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_the_cuts_are_no_worse_than_the_best_of_all_ways(calls: Calls) -> None:
    network = network_of(
        calls.made[:6],
        calls.rows,
        model_input=0,
        model_output=calls.made[:6][-1].output,
        pulled=True,
    )
    best = min(worst(network, way) for way in ways(network, 0, together=True))
    found = worst(network, best_way(network, together=True))
    assert found == best


def broken(calls: Calls, made: MemoryPlan, number: int, change: dict[str, int]) -> MemoryPlan:
    """The plan with another value in one buffer."""
    buffers = list(made.buffers)
    buffers[number] = replace(buffers[number], **change)
    return replace(made, buffers=tuple(buffers), arena_bytes=made.arena_bytes + 10_000)


def test_the_proof_finds_what_is_wrong() -> None:
    calls = mobilenet(32)
    made = plan(calls, "streamed")
    for number, buffer in enumerate(made.buffers):
        if 1 < buffer.ring < calls.rows[buffer.holds[0]].height and buffer.kind == "rows":
            with pytest.raises(PlanError, match="overwritten"):
                verify_plan(broken(calls, made, number, {"ring": buffer.ring - 1}), calls.made)
    with pytest.raises(PlanError, match="overwritten"):
        verify_plan(
            replace(made, arena_bytes=10**5, buffers=tuple(replace(each, offset=0) for each in made.buffers)),
            calls.made,
        )
    with pytest.raises(PlanError, match="word"):
        verify_plan(broken(calls, made, 0, {"offset": 2}), calls.made)
    with pytest.raises(PlanError, match="inside"):
        verify_plan(replace(made, arena_bytes=made.arena_bytes - 1), calls.made)


def test_the_proof_finds_steps_that_come_too_early_or_not_at_all() -> None:
    calls = mobilenet(32)
    made = plan(calls, "streamed")
    with pytest.raises(PlanError, match="needed"):
        verify_plan(replace(made, steps=made.steps[1:]), calls.made)
    with pytest.raises(PlanError, match="rows before"):
        verify_plan(replace(made, steps=made.steps[:3] + made.steps[4:]), calls.made)
    with pytest.raises(PlanError, match="output has 0 of 1"):
        verify_plan(replace(made, steps=made.steps[:-1]), calls.made)


@pytest.mark.parametrize("together", [True, False])
def test_pieces_cover_all_nodes_in_order(together: bool) -> None:
    calls = mobilenet()
    network = network_of(calls.made, calls.rows, model_input=0, model_output=calls.last, pulled=False)
    pieces = best_way(network, together=together)
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    assert pieces[-1].stop == len(network.nodes)
    assert all(piece.by_rows or piece.stop - piece.start == 1 for piece in pieces)


def test_product_of_modes_and_types_keeps_words() -> None:
    for memory, item in product(MEMORY_MODES, (1, 4)):
        calls = Calls.on(9, 5, 3, item)
        calls.window(calls.window(0, 5), 7, stride=2)
        calls.whole(calls.last, Rows(1, 1, 2, item))
        assert all(buffer.offset % 4 == 0 for buffer in plan(calls, memory).buffers)
