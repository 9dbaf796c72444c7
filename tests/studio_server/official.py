"""What the official client says of the API, read from the installed `edgeimpulse_api`: operations and schemas."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

NULLABLE = frozenset({("Project", "whitelabelId")})
"""Required and nullable in the published API description; the generated client lost that they may be null."""


@dataclass(frozen=True)
class OfficialOperation:
    """One operation of the official client.

    Attributes:
        tag: Of the API, e.g. raw_data.
        name: Of the method, e.g. list_samples.
        method: GET, POST, ...
        path: With braces, e.g. /api/{projectId}/raw-data.
        body: Schema of the JSON body; empty where there is none.
        response: Schema of the answer with status 200; `str` for files; empty where there is none.
        query: Names that the query may have.
    """

    tag: str
    name: str
    method: str
    path: str
    body: str
    response: str
    query: frozenset[str]


@lru_cache(maxsize=1)
def operations() -> tuple[OfficialOperation, ...]:
    """Every operation of the installed client, sorted by tag, path and method."""
    found = [operation for file in sorted((_package() / "api").glob("*_api.py")) for operation in _read(file)]
    return tuple(sorted(found, key=lambda item: (item.tag, item.path, item.method)))


def schema(name: str) -> Any:
    """A schema's pydantic model."""
    return getattr(importlib.import_module("edgeimpulse_api"), name)


def problems(name: str, content: Any) -> list[str]:
    """Why a JSON value is not of a schema; empty when it is."""
    from pydantic.v1 import ValidationError

    model = schema(name)
    alternatives = model.__fields__.get("any_of_schemas") or model.__fields__.get("one_of_schemas")
    if alternatives is not None:
        tried = [problems(choice, content) for choice in alternatives.default]
        return [] if any(not found for found in tried) else [f"none of {alternatives.default}: {tried}"]
    try:
        model.parse_obj(_without_nulls(name, content))
    except ValidationError as error:
        return [f"{name}.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return []


def _without_nulls(name: str, content: Any) -> Any:
    """A value with the nulls that the published description allows replaced by what the client's schema takes."""
    del name
    if isinstance(content, list):
        return [_without_nulls("", item) for item in content]
    if not isinstance(content, dict):
        return content
    nullable = {key for _, key in NULLABLE}
    return {
        key: 1 if key in nullable and value is None else _without_nulls("", value)
        for key, value in content.items()
    }


def _package() -> Path:
    spec = util.find_spec("edgeimpulse_api")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _read(file: Path) -> Iterator[OfficialOperation]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (call := _call(node)) is not None:
            path, method = (ast.literal_eval(argument) for argument in call.args[:2])
            yield OfficialOperation(
                file.stem.removesuffix("_api"),
                node.name.removeprefix("_").removesuffix("_with_http_info"),
                method,
                path,
                _body(node),
                _response(node),
                _query(node),
            )


def _call(function: ast.FunctionDef) -> ast.Call | None:
    """The call of `call_api` in a method."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call_api":
            return node
    return None


def _body(function: ast.FunctionDef) -> str:
    """The schema of `_params['x']` that `_body_params` is set from."""
    name = ""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_body_params":
            value = node.value
            if isinstance(value, ast.Subscript):
                name = ast.literal_eval(value.slice)
    for argument in function.args.args:
        if argument.arg == name and argument.annotation is not None:
            text = ast.unparse(argument.annotation)
            return text.removeprefix("Annotated[").split(",")[0].removeprefix("Optional[").rstrip("]")
    return ""


def _response(function: ast.FunctionDef) -> str:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_response_types_map":
            value = ast.literal_eval(node.value).get("200")
            return value or ""
    return ""


def _query(function: ast.FunctionDef) -> frozenset[str]:
    """The names in the calls of `_query_params.append(('name', ...))`."""
    return frozenset(
        ast.literal_eval(node.args[0].elts[0])
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "_query_params.append"
        and isinstance(node.args[0], ast.Tuple)
    )
