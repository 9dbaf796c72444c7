"""Jobs of the local Studio: order, logs, watchers, failures, ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ei_automation.errors import InterruptedRunError, VerificationError
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.studio import Studio, StudioOptions
from ei_automation.studio_server.workshop import (
    TABLES,
    JobFailure,
    JobRow,
    JobTalk,
    LogLine,
    Workshop,
)

DEADLINE_S = 20


def open_studio(folder: Path, jobs: str = "immediate") -> Studio:
    """A local Studio without a server."""
    return Studio(StudioOptions(folder, folder / "cache", jobs=jobs, offline=True))  # type: ignore[arg-type]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """With immediate jobs."""
    opened = open_studio(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Studio]:
    """With jobs that take their time."""
    opened = open_studio(tmp_path, "real")
    yield opened
    opened.close()


def start(studio: Studio, project_id: int, work: Callable[[JobTalk], None], key: str = "test") -> int:
    return studio.workshop.start(project_id, category="Test", category_key="test", key=key, work=work)


def ended(workshop: Workshop, job_id: int) -> JobRow:
    """A job once it has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        row = workshop.job(job_id)
        assert row is not None
        if row.finished is not None:
            return row
        time.sleep(0.005)
    raise AssertionError(f"job {job_id} did not end")


def texts(workshop: Workshop, job_id: int) -> list[str]:
    return [line.text for line in workshop.log(job_id)]


def wait_for_stop(talk: JobTalk) -> None:
    """Work that ends when it is asked to."""
    talk.line("waiting")
    while not talk.should_stop():
        time.sleep(0.005)
    raise InterruptedRunError("stopped")


def test_an_immediate_job_has_ended_when_its_number_is_there(studio: Studio) -> None:
    job_id = start(studio, 1, lambda talk: talk.line("one\ntwo"), key="dsp-2")
    row = studio.workshop.job(job_id)
    assert row is not None
    assert (row.successful, row.key) == (True, "dsp-2")
    assert row.created <= (row.started or 0) <= (row.finished or 0)
    lines = studio.workshop.log(job_id)
    assert [line.index for line in lines] == list(range(len(lines)))
    assert [line.text for line in lines][1:3] == ["one", "two"]
    assert studio.workshop.log(job_id, after=1) == lines[2:]
    assert row.to_json()["finishedSuccessful"] is True


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (JobFailure("no data"), "no data"),
        (VerificationError("it is altered", hint="train again"), "train again"),
        (ValueError("a bug"), "ValueError: a bug"),
    ],
)
def test_a_job_that_fails_says_why(studio: Studio, error: Exception, words: str) -> None:
    def work(_talk: JobTalk) -> None:
        raise error

    job_id = start(studio, 1, work)
    assert ended(studio.workshop, job_id).successful is False
    lines = studio.workshop.log(job_id)
    assert words in [line.text for line in lines]
    assert (lines[-1].text, lines[-1].level) == ("Job failed (see above)", "error")


def test_a_fault_fails_a_job_of_its_kind_before_it_works(studio: Studio) -> None:
    studio.workshop.job_fails = lambda kind: "out of memory" if kind.startswith("test") else None
    done: list[int] = []
    job_id = start(studio, 1, lambda talk: done.append(talk.job_id))
    assert ended(studio.workshop, job_id).successful is False
    assert (done, "out of memory" in texts(studio.workshop, job_id)) == ([], True)


def test_jobs_of_a_project_follow_one_another_and_those_of_two_do_not_wait(busy: Studio) -> None:
    order: list[str] = []
    gate, other_done = threading.Event(), threading.Event()

    def first(talk: JobTalk) -> None:
        order.append("first")
        assert other_done.wait(DEADLINE_S)
        assert gate.wait(DEADLINE_S)
        talk.line("done")

    one = start(busy, 1, first)
    two = start(busy, 1, lambda _talk: order.append("second"))
    other = start(busy, 2, lambda _talk: other_done.set())
    assert ended(busy.workshop, other).successful
    waiting = busy.workshop.job(two)
    assert waiting is not None
    assert waiting.started is None
    gate.set()
    assert ended(busy.workshop, one).successful
    assert ended(busy.workshop, two).successful
    assert order == ["first", "second"]


def test_a_running_job_and_a_waiting_one_can_be_cancelled(busy: Studio) -> None:
    running, waiting = start(busy, 1, wait_for_stop), start(busy, 1, wait_for_stop)
    busy.workshop.cancel(waiting)
    row = busy.workshop.job(waiting)
    assert row is not None
    assert row.successful is False
    busy.workshop.cancel(running)
    assert ended(busy.workshop, running).successful is False
    assert texts(busy.workshop, running)[-1] == "Job was cancelled"
    busy.workshop.cancel(running)
    assert ended(busy.workshop, start(busy, 1, lambda _talk: None)).successful


def test_closing_stops_what_runs_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    studio = open_studio(tmp_path, "real")
    jobs = [start(studio, project_id, wait_for_stop) for project_id in (1, 1, 2)]
    studio.workshop.close()
    rows = [studio.workshop.job(job_id) for job_id in jobs]
    assert [row.successful if row else None for row in rows] == [False] * 3
    with pytest.raises(RefusalError, match="being stopped"):
        start(studio, 1, wait_for_stop)
    studio.close()
    assert threading.active_count() == before


def test_a_job_that_a_killed_server_left_has_failed(busy: Studio, tmp_path: Path) -> None:
    job_id = start(busy, 1, wait_for_stop)
    while "waiting" not in texts(busy.workshop, job_id):
        time.sleep(0.005)
    second = Database(tmp_path / "studio.sqlite", TABLES)
    found = Workshop(second, busy.projects, busy.samples, busy.impulses, busy.options)
    row = found.job(job_id)
    assert row is not None
    assert row.successful is False
    assert texts(found, job_id)[-1] == "Job failed: the server ended before it did"
    second.close()
    # The first one is not really dead: let its end of the log have the place.
    busy.database.query("DELETE FROM job_log WHERE job_id = ?", (job_id,))


def test_a_watcher_gets_every_line_once_and_last_the_end(busy: Studio) -> None:
    early: list[LogLine | JobRow] = []
    go, half = threading.Event(), threading.Event()

    def work(talk: JobTalk) -> None:
        talk.line("before")
        half.set()
        assert go.wait(DEADLINE_S)
        for number in range(50):
            talk.line(f"after {number}")

    job_id = start(busy, 1, work)
    assert half.wait(DEADLINE_S)
    busy.workshop.subscribe(job_id, early.append)
    left: list[LogLine | JobRow] = []
    busy.workshop.subscribe(job_id, left.append)()
    known = len(left)
    go.set()
    row = ended(busy.workshop, job_id)
    while not isinstance(early[-1], JobRow):
        time.sleep(0.005)
    late: list[LogLine | JobRow] = []
    busy.workshop.subscribe(job_id, late.append)
    assert early == [*busy.workshop.log(job_id), row]
    assert late == early
    assert len(left) == known


def test_jobs_are_listed_newest_first_and_go_with_their_project(studio: Studio) -> None:
    project_id = studio.projects.create("one", owner="me")
    jobs = [start(studio, project_id, lambda talk: talk.line("x")) for _ in range(3)]
    assert [row.job_id for row in studio.workshop.jobs(project_id)] == jobs[::-1]
    studio.workshop.forget(project_id)
    studio.projects.delete(project_id)
    assert studio.workshop.jobs(project_id) == []
    assert studio.workshop.log(jobs[0]) == []
