"""The memory map at the top of a generated source."""

from __future__ import annotations

from collections.abc import Iterator

from ei_automation.compiler.emit.parameters import size
from ei_automation.compiler.emit.request import EmitRequest
from ei_automation.compiler.emit.text import in_comment
from ei_automation.compiler.memory.plan import PULL, Buffer


def memory_map(request: EmitRequest) -> Iterator[str]:
    """Lines of a comment: the arena's size, and every buffer with its place and its life."""
    plan = request.plan
    yield f" * Memory ({plan.memory}): an arena of {plan.arena_bytes} bytes; {plan.live_bytes} are in use at most."
    yield f" * {len(plan.steps)} steps. Rows that lie at the same place are never alive at the same step."
    yield " *"
    yield " *     offset      bytes   rows         steps  what"
    for buffer in plan.buffers:
        steps = f"{max(buffer.first_step, 0)}..{min(buffer.last_step, len(plan.steps) - 1)}"
        yield (
            f" * {buffer.offset:>10} {buffer.bytes:>10} {buffer.ring if buffer.kind == 'rows' else '-':>6} "
            f"{steps:>13}  {_content(request, buffer)}"
        )
    by_rows = [segment for segment in plan.segments if segment.by_rows]
    if by_rows:
        yield " *"
        yield " * Row by row run, one group after the other:"
    for segment in by_rows:
        numbers = [str(call) for call in segment.calls if call != PULL]
        span = numbers[0] if len(numbers) == 1 else f"{numbers[0]}..{numbers[-1]}" if numbers else "none"
        pulled = " and the image's rows" if PULL in segment.calls else ""
        steps = f"{segment.first_step}..{segment.last_step - 1}"
        yield f" *   calls {span}{pulled}: steps {steps}, at most {segment.live_bytes} bytes in use"


def _content(request: EmitRequest, buffer: Buffer) -> str:
    """What a buffer holds."""
    if buffer.kind == "scratch":
        return f"working memory of call {buffer.holds[0]}"
    makers = {call.output: f"output of call {number}" for number, call in enumerate(request.calls)}
    size_text = size(request.plan.rows[buffer.holds[0]])
    return in_comment(f"{size_text}, {', then '.join(makers.get(index, 'the image') for index in buffer.holds)}")
