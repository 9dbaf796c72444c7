"""Listing page by page, and deleting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ei_automation.backends.studio.samples import delete, list_all, list_rows, list_samples
from ei_automation.errors import JobFailedError
from ei_automation.files import sha256_bytes
from ei_automation.schema.sample import Category
from ei_automation.studio_server.faults import Rule
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.samples import NewSample
from ei_automation.testing import RunningStudio
from tests.backends.studio import tuner_server
from tests.backends.studio.parts import Uploader, connect, make_samples
from tests.studio_server.conftest import official_client, start, studio  # noqa: F401 - fixtures


@pytest.fixture
def uploader(studio: RunningStudio) -> Iterator[Uploader]:  # noqa: F811
    with connect(studio) as client:
        yield Uploader(client, studio.project_id)


def fill(studio: RunningStudio, count: int) -> None:  # noqa: F811
    """Samples straight into the server's table."""
    one = NewSample("x.png", b"x", sha256_bytes(b"x"), 1, 8, 8, "label", "training")
    items = [one] * count
    studio.studio.samples.add(studio.project_id, items, refuse_duplicates=False)


def test_pages_follow_one_another_without_gap_or_repetition(studio: RunningStudio, uploader: Uploader) -> None:  # noqa: F811
    fill(studio, 103)
    rows = list(list_rows(uploader.client, uploader.project_id, page=50))
    numbers = [row["id"] for row in rows]
    assert len(numbers) == 103
    assert numbers == sorted(set(numbers), reverse=True)
    assert list_all(uploader.client, uploader.project_id).last_id == numbers[0]


@pytest.mark.parametrize(("count", "requests"), [(50, 1), (100, 2), (101, 3), (0, 1)])
def test_asks_no_more_than_it_must(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    count: int,
    requests: int,
) -> None:
    fill(studio, count)
    studio.studio.faults.add([Rule(operation="list_samples", delay_ms=1)])
    assert len(list(list_rows(uploader.client, uploader.project_id, page=50))) == count
    assert studio.studio.faults.report()[0]["seen"] == requests


def test_samples_that_come_and_go_meanwhile_move_no_other(studio: RunningStudio, uploader: Uploader) -> None:  # noqa: F811
    fill(studio, 120)
    rows = list_rows(uploader.client, uploader.project_id, page=50)
    seen = [next(rows)["id"]]
    newest = seen[0]
    delete(uploader.client, uploader.project_id, range(newest - 40, newest))
    fill(studio, 5)
    seen += [row["id"] for row in rows]
    assert len(seen) == len(set(seen)) == 120
    assert max(seen) == newest


def test_by_category_and_by_number(uploader: Uploader, tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 10)
    uploader(samples)
    testing = list_samples(uploader.client, uploader.project_id, Category.TESTING)
    assert {one.sha256 for one in testing} == {one.sha256 for one in samples if one.category == Category.TESTING}
    everything = list_samples(uploader.client, uploader.project_id)
    newer = list_all(uploader.client, uploader.project_id, min_id=everything[4].sample_id).samples
    assert newer == everything[4:]


def test_samples_that_cannot_be_identified_are_given_as_such(studio: RunningStudio, uploader: Uploader) -> None:  # noqa: F811
    fill(studio, 2)
    first, second = studio.studio.samples.find(studio.project_id)
    studio.studio.samples.move(studio.project_id, Filter(ids=(first.sample_id,)), "post-processing")
    listing = list_all(uploader.client, uploader.project_id)
    assert [one.sample_id for one in listing.samples] == [second.sample_id]
    assert [(one.sample_id, one.category) for one in listing.unknown] == [(first.sample_id, "post-processing")]


def test_deletes_one_and_many_and_ignores_what_is_gone(studio: RunningStudio, uploader: Uploader) -> None:  # noqa: F811
    fill(studio, 500)
    numbers = [row.sample_id for row in studio.studio.samples.find(studio.project_id)]
    delete(uploader.client, uploader.project_id, [])
    delete(uploader.client, uploader.project_id, numbers[:1])
    delete(uploader.client, uploader.project_id, numbers[:1])
    delete(uploader.client, uploader.project_id, [*numbers[:450], 10**9])
    assert studio.studio.samples.count(studio.project_id) == 50


# What a server may do and ours does not


@pytest.fixture
def scripted() -> Iterator[tuner_server.Studio]:
    state = tuner_server.Studio()
    server = tuner_server.serve(state)
    yield state
    server.shutdown()
    server.server_close()
    assert state.problems == []


def job(**values: object) -> dict[str, object]:
    plain = {"id": 77, "category": "c", "categoryKey": "c", "key": "k", "created": "2026-01-01T00:00:00.000Z"}
    plain["jobNotificationUids"] = []
    return {"job": {**plain, **values}}


def test_a_call_that_became_a_job_is_waited_for(scripted: tuner_server.Studio) -> None:
    looks = iter([job(), job(), job(finished="2026-01-01T00:00:01.000Z", finishedSuccessful=True)])
    scripted.answers = {"batch_delete": {"id": 77}, "get_job_status": lambda _call: next(looks)}
    with scripted.client() as client:
        delete(client, tuner_server.PROJECT, [1, 2])
    assert next(looks, None) is None


def test_a_job_that_failed_is_an_error(scripted: tuner_server.Studio) -> None:
    failed = job(finished="2026-01-01T00:00:01.000Z", finishedSuccessful=False)
    scripted.answers = {"batch_delete": {"id": 77}, "get_job_status": failed}
    with scripted.client() as client, pytest.raises(JobFailedError, match="job 77 of delete failed"):
        delete(client, tuner_server.PROJECT, [1, 2])


@pytest.mark.parametrize("counts_what_is_left", [True, False])
def test_a_server_with_smaller_pages_of_its_own(
    scripted: tuner_server.Studio, row: dict[str, object], counts_what_is_left: bool
) -> None:
    def page(call: tuner_server.Call) -> dict[str, object]:
        below = min(int(call.query.get("maxId", 1000)), 26)
        ids = range(below - 1, max(0, below - 11), -1)
        total = below - 1 if counts_what_is_left else 25
        return {"samples": [{**row, "id": number} for number in ids], "totalCount": total}

    scripted.answers = {"list_samples": page}
    with scripted.client() as client:
        rows = list(list_rows(client, tuner_server.PROJECT))
    assert [one["id"] for one in rows] == list(range(25, 0, -1))
    assert len(scripted.calls) == 3


@pytest.fixture
def row(studio: RunningStudio, uploader: Uploader) -> dict[str, object]:  # noqa: F811
    """A sample as the local Studio tells it."""
    fill(studio, 1)
    return next(list_rows(uploader.client, uploader.project_id))
