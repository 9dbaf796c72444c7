"""Proof of a memory plan: its steps are run over an arena of names instead of numbers.

Every byte of the arena carries the name of what was last written there. A step may read a row only where all its
bytes carry that row's name, whatever the placement believed about lives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.calls import KernelCall, RowRange
from ei_automation.compiler.memory.plan import PULL, Buffer, MemoryPlan, Step

NOTHING = 0
"""The name of a byte that nobody wrote."""
ALIGNMENT = 4
"""Bytes: words of float32 tensors and of scratch memories begin so."""


class PlanError(Exception):
    """A plan under which a model would compute something else: our bug."""


def verify_plan(plan: MemoryPlan, calls: Sequence[KernelCall]) -> None:
    """Run a plan's steps and check everything that they read.

    Args:
        plan: Of these calls.
        calls: As they were planned.

    Raises:
        PlanError: A step reads what is no longer or not yet there, a kernel is called in a way that it forbids, a
            buffer leaves the arena, or the model's output is not whole in the end.
    """
    _check_buffers(plan)
    run = _Run(plan, calls)
    for number, step in enumerate(plan.steps):
        try:
            run.step(step)
        except PlanError as error:
            raise PlanError(f"step {number} ({step}): {error}") from None
    run.finish()


def _check_buffers(plan: MemoryPlan) -> None:
    """Every buffer lies in the arena, on a word."""
    for buffer in plan.buffers:
        if buffer.offset < 0 or buffer.offset + buffer.bytes > plan.arena_bytes:
            raise PlanError(f"{buffer} is not inside the arena of {plan.arena_bytes} bytes")
        if buffer.offset % ALIGNMENT:
            raise PlanError(f"{buffer} does not begin on a word")


class _Run:
    """The arena while the steps run."""

    def __init__(self, plan: MemoryPlan, calls: Sequence[KernelCall]) -> None:
        self._plan, self._calls = plan, calls
        self._arena = np.full(plan.arena_bytes, NOTHING, np.int64)
        self._names: dict[tuple[str, int, int], int] = {}
        self._done = dict.fromkeys((PULL, *range(len(calls))), 0)
        self._made = dict.fromkeys(plan.rows, 0)
        if plan.memory != "streamed-input":
            self._write_rows(plan.input, (0, plan.rows[plan.input].height))

    def step(self, step: Step) -> None:
        """One call of a kernel."""
        if step.first != self._done[step.call] or step.last <= step.first:
            raise PlanError(f"the rows before it end at {self._done[step.call]}")
        self._done[step.call] = step.last
        if step.call == PULL:
            self._write_rows(self._plan.input, (step.first, step.last))
            return
        call = self._calls[step.call]
        if call.streaming == "accumulate":
            self._accumulate(call, step)
        else:
            self._make(call, step)

    def finish(self) -> None:
        """The model's output is whole."""
        height = self._plan.rows[self._plan.output].height
        given = self._plan.output == self._plan.input and self._plan.memory != "streamed-input"
        if not given and self._made[self._plan.output] != height:
            raise PlanError(f"the output has {self._made[self._plan.output]} of {height} rows")

    def _make(self, call: KernelCall, step: Step) -> None:
        """A step that makes output rows. What it may not replace must outlive what it writes."""
        height = self._plan.rows[call.output].height
        if call.streaming == "whole" and (step.first, step.last) != (0, height):
            raise PlanError("this kernel makes its whole output at once")
        replaced = self._replaced(call)
        self._write_scratch(step.call)
        for position in replaced:
            self._check(call, position, step)
        self._write_rows(call.output, (step.first, step.last))
        for position in set(range(len(call.inputs))) - replaced:
            self._check(call, position, step)
        self._check_scratch(step.call)

    def _accumulate(self, call: KernelCall, step: Step) -> None:
        """A step that takes input rows; its scratch lives until the last."""
        height = self._plan.rows[call.inputs[0]].height
        if step.first == 0:
            self._write_scratch(step.call)
        if step.last == height:
            self._write_rows(call.output, (0, self._plan.rows[call.output].height))
        self._check_rows(call.inputs[0], (step.first, step.last))
        self._check_scratch(step.call)

    def _replaced(self, call: KernelCall) -> set[int]:
        """The inputs that the output replaces in place: those that it shares every row's place with."""
        output = self._plan.buffer(call.output)
        found = set()
        for position in call.in_place:
            source = self._plan.buffer(call.inputs[position])
            if output and source and _same_place(output, source):
                found.add(position)
        return found

    def _check(self, call: KernelCall, position: int, step: Step) -> None:
        """The rows of an input that a step needs are there."""
        for low, high in call.needs[position][step.first : step.last]:
            self._check_rows(call.inputs[position], (low, high))

    def _check_rows(self, tensor: int, rows: RowRange) -> None:
        """Rows of a tensor are made, and still there."""
        if rows[1] > self._made[tensor]:
            raise PlanError(f"tensor {tensor} has {self._made[tensor]} rows; {rows[1]} are needed")
        buffer = self._plan.buffer(tensor)
        for row in range(*rows) if buffer else ():
            found = self._bytes(buffer, row)
            if not np.all(found == self._name("row", tensor, row)):
                raise PlanError(f"row {row} of tensor {tensor} was overwritten")

    def _write_rows(self, tensor: int, rows: RowRange) -> None:
        """Put the names of a tensor's rows where they lie."""
        self._made[tensor] = max(self._made[tensor], rows[1])
        buffer = self._plan.buffer(tensor)
        if buffer is None and tensor != self._plan.output:
            raise PlanError(f"tensor {tensor} has no place")
        for row in range(*rows) if buffer else ():
            self._bytes(buffer, row)[:] = self._name("row", tensor, row)

    def _write_scratch(self, call: int) -> None:
        """Fill a call's working memory."""
        wanted, buffer = self._calls[call].scratch_bytes, self._plan.scratch(call)
        if wanted and (buffer is None or buffer.bytes < wanted):
            raise PlanError(f"call {call} has no scratch of {wanted} bytes")
        if buffer:
            self._bytes(buffer, 0)[:] = self._name("scratch", call, 0)

    def _check_scratch(self, call: int) -> None:
        """A call's working memory was not overwritten."""
        buffer = self._plan.scratch(call)
        if buffer and not np.all(self._bytes(buffer, 0) == self._name("scratch", call, 0)):
            raise PlanError(f"the scratch of call {call} was overwritten")

    def _bytes(self, buffer: Buffer | None, row: int) -> NDArray[np.int64]:
        """The bytes of a row."""
        assert buffer is not None
        start = buffer.offset + row % buffer.ring * buffer.row_bytes
        return self._arena[start : start + buffer.row_bytes]

    def _name(self, kind: str, what: int, row: int) -> int:
        """A number for each row and scratch."""
        return self._names.setdefault((kind, what, row), len(self._names) + 1)


def _same_place(one: Buffer, other: Buffer) -> bool:
    """Whether each row of one buffer lies where that row of the other lies."""
    return (one.offset, one.ring, one.row_bytes) == (other.offset, other.ring, other.row_bytes)
