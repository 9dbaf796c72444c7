"""The kernel headers that a source includes, and those that they include."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

_INCLUDE = re.compile(rb'^#include "(nn_\w+\.h)"', re.MULTILINE)


def kernel_headers(names: Iterable[str]) -> dict[str, bytes]:
    """The headers by file name, with all that they include, in alphabetical order.

    Args:
        names: Files under `compiler/kernels`.
    """
    folder = files("ei_automation.compiler") / "kernels"
    found: dict[str, bytes] = {}
    waiting = ["nn_types.h", *names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = (folder / name).read_bytes()
            waiting += [match.decode() for match in _INCLUDE.findall(found[name])]
    return dict(sorted(found.items()))
