"""Whatever goes wrong on the way: nothing lost, nothing twice, and the right error where it cannot go well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ei_automation.errors import EiautoError, NetworkError, SettingsError
from ei_automation.schema.sample import Category
from ei_automation.studio_server.faults import Rule
from ei_automation.testing import RunningStudio
from tests.backends.studio.parts import BRISK, Uploader, as_live, client_of, connect, make_samples
from tests.studio_server.conftest import official_client, start, studio  # noqa: F401 - fixtures

FILES = "/files$"
SMALL = replace(BRISK, files=4, first_connections=3, least_answer_s=0.5)
"""More requests, for more that can go wrong."""


@pytest.fixture
def uploader(studio: RunningStudio) -> Iterator[Uploader]:  # noqa: F811
    with connect(studio) as client:
        yield Uploader(client, studio.project_id, SMALL)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(Rule(path=FILES, every=5, status=500), id="every fifth 500"),
        pytest.param(Rule(path=FILES, every=3, status=502, body="<html>bad gateway</html>"), id="a proxy's 502"),
        pytest.param(Rule(path=FILES, every=4, status=524, body=""), id="a gateway's own status"),
        pytest.param(Rule(path=FILES, first=9, status=503), id="not yet there"),
        pytest.param(Rule(path=FILES, every=3, status=429), id="429 without a time"),
        pytest.param(Rule(path=FILES, every=5, reset="early"), id="reset at the head"),
        pytest.param(Rule(path=FILES, every=5, reset="before"), id="reset before storing"),
        pytest.param(Rule(path=FILES, every=5, reset="during"), id="reset in the answer"),
        pytest.param(Rule(path=FILES, every=5, reset="after"), id="reset after storing"),
        pytest.param(Rule(path=FILES, first=3, reset="after"), id="all at first lost after storing"),
        pytest.param(Rule(path=FILES, nth=5, hang=True), id="one hangs"),
        pytest.param(Rule(path=FILES, delay_ms=40), id="slow answers"),
        pytest.param(Rule(path=FILES, file_delay_ms=4), id="slow one after the other"),
        pytest.param(Rule(path=FILES, probability=0.5, seed=4, reset="after"), id="half of all answers lost"),
        pytest.param(Rule(operation="list_samples", first=1, status=500), id="listing fails at first"),
        pytest.param(Rule(operation="list_samples", after=1, first=1, reset="during"), id="second listing is cut"),
        pytest.param(Rule(connection_delay_ms=40), id="slow connections"),
    ],
)
def test_nothing_is_lost_and_nothing_is_twice(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
    rule: Rule,
) -> None:
    studio.studio.faults.add([rule])
    samples = make_samples(tmp_path, 40)
    report = uploader(samples)
    assert report.failed == {}
    assert set(report.added) == {sample.name for sample in samples}
    assert uploader.live() == as_live(samples)
    assert rule.connection_delay_ms or studio.studio.faults.report()[0]["done"] > 0


def test_everything_at_once(studio: RunningStudio, uploader: Uploader, tmp_path: Path) -> None:  # noqa: F811
    samples = make_samples(tmp_path, 60)
    uploader([replace(sample, label="before") for sample in samples[:30]])
    kinds = [
        {"status": 500},
        {"status": 429},
        {"reset": "early"},
        {"reset": "before"},
        {"reset": "during"},
        {"reset": "after"},
    ]
    studio.studio.faults.add([Rule(probability=0.05, seed=seed, **kind) for seed, kind in enumerate(kinds)])
    report = uploader(samples)
    studio.studio.faults.clear()
    assert report.failed == {}
    assert set(report.changed) == {sample.name for sample in samples[:30]}
    assert uploader.live() == as_live(samples)


def test_waits_as_long_as_it_is_told(studio: RunningStudio, uploader: Uploader, tmp_path: Path) -> None:  # noqa: F811
    studio.studio.faults.add([Rule(path=FILES, nth=2, status=429, retry_after_s=1)])
    samples = make_samples(tmp_path, 30)
    start_s = time.monotonic()
    assert not uploader(samples).failed
    assert 1.0 <= time.monotonic() - start_s < 2.5
    assert uploader.live() == as_live(samples)


def test_a_file_that_the_server_always_chokes_on_fails_alone(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
) -> None:
    """The category has one file, so that the fault meets every POST with it and no other."""
    studio.studio.faults.add([Rule(path="/validation/files$", status=500)])
    samples = make_samples(tmp_path, 30)
    samples[4] = replace(samples[4], category=Category.VALIDATION)
    report = uploader(samples)
    assert list(report.failed) == [samples[4].name]
    assert "500" in report.failed[samples[4].name]
    assert uploader.live() == as_live([*samples[:4], *samples[5:]])


@pytest.mark.parametrize("status", [200, 400, 422])
def test_a_request_refused_as_a_whole_fails_with_the_servers_words(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
    status: int,
) -> None:
    studio.studio.faults.add([Rule(path="/validation/files$", status=status, error="We do not take these")])
    samples = make_samples(tmp_path, 12)
    samples = [
        replace(one, category=Category.VALIDATION) if place < 2 else one for place, one in enumerate(samples)
    ]
    report = uploader(samples)
    assert set(report.failed) == {samples[0].name, samples[1].name}
    assert "We do not take these" in report.failed[samples[0].name]
    assert uploader.live() == as_live(samples[2:])


@pytest.mark.parametrize(
    ("rule", "error", "code"),
    [
        pytest.param(Rule(path=FILES, status=401, error="Invalid API key"), SettingsError, 3, id="401"),
        pytest.param(Rule(path=FILES, status=200, error="Invalid API key"), SettingsError, 3, id="401 as 200"),
        pytest.param(Rule(path=FILES, status=403, error="no"), SettingsError, 3, id="403"),
        pytest.param(Rule(path=FILES, status=500), NetworkError, 5, id="500 for ever"),
        pytest.param(Rule(path=FILES, status=429), NetworkError, 5, id="429 for ever"),
        pytest.param(Rule(path=FILES, reset="before"), NetworkError, 5, id="resets for ever"),
        pytest.param(Rule(path=FILES, hang=True), NetworkError, 5, id="hangs for ever"),
        pytest.param(Rule(path=FILES, status=507, error="full"), NetworkError, 5, id="its disk is full"),
        pytest.param(Rule(path=FILES, status=404, body="<html>"), NetworkError, 5, id="not the service"),
        pytest.param(Rule(path=FILES, status=302, body=""), NetworkError, 5, id="a redirect"),
    ],
)
def test_what_cannot_go_well_ends_with_its_error_and_can_be_continued(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
    rule: Rule,
    error: type[EiautoError],
    code: int,
) -> None:
    samples = make_samples(tmp_path, 40)
    studio.studio.faults.add([rule])
    brief = replace(SMALL, patience_s=0.3, answer_s=0.25, least_answer_s=0.25)
    with pytest.raises(error) as caught:
        Uploader(uploader.client, uploader.project_id, brief)(samples)
    assert caught.value.exit_code == code
    assert caught.value.hint
    assert studio.api_key not in caught.value.message
    if code == 3:
        assert studio.studio.faults.report()[0]["seen"] <= brief.first_connections
    studio.studio.faults.clear()
    assert not uploader(samples).failed
    assert uploader.live() == as_live(samples)


def test_a_wrong_key_sends_no_file(studio: RunningStudio, tmp_path: Path) -> None:  # noqa: F811
    studio.studio.faults.add([Rule(path=FILES, delay_ms=1)])
    key = "ei_" + "0" * 64
    with (
        client_of(studio.api_endpoint, studio.ingestion_endpoint, key) as client,
        pytest.raises(SettingsError) as caught,
    ):
        Uploader(client, studio.project_id)(make_samples(tmp_path, 20))
    assert caught.value.exit_code == 3
    assert key not in caught.value.message
    assert studio.studio.faults.report()[0]["seen"] == 0


def test_a_key_that_may_not_upload_stops_at_its_first_post(studio: RunningStudio, tmp_path: Path) -> None:  # noqa: F811
    _, key = studio.studio.projects.add_key(studio.project_id, "reader", "readonly")
    with (
        client_of(studio.api_endpoint, studio.ingestion_endpoint, key) as client,
        pytest.raises(SettingsError),
    ):
        Uploader(client, studio.project_id)(make_samples(tmp_path, 20))
    assert studio.studio.samples.count(studio.project_id) == 0


def test_a_file_that_is_stored_is_no_failure_though_every_answer_is_lost(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
) -> None:
    studio.studio.faults.add([Rule(path="/validation/files$", reset="after")])
    samples = make_samples(tmp_path, 30)
    samples[4] = replace(samples[4], category=Category.VALIDATION)
    slow = replace(SMALL, files=1, first_connections=1, connections=1, backoff_s=0.001, most_backoff_s=0.002)
    report = Uploader(uploader.client, uploader.project_id, slow)(samples)
    assert report.failed == {}
    assert len(report.added) == 30
    assert uploader.live() == as_live(samples)


def test_a_correction_that_is_refused_fails_alone(
    studio: RunningStudio,  # noqa: F811
    uploader: Uploader,
    tmp_path: Path,
) -> None:
    samples = make_samples(tmp_path, 9)
    uploader(samples)
    studio.studio.faults.add([Rule(operation="edit_label", status=200, error="Not this one")])
    wanted = [
        replace(samples[0], label="refused"),
        replace(samples[1], category=Category.VALIDATION),
        *samples[2:],
    ]
    report = uploader(wanted)
    assert list(report.failed) == [samples[0].name]
    assert "Not this one" in report.failed[samples[0].name]
    assert report.changed == (samples[1].name,)
    assert uploader.live() == as_live([samples[0], *wanted[1:]])
