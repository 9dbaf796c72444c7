"""A local Studio under the Judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from ei_automation.testing import RunningStudio, start_studio
from tests.studio_server.judge import Judge
from tests.studio_server.official import operations, schema


@pytest.fixture(scope="session")
def official_client() -> None:
    """Load what the Judge knows the schemas from: that takes seconds, and no server may wait for it."""
    operations()
    schema("GenericApiResponse")


@pytest.fixture(scope="module")
def shared(official_client: None) -> Iterator[RunningStudio]:
    """A local Studio under the Judge, one for the tests of a module that leave it as it is."""
    judges: list[Judge] = []
    with start_studio(wrap=partial(_judged, judges=judges)) as running:
        yield running
    assert judges[0].found == []


def _judged(app: Any, judges: list[Judge]) -> Judge:
    judges.append(Judge(app))
    return judges[-1]


@pytest.fixture
def start(official_client: None) -> Iterator[Callable[..., RunningStudio]]:
    """`start_studio` under the Judge, with its options; everything is stopped and judged at the test's end."""
    judges: list[Judge] = []
    judged = partial(_judged, judges=judges)
    with ExitStack() as stack:
        yield lambda *folder, **options: stack.enter_context(start_studio(*folder, wrap=judged, **options))
    assert [line for judge in judges for line in judge.found] == []


@pytest.fixture
def studio(start: Callable[..., RunningStudio]) -> RunningStudio:
    """A fresh local Studio under the Judge."""
    return start()
