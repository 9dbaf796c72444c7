"""Tag jobs of the local Studio: lists, status, logs, cancelling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import requests

from ei_automation.errors import InterruptedRunError
from ei_automation.studio_server.impulses import TRAINING as KEPT
from ei_automation.studio_server.workshop import JobTalk
from ei_automation.testing import RunningStudio
from tests.studio_server.trained import LEARN_ID, TRAINING, Caller, fill

DEADLINE_S = 30


def add(running: RunningStudio, work: Callable[[JobTalk], None], key: str = "test") -> int:
    """A job of the project."""
    return running.studio.workshop.start(
        running.project_id, category="Just a test", category_key="test-key", key=key, work=work
    )


def ended(caller: Caller, job_id: int) -> dict[str, object]:
    """A job's status once it has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while "finished" not in (job := caller.get(f"{{p}}/jobs/{job_id}/status")["job"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return dict(job)


def test_a_log_comes_newest_first_and_by_level(studio: RunningStudio) -> None:
    caller = Caller(studio)

    def work(talk: JobTalk) -> None:
        for number in range(1500):
            talk.line(f"line {number}", "debug" if number % 2 else "info")
        talk.line("grave", "error")

    job_id = add(studio, work)
    found = caller.get(f"{{p}}/jobs/{job_id}/stdout")
    assert (len(found["stdout"]), found["totalCount"]) == (1000, 1503)
    assert [item["data"] for item in found["stdout"][:3]] == ["Job completed\n", "grave\n", "line 1499\n"]
    few = caller.get(f"{{p}}/jobs/{job_id}/stdout", limit=2)
    assert [item["data"] for item in few["stdout"]] == ["Job completed\n", "grave\n"]
    grave = caller.get(f"{{p}}/jobs/{job_id}/stdout", logLevel="warn")
    assert ([item["data"] for item in grave["stdout"]], grave["totalCount"]) == (["grave\n"], 1)
    text = caller.raw("GET", f"{{p}}/jobs/{job_id}/stdout/download").text.splitlines()
    assert len(text) == 1503
    assert text[1:3] == ["line 0", "line 1"]
    assert caller.raw("GET", f"{{p}}/jobs/{job_id}/stdout/download?limit=1").text == "Job completed\n"
    assert "logLevel" in caller.refused("GET", f"{{p}}/jobs/{job_id}/stdout?logLevel=loud")
    assert "limit" in caller.refused("GET", f"{{p}}/jobs/{job_id}/stdout?limit=-1")


def test_jobs_are_found_by_key_category_end_and_date(studio: RunningStudio) -> None:
    caller = Caller(studio)
    first, second = add(studio, lambda _talk: None, "dsp-2"), add(studio, lambda _talk: None, "keras-3")
    assert [job["id"] for job in caller.get("{p}/jobs/all")["jobs"]] == [second, first]
    assert [job["id"] for job in caller.get("{p}/jobs/all", key="dsp-2")["jobs"]] == [first]
    assert caller.get("{p}/jobs/all", category="Just a test")["totalJobCount"] == 2
    assert caller.get("{p}/jobs/all", category="test-key", limit=1, offset=1)["jobs"][0]["id"] == first
    assert caller.get("{p}/jobs/all", finished="false")["jobs"] == []
    assert caller.get("{p}/jobs")["jobs"] == []
    assert caller.get("{p}/jobs/history", rootOnly="True")["totalJobCount"] == 2
    # As the Python client sends it: the + of the time zone is not encoded.
    assert caller.raw("GET", "{p}/jobs/all?startDate=2100-01-01T00:00:00+00:00").json()["jobs"] == []
    assert "startDate" in caller.refused("GET", "{p}/jobs/all?startDate=tomorrow")
    summary = caller.get("{p}/jobs/summary", startDate="2020-01-01T00:00:00Z", endDate="2100-01-01T00:00:00Z")
    assert [item["category"] for item in summary["summary"]] == ["Just a test"]
    assert "startDate" in caller.refused("GET", "{p}/jobs/summary")


def test_only_the_project_s_own_jobs_are_there(studio: RunningStudio) -> None:
    caller = Caller(studio)
    job_id = studio.studio.workshop.start(99, category="x", category_key="x", key="x", work=lambda _talk: None)
    for number in (job_id, 4711):
        assert caller.refused("GET", f"{{p}}/jobs/{number}/status") == "No job with this ID found"
        assert caller.refused("POST", f"{{p}}/jobs/{number}/cancel") == "No job with this ID found"
    assert caller.get("{p}/jobs/all")["jobs"] == []


def test_a_training_that_takes_its_time_can_be_watched_and_cancelled(
    start: Callable[..., RunningStudio],
) -> None:
    running = start(jobs="real")
    caller = Caller(running)
    fill(caller)
    ended(caller, caller.post("{p}/jobs/generate-features", {"dspId": 2})["id"])
    job_id = caller.post(f"{{p}}/jobs/train/keras/{LEARN_ID}", {**TRAINING, "trainingCycles": 1000})["id"]
    deadline = time.monotonic() + DEADLINE_S
    while "Epoch 2/1000" not in caller.raw("GET", f"{{p}}/jobs/{job_id}/stdout/download").text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job = caller.get(f"{{p}}/jobs/{job_id}/status")["job"]
    assert ("started" in job, "finished" in job, job["key"]) == (True, False, f"keras-{LEARN_ID}")
    assert [item["id"] for item in caller.get("{p}/jobs")["jobs"]] == [job_id]
    assert caller.get(f"{{p}}/training/keras/{LEARN_ID}/metadata")["hasTrainedModel"] is False
    caller.raw("POST", f"{{p}}/jobs/{job_id}/cancel?forceCancel=true")
    assert ended(caller, job_id)["finishedSuccessful"] is False
    assert caller.get(f"{{p}}/jobs/{job_id}/stdout", limit=1)["stdout"][0]["data"] == "Job was cancelled\n"
    caller.post(f"{{p}}/jobs/{job_id}/cancel")


def test_results_of_a_replaced_impulse_are_not_kept(start: Callable[..., RunningStudio]) -> None:
    running = start(jobs="real")
    caller, impulses = Caller(running), running.studio.impulses
    fill(caller)
    ended(caller, caller.post("{p}/jobs/generate-features", {"dspId": 2})["id"])
    go = threading.Event()

    def in_the_way(_talk: JobTalk) -> None:
        assert go.wait(DEADLINE_S)

    add(running, in_the_way)
    job_id = caller.post(f"{{p}}/jobs/train/keras/{LEARN_ID}", TRAINING)["id"]
    epoch = impulses.epoch(running.project_id)
    caller.post("{p}/impulse", caller.get("{p}/impulse")["impulse"])
    go.set()
    assert ended(caller, job_id)["finishedSuccessful"] is False
    assert "was replaced" in caller.raw("GET", f"{{p}}/jobs/{job_id}/stdout/download").text
    assert not impulses.keep(running.project_id, LEARN_ID, {KEPT: {}}, epoch)
    assert caller.get(f"{{p}}/training/keras/{LEARN_ID}/metadata")["hasTrainedModel"] is False


def test_stopping_the_server_ends_a_job_as_failed(start: Callable[..., RunningStudio]) -> None:
    running = start(jobs="real")
    begun = threading.Event()

    def work(talk: JobTalk) -> None:
        begun.set()
        while not talk.should_stop():
            time.sleep(0.01)
        raise InterruptedRunError("stopped")

    job_id = add(running, work)
    assert begun.wait(DEADLINE_S)
    assert requests.get(f"{running.api_endpoint}/api/1/jobs/{job_id}/status", timeout=9).status_code == 401
    running.studio.workshop.close()
    row = running.studio.workshop.job(job_id)
    assert row is not None
    assert row.successful is False
