"""Hand-made kernel calls for the tests of the planner, and the tests of what they are read as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from ei_automation.compiler.bind.calls import KernelCall, Streaming, all_rows, same_rows, window_rows
from ei_automation.compiler.graph import NoOptions, Operator, Rows
from ei_automation.compiler.memory.network import network_of
from ei_automation.compiler.memory.plan import PULL


@dataclass
class Calls:
    """A network under construction: only its geometry, no numbers.

    Attributes:
        rows: Of each tensor; 0 is the input.
        made: The calls.
    """

    rows: dict[int, Rows]
    made: list[KernelCall] = field(default_factory=list)

    @classmethod
    def on(cls, height: int, width: int, channels: int, item_bytes: int = 1) -> Calls:
        return cls({0: Rows(height, width, channels, item_bytes)})

    @property
    def last(self) -> int:
        return max(self.rows)

    def add(
        self,
        inputs: Sequence[int],
        output: Rows,
        needs: Sequence[Sequence[tuple[int, int]]],
        *,
        streaming: Streaming = "rows",
        scratch: int = 0,
        in_place: tuple[int, ...] = (),
    ) -> int:
        """Any call; its output."""
        place = len(self.made)
        made = self.last + 1
        self.rows[made] = output
        operator = Operator(place, "ADD", tuple(inputs), made, NoOptions())
        ranges = tuple(tuple(each) for each in needs)
        self.made.append(
            KernelCall(
                operator, "nn_x.h", "nn_x", "nn_x_t", (), tuple(inputs), made, streaming, ranges, scratch, in_place
            )
        )  # fmt: skip
        return made

    def window(
        self,
        source: int,
        channels: int,
        *,
        size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        scratch: int = 0,
    ) -> int:
        """A convolution, SAME."""
        rows = self.rows[source]
        height, width = -(-rows.height // stride), -(-rows.width // stride)
        reach = (size - 1) * dilation + 1
        padding = max(0, (height - 1) * stride + reach - rows.height) // 2
        needs = window_rows(height, rows.height, stride=stride, size=size, padding=padding, dilation=dilation)
        return self.add([source], Rows(height, width, channels, rows.item_bytes), [needs], scratch=scratch)

    def join(self, one: int, other: int, in_place: tuple[int, ...] = (0, 1)) -> int:
        """ADD."""
        needs = [same_rows(self.rows[one].height)] * 2
        return self.add([one, other], self.rows[one], needs, in_place=in_place)

    def concat(self, one: int, other: int) -> int:
        """CONCATENATION of channels."""
        first, second = self.rows[one], self.rows[other]
        made = Rows(first.height, first.width, first.channels + second.channels, first.item_bytes)
        return self.add([one, other], made, [same_rows(first.height)] * 2)

    def activate(self, source: int) -> int:
        """A function of each value, in place."""
        return self.add([source], self.rows[source], [same_rows(self.rows[source].height)], in_place=(0,))

    def whole(self, source: int, rows: Rows, scratch: int = 0) -> int:
        """A kernel that cannot be taken apart."""
        needs = all_rows(rows.height, self.rows[source].height)
        return self.add([source], rows, [needs], streaming="whole", scratch=scratch)

    def sums(self, source: int) -> int:
        """MEAN."""
        rows = self.rows[source]
        made = Rows(1, 1, rows.channels, rows.item_bytes)
        needs = all_rows(1, rows.height)
        return self.add([source], made, [needs], streaming="accumulate", scratch=4 * rows.channels)


def mobilenet(size: int = 96) -> Calls:
    """The layers of MobileNetV2 0.35 with a pooled head."""
    calls = Calls.on(size, size, 3)
    value = calls.window(calls.window(0, 16, stride=2), 16)
    value = calls.window(value, 8, size=1)
    blocks = [
        (8, 2),
        (8, 1),
        (16, 2),
        (16, 1),
        (16, 1),
        (24, 2),
        (24, 1),
        (24, 1),
        (24, 1),
        (32, 1),
        (32, 1),
        (32, 1),
    ]
    for channels, stride in [*blocks, (56, 2), (56, 1), (56, 1), (112, 1)]:
        wide = 6 * calls.rows[value].channels
        branch = calls.window(calls.window(value, wide, size=1), wide, stride=stride)
        branch = calls.window(branch, channels, size=1)
        same = stride == 1 and channels == calls.rows[value].channels
        value = calls.join(value, branch) if same else branch
    value = calls.sums(calls.window(value, 1280, size=1))
    calls.whole(value, Rows(1, 1, 3))
    return calls


@st.composite
def networks(draw: st.DrawFn) -> Calls:
    """Any network: chains, branches, values that nobody reads, a value as both inputs of an operator."""
    item = draw(st.sampled_from((1, 1, 4)))
    calls = Calls.on(draw(st.integers(1, 14)), draw(st.integers(1, 6)), draw(st.integers(1, 5)), item)
    for _ in range(draw(st.integers(1, 9))):
        _grow(draw, calls)
    return calls


def _grow(draw: st.DrawFn, calls: Calls) -> None:
    """One more operator."""
    source = max(0, calls.last - draw(st.sampled_from((0, 0, 0, 1, 2, 5))))
    rows = calls.rows[source]
    scratch = draw(st.sampled_from((0, 0, 5, 64)))
    partners = [index for index, other in calls.rows.items() if other == rows]
    kind = draw(st.sampled_from(("window", "window", "window", "join", "concat", "activate", "whole", "sums")))
    if kind == "window":
        calls.window(
            source,
            draw(st.integers(1, 8)),
            size=draw(st.integers(1, 4)),
            stride=draw(st.integers(1, 3)),
            dilation=draw(st.integers(1, 2)),
            scratch=scratch,
        )
    elif kind == "join":
        calls.join(source, draw(st.sampled_from(partners)), draw(st.sampled_from(((0, 1), (0,), (1,), ()))))
    elif kind == "concat":
        calls.concat(source, draw(st.sampled_from(partners)))
    elif kind == "activate":
        calls.activate(source)
    elif kind == "whole":
        calls.whole(source, Rows(draw(st.integers(1, 6)), 2, draw(st.integers(1, 4)), rows.item_bytes), scratch)
    else:
        calls.sums(source)


def test_an_accumulating_kernel_takes_its_input_rows_and_writes_with_the_last() -> None:
    calls = Calls.on(7, 3, 4)
    calls.sums(0)
    network = network_of(calls.made, calls.rows, model_input=0, model_output=1, pulled=False)
    (node,) = network.nodes
    assert node.turns == 7
    assert node.reads(0, 2, 4) == (2, 4)
    assert network.written(node, 2, 4) == (0, 0)
    assert network.written(node, 6, 7) == (0, 1)


def test_what_needs_more_than_the_row_it_replaces_is_not_in_place() -> None:
    calls = Calls.on(5, 3, 4)
    same = same_rows(5)
    calls.add([0], calls.rows[0], [window_rows(5, 5, stride=1, size=3, padding=1)], in_place=(0,))
    calls.add([1], Rows(5, 3, 2), [same], in_place=(0,))
    calls.add([2], Rows(5, 3, 2), [same], in_place=(0,))
    network = network_of(calls.made, calls.rows, model_input=0, model_output=3, pulled=False)
    assert [node.in_place for node in network.nodes] == [(), (), (0,)]


def test_the_pull_makes_the_input_and_stands_first() -> None:
    calls = Calls.on(5, 3, 4)
    calls.activate(0)
    network = network_of(calls.made, calls.rows, model_input=0, model_output=1, pulled=True)
    assert [node.call for node in network.nodes] == [PULL, 0]
    assert network.producer == {0: 0, 1: 1}
    assert network.last_reader == {0: 1, 1: -1}
