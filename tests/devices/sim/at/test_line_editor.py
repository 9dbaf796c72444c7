from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.sim.at.line_editor import LineEditor


def type_in(data: bytes) -> tuple[list[str], str]:
    """The lines, and what was echoed."""
    echo: list[str] = []
    editor = LineEditor(echo.append)
    lines = [line for byte in data if (line := editor.take(byte)) is not None]
    return lines, "".join(echo)


def test_lines_and_echo() -> None:
    assert type_in(b"AT\r\nb\r") == (["AT", "b"], "AT\r\nb\r\n")
    assert type_in(b"\x08ab\x7fc\r")[0] == ["ac"]
    assert type_in(b"a\x1b[3~b\x1b[Ac\xff\x00\r")[0] == ["abc"]


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_give_printable_lines(data: bytes) -> None:
    lines, _ = type_in(data)
    assert len(lines) <= data.count(b"\r")
    assert all(line.isascii() and (line.isprintable() or not line) for line in lines)
