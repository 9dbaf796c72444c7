"""NAME.c: constants, arena, schedule and the function that runs it."""

from __future__ import annotations

from collections.abc import Iterator

from ei_automation.compiler.emit.blocks import find_blocks
from ei_automation.compiler.emit.memory_map import memory_map
from ei_automation.compiler.emit.parameters import ConstantPool, describe, parameter_lines
from ei_automation.compiler.emit.request import EmitRequest
from ei_automation.compiler.emit.text import c_string, in_comment, packed
from ei_automation.compiler.memory.plan import PULL

ARENA_ALIGNMENT = 16
"""Bytes. Compilers take a static array of this size to be aligned so, and use it."""

NOT_FINITE = (
    "#if !defined(INFINITY) && (defined(__GNUC__) || defined(__clang__))",
    "#define INFINITY __builtin_inff() /* bare metal may have no math.h */",
    '#define NAN __builtin_nanf("")',
    "#elif !defined(INFINITY)",
    "#include <math.h>",
    "#endif",
    "",
)
"""Where constants are infinite or no numbers: what math.h calls them. An overflowing product would do too, but gcc
warns of it."""


def source_text(request: EmitRequest, pool: ConstantPool) -> str:
    """The source's text."""
    return "\n".join(_lines(request, pool)) + "\n"


def _lines(request: EmitRequest, pool: ConstantPool) -> Iterator[str]:
    """The source's lines."""
    name = request.name
    parameters = list(parameter_lines(request, pool))
    yield f"/* {name}.c: {in_comment(request.title)}. Made by eiauto; do not edit."
    yield " *"
    yield from memory_map(request)
    yield " */"
    yield f'#include "{name}.h"'
    yield ""
    yield "#include <stddef.h>"
    yield ""
    yield from (
        f'#include "{header}"' for header in sorted({"nn_types.h", *(call.header for call in request.calls)})
    )
    yield ""
    yield "#if defined(__GNUC__) || defined(__clang__)"
    yield "#define ALIGNED(bytes) __attribute__((aligned(bytes)))"
    yield "#else"
    yield "#define ALIGNED(bytes)"
    yield "#endif"
    yield ""
    if any(word in line for line in parameters for word in ("INFINITY", "NAN")):
        yield from NOT_FINITE
    yield f"const char *const {name}_labels[] = {{"
    yield from packed([*map(c_string, request.labels), "NULL"])
    yield "};"
    yield ""
    yield from parameters
    yield from _arena(request)
    yield from _views(request)
    yield from _schedule(request)
    yield from _functions(request)


def _arena(request: EmitRequest) -> Iterator[str]:
    """The arena, where anything lies in it."""
    if request.plan.arena_bytes:
        yield "static union {"
        yield f"    uint8_t bytes[{request.name.upper()}_ARENA_BYTES];"
        yield "    double aligned; /* at least so, whatever the compiler */"
        yield f"}} ALIGNED({ARENA_ALIGNMENT}) arena;"
        yield ""


def _views(request: EmitRequest) -> Iterator[str]:
    """The views of the calls whose tensors all lie in the arena: inputs, then the output."""
    for number, call in enumerate(request.calls):
        if not any(request.is_outside(index) for index in (*call.inputs, call.output)):
            yield f"static const nn_view view{number}[] = {_view_list(request, number)};"
    yield ""


def _view_list(request: EmitRequest, number: int) -> str:
    """The views of a call as a C initializer."""
    call = request.calls[number]
    return f"{{{', '.join(_view(request, index) for index in (*call.inputs, call.output))}}}"


def _view(request: EmitRequest, tensor: int) -> str:
    """A view as a C initializer."""
    if request.is_outside(tensor):
        place = "(void *)input" if tensor == request.plan.input else "output"
        return f"{{{place}, {request.plan.rows[tensor].height}}}"
    buffer = request.plan.buffer(tensor)
    assert buffer is not None, f"tensor {tensor} has no place"
    return f"{{arena.bytes + {buffer.offset}, {buffer.ring}}}"


def _schedule(request: EmitRequest) -> Iterator[str]:
    """The tables that say which call makes how many rows when."""
    numbers = [_number(request, step.call) for step in request.plan.steps]
    blocks = find_blocks(numbers)
    pulls = f"\n * {len(request.calls)} pulls a row of the image." if request.is_pulled else ""
    yield f"/* The steps: blocks of (times, length, calls...), each run so many times; 0 ends them.{pulls} */"
    yield f"static const {_smallest(max(numbers))} schedule[] = {{"
    for block in blocks:
        yield from packed([str(block.times), str(len(block.steps)), *map(str, block.steps)])
    yield "    0,"
    yield "};"
    rows = _rows_at_once(request)
    yield "/* The rows that a step of each call makes (takes, where the call accumulates). */"
    yield f"static const {_smallest(max(rows))} rows_at_once[] = {{"
    yield from packed(list(map(str, rows)))
    yield "};"
    yield ""


def _number(request: EmitRequest, call: int) -> int:
    """A call's number in the tables; the pull's is behind the last."""
    return len(request.calls) if call == PULL else call


def _rows_at_once(request: EmitRequest) -> list[int]:
    """For each call, the rows of its steps."""
    found = {_number(request, step.call): step.last - step.first for step in request.plan.steps}
    return [found[number] for number in range(len(found))]


def _smallest(highest: int) -> str:
    """The smallest type that holds numbers up to this one."""
    return "uint8_t" if highest < 1 << 8 else "uint16_t" if highest < 1 << 16 else "uint32_t"


def _functions(request: EmitRequest) -> Iterator[str]:
    """The exported functions."""
    name, buffer = request.name, request.plan.buffer(request.plan.input)
    if not request.is_pulled:
        assert buffer is not None, "the model's input has no place"
        yield f"{name}_input_t *{name}_input(void) {{"
        yield f"    return ({name}_input_t *)(void *)(arena.bytes + {buffer.offset});"
        yield "}"
        yield ""
        yield f"int {name}_invoke(const {name}_input_t *input, {name}_output_t *output) {{"
    else:
        yield f"int {name}_invoke({name}_read_row read_row, void *context, {name}_output_t *output) {{"
    yield from (f"    {line}" if line else "" for line in _invoke(request))
    yield "}"


def _invoke(request: EmitRequest) -> Iterator[str]:
    """The body of the function that runs the model."""
    upper = request.name.upper()
    counts = _smallest(max(step.last for step in request.plan.steps))
    numbers = {_number(request, step.call) for step in request.plan.steps}
    yield f"{counts} done[{len(numbers)}] = {{0}}; /* rows of each call */"
    yield f"const {_smallest(max(numbers))} *block = schedule;"
    for number, call in enumerate(request.calls):
        if any(request.is_outside(index) for index in (*call.inputs, call.output)):
            yield f"const nn_view view{number}[] = {_view_list(request, number)};"
    yield f"if ({'read_row' if request.is_pulled else 'input'} == NULL || output == NULL) {{"
    yield f"    return {upper}_BAD_ARGUMENT;"
    yield "}"
    yield from _loop(request)
    yield "return 0;"


def _loop(request: EmitRequest) -> Iterator[str]:
    """The loop over the schedule."""
    yield "for (; block[0] > 0; block += 2 + block[1]) {"
    yield "    for (int32_t step = 0; step < block[0] * block[1]; ++step) {"
    yield "        const int32_t call = block[2 + step % block[1]];"
    yield "        const int32_t first = (int32_t)done[call], last = first + (int32_t)rows_at_once[call];"
    yield f"        done[call] = ({_smallest(max(step.last for step in request.plan.steps))})last;"
    yield "        switch (call) {"
    for number in range(len(request.calls)):
        yield from (f"        {line}" for line in _case(request, number))
    if request.is_pulled:
        yield from (f"        {line}" for line in _pull_case(request))
    yield "        default:"
    yield "            break;"
    yield "        }"
    yield "    }"
    yield "}"


def _case(request: EmitRequest, number: int) -> Iterator[str]:
    """The step of a kernel call."""
    call, scratch = request.calls[number], request.plan.scratch(number)
    parameters = f"&op{number}" if call.fields else "NULL"
    memory = f"arena.bytes + {scratch.offset}" if scratch else "NULL"
    yield f"case {number}: /* {describe(request, call)} */"
    views = f"view{number}, view{number}[{len(call.inputs)}]"
    yield f"    {call.function}({parameters}, {views}, {memory}, first, last);"
    yield "    break;"


def _pull_case(request: EmitRequest) -> Iterator[str]:
    """The step that asks the caller for rows of the image."""
    tensor = request.plan.input
    yield f"case {len(request.calls)}: /* the image */"
    yield "    for (int32_t row = first; row < last; ++row) {"
    yield f"        const nn_view view = {_view(request, tensor)};"
    yield f"        void *place = nn_row(&view, row, {request.plan.rows[tensor].row_bytes});"
    yield f"        const int stopped = read_row(context, (int)row, ({request.name}_input_t *)place);"
    yield "        if (stopped != 0) {"
    yield "            return stopped;"
    yield "        }"
    yield "    }"
    yield "    break;"
