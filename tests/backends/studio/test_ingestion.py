"""One POST: what is in it, and how its answer is read; against a server that answers as we say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from python_multipart import FormParser

from ei_automation.backends.studio.client import PassingError, StudioClient
from ei_automation.backends.studio.ingestion import (
    AnsweredError,
    Duplicate,
    Refused,
    Stored,
    Verdict,
    WholeRefusedError,
    make_body,
    open_session,
    send,
)
from ei_automation.errors import NetworkError, SettingsError
from ei_automation.schema.sample import BoundingBox, Sample
from tests.backends.studio.parts import client_of, make_samples

KEY = "ei_" + "7c" * 32


class Service:
    """An ingestion service with one answer, which remembers what it was sent."""

    def __init__(self) -> None:
        self.status, self.body, self.retry_after = 200, "", ""
        self.headers, self.path = Message(), ""
        self.parts: list[tuple[str, bytes]] = []


@pytest.fixture
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            state.headers, state.path, state.parts = self.headers, self.path, parts(self.headers, content)
            body = state.body.encode()
            self.send_response(state.status)
            self.send_header("content-length", str(len(body)))
            if state.retry_after:
                self.send_header("retry-after", state.retry_after)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def parts(headers: Message, content: bytes) -> list[tuple[str, bytes]]:
    """File name and bytes of each part, by a parser that is not ours."""
    found: list[tuple[str, bytes]] = []

    def keep(file: object) -> None:
        file.file_object.seek(0)
        found.append((file.file_name.decode(), file.file_object.read()))
        file.close()

    boundary = headers["content-type"].partition("boundary=")[2]
    parser = FormParser("multipart/form-data", lambda _field: None, keep, boundary=boundary)
    parser.write(content)
    parser.finalize()
    return found


@pytest.fixture
def post(service: Service) -> Iterator[Callable[[list[Sample]], dict[str, Verdict]]]:
    client: StudioClient = client_of(f"{service.endpoint}/v1", service.endpoint, KEY)
    with client, open_session(client, 2) as session:
        yield lambda samples: send(session, service.endpoint, samples, timeout=(2, 2))


Post = Callable[[list[Sample]], dict[str, Verdict]]


def test_what_is_sent(service: Service, post: Post, tmp_path: Path) -> None:
    boxes = (BoundingBox("RBC", 1, 2, 3, 4),)
    samples = [
        replace(one, label="鼻炎 100%", group="patient ÿ", bounding_boxes=boxes)
        for one in make_samples(tmp_path, 2)
    ]
    service.body = json.dumps({"success": True, "files": []})
    assert post(samples) == {}
    assert service.path == "/api/testing/files"
    assert unquote(service.headers["x-label"]) == "鼻炎 100%"
    assert service.headers["x-label"].isascii()
    assert service.headers["x-api-key"] == KEY
    assert service.headers["x-disallow-duplicates"] == "1"
    metadata = json.loads(service.headers["x-metadata"])
    assert metadata == {"eiauto_sha256": " ".join(one.sha256 for one in samples), "eiauto_group": "patient ÿ"}
    names = [f"cell {number}.{samples[number].sha256[:12]}.png" for number in range(2)]
    assert service.parts[:2] == [(name, one.path.read_bytes()) for name, one in zip(names, samples, strict=True)]
    assert service.parts[2][0] == "bounding_boxes.labels"
    assert json.loads(service.parts[2][1])["boundingBoxes"][names[0]] == [
        {"label": "RBC", "x": 1, "y": 2, "width": 3, "height": 4}
    ]


def test_verdicts_are_found_by_the_hash_in_the_name_whatever_the_order(
    service: Service, post: Post, tmp_path: Path
) -> None:
    samples = make_samples(tmp_path, 5)
    short = [one.sha256[:12] for one in samples]
    service.body = json.dumps(
        {
            "success": True,
            "files": [
                {"success": True, "sampleId": 41, "fileName": f"x.{short[1]}.png.1a2b"},
                {"success": False, "error": "An item with this hash already exists", "fileName": f"y.{short[0]}"},
                {
                    "success": False,
                    "error": "An item with this hash already exists (ids: 7, 8)",
                    "fileName": f"y.{short[2]}.png",
                },
                {"success": False, "error": "no image", "fileName": f"z.{short[3]}.png"},
                "nonsense",
            ],
        }
    )
    verdicts = post(samples)
    assert verdicts == {
        samples[0].sha256: Duplicate(),
        samples[1].sha256: Stored(41),
        samples[2].sha256: Duplicate((7, 8)),
        samples[3].sha256: Refused("no image"),
    }


def test_verdicts_without_names_are_in_order(service: Service, post: Post, tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 2)
    service.body = json.dumps({"success": True, "files": [{"success": True, "sampleId": 1}, {"success": True}]})
    assert post(samples) == {samples[0].sha256: Stored(1), samples[1].sha256: Stored()}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, "", AnsweredError),
        (520, "<html>", AnsweredError),
        (401, "", SettingsError),
        (200, '{"success": false, "error": "Invalid API key"}', SettingsError),
        (403, '{"success": false, "error": "no"}', SettingsError),
        (400, '{"success": false, "error": "bad"}', WholeRefusedError),
        (413, "", WholeRefusedError),
        (200, '{"success": false, "error": "bad"}', WholeRefusedError),
        (404, "", NetworkError),
        (301, "", NetworkError),
        (501, "", NetworkError),
    ],
)
def test_answers_that_are_no_verdicts(
    service: Service, post: Post, tmp_path: Path, status: int, body: str, error: type[Exception]
) -> None:
    service.status, service.body = status, body
    with pytest.raises(error) as caught:
        post(make_samples(tmp_path, 2))
    assert isinstance(caught.value, PassingError) == (error is AnsweredError)


def test_the_time_to_wait_is_read(service: Service, post: Post, tmp_path: Path) -> None:
    service.status, service.retry_after = 429, "7"
    with pytest.raises(AnsweredError) as caught:
        post(make_samples(tmp_path, 1))
    assert caught.value.retry_after_s == 7
    assert caught.value.throttles


def test_one_duplicate_may_be_the_whole_answer(service: Service, post: Post, tmp_path: Path) -> None:
    """As an older service answers a POST of one file."""
    service.status, service.body = 400, "An item with this hash already exists (ids: 5)"
    samples = make_samples(tmp_path, 1)
    assert post(samples) == {samples[0].sha256: Duplicate((5,))}


def test_a_key_that_an_answer_repeats_is_not_shown(service: Service, post: Post, tmp_path: Path) -> None:
    service.status, service.body = 400, f"unknown {KEY}"
    with pytest.raises(WholeRefusedError) as caught:
        post(make_samples(tmp_path, 2))
    assert KEY not in caught.value.words


def test_a_service_that_is_not_there(service: Service, tmp_path: Path) -> None:
    client = client_of("http://127.0.0.1:9/v1", "http://127.0.0.1:9", KEY)
    with client, open_session(client, 1) as session, pytest.raises(PassingError, match="did not answer"):
        send(session, "http://127.0.0.1:9", make_samples(tmp_path, 1), timeout=(2, 2))


def test_files_that_cannot_be_sent_are_left_out_of_the_body(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, 3)
    samples[0].path.unlink()
    samples[2].path.write_bytes(b"new")
    body = make_body(samples)
    assert body.sent == (samples[1],)
    assert all(verdict.final for verdict in body.left_out.values())
    assert body.content.getvalue().count(body.boundary.encode()) == 2
