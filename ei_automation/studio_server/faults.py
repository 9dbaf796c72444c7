"""What goes wrong on purpose, so that clients can be tested against it: rules, and how often each has applied.

A plan is a TOML or JSON file, for example:

    [[rule]]                  # the third upload is stored, then the connection is reset
    path = "/files$"
    nth = 3
    reset = "after"

    [[rule]]                  # the first two listings answer 429
    operation = "list_samples"
    first = 2
    status = 429
    retry_after_s = 1

    [[rule]]                  # as far away as a cloud
    delay_ms = 80

    [[rule]]
    connection_delay_ms = 160

    [[rule]]
    fail_job = "train"        # part of the job's category_key or key
    nth = 1
"""

from __future__ import annotations

import json
import random
import re
import shlex
import threading
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ei_automation.errors import NotFoundError, UsageError
from ei_automation.schema.strict import StrictModel

MOST_DELAY_MS = 600_000.0
DEFAULT_FAILURE = "A fault of the local Studio, on purpose"


class Rule(StrictModel):
    """When something goes wrong, and what. What is not set does not matter."""

    path: str = ""
    """Regular expression that is searched in the request's path, e.g. `/files$`."""
    operation: str = ""
    """Name in the official client, e.g. list_samples."""
    method: str = ""
    """GET, POST, ..."""
    nth: int | None = Field(default=None, ge=1)
    """Only the n-th that fits, from 1."""
    every: int | None = Field(default=None, ge=1)
    """Every n-th that fits."""
    first: int | None = Field(default=None, ge=0)
    """The first n that fit."""
    after: int = Field(default=0, ge=0)
    """The first n that fit are let off; `nth`, `every` and `first` count from there."""
    probability: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    """How likely it is each time, 0..1."""
    seed: int = 0
    """Of the chance."""

    status: int | None = Field(default=None, ge=200, le=599)
    """The answer's status; the request does nothing."""
    error: str = DEFAULT_FAILURE
    """Words of that answer's envelope, or of the failed job's log."""
    body: str | None = None
    """The answer's body instead of an envelope, e.g. a proxy's HTML."""
    retry_after_s: int | None = Field(default=None, ge=0)
    """Retry-After of that answer."""
    reset: Literal["early", "before", "during", "after"] | None = None
    """The connection is reset (RST): at the request's head; when the request has been read and nothing is stored;
    in the middle of the answer; or when everything is stored and the answer is lost."""
    hang: bool = False
    """The request is read and never answered."""
    delay_ms: float = Field(default=0, ge=0, le=MOST_DELAY_MS, allow_inf_nan=False)
    """Wait before the request is worked on."""
    file_delay_ms: float = Field(default=0, ge=0, le=MOST_DELAY_MS, allow_inf_nan=False)
    """Wait per file of an upload, one upload after the other, before the answer."""
    connection_delay_ms: float = Field(default=0, ge=0, le=MOST_DELAY_MS, allow_inf_nan=False)
    """Wait on each new connection before anything is read."""
    fail_job: str | None = None
    """A job whose category_key or key holds this fails; empty: any job."""
    drop_socket_after: int | None = Field(default=None, ge=0)
    """A web socket is dropped after so many messages of the server."""

    @field_validator("path")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        kinds = [self.of_requests, self.fail_job is not None, self.drop_socket_after is not None]
        kinds.append(self.connection_delay_ms > 0)
        if sum(kinds) != 1:
            raise ValueError(
                "a rule does one kind of thing: something to requests (status, reset, hang, delay_ms, "
                "file_delay_ms), connection_delay_ms, fail_job, or drop_socket_after"
            )
        if sum([self.status is not None, self.reset is not None, self.hang]) > 1:
            raise ValueError("a rule has one of status, reset and hang")
        if not self.of_requests and (self.path or self.operation or self.method):
            raise ValueError("path, operation and method are about requests only")
        if self.status is None and (self.retry_after_s is not None or self.body is not None):
            raise ValueError("retry_after_s and body belong to a status")
        return self

    @property
    def of_requests(self) -> bool:
        """Whether it is about requests."""
        return bool(self.status or self.reset or self.hang or self.delay_ms or self.file_delay_ms)

    def fits(self, method: str, path: str, operation: str) -> bool:
        """Whether a request is meant, whatever its number."""
        return (
            (not self.method or self.method.upper() == method)
            and (not self.operation or self.operation == operation)
            and (not self.path or re.search(self.path, path) is not None)
        )


TEXTS = frozenset({"path", "operation", "method", "error", "body", "reset", "fail_job"})
"""Keys of a rule whose values are text, whatever they look like."""


class _Counter:
    """A rule with what it has seen and done."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.seen, self.done = rule, 0, 0
        self._chance = random.Random(rule.seed)

    def applies(self) -> bool:
        """Count one that fits, and say whether the rule applies to it."""
        self.seen += 1
        number = self.seen - self.rule.after
        rule = self.rule
        if number < 1 or (rule.probability is not None and self._chance.random() >= rule.probability):
            return False
        if (rule.nth and number != rule.nth) or (rule.every and number % rule.every):
            return False
        if rule.first is not None and number > rule.first:
            return False
        self.done += 1
        return True


class Faults:
    """The plan, and what it has done so far. Thread-safe.

    Args:
        rules: The plan; a request may meet several of its rules.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._turn = threading.Lock()
        self._counters = [_Counter(rule) for rule in rules]
        self.stopping = False
        """Set when the server stops: what hangs may go."""

    def add(self, rules: Iterable[Rule]) -> None:
        """More rules, after those that are there."""
        with self._turn:
            self._counters = [*self._counters, *map(_Counter, rules)]

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        with self._turn:
            self._counters = []

    def report(self) -> list[dict[str, Any]]:
        """Every rule, how many it fitted and how often it applied."""
        with self._turn:
            return [
                {"rule": item.rule.model_dump(exclude_defaults=True), "seen": item.seen, "done": item.done}
                for item in self._counters
            ]

    def of_request(self, method: str, path: str, operation: Callable[[], str]) -> list[Rule]:
        """What happens to a request.

        Args:
            method: GET, POST, ...
            path: As in the request, with /v1.
            operation: Gives its name; only asked where a rule wants to know.
        """
        if not self._counters:
            return []
        with self._turn:
            counters = [item for item in self._counters if item.rule.of_requests]
            name = operation() if any(item.rule.operation for item in counters) else ""
            fitting = [item for item in counters if item.rule.fits(method, path, name)]
            return [item.rule for item in fitting if item.applies()]

    def connection_delay_s(self) -> float:
        """How long a new connection waits."""
        found = self._those(lambda rule: rule.connection_delay_ms > 0)
        return sum(rule.connection_delay_ms for rule in found) / 1000

    def job_fails(self, kind: str) -> str | None:
        """The words that a job of this kind fails with; None where it may go on.

        Args:
            kind: Its category_key or key.
        """
        found = self._those(lambda rule: rule.fail_job is not None and rule.fail_job in kind)
        return found[0].error if found else None

    def socket_drop_after(self) -> int | None:
        """After how many messages a new web socket is dropped; None for never."""
        found = self._those(lambda rule: rule.drop_socket_after is not None)
        return found[0].drop_socket_after if found else None

    def _those(self, fits: Callable[[Rule], bool]) -> list[Rule]:
        if not self._counters:
            return []
        with self._turn:
            return [item.rule for item in self._counters if fits(item.rule) and item.applies()]


def rules_from(content: Any, where: str) -> list[Rule]:
    """Rules from what a file or a request holds: `{"rule": [...]}`, a list of rules, or one rule.

    Args:
        content: Parsed TOML or JSON.
        where: For the error.

    Raises:
        UsageError: It is no plan.
    """
    if isinstance(content, dict):
        content = content.get("rule", content.get("rules", content)) if len(content) == 1 else content
    items = content if isinstance(content, list) else [content]
    found = []
    for number, item in enumerate(items, start=1):
        try:
            found.append(Rule.model_validate(item))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UsageError(
                f"{where}: rule {number}: {key + ': ' if key else ''}{first['msg']}",
                hint=f"a rule has these keys: {', '.join(Rule.model_fields)}",
            ) from None
    return found


def read_plan(path: Path) -> list[Rule]:
    """Rules from a TOML or JSON file.

    Raises:
        NotFoundError: There is no such file.
        UsageError: It is no plan.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", hint="check --faults") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no plan of faults: {error}", hint="correct it") from error
    return rules_from(content, str(path))


def rule_from_text(text: str) -> Rule:
    """A rule as a flag has it, in `key=value` words: `path=/files$ nth=3 status=500 error='too busy'`.

    Raises:
        UsageError: It is no rule.
    """
    values: dict[str, Any] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--fault: {text!r} is no rule: {error}", hint="close the quotes") from None
    for word in words:
        name, found, value = word.partition("=")
        if not found:
            raise UsageError(
                f"--fault: {word!r} is not key=value", hint='for example --fault "path=/files$ status=500"'
            )
        values[name] = value if name in TEXTS else _plain(value)
    return rules_from(values, "--fault")[0]


def _plain(value: str) -> Any:
    """A number or a switch, as TOML has it; else the text."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value
