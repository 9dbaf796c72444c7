"""JSON from outside: what an answer, a database or an address could not take is refused where it comes in."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MOST_DEPTH = 100
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a character outside the Basic Multilingual Plane; Python takes one without the other."""


def read_strictly(text: str | bytes) -> Any:
    """A JSON value of finite numbers and whole characters.

    Args:
        text: JSON; bytes are UTF-8.

    Raises:
        ValueError: It is none, is nested too deeply, or has NaN, Infinity or half a character in it.
    """
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    try:
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _HALF.search(text):
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    """Refuse what some later reader or writer would give up on; how deep Python itself goes differs by version."""
    level, depth = [content], 0
    while level := [
        inner
        for item in level
        if isinstance(item, dict | list)
        for inner in (item.values() if isinstance(item, dict) else item)
    ]:
        depth += 1
        if depth > MOST_DEPTH:
            raise ValueError("it is nested too deeply")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number
