"""One session with the API: what is tried again, what is said of a refusal, and that no key is shown."""

import io
import re
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError, ReadTimeoutError

from ei_automation.backends.studio.account import read_access, require_admin
from ei_automation.backends.studio.client import (
    PassingError,
    StudioClient,
    StudioError,
    UnreachableError,
    no_answer,
    redact,
)
from ei_automation.errors import EiautoError, NetworkError, NotFoundError, SettingsError
from ei_automation.settings import Secret, StudioSettings
from ei_automation.studio_server.faults import Faults, Rule
from ei_automation.testing import start_studio
from tests.backends.studio import tuner_server

JOBS = "/api/1/jobs"


@pytest.fixture(scope="module")
def running():
    with start_studio(faults=Faults()) as running:
        yield running


@pytest.fixture
def faults(running):
    """What goes wrong in it, for one test."""
    yield running.studio.faults
    running.studio.faults.clear()


@pytest.fixture
def client(running, faults):
    settings = StudioSettings(running.api_endpoint, running.ingestion_endpoint, Secret(running.api_key))
    with StudioClient(settings, patience_s=5.0) as client:
        yield client


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429, "retry_after_s": 0}, {"reset": "during"}])
def test_a_passing_failure_of_a_look_passes(client, faults, fault):
    faults.add([Rule(path=JOBS, first=2, **fault)])
    assert client.get(JOBS)["jobs"] == []
    assert faults.report()[0]["done"] == 2


def test_what_does_not_pass_is_given_up_in_time(client, faults):
    client.patience_s = 0.3
    faults.add([Rule(path=JOBS, status=503, error="down")])
    start = time.monotonic()
    with pytest.raises(NetworkError, match=r"GET /api/1/jobs answered 503: down"):
        client.get(JOBS)
    assert time.monotonic() - start < 3


def test_retry_after_is_kept(client, faults):
    faults.add([Rule(path=JOBS, nth=1, status=429, retry_after_s=1)])
    start = time.monotonic()
    client.get(JOBS)
    assert time.monotonic() - start >= 1


def test_what_changes_something_is_sent_once(client, faults):
    faults.add([Rule(method="POST", status=503)])
    with pytest.raises(PassingError):
        client.post("/api/1/impulse/get-new-block-id")
    assert faults.report()[0]["seen"] == 1
    faults.clear()
    faults.add([Rule(method="POST", nth=1, reset="after")])
    client.post_again("/api/1", {"name": "renamed"})
    assert faults.report()[0]["seen"] == 2
    assert client.get("/api/1", impulseId=None, truncateLabels=True)["project"]["name"] == "renamed"


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ({"status": 401, "error": "Invalid API key"}, SettingsError, "Invalid API key"),
        ({"status": 200, "error": "Invalid API key"}, SettingsError, "Invalid API key"),
        ({"status": 401, "body": "no"}, SettingsError, "the API key is refused"),
        ({"status": 403, "error": "no"}, SettingsError, "may not do this"),
        (
            {"status": 200, "error": "insufficient permissions (valid roles: [admin])"},
            SettingsError,
            "not do this",
        ),
        ({"status": 404, "error": "nothing"}, NotFoundError, "nothing"),
        ({"status": 200, "error": "No job with this ID found"}, NotFoundError, "No job with this ID found"),
        ({"status": 200, "error": "No sample found with ID 3"}, NotFoundError, "No sample found with ID 3"),
        ({"status": 200, "error": "Unknown job ID 7"}, NotFoundError, "Unknown job ID 7"),
        ({"status": 200, "error": "Not updated configuration"}, StudioError, "Not updated configuration"),
        ({"status": 200, "error": "No, not today"}, StudioError, "No, not today"),
        ({"status": 501, "error": "not served"}, StudioError, "not served"),
        ({"status": 200, "body": "<html>log in</html>"}, NetworkError, "without the JSON of the Studio API"),
        ({"status": 200, "body": "[1]"}, NetworkError, "without the JSON of the Studio API"),
        ({"status": 302, "body": "elsewhere"}, NetworkError, "answered 302"),
    ],
)
def test_a_refusal_is_one_of_our_errors_with_the_servers_words(client, faults, fault, kind, said):
    faults.add([Rule(path=JOBS, **fault)])
    with pytest.raises(kind, match=said) as caught:
        client.get(JOBS)
    assert type(caught.value) is kind


def test_a_server_that_is_not_there_is_said_without_the_query(client):
    nobody = StudioSettings("http://127.0.0.1:9/v1", "http://127.0.0.1:9", Secret("ei_" + "a" * 64))
    with (
        StudioClient(nobody, patience_s=0.1) as lost,
        pytest.raises(
            NetworkError, match=r"^GET /api/1: http://127.0.0.1:9 did not answer \(Connection"
        ) as caught,
    ):
        lost.get("/api/1", secret="query")
    assert "query" not in str(caught.value)
    assert "EI_API_ENDPOINT" in caught.value.hint


def test_a_server_that_never_was_there_is_given_up_soon():
    nobody = StudioSettings("http://127.0.0.1:9/v1", "", Secret("ei_" + "a" * 64))
    start = time.monotonic()
    with StudioClient(nobody, first_contact_s=0.3) as lost, pytest.raises(UnreachableError):
        lost.get("/api/1")
    assert 0.3 <= time.monotonic() - start < 3


def test_a_server_that_was_there_is_waited_for():
    state = tuner_server.Studio({"list_all_jobs": {"jobs": [], "totalJobCount": 0}})
    server = tuner_server.serve(state)
    settings = state.client().settings
    with StudioClient(settings, patience_s=0.6, first_contact_s=0.0) as client:
        client.get("/api/7/jobs/all")
        server.shutdown()
        server.server_close()
        client.session.close()
        start = time.monotonic()
        with pytest.raises(PassingError):
            client.get("/api/7/jobs/all")
    assert time.monotonic() - start >= 0.6


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NameResolutionError("host", None, OSError("unknown")), UnreachableError),
        (NewConnectionError(None, "refused"), UnreachableError),
        (ReadTimeoutError(None, "/", "too slow"), PassingError),
    ],
)
def test_which_failures_say_that_nobody_is_there(error, kind):
    assert no_answer(requests.ConnectionError(MaxRetryError(None, "/", error))) is kind
    assert no_answer(requests.ConnectionError("reset")) is PassingError


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        ({"status": 401, "error": "Invalid API key"}, "EI_HOST or EI_API_ENDPOINT points"),
        ({"status": 501, "error": "not served"}, "eiauto studio coverage"),
        ({"status": 501, "body": "no"}, "eiauto studio coverage"),
        ({"status": 404, "error": "There is nothing here"}, "EI_API_ENDPOINT: it ends with /v1"),
        ({"status": 404, "body": "<html>"}, "EI_API_ENDPOINT: it ends with /v1"),
        ({"status": 404, "error": "No job with this ID found"}, "^$"),
    ],
)
def test_a_refusal_says_what_to_do_next(client, faults, fault, hint):
    faults.add([Rule(path=JOBS, **fault)])
    with pytest.raises(EiautoError) as caught:
        client.get(JOBS)
    assert re.search(hint, caught.value.hint)


def test_keys_and_tokens_are_hidden():
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF_-1"
    text = f"key ei_{'0' * 64} and {token} and odd-own-key"
    assert redact(text, Secret("odd-own-key")) == "key ei_(hidden) and ei_(hidden) and ei_(hidden)"


def test_a_refusal_that_repeats_the_key_hides_it(running, faults):
    odd = StudioSettings(running.api_endpoint, "", Secret("an-odd-key-that-looks-like-none"))
    faults.add([Rule(path=JOBS, status=200, error="an-odd-key-that-looks-like-none is odd")])
    with StudioClient(odd, patience_s=0.1) as client, pytest.raises(StudioError, match=r"ei_\(hidden\) is odd"):
        client.get(JOBS)


# Files


def test_a_download_begins_anew_after_a_cut(client, faults, running):
    faults.add([Rule(path="/stdout/download", nth=1, reset="during")])
    job_id = running.studio.workshop.start(
        1, category="c", category_key="k", key="k", work=lambda talk: talk.line("x" * 100_000)
    )
    target = io.BytesIO(b"what was there before" * 10_000)
    client.download(f"{JOBS}/{job_id}/stdout/download", target, most_bytes=1_000_000)
    assert b"x" * 100_000 in target.getvalue()
    assert b"before" not in target.getvalue()
    with pytest.raises(NetworkError, match="more than 1,000 bytes"):
        client.download(f"{JOBS}/{job_id}/stdout/download", target, most_bytes=1000)
    with pytest.raises(NotFoundError, match="No job with this ID found"):
        client.download(f"{JOBS}/99/stdout/download", target, most_bytes=1000)
    with pytest.raises(NetworkError, match="JSON where a file was expected"):
        client.download(f"{JOBS}/{job_id}/status", target, most_bytes=100_000)


def test_the_key_does_not_follow_to_the_file_store():
    seen = []

    class Store(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            seen.append((self.path, self.headers.get("x-api-key")))
            here = self.server.server_address[1] == ports[0]
            place = {"/v1/far": f"http://127.0.0.1:{ports[1]}/signed?a=1", "/v1/near": "/v1/moved"}.get(self.path)
            self.send_response(302 if here and place else 200)
            if place:
                self.send_header("Location", place)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"file")

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Store) for _ in range(2)]
    ports = [server.server_address[1] for server in servers]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    key = "ei_" + "b" * 64
    with StudioClient(StudioSettings(f"http://127.0.0.1:{ports[0]}/v1", "", Secret(key))) as client:
        target = io.BytesIO()
        client.download("/far", target, most_bytes=10)
        assert target.getvalue() == b"file"
        client.download("/near", target, most_bytes=10)
    assert seen == [("/v1/far", key), ("/signed?a=1", None), ("/v1/near", key), ("/v1/moved", key)]
    for server in servers:
        server.shutdown()
        server.server_close()


# Whose key it is


def test_a_key_of_another_project_is_refused_with_one_request(running, faults):
    faults.add([Rule(path="/api", delay_ms=1)])
    settings = StudioSettings(running.api_endpoint, "", Secret(running.api_key), 2)
    with (
        StudioClient(settings) as client,
        pytest.raises(SettingsError, match="is 2 and the API key is of project 1"),
    ):
        read_access(client)
    with StudioClient(replace(settings, project_id=1)) as client:
        assert read_access(client) == (1, "admin")
    assert faults.report()[0]["seen"] == 2


def test_an_older_server_that_does_not_tell_the_role_is_believed(client, faults):
    faults.add([Rule(path="api-key-info", status=501, error="not served")])
    assert read_access(client) == (1, "")
    require_admin("")
    with (
        StudioClient(replace(client.settings, project_id=2)) as other,
        pytest.raises(SettingsError, match="the API key is of project 1"),
    ):
        read_access(other)
