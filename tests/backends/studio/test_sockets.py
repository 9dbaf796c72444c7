"""News of a job come by socket at once, and by looking where there is no socket."""

import gc
import threading
import time

import pytest

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.sockets import JobNews, Looks
from ei_automation.settings import Secret, StudioSettings
from ei_automation.studio_server.faults import Faults, Rule
from ei_automation.testing import start_studio

FAR = Looks(0.3, 1.0, 0.02)
SOON_S = 4.0
"""Less than the library's own patience with a server that does not answer."""


@pytest.fixture
def running():
    with start_studio(jobs="real", faults=Faults()) as running:
        yield running


@pytest.fixture
def client(running):
    with StudioClient(StudioSettings(running.api_endpoint, "", Secret(running.api_key))) as client:
        yield client


@pytest.fixture
def news(running, client):
    """With pauses that one can tell from a socket's answer."""
    news = JobNews(client, running.project_id, FAR)
    yield news
    news.close()


def start(running, go, text="news"):
    """A job that says something when it is told to, and then ends when it is told again."""

    def work(talk):
        go.acquire(timeout=10)
        talk.line(text)
        go.acquire(timeout=10)

    workshop = running.studio.workshop
    return workshop.start(running.project_id, category="c", category_key="k", key="k", work=work)


def seconds(call):
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def test_a_line_wakes_the_one_who_waits_and_so_does_the_end(running, client):
    go, slow = threading.Semaphore(0), Looks(1.0, 1.0, 0.02)
    news, job_id = JobNews(client, running.project_id, slow), start(running, go)
    end = time.monotonic() + 10 * slow.first_s
    while not (seconds(lambda: news.wait(job_id)) >= slow.first_s and news.connected):  # what the log had before
        assert time.monotonic() < end
    for _ in range(2):
        threading.Timer(0.1, go.release).start()
        assert seconds(lambda: news.wait(job_id)) < slow.first_s
    news.close()


def test_without_a_socket_it_looks_at_intervals(running, news):
    running.studio.faults.add([Rule(operation="get_socket_token", status=501, error="not served")])
    assert seconds(lambda: news.wait(1)) >= FAR.first_s
    assert not news.connected
    assert seconds(lambda: news.wait(1)) > FAR.first_s
    assert running.studio.faults.report()[0]["done"] == 1, "it is not tried again at once"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # the library forgets a connection that is cut at once
)
@pytest.mark.parametrize("messages", [0, 1, 2])
def test_a_socket_that_is_dropped_is_no_error(running, client, messages):
    running.studio.faults.add([Rule(drop_socket_after=messages)])
    news, go = JobNews(client, running.project_id), threading.Semaphore(2)
    job_id = start(running, go)
    end = time.monotonic() + SOON_S
    while time.monotonic() < end and (news._opening is None or news._opening.is_alive() or news.connected):
        assert seconds(lambda: news.wait(job_id)) < SOON_S
    assert not news.connected
    news.close()
    gc.collect()  # what the library has forgotten is found here, not in another test


def test_a_socket_that_opens_too_late_closes_itself(running, client):
    running.studio.faults.add([Rule(operation="get_socket_token", delay_ms=300)])
    news = JobNews(client, running.project_id)
    assert seconds(lambda: news.wait(1)) < SOON_S
    assert seconds(news.close) < SOON_S
    news._opening.join(timeout=SOON_S)
    assert not news.connected
