"""New samples are looked at while more are being sent; what such a look misses is found in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ei_automation.backends.studio.ahead import EVERY, Ahead
from ei_automation.backends.studio.samples import Listing
from ei_automation.errors import NetworkError
from ei_automation.schema.sample import Category, StoredSample
from ei_automation.studio_server.faults import Rule
from ei_automation.testing import RunningStudio
from tests.backends.studio.parts import Uploader, as_live, connect, make_samples
from tests.studio_server.conftest import official_client, start, studio  # noqa: F401 - fixtures


@pytest.fixture
def uploader(studio: RunningStudio) -> Iterator[Uploader]:  # noqa: F811
    with connect(studio) as client:
        yield Uploader(client, studio.project_id)


def listing(numbers: range) -> Listing:
    samples = [StoredSample(number, "x.png", f"{number:064x}", "a", Category.TRAINING) for number in numbers]
    return Listing(samples, [], max(numbers, default=0))


def test_windows_follow_one_another_without_gap_or_overlap() -> None:
    asked: list[tuple[int, int | None]] = []

    def look(first: int, below: int | None) -> Listing:
        asked.append((first, below))
        return listing(range(first, 2 * EVERY + 11 if below is None else below))

    ahead = Ahead(look, after=10)
    for number in range(11, 2 * EVERY + 11):
        ahead.stored(number)
    found = ahead.finish()
    assert [sample.sample_id for sample in found.samples] == list(range(11, 2 * EVERY + 11))
    assert found.last_id == 2 * EVERY + 10
    assert asked[0][0] == 11
    assert asked[-1][1] is None
    assert len(asked) >= 2


def test_what_a_failed_look_was_to_see_the_next_one_sees() -> None:
    def look(first: int, below: int | None) -> Listing:
        if below is not None:
            raise NetworkError("gone")
        return listing(range(first, EVERY + 1))

    ahead = Ahead(look, after=0)
    for number in range(1, EVERY + 1):
        ahead.stored(number)
    assert len(ahead.finish().samples) == EVERY


def test_an_upload_looks_while_it_sends(studio: RunningStudio, uploader: Uploader, tmp_path: Path) -> None:  # noqa: F811
    """The look beside the upload is refused once, as by a server that is too busy to list."""
    rule = Rule(operation="list_samples", after=1, first=1, status=200, error="Too busy")
    studio.studio.faults.add([rule])
    samples = make_samples(tmp_path, EVERY + 60)
    report = uploader(samples)
    assert len(report.added) == len(samples)
    assert studio.studio.faults.report()[0]["seen"] >= 3
    assert uploader.live() == as_live(samples)
