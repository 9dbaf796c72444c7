"""Pieces of C: names, strings, numbers, comments, arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.errors import UsageError

COLUMNS = 115
LONGEST_NAME = 63
"""Characters of a name that C99 compilers must tell apart (C99 5.2.4.1)."""
KEYWORDS = frozenset(
    {"alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch",
    "char", "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept",
    "const", "const_cast", "consteval", "constexpr", "constinit", "continue", "decltype", "default", "delete",
    "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "float", "for",
    "friend", "goto", "if", "inline", "int", "long", "main", "mutable", "namespace", "new", "noexcept", "not",
    "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register",
    "reinterpret_cast", "requires", "restrict", "return", "short", "signed", "sizeof", "static",
    "static_assert", "static_cast", "struct", "switch", "template", "this", "thread_local", "throw", "true",
    "try", "typedef", "typeid", "typename", "typeof", "typeof_unqual", "union", "unsigned", "using", "virtual",
    "void", "volatile", "wchar_t", "while", "xor", "xor_eq"}
)  # fmt: skip
"""Words of C23 and C++23, and `main`, which a program needs itself."""
STANDARD_HEADERS = frozenset(
    {"assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math",
    "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbit", "stdbool", "stdckdint", "stddef", "stdint",
    "stdio", "stdlib", "stdnoreturn", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"}
    | {"alloca", "endian", "features", "malloc", "newlib", "strings"}
)  # fmt: skip
"""Headers of C99 (7.1.2) to C23, without `.h`, and those that C libraries' own include besides."""


def check_name(name: str) -> None:
    """Refuse a name that cannot begin the names of the generated C.

    Raises:
        UsageError: It is no C identifier, a keyword of C or C++, a standard header's name, reserved, or the
            kernels' own prefix.
    """
    hint = "choose a name of letters, digits and underscores that begins with a letter, e.g. model"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"{name!r} is no name for C code", hint=hint)
    if name in KEYWORDS:
        raise UsageError(f"{name!r} cannot name C code: it is a word of C or C++ itself", hint=hint)
    if name.lower() in STANDARD_HEADERS:  # file systems may not tell String.h from string.h
        raise UsageError(f"{name!r} cannot name C code: its {name}.h would hide the C library's", hint=hint)
    if "__" in name:
        raise UsageError(f"{name!r} cannot name C code: C++ reserves names with two underscores", hint=hint)
    if re.fullmatch(r"nn(_.*)?", name, re.IGNORECASE):
        raise UsageError(f"{name!r} cannot name C code: the kernels' names begin with nn_", hint=hint)
    if len(name) > LONGEST_NAME - len("_OUTPUT_ZERO_POINT"):
        raise UsageError(f"the name {name!r} is too long for C code", hint=hint)


def c_string(text: str) -> str:
    """A string literal; all but plain ASCII as octal escapes of its UTF-8 bytes, and `?` for its trigraphs."""
    plain = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def in_comment(text: str, longest: int = 80) -> str:
    """Text that may stand in a C comment: plain ASCII, nothing that ends or nests it."""
    plain = "".join(character if " " <= character <= "~" else "." for character in text)
    for pair in ("*/", "/*", "??"):
        while pair in plain:
            plain = plain.replace(pair, " ".join(pair))
    return plain if len(plain) <= longest else f"{plain[: longest - 3]}..."


def integer(value: int) -> str:
    """An integer literal of its type: `int` where it fits, so that no compiler warns."""
    if value == -(1 << 31):
        return "(-2147483647 - 1)"
    return f"{value}u" if value >= 1 << 31 else str(value)


def number(value: float) -> str:
    """A float32 literal with the fewest digits that give the same value; or INFINITY, NAN (see source.py)."""
    single = np.float32(value)
    if math.isnan(single):
        return "NAN"
    if math.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    digits = str(single)
    return f"{digits}f" if "." in digits or "e" in digits else f"{digits}.0f"


def array_lines(values: NDArray[Any]) -> list[str]:
    """The values of an array, in rows.

    Args:
        values: One axis; integers or float32.
    """
    if values.dtype.kind == "f":
        return packed([number(value) for value in values.tolist()])
    if values.size == 0:
        return []
    low, high = int(values.min()), int(values.max())
    if high - low < 1024:  # bytes: as many words as there are values
        words = [f"{integer(value)}," for value in range(low, high + 1)]
        texts = [words[value - low] for value in values.tolist()]
    else:
        texts = [f"{integer(value)}," for value in values.tolist()]
    a_row = (COLUMNS - 4) // max(len(integer(low)) + 1, len(integer(high)) + 1)
    return ["    " + "".join(texts[start : start + a_row]) for start in range(0, len(texts), a_row)]


def packed(items: Iterable[str], indent: str = "    ") -> list[str]:
    """Items with commas behind them, as many in a line as fit."""
    lines: list[str] = []
    line = indent
    for item in items:
        if len(line) + len(item) + 2 > COLUMNS and line != indent:
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    return [*lines, line.rstrip()] if line != indent else lines


def wrapped(words: Sequence[str], first: str, indent: str) -> list[str]:
    """Words with spaces between them, in lines: the first begins with `first`, the others with `indent`."""
    lines, line = [], first
    for word in words:
        if len(line) + len(word) > COLUMNS and line not in (first, indent):
            lines.append(line.rstrip())
            line = indent
        line += f"{word} "
    return [*lines, line.rstrip()]
