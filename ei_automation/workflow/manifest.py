"""Reading `project.toml`, with errors that name file, line, key and what was expected."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from ei_automation.errors import ManifestError, NotFoundError
from ei_automation.schema.deployment import COMPILED_FORMATS
from ei_automation.schema.manifest import Manifest

FILE_NAME = "project.toml"

_HEADER = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"^\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)


def load_manifest(folder: Path) -> Manifest:
    """Read and check a project's manifest.

    Args:
        folder: The project's.

    Raises:
        NotFoundError: There is no such folder, or no project.toml in it.
        ManifestError: It is not TOML, or a key or value is wrong.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise NotFoundError(f"there is no {FILE_NAME} in {folder}", hint=f"make one with `eiauto init {folder}`")
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        place = re.search(r"line (\d+)", str(error))
        line = int(place.group(1)) if place else None
        raise ManifestError(f"not valid TOML: {error}", path=path, line=line, hint="correct that line") from error
    return parse_manifest(content, text, path)


def parse_manifest(content: dict[str, Any], text: str, path: Path) -> Manifest:
    """Check a manifest's values.

    Args:
        content: The parsed TOML.
        text: Its text, to find lines.
        path: Its file, for messages.
    """
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        # A misspelt key gives two complaints; the one about the unknown name is the one that helps.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise _explain(details[0], text, path) from error


@contextmanager
def located(folder: Path) -> Iterator[None]:
    """Give a ManifestError of the block, which knows its key, the manifest's file and the key's line."""
    try:
        yield
    except ManifestError as error:
        if error.path is not None:
            raise
        path = folder / FILE_NAME
        line = find_line(path.read_text(encoding="utf-8"), tuple(error.key.split(".")))
        raise ManifestError(error.problem, path=path, line=line, key=error.key, hint=error.hint) from error


def _explain(detail: ErrorDetails, text: str, path: Path) -> ManifestError:
    """The first complaint as a sentence with its line and the nearest known key or value."""
    location = _plain(detail["loc"])
    key = ".".join(str(part) for part in location)
    line = find_line(text, location)
    message, hint = detail["msg"], "`eiauto schema` prints every key with its meaning"
    if detail["type"] == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        near = difflib.get_close_matches(str(location[-1]), known, 1, 0.5)
        message = f"unknown key; did you mean {near[0]!r}?" if near else "unknown key"
        hint = f"known keys here: {', '.join(sorted(known))}" if known else hint
    elif detail["type"] == "missing":
        message = "this key is missing"
    elif detail["type"] in ("literal_error", "union_tag_invalid"):
        message = _wrong_choice(detail)
    else:
        message = f"{message}; found {detail['input']!r}" if not isinstance(detail["input"], dict) else message
    return ManifestError(message[:1].lower() + message[1:], path=path, line=line, key=key, hint=hint)


def _wrong_choice(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    expected = str(context.get("expected") or context.get("expected_tags") or "")
    found = context.get("tag", detail["input"])
    choices = re.findall(r"'([^']*)'", expected) or [expected]
    near = difflib.get_close_matches(str(found), choices, 1, 0.5)
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    return f"{suggestion}found {found!r}, expected one of: {', '.join(choices)}"


def _plain(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location without the names of union members, which pydantic puts between the keys."""
    tags = {"keras-transfer-image", "keras", "conv2d", "dense", "dropout", "flatten", "batch_normalization"}
    tags |= {"kaggle", "folder", "zip", "bundled", "any-backend", "studio-only"}
    tags |= {f"compiled-{name}" for name in COMPILED_FORMATS}
    return tuple(
        part
        for place, part in enumerate(location)
        if not (part in tags and place and location[place - 1] != "labels")
    )


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names that a manifest may have at a place, which pydantic gives with the names of union members."""
    models: list[type[BaseModel]] = [Manifest]
    annotation: Any = None
    for part in location:
        if part in (tagged := _tagged(annotation)):
            models = [tagged[str(part)]]
        elif isinstance(part, str) and any(part in model.model_fields for model in models):
            annotation = tuple(_annotation(model, part) for model in models)
            models = _models_of(annotation)
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


def _tagged(annotation: Any) -> dict[str, type[BaseModel]]:
    """Members of the unions in an annotation that have a name of their own."""
    parts = _parts(annotation)
    tags = [item.tag for item in parts if isinstance(item, Tag)]
    found = {tags[0]: parts[0]} if tags else {}
    for item in parts:
        found |= _tagged(item)
    return found


def _annotation(model: type[BaseModel], part: str) -> Any:
    field = model.model_fields.get(part)
    return field.annotation if field else None


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in _parts(annotation) for model in _models_of(part)]


def _parts(annotation: Any) -> tuple[Any, ...]:
    """What an annotation, or several, are made of."""
    return annotation if isinstance(annotation, tuple) else get_args(annotation)


def find_line(text: str, location: tuple[int | str, ...]) -> int | None:
    """The line of a key, or of the nearest table above it; tomllib keeps no positions.

    Args:
        text: TOML.
        location: Keys and indices from the root.
    """
    lines = text.splitlines()
    depth, found = 0, 0
    table: tuple[int | str, ...] = ()
    counts: dict[tuple[int | str, ...], int] = {}
    for number, line in enumerate(lines, 1):
        if header := _HEADER.match(line):
            here = table = _indexed(_split(header.group(1)), line.lstrip().startswith("[["), counts)
        elif key := _KEY.match(line):
            here = table + _split(key.group(1))
        else:
            continue
        if here == location[: len(here)] and len(here) > depth:
            depth, found = len(here), number
    if not found:
        return None
    return _inside(lines, found, location[depth:])


def _inside(lines: list[str], start: int, rest: tuple[int | str, ...]) -> int:
    """The line of a key in an array of inline tables that begins on a line; that line where it cannot be told."""
    if len(rest) < 2 or not isinstance(rest[0], int):
        return start
    element = -1
    for number in range(start, len(lines) + 1):
        line = lines[number - 1]
        if number > start and (_HEADER.match(line) or line.strip() == "]"):
            break
        element += line.count("{")
        if element >= rest[0] and re.search(rf"\b{re.escape(str(rest[1]))}\b", line):
            return number
    return start


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted))


def _indexed(
    header: tuple[str, ...], is_array: bool, counts: dict[tuple[int | str, ...], int]
) -> tuple[int | str, ...]:
    """A header's path with the index of the current element of each array of tables."""
    path: tuple[int | str, ...] = ()
    for place, part in enumerate(header):
        path = (*path, part)
        if is_array and place == len(header) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path
