"""Studio's operations by their names in the official client, and which function of ours serves each.

`operations.csv` lists every operation of the official client (tag, name, method, path); a test compares it with
the installed one.
"""

from __future__ import annotations

import csv
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ei_automation.studio_server.call import Call, File

Handler = Callable[[Call], dict[str, Any] | File]
_HANDLERS: dict[str, Handler] = {}


@dataclass(frozen=True)
class Operation:
    """One operation of the API.

    Attributes:
        tag: Of the API, e.g. raw_data.
        name: In the official client, e.g. list_samples.
        method: GET, POST, PUT or DELETE.
        path: With braces, after /v1, e.g. /api/{projectId}/raw-data.
    """

    tag: str
    name: str
    method: str
    path: str


@cache
def all_operations() -> tuple[Operation, ...]:
    """Every operation, served or not."""
    text = resources.files("ei_automation.studio_server").joinpath("operations.csv").read_text(encoding="utf-8")
    return tuple(Operation(**row) for row in csv.DictReader(text.splitlines()))


def serves(name: str) -> Callable[[Handler], Handler]:
    """Mark a function as the one that serves an operation.

    Args:
        name: As in the official client.
    """

    def remember(handler: Handler) -> Handler:
        assert name not in _HANDLERS, f"{name} is served twice"
        _HANDLERS[name] = handler
        return handler

    return remember


@cache
def handlers() -> dict[str, Handler]:
    """Operation to function, of every room."""
    from ei_automation.studio_server import rooms

    for module in pkgutil.iter_modules(rooms.__path__):
        importlib.import_module(f"{rooms.__name__}.{module.name}")
    return dict(_HANDLERS)
