"""The constants and the parameter structs of the kernel calls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ei_automation.compiler.bind.calls import Constant, Field, KernelCall
from ei_automation.compiler.emit.request import EmitRequest
from ei_automation.compiler.emit.text import array_lines, in_comment, integer, number
from ei_automation.compiler.graph import Rows

LONGEST_NAME = 40
"""Characters of an operator's name in a comment; converters join the names of all that they fused."""


class ConstantPool:
    """The arrays that were written; equal ones are written once."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int, bytes], str] = {}
        self.bytes = 0

    def lines(self, constant: Constant, name: str) -> Iterator[str]:
        """The definition of a constant; nothing where an equal one is there."""
        key = self._key(constant)
        if key in self._names:
            return
        self._names[key] = name
        self.bytes += constant.bytes
        if constant.comment:
            yield f"/* {in_comment(constant.comment)} */"
        aligned = f"ALIGNED({constant.alignment}) " if constant.alignment > 1 else ""
        yield f"static const {constant.c_type} {aligned}{name}[{constant.values.size}] = {{"
        yield from array_lines(constant.values)
        yield "};"

    def name(self, constant: Constant) -> str:
        """The C name of a constant that is written."""
        return self._names[self._key(constant)]

    @staticmethod
    def _key(constant: Constant) -> tuple[str, int, bytes]:
        values = np.ascontiguousarray(constant.values)
        return constant.c_type, constant.alignment, values.dtype.str.encode() + values.tobytes()


def parameter_lines(request: EmitRequest, pool: ConstantPool) -> Iterator[str]:
    """Constants and parameters of every call, under a comment that names its operator and its place."""
    for position, call in enumerate(request.calls):
        yield f"/* {position}: {describe(request, call)} */"
        for constant in call.constants:
            yield from pool.lines(constant, f"op{position}_{constant.name}")
        if call.fields:
            yield f"static const {call.struct} op{position} = {{"
            yield from (_field_line(field, pool) for field in call.fields)
            yield "};"
        yield ""


def describe(request: EmitRequest, call: KernelCall) -> str:
    """An operator, its place, shapes and what was folded into it."""
    operator, rows = call.operator, request.plan.rows
    name = in_comment(request.graph.tensor(operator.output).name.split(";")[0], LONGEST_NAME)
    shapes = f"{', '.join(size(rows[index]) for index in call.inputs)} -> {size(rows[call.output])}"
    folded = f", with operator {', '.join(map(str, operator.folded))} in it" if operator.folded else ""
    return f'{operator.kind} (operator {operator.place}, "{name}"{folded}), {shapes}'


def size(rows: Rows) -> str:
    """A tensor's size for people."""
    return f"{rows.height}x{rows.width}x{rows.channels}"


def _field_line(field: Field, pool: ConstantPool) -> str:
    """A member's value, with its name."""
    return f"    {_value(field, pool)}, /* {in_comment(field.name)} */"


def _value(field: Field, pool: ConstantPool) -> str:
    """A member's value."""
    if field.value is None:
        return "NULL"
    if isinstance(field.value, Constant):
        return pool.name(field.value)
    if isinstance(field.value, float | np.floating):
        return number(float(field.value))
    return integer(int(field.value))
