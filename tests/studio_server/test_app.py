"""Routing, bodies, envelopes, and what a client must never be able to do."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ei_automation.errors import DatasetError
from ei_automation.studio_server import bodies
from ei_automation.studio_server.app import Guard, Routes
from ei_automation.studio_server.bodies import as_response
from ei_automation.studio_server.call import File, RefusalError
from ei_automation.studio_server.operations import all_operations, handlers
from tests.studio_server.judge import Judge, find
from tests.studio_server.official import operations
from tests.studio_server.wire import connection, multipart, request, said

# Routing


def example(path):
    """A path of an operation with values in its braces."""
    return "/".join("7" if part.startswith("{") else part for part in path.split("/"))


def test_every_operation_is_found_by_its_path():
    routes = Routes()
    found = {}
    for operation in all_operations():
        result = routes.find(operation.method, "/v1" + example(operation.path))
        assert result is not None
        found[operation.name] = (result[0].name, set(result[1].values()) <= {"7"})
    assert found == {operation.name: (operation.name, True) for operation in all_operations()}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/api/projects", "list_projects"),
        ("GET", "/v1/api/12", "get_project_info"),
        ("GET", "/v1//api//12/", "get_project_info"),
        ("GET", "/v1/api/1/optimize//3/trial/4/end-trial", "end_trial"),
        ("GET", "/v1/api/1/raw-data/count", "count_samples"),
        ("GET", "/v1/api/1/raw-data/5", "get_sample"),
        ("GET", "/v1/api/%7B%7D", "get_project_info"),
        ("PATCH", "/v1/api/1", ""),
        ("GET", "/v1/api", ""),
        ("GET", "/v1/", ""),
        ("GET", "/v1/api/1/raw-data/5/image/6", ""),
    ],
)
def test_words_go_before_braces(method, path, name):
    assert Routes().name(method, path) == name


def test_values_in_the_path_are_decoded_once():
    found = Routes().find("GET", "/v1/api/1/device/AA%3ABB%2F%252F")
    assert found is not None
    assert found[1] == {"projectId": "1", "deviceId": "AA:BB/%2F"}


def test_what_is_not_served_says_so_by_name(shared):
    missing = [item for item in all_operations() if item.name not in handlers()]
    assert missing
    key, session = {"x-api-key": shared.api_key}, requests.Session()
    for operation in missing[::25]:
        path = operation.path.replace("{projectId}", "1")
        reply = session.request(operation.method, shared.api_endpoint + example(path), headers=key, timeout=10)
        words = f"The local Studio does not serve {operation.name}"
        assert (reply.status_code, reply.json()) == (501, {"success": False, "error": words})


@pytest.mark.parametrize(
    "path", ["/v1/api/1/nothing", "/nothing", "/", "/v1", "/admin/x", "/api/training/nothing"]
)
def test_an_unknown_path_is_404_in_an_envelope(shared, path):
    origin = shared.api_endpoint.removesuffix("/v1")
    reply = requests.get(origin + path, headers={"x-api-key": shared.api_key}, timeout=10)
    assert (reply.status_code, reply.json()["success"]) == (404, False)
    assert reply.json()["error"]


def test_a_wrong_method_of_the_ingestion_is_405_in_an_envelope(shared):
    reply = requests.get(f"{shared.ingestion_endpoint}/api/training/files", timeout=10)
    assert (reply.status_code, reply.json()["success"]) == (405, False)


# Bodies


@pytest.mark.parametrize("body", [b"{", b"[1]", b"7", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(shared, body):
    reply = requests.post(
        f"{shared.api_endpoint}/api/1", data=body, headers={"x-api-key": shared.api_key}, timeout=10
    )
    assert (reply.status_code, reply.json()["success"]) == (400, False)


def test_an_empty_body_is_an_empty_object(shared):
    reply = requests.post(f"{shared.api_endpoint}/api/1", headers={"x-api-key": shared.api_key}, timeout=10)
    assert reply.json() == {"success": True}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_without_being_kept(shared, chunked):
    piece = b" " * (1 << 20)
    with connection(shared.api_endpoint) as link:
        headers = {"x-api-key": shared.api_key}
        if chunked:
            head = request("POST", "/v1/api/1", headers).replace(
                b"content-length: 0", b"transfer-encoding: chunked"
            )
            link.sendall(head)
            for _ in range(9):
                link.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        else:
            headers["content-length"] = str(bodies.MOST_JSON_BYTES + 1)
            link.sendall(request("POST", "/v1/api/1", headers))
        assert said(link) == (413, {"success": False, "error": "The body is larger than 8,388,608 bytes"})


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=cut", b"no boundary at all"),
        ("multipart/form-data; boundary=cut", b"--cut\r\nContent-Disposition: nonsense\r\n\r\nx\r\n--cut--\r\n"),
        (
            "multipart/form-data; boundary=cut",
            b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\nnever ends',
        ),
        ("multipart/form-data; boundary=cut", b"--cut\r\n" + b"x" * 70_000),
    ],
)
def test_a_multipart_body_that_is_none_is_refused(shared, content_type, body):
    reply = requests.post(
        f"{shared.api_endpoint}/api/1/pretrained-model/upload",
        data=body,
        headers={"x-api-key": shared.api_key, "content-type": content_type},
        timeout=10,
    )
    assert reply.json()["success"] is False
    assert reply.status_code in (200, 400)


def test_a_query_may_be_long_but_not_endless(shared):
    url, key = f"{shared.api_endpoint}/api/projects", {"x-api-key": shared.api_key}
    assert requests.get(url, params={"x": "y" * 60_000}, headers=key, timeout=10).status_code == 200
    reply = requests.get(url, params={"x": "y" * 66_000}, headers=key, timeout=10)
    assert (reply.status_code, reply.json()["success"]) == (414, False)


# Answers


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("model.zip", "attachment; filename*=utf-8''model.zip"),
        ('a"b\\c.zip', "attachment; filename*=utf-8''a%22b%5Cc.zip"),
        ("模型.zip", "attachment; filename*=utf-8''%E6%A8%A1%E5%9E%8B.zip"),
        ("a\r\nb: c.zip", "attachment; filename*=utf-8''a%0D%0Ab%3A%20c.zip"),
        ("", None),
    ],
)
def test_a_file_says_its_name(name, disposition):
    response = as_response(File(b"123", "application/zip", name))
    assert response.body == b"123"
    assert response.headers.get("content-disposition") == disposition


def ask(app):
    """What an application answers to a GET: status and JSON."""
    import asyncio

    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    asyncio.run(Guard(app)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def raising(error):
    async def app(scope, receive, send):
        raise error

    return app


def test_errors_become_words_and_bugs_stay_inside(capsys):
    assert ask(raising(RefusalError("No", 403))) == (403, {"success": False, "error": "No"})
    refused = {"success": False, "error": "two samples; take one"}
    assert ask(raising(DatasetError("two samples", hint="take one"))) == (200, refused)
    assert capsys.readouterr().err == ""
    status, body = ask(raising(KeyError("inside")))
    assert (status, body["success"]) == (500, False)
    assert "inside" not in body["error"]
    told = capsys.readouterr().err
    assert "GET /x" in told
    assert "KeyError: 'inside'" in told


def test_not_a_number_is_never_sent():
    reply = as_response({"success": True, "accuracy": float("nan"), "words": "\ud800", "count": 2**70})
    assert json.loads(reply.body) == {"success": True, "accuracy": None, "words": "?", "count": 2**70}


# Many at once


def test_many_requests_at_once_are_all_answered(shared):
    key = {"x-api-key": shared.api_key}
    with requests.Session() as session, ThreadPoolExecutor(16) as pool:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=16))
        paths = ["/api/projects", "/api/1", "/api/1/devices", "/api/2", "/api/1/nothing"] * 20
        replies = list(pool.map(lambda path: session.get(shared.api_endpoint + path, headers=key), paths))
    assert [reply.status_code for reply in replies] == [200, 200, 200, 403, 404] * 20


def test_a_trivial_request_costs_little(shared):
    key = {"x-api-key": shared.api_key}
    with requests.Session() as session:
        session.get(f"{shared.api_endpoint}/api/projects/api-key-info", headers=key)
        began = time.process_time()
        for _ in range(100):
            session.get(f"{shared.api_endpoint}/api/projects/api-key-info", headers=key)
        spent_ms = (time.process_time() - began) * 10
    assert spent_ms < 5  # of the client, the Judge and the server together; the server alone takes 0.25 ms


def test_deleting_a_project_deletes_its_rows_and_files(studio):
    server = studio.studio
    headers, body = multipart({"a.txt": b"nothing to see"})
    requests.post(
        f"{studio.ingestion_endpoint}/api/training/files",
        data=body,
        headers={"x-api-key": studio.api_key, **headers},
        timeout=10,
    )
    folder = server.projects.folder(studio.project_id)
    (folder / "kept").write_text("x")
    reply = requests.delete(
        f"{studio.api_endpoint}/api/{studio.project_id}", headers={"x-api-key": studio.api_key}, timeout=10
    )
    assert reply.json() == {"success": True}
    assert not folder.exists()
    assert server.projects.all() == []
    assert server.projects.find_key(studio.api_key) is None
    tables = [name for (name,) in server.database.query("SELECT name FROM sqlite_master WHERE type='table'")]
    left = {
        table: server.database.query(f"SELECT count(*) FROM {table}")[0][0]
        for table in tables
        if "project_id" in {row[1] for row in server.database.query(f"PRAGMA table_info({table})")}
    }
    assert set(left.values()) == {0}
    shutil.rmtree(folder.parent)


# The Judge judges


def test_the_judge_knows_every_operation_and_sees_what_is_wrong():
    assert all(find(item.method, "/v1" + example(item.path)) is not None for item in operations())

    def judged(content, status=200, query=b""):
        async def app(scope, receive, send):
            body = json.dumps(content).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        import asyncio

        async def nothing(*_message):
            return {"type": "http.request", "body": b"{}"}

        judge = Judge(app)
        scope = {"type": "http", "method": "GET", "path": "/v1/api/projects", "query_string": query}
        scope["headers"] = [(b"user-agent", b"eiauto/1")]
        asyncio.run(judge(scope, nothing, nothing))
        return judge.found

    assert judged({"success": True, "projects": []}) == []
    assert judged({"success": False, "error": "No"}) == []
    assert judged({"success": True, "projects": []}, query=b"x=1") == ["list_projects has no parameter x"]
    assert judged({"success": False})
    assert judged({"projects": []})
    assert judged({"success": True, "projects": [{"id": "1"}]})
