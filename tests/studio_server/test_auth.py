"""Keys, roles, tokens: who may do what."""

from __future__ import annotations

import time

import pytest
import requests

from ei_automation.studio_server.auth import ANY_KEY, BUILDS, NEEDS_NOBODY, PRIVATE, READS, allowed
from ei_automation.studio_server.operations import all_operations
from ei_automation.studio_server.projects import ROLES
from tests.studio_server.wire import multipart

INSUFFICIENT = "insufficient permissions (valid roles: [admin])"


def call(studio, method, path, headers, **content):
    return requests.request(method, studio.api_endpoint + path, headers=headers, timeout=10, **content)


def ingest(studio, headers):
    more, body = multipart({"a.txt": b"x"})
    url = f"{studio.ingestion_endpoint}/api/training/files"
    return requests.post(url, data=body, headers={**headers, **more}, timeout=10)


def log_in(studio, password="me"):
    return call(studio, "POST", "/api-login", {}, json={"username": "me", "password": password}).json()


@pytest.fixture
def token(studio):
    return log_in(studio)["token"]


def key_of(studio, role, **options):
    return {"x-api-key": studio.studio.projects.add_key(studio.project_id, role, role, **options)[1]}


# Whether it is a key


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "ei_" + "0" * 64},
        {"x-api-key": "nonsense"},
        {"x-api-key": "\xff\xfe"},
        {"x-jwt-token": "a.b.c"},
        {"x-jwt-token": "..."},
        {"x-jwt-token": "\xe9.\xe9"},
        {"authorization": "Bearer "},
        {"authorization": "Basic bWU6bWU="},
        {"cookie": "jwt"},
        {"cookie": "jwt=a.b.c; ="},
    ],
)
def test_without_a_key_nothing_is_told(shared, headers):
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    for path in ("/api/projects", "/api/1", "/api/1/devices", "/api/organizations"):
        reply = call(shared, "GET", path, headers)
        assert (reply.status_code, reply.json()) == (401, {"success": False, "error": "Invalid API key"})
    assert ingest(shared, headers).status_code == 401
    assert shared.studio.samples.count(shared.project_id) == 0


def test_every_operation_but_six_needs_a_key(shared):
    session, open_ones = requests.Session(), set()
    for operation in all_operations():
        path = operation.path.replace("{projectId}", "1")
        path = "/".join("7" if part.startswith("{") else part for part in path.split("/"))
        reply = session.request(operation.method, shared.api_endpoint + path, timeout=10)
        if reply.status_code != 401:
            open_ones.add(operation.name)
    assert open_ones == NEEDS_NOBODY


def test_a_key_opens_by_any_of_its_doors(studio, token):
    doors = [
        {"x-api-key": studio.api_key},
        {"Authorization": f"Bearer {studio.api_key}"},
        {"Authorization": f"bearer {token}"},
        {"x-jwt-token": token},
        {"Cookie": f"other=1; jwt={token}"},
    ]
    assert [call(studio, "GET", "/api/1", headers).status_code for headers in doors] == [200] * 5


def test_a_key_ends_with_its_time_and_when_it_is_revoked(studio, token):
    projects = studio.studio.projects
    told = call(studio, "GET", "/api/projects/api-key-info", key_of(studio, "admin", ttl_s=60)).json()
    assert told["expires"].endswith("Z")
    short = key_of(studio, "admin", ttl_s=0.001)
    time.sleep(0.01)
    assert call(studio, "GET", "/api/1", short).status_code == 401
    key_id, key = projects.add_key(1, "another", "admin")
    headers = {"x-jwt-token": token}
    assert call(studio, "DELETE", f"/api/1/apikeys/{key_id}", headers).json() == {"success": True}
    assert call(studio, "GET", "/api/1", {"x-api-key": key}).status_code == 401
    assert call(studio, "DELETE", f"/api/1/apikeys/{key_id}", headers).json()["success"] is False


# What it opens


def test_another_project_is_closed_unless_it_is_public(studio):
    projects = studio.studio.projects
    other = projects.create("other", owner="me")
    mine = {"x-api-key": studio.api_key}
    for method, path in (
        ("GET", f"/api/{other}"),
        ("DELETE", f"/api/{other}"),
        ("GET", "/api/99"),
        ("GET", "/api/x"),
    ):
        assert call(studio, method, path, mine).status_code == 403
    assert [row["id"] for row in call(studio, "GET", "/api/projects", mine).json()["projects"]] == [1]
    projects.update(other, public=True)
    shown = call(studio, "GET", f"/api/{other}", mine).json()
    assert shown["success"] is True
    assert shown["developmentKeys"] == {}
    for path in (f"/api/{other}/devkeys/hmac", f"/api/{other}/socket-token", f"/api/{other}/hmackeys"):
        assert call(studio, "GET", path, mine).status_code == 403
    assert call(studio, "POST", f"/api/{other}", mine, json={"name": "stolen"}).status_code == 403
    assert projects.info(other).name == "other"


CASES = [
    ("GET", "/api/projects", {"admin", "readonly", "ingestiononly", "ingestion_deployment"}),
    ("GET", "/api/projects/api-key-info", {"admin", "readonly", "ingestiononly", "ingestion_deployment"}),
    ("GET", "/api/1", {"admin", "readonly", "ingestion_deployment"}),
    ("GET", "/api/1/devkeys/hmac", {"admin", "readonly", "ingestion_deployment"}),
    ("POST", "/api/1/classify/v2/7", {"admin", "readonly", "ingestion_deployment"}),
    ("POST", "/api/1", {"admin"}),
    ("DELETE", "/api/1/device/x", {"admin"}),
    ("POST", "/api/1/jobs/build-ondevice-model", {"admin", "ingestion_deployment"}),
    ("POST", "/api/1/jobs/7/cancel", {"admin", "ingestion_deployment"}),
    ("POST", "/api/1/jobs/train/keras/3", {"admin"}),
    ("POST", "/api/1/raw-data/delete-all", {"admin"}),
]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_it_may(studio, role):
    headers = key_of(studio, role)
    found = {}
    for method, path, _ in CASES:
        reply = call(studio, method, path, headers)
        refused = reply.status_code == 403
        assert refused == (reply.json().get("error") == INSUFFICIENT)
        found[method, path] = not refused
    assert found == {(method, path): role in roles for method, path, roles in CASES}
    assert ingest(studio, headers).status_code == (403 if role == "readonly" else 200)


def test_the_names_that_roles_are_written_with_are_operations():
    names = {operation.name for operation in all_operations()}
    assert names >= NEEDS_NOBODY | ANY_KEY | BUILDS | READS | PRIVATE
    changing = [item for item in all_operations() if item.method != "GET" and item.name not in READS]
    assert not any(allowed("readonly", operation) for operation in changing)


# People and tokens


def test_logging_in_needs_name_and_password(studio):
    assert log_in(studio, "wrong") == {"success": False, "error": "Invalid username or password"}
    assert log_in(studio, "mé")["success"] is False
    assert call(studio, "POST", "/api-login", {}, json={"username": "me"}).json()["success"] is False
    user = call(studio, "GET", "/api/user", {"x-jwt-token": log_in(studio)["token"]}).json()
    assert (user["username"], [row["id"] for row in user["projects"]]) == ("me", [1])
    assert call(studio, "GET", "/api-user-need-to-set-password/me", {}).json()["needPassword"] is False
    assert call(studio, "GET", "/api-user-need-to-set-password/you", {}).json()["success"] is False


def test_a_token_is_of_one_kind_whole_and_in_time(studio, token):
    server = studio.studio
    socket = call(studio, "GET", "/api/1/socket-token", {"x-api-key": studio.api_key}).json()["token"]
    assert server.socket_project(socket["socketToken"]) == (1, True)
    reader = call(studio, "GET", "/api/1/socket-token", key_of(studio, "readonly")).json()["token"]
    assert server.socket_project(reader["socketToken"]) == (1, False)
    assert server.socket_project(token) is None
    assert server.tokens.read("login", socket["socketToken"]) is None
    late, _ = server.tokens.make("login", -2)
    assert server.tokens.read("login", late) is None
    head, body, signature = token.split(".")
    for forged in (
        f"{head}.{body}.",
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{body[:-4]}AAAA.{signature}",
        "",
    ):
        assert server.tokens.read("login", forged) is None
    unsigned = f"eyJhbGciOiJub25lIn0.{body}."
    assert call(studio, "GET", "/api/user", {"x-jwt-token": unsigned}).status_code == 401


def test_a_project_key_is_nobody_and_a_user_has_no_key(studio, token):
    key, user = {"x-api-key": studio.api_key}, {"x-jwt-token": token}
    assert call(studio, "GET", "/api/user", key).status_code == 403
    assert call(studio, "POST", "/api/projects/create", key, json={"projectName": "x"}).status_code == 403
    assert call(studio, "GET", "/api/projects/api-key-info", user).json()["success"] is False
    assert ingest(studio, user).status_code == 401


def test_tokens_and_keys_outlive_a_restart(start, tmp_path):
    before = start(tmp_path)
    token = log_in(before)["token"]
    before.stop()
    after = start(tmp_path)
    assert after.api_key == before.api_key
    assert call(after, "GET", "/api/user", {"x-jwt-token": token}).json()["success"] is True
    assert call(after, "GET", "/api/1", {"x-api-key": before.api_key}).json()["success"] is True


def test_only_the_development_key_is_kept_whole(studio):
    projects = studio.studio.projects
    _, second = projects.add_key(1, "second", "admin")
    _, third = projects.add_key(1, "third", "readonly", development=True)
    assert projects.development_key(1) == third
    assert projects.find_key(studio.api_key) is not None
    shown = [row.shown for row in projects.keys(1)]
    assert shown == [f"ei_...{studio.api_key[-4:]}", f"ei_...{second[-4:]}", third]
    stored = str(studio.studio.database.query("SELECT * FROM api_keys"))
    assert second not in stored
    assert studio.api_key not in stored


@pytest.mark.parametrize("ttl", [0, -1, 1e300, 10**400], ids=("none", "past", "endless", "huge"))
def test_a_key_lives_some_time_or_for_ever(studio, token, ttl):
    place, body = f"/api/{studio.project_id}/apikeys", {"name": "a", "role": "readonly", "isDevelopmentKey": False}
    refused = call(studio, "POST", place, {"x-jwt-token": token}, json={**body, "ttl": ttl})
    assert "ttl is a number of seconds above 0" in refused.json()["error"]
    assert call(studio, "POST", place, {"x-jwt-token": token}, json={**body, "ttl": 10**9}).json()["success"]
    listed = call(studio, "GET", place, {"x-jwt-token": token}).json()["apiKeys"]
    assert [key.get("expires", "")[:2] for key in listed] == ["", "20"]


def test_a_user_makes_nothing_in_a_project_that_is_not_there(studio, token):
    device = {"deviceId": "a", "deviceType": "b", "ifNotExists": True}
    impulse = {"name": "x", "inputBlocks": [], "dspBlocks": [], "learnBlocks": []}
    for place, body in (("devices/create", device), ("impulse", impulse), ("jobs/classify", {})):
        answer = call(studio, "POST", f"/api/99/{place}", {"x-jwt-token": token}, json=body)
        assert answer.json() == {"success": False, "error": "No project found with this ID"}
    assert call(studio, "GET", "/api/99/devices", {"x-jwt-token": token}).json()["success"] is False
    assert studio.studio.database.query("SELECT 1 FROM impulses UNION SELECT 1 FROM devices") == []
