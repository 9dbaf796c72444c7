"""Uploads into the local Studio: each content once, with label, category, group and boxes as wanted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from ei_automation.backends.studio.pace import Pace
from ei_automation.backends.studio.samples import list_all
from ei_automation.backends.studio.upload import upload
from ei_automation.files import sha256_bytes
from ei_automation.schema.sample import BoundingBox, Category, Sample
from ei_automation.studio_api.samples import METADATA_SHA256
from ei_automation.studio_server.faults import Rule
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.testing import RunningStudio
from tests.backends.studio.parts import BRISK, LABELS, Uploader, as_live, connect, make_samples
from tests.studio_server.conftest import official_client, start, studio  # noqa: F401 - fixtures

Start = Callable[..., RunningStudio]


@pytest.fixture
def uploader(studio: RunningStudio) -> Iterator[Uploader]:  # noqa: F811
    with connect(studio) as client:
        yield Uploader(client, studio.project_id)


def names(samples: list[Sample]) -> set[str]:
    return {sample.name for sample in samples}


def test_stores_everything_once_with_labels_in_any_script(uploader: Uploader, tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 60)
    samples[7] = replace(samples[7], group="patient 7")
    report = uploader(samples)
    assert set(report.added) == names(samples)
    assert not report.present
    assert not report.failed
    assert uploader.live() == as_live(samples)
    assert {label for _, label, _, _ in uploader.live()} == set(LABELS)


def test_a_second_upload_sends_nothing(studio: RunningStudio, uploader: Uploader, tmp_path: Path) -> None:  # noqa: F811
    samples = make_samples(tmp_path, 20)
    uploader(samples)
    studio.studio.faults.add([Rule(method="POST", status=500)])
    report = uploader(samples)
    assert set(report.present) == names(samples)
    assert (report.added, report.changed, report.failed) == ((), (), {})
    assert studio.studio.faults.report()[0]["seen"] == 0


def test_continues_where_another_run_ended(uploader: Uploader, tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 40)
    uploader(samples[:25])
    report = uploader(samples)
    assert set(report.present) == names(samples[:25])
    assert set(report.added) == names(samples[25:])
    assert uploader.live() == as_live(samples)


def test_corrects_what_differs_in_place(studio: RunningStudio, uploader: Uploader, tmp_path: Path) -> None:  # noqa: F811
    samples = make_samples(tmp_path, 12)
    samples = [*samples[:9], *(replace(one, group="old") for one in samples[9:])]
    uploader(samples)
    before = {row.sha256: row.sample_id for row in studio.studio.samples.find(studio.project_id)}
    wanted = [
        replace(samples[0], label="renamed"),
        *(replace(one, label="two of them") for one in samples[1:3]),
        replace(samples[3], category=Category.VALIDATION),
        *(replace(one, category=Category.VALIDATION) for one in samples[4:6]),
        replace(samples[6], group="new", label="both"),
        replace(samples[7], bounding_boxes=(BoundingBox("x", 1, 2, 3, 4),)),
        samples[8],
        replace(samples[9], group=""),
        replace(samples[10], group="other"),
        samples[11],
    ]
    report = uploader(wanted)
    assert set(report.changed) == names(wanted) - names([samples[8], samples[11]])
    assert set(report.present) == names([samples[8], samples[11]])
    assert uploader.live() == as_live(wanted)
    assert {row.sha256: row.sample_id for row in studio.studio.samples.find(studio.project_id)} == before
    boxes = {one.sha256: one.bounding_boxes for one in list_all(uploader.client, uploader.project_id).samples}
    assert boxes[samples[7].sha256] == wanted[7].bounding_boxes


@pytest.mark.parametrize("count", [1, 3])
def test_a_wanted_sample_that_somebody_disabled_is_enabled(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
    count: int,
) -> None:
    samples = make_samples(tmp_path, 5)
    uploader(samples)
    ids = {one.sha256: one.sample_id for one in list_all(uploader.client, uploader.project_id).samples}
    for one in samples[:count]:
        uploader.client.post(f"/api/{uploader.project_id}/raw-data/{ids[one.sha256]}/disable")
    listed = list_all(uploader.client, uploader.project_id).samples
    assert {one.sha256 for one in listed if one.disabled} == {one.sha256 for one in samples[:count]}
    report = uploader(samples)
    assert (set(report.changed), report.failed) == (names(samples[:count]), {})
    assert not any(row.disabled for row in studio.studio.samples.find(studio.project_id))
    assert set(uploader(samples).present) == names(samples)


def test_boxes_travel_with_the_images(uploader: Uploader, tmp_path: Path) -> None:
    samples = [
        replace(one, label="", bounding_boxes=(BoundingBox("RBC", place, 1, 2, 3), BoundingBox("WBC", 0, 0, 4, 4)))
        for place, one in enumerate(make_samples(tmp_path, 5))
    ]
    assert len(uploader(samples).added) == 5
    live = {one.sha256: one.bounding_boxes for one in list_all(uploader.client, uploader.project_id).samples}
    assert live == {one.sha256: one.bounding_boxes for one in samples}
    assert len(uploader(samples).present) == 5


def test_an_unlabelled_sample_gets_no_label_from_its_name(uploader: Uploader, tmp_path: Path) -> None:
    samples = [replace(one, label="", name="idle.png") for one in make_samples(tmp_path, 2)]
    uploader(samples)
    assert uploader.live() == as_live(samples)


def test_files_that_cannot_be_sent_fail_alone(uploader: Uploader, tmp_path: Path) -> None:
    samples = [replace(one, label="same", category=Category.TRAINING) for one in make_samples(tmp_path, 10)]
    samples[1].path.write_bytes(b"something else")
    samples[2].path.unlink()
    samples[3].path.write_bytes(b"")
    samples[3] = replace(samples[3], sha256=sha256_bytes(b""))
    corrupt = samples[4].path.read_bytes()[:40]
    samples[4].path.write_bytes(corrupt)
    samples[4] = replace(samples[4], sha256=sha256_bytes(corrupt))
    report = uploader(samples)
    assert set(report.failed) == names(samples[1:5])
    assert "changed" in report.failed[samples[1].name]
    assert "No such file" in report.failed[samples[2].name]
    assert "empty" in report.failed[samples[3].name]
    assert uploader.live() == as_live([samples[0], *samples[5:]])


def test_names_that_mean_something_to_a_server_are_only_names(uploader: Uploader, tmp_path: Path) -> None:
    odd = ['a"b.png', "новый.png", "x\\y.png", "a\nb.png", "..png", "100%.tar.png", "s p a c e.PNG", ";name=x.png"]
    samples = make_samples(tmp_path, len(odd))
    samples = [replace(one, name=f"TRAIN/{name}") for one, name in zip(samples, odd, strict=True)]
    assert len(uploader(samples).added) == len(odd)
    assert uploader.live() == as_live(samples)


def test_one_content_under_two_names_is_stored_once(uploader: Uploader, tmp_path: Path) -> None:
    one, two = make_samples(tmp_path, 2)
    twin = replace(one, name="TRAIN/twin.png", label="as the last one says")
    report = uploader([one, two, twin])
    assert set(report.added) == names([one, two, twin])
    assert uploader.live() == as_live([twin, two])


def test_what_another_client_uploaded_is_taken_over(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
) -> None:
    samples = make_samples(tmp_path, 6)
    for one in samples[:3]:
        answer = requests.post(
            f"{studio.ingestion_endpoint}/api/training/files",
            headers={"x-api-key": studio.api_key, "x-label": "foreign"},
            files=[("data", (one.path.name, one.path.read_bytes(), "image/png"))],
            timeout=10,
        )
        assert answer.json()["files"][0]["success"]
    report = uploader(samples)
    assert set(report.changed) == names(samples[:3])
    assert set(report.added) == names(samples[3:])
    assert uploader.live() == as_live(samples)


def test_content_that_the_server_knows_and_we_cannot_tell_is_marked(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
) -> None:
    """As if Studio hashed an envelope: the listing does not tell the content, the refusal tells the sample."""
    samples = make_samples(tmp_path, 4)
    uploader(samples)
    rows = studio.studio.samples.find(studio.project_id)
    studio.studio.samples.set_metadata(studio.project_id, Filter(), {METADATA_SHA256: "lost"})
    assert len(list_all(uploader.client, uploader.project_id).unknown) == 4
    report = uploader([replace(samples[0], label="corrected"), *samples[1:]])
    assert report.failed == {}
    assert len(report.present) + len(report.changed) == 4
    assert [row.sample_id for row in studio.studio.samples.find(studio.project_id)] == [
        row.sample_id for row in rows
    ]
    assert uploader.live() == as_live([replace(samples[0], label="corrected"), *samples[1:]])


def test_what_is_there_twice_is_known_once(studio: RunningStudio, uploader: Uploader, tmp_path: Path) -> None:  # noqa: F811
    """Somebody else's double stays: it is theirs."""
    samples = make_samples(tmp_path, 3)
    uploader(samples)
    for _ in range(2):
        requests.post(
            f"{studio.ingestion_endpoint}/api/testing/files",
            headers={"x-api-key": studio.api_key, "x-label": "double"},
            files=[("data", ("x.png", samples[0].path.read_bytes(), "image/png"))],
            timeout=10,
        )
    report = uploader(samples)
    assert set(report.present) == names(samples)
    assert studio.studio.samples.count(studio.project_id) == 5


def test_the_order_of_samples_does_not_matter(uploader: Uploader, tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 30)
    shuffled = random.Random(3).sample(samples, len(samples))
    uploader(samples[:10])
    uploader(shuffled)
    assert uploader.live() == as_live(samples)


def test_nothing_to_upload(uploader: Uploader) -> None:
    report = uploader([])
    assert (report.added, report.present, report.changed, report.failed) == ((), (), (), {})


def test_two_uploads_at_a_time_store_each_content_once(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    samples = make_samples(tmp_path, 80)
    with connect(studio) as client, ThreadPoolExecutor(2) as pool:
        both = [pool.submit(uploader, samples), pool.submit(Uploader(client, studio.project_id), samples[::-1])]
        reports = [one.result() for one in both]
    assert all(not report.failed for report in reports)
    assert uploader.live() == as_live(samples)


def test_an_interruption_ends_it_and_the_next_one_continues(uploader: Uploader, tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 60)

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    limits = replace(BRISK, files=2, first_connections=2)
    with pytest.raises(KeyboardInterrupt):
        upload(uploader.client, uploader.project_id, samples, interrupt, pace=Pace(limits))
    before = len(uploader.live())
    assert len(samples) // 2 <= before < len(samples)
    report = uploader(samples)
    assert len(report.present) >= before
    assert uploader.live() == as_live(samples)
