"""Kinds of jobs, how they ended, and logs that grow, are cut and are forgotten."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.backends.studio.jobs import JobLog, kind_of, list_jobs, newest, read_job, why_it_ended
from ei_automation.errors import NotFoundError
from ei_automation.schema.job import JobStatus
from tests.backends.studio.tuner_server import KEY, Reply, Studio, serve

MOMENT = "2026-01-01T00:00:00.000Z"


def row(number: int, category: str, key: str = "", **more: object) -> dict[str, object]:
    names = {"category": category, "categoryKey": key or category.lower().replace(" ", "-"), "key": "x"}
    return {"id": number, **names, "created": MOMENT, "jobNotificationUids": [], **more}


class Log:
    """A job's log as Studio tells it: the newest items first, and only so many."""

    def __init__(self, items=(), most=1000):
        self.items, self.most, self.whole = list(items), most, True

    def answers(self):
        return {"get_jobs_logs": self._page, "download_jobs_logs": self._text}

    def _page(self, call):
        limit = min(self.most, int(call.query.get("limit", self.most)))
        newest_first = self.items[::-1][:limit]
        items = [{"created": MOMENT, "data": text, "logLevel": "info"} for text in newest_first]
        return {"stdout": items, "totalCount": len(self.items)}

    def _text(self, _call):
        return Reply("".join(self.items if self.whole else self.items[-1:]).encode(), media_type="text/plain")


@pytest.fixture
def scripted():
    """Starts a scripted Studio with some answers."""
    servers, states = [], []

    def start(answers):
        state = Studio(answers)
        servers.append(serve(state))
        states.append(state)
        return state.client()

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    assert [line for state in states for line in state.problems] == []


@pytest.mark.parametrize(
    ("category", "key", "kind"),
    [
        ("Training model", "learn-train-studio-wrapper", "training"),
        ("Retraining model", "retrain", "training"),
        ("Generating features", "dsp-generate-features", "features"),
        ("Classifying all test data", "classify", "testing"),
        ("Evaluating model", "evaluate", "testing"),
        ("Building deployment", "build-ondevice-model", "build"),
        ("Deploy", "deployment", "build"),
        ("EON Tuner", "optimize", "tuning"),
        ("Data explorer", "data-explorer-features", "other"),
        ("Profiling model", "profile-tflite", "other"),
        ("Deploying pretrained model", "deploy-pretrained-model", "other"),
        ("Exporting data", "export-original", "other"),
    ],
)
def test_a_jobs_kind_is_known_by_its_words(category, key, kind):
    assert kind_of(row(1, category, key)) == kind


def test_only_finished_successful_is_success(scripted):
    jobs = {
        "0": row(0, "Training model"),
        "1": row(1, "Training model", started=MOMENT),
        "2": row(2, "Training model", finished=MOMENT, finishedSuccessful=True),
        "3": row(3, "Training model", finished=MOMENT, finishedSuccessful=False),
        "4": row(4, "Training model", finished=MOMENT),
        "5": row(5, "Training model", finishedSuccessful=True, started=MOMENT),
    }
    client = scripted(
        {
            "get_job_status": lambda call: {"job": jobs[call.path.split("/")[-2]]},
            "list_all_jobs": {"jobs": list(jobs.values()), "totalJobCount": 6},
        }
    )
    status = [read_job(client, 7, int(number)).status for number in jobs]
    running, success, failed = JobStatus.RUNNING, JobStatus.SUCCESS, JobStatus.FAILED
    assert status == [JobStatus.PENDING, running, success, failed, failed, running]
    listed = list_jobs(client, 7)
    assert [job.job_id for job in listed] == [5, 4, 3, 2, 1, 0]
    assert newest(listed, "training", successful=True).job_id == 2
    assert newest(listed, "build") is None


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ([("error", "out of memory\n"), ("info", "use a smaller batch\n"), ("error", "Job failed (see above)\n")],
         ("out of memory", False)),
        ([("info", "Killed\n"), ("info", "Application exited with code 137\n"), ("info", "Job failed")],
         ("Killed", False)),
        ([("info", "Training on 1150 samples\n"), ("error", "Job failed: the server ended before it did\n")],
         ("the server ended before it did", False)),
        ([("error", "old trouble\n"), ("info", "going on\n"), ("error", "new trouble\n"), ("info", "a hint\n")],
         ("new trouble", False)),
        ([("info", "Epoch 1/20\n"), ("warn", "Job was cancelled\n")], ("Job was cancelled", True)),
        ([("error", f"EI_API_KEY={KEY}\n")], ("EI_API_KEY=ei_(hidden)", False)),
        ([], ("", False)),
    ],
)  # fmt: skip
def test_why_a_job_ended_stands_at_its_logs_end(scripted, ending, why):
    items = [{"created": MOMENT, "data": text, "logLevel": level} for level, text in reversed(ending)]
    client = scripted({"get_jobs_logs": {"stdout": items, "totalCount": len(items)}})
    assert why_it_ended(client, 7, 3) == why


# The log


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from(["a\n", "b\n", "\n", "two\nlines\n"]), max_size=7), max_size=6))
def test_a_growing_log_is_told_once_and_in_order(scripted_log, pieces):
    log, client = scripted_log
    log.items.clear()
    read, seen = JobLog(client, 7, 3), []
    for piece in pieces:
        log.items += piece
        new = read.after(seen[-1].index if seen else -1)
        seen += new
    assert [line.index for line in seen] == list(range(len(seen)))
    whole = "".join(log.items)
    assert [line.text for line in seen] == (whole.removesuffix("\n").split("\n") if whole else [])


@pytest.fixture(scope="module")
def scripted_log():
    log = Log(most=10_000)
    state = Studio(log.answers())
    server = serve(state)
    yield log, state.client()
    server.shutdown()
    server.server_close()


def test_a_long_log_is_read_whole_although_only_its_end_is_listed(scripted):
    log = Log([f"line {number}\n" for number in range(2500)])
    read = JobLog(scripted(log.answers()), 7, 3)
    assert [line.text for line in read.after(-1)] == [f"line {number}" for number in range(2500)]
    log.items += [f"line {number}\n" for number in range(2500, 4000)]
    assert [line.text for line in read.after(2499)] == [f"line {number}" for number in range(2500, 4000)]
    log.items += [f"line {number}\n" for number in range(4000, 4500)]
    assert [line.index for line in read.after(3999)] == list(range(4000, 4500))


def test_lines_that_nobody_tells_any_more_are_not_lost_in_silence(scripted):
    log = Log([f"line {number}\n" for number in range(1500)])
    log.whole = False
    lines = JobLog(scripted(log.answers()), 7, 3).after(-1)
    assert lines[0].text == "(500 lines of the log are no longer told)"
    assert [line.text for line in lines[1:]] == [f"line {number}" for number in range(500, 1500)]


def test_a_server_that_forgot_the_last_lines_goes_on_from_there(scripted):
    log = Log(["a\n", "b\n", "c\n", "d\n"])
    read = JobLog(scripted(log.answers()), 7, 3)
    assert len(read.after(-1)) == 4
    log.items[2:] = ["Job failed: the server ended before it did\n"]
    assert [(line.index, line.text) for line in read.after(3)] == [
        (4, "Job failed: the server ended before it did")
    ]
    log.items += ["e\n"]
    assert [line.text for line in read.after(4)] == ["e"]


def test_a_progress_bar_shows_its_last_state_and_a_key_is_hidden(scripted):
    log = Log([" 10%\r 50%\r100%\n", "no end", f"EI_API_KEY={KEY}\r\n"])
    texts = [line.text for line in JobLog(scripted(log.answers()), 7, 3).after(-1)]
    assert texts == ["100%", "no end", "EI_API_KEY=ei_(hidden)"]


def test_a_job_that_is_not_there_is_not_found(scripted):
    with pytest.raises(NotFoundError):
        read_job(scripted({"get_job_status": "No job with this ID found"}), 7, 3)
