"""The nouns of a memory plan: what lies where in the arena, and in which order the rows are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ei_automation.compiler.graph import Rows
from ei_automation.schema.deployment import Memory

PULL = -1
"""In place of a call's number: the step that pulls rows of the model's input from the caller."""


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    Attributes:
        call: Number of the kernel call, or `PULL`.
        first: First row that it makes; of an `accumulate` kernel the first that it takes.
        last: The one after the last.
    """

    call: int
    first: int
    last: int


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena.

    Attributes:
        kind: rows of tensors, or the scratch of a call.
        holds: Tensor indices, in the order in which they take it over from each other row by row (in place); of a
            scratch the number of its call.
        offset: Bytes from the arena's start.
        ring: Rows that it has room for: row y lies at offset + (y % ring) * row_bytes. 1 of a scratch.
        row_bytes: Bytes of a row, or of the scratch.
        first_step: The step that writes it first; -1 where it is full before the first step (the model's input).
        last_step: The last step that reads or writes it.
    """

    kind: Literal["rows", "scratch"]
    holds: tuple[int, ...]
    offset: int
    ring: int
    row_bytes: int
    first_step: int
    last_step: int

    @property
    def bytes(self) -> int:
        """Size."""
        return self.ring * self.row_bytes


@dataclass(frozen=True)
class Segment:
    """Neighbouring calls that run together.

    Attributes:
        calls: Numbers of the calls, `PULL` among them where rows are pulled.
        first_step: Its first step.
        last_step: The one after its last.
        by_rows: Whether its kernels take turns row by row; otherwise each runs once.
        live_bytes: The most that is alive during one of its steps.
    """

    calls: tuple[int, ...]
    first_step: int
    last_step: int
    by_rows: bool
    live_bytes: int


@dataclass(frozen=True, eq=False)
class MemoryPlan:
    """The order of the steps, and where everything lies.

    Attributes:
        memory: How tensors are kept.
        rows: The geometry of every tensor that is computed or given.
        input: Tensor index of the model's input.
        output: Tensor index of the model's output, which lies in the caller's array.
        steps: In the order in which they run.
        segments: They cover the steps.
        buffers: By offset.
        arena_bytes: The end of the last buffer.
        live_bytes: The most that is alive during a step: no arena of this order of steps can be smaller.
    """

    memory: Memory
    rows: Mapping[int, Rows]
    input: int
    output: int
    steps: tuple[Step, ...]
    segments: tuple[Segment, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int
    live_bytes: int

    def buffer(self, tensor: int) -> Buffer | None:
        """The buffer that holds a tensor; None for the model's output, which the caller holds."""
        found = (buffer for buffer in self.buffers if buffer.kind == "rows" and tensor in buffer.holds)
        return next(found, None)

    def scratch(self, call: int) -> Buffer | None:
        """The working memory of a call; None where it needs none."""
        found = (buffer for buffer in self.buffers if buffer.kind == "scratch" and call in buffer.holds)
        return next(found, None)
