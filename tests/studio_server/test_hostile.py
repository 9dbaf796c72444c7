"""Whatever a client sends to an operation that is served: an answer in words, never a mistake of the server."""

from __future__ import annotations

import random

import pytest
import requests

from ei_automation.studio_server.operations import handlers
from tests.studio_server.official import operations, schema
from tests.studio_server.wire import multipart, png

JUNK = [
    *(None, True, 0, -1, 2**70, 1.5, 1e308, "", "x", "\x00", "🦊", "training"),
    *([], [1], ["a"], [None], [{"id": 1}], {}, {"a": 1}, {"a": {"b": []}}),
]
QUERY = ["", "1", "-1", "x", "null", "true", "1.5", "\x00", "[]", "{}", '["a"]', '[{"a":1}]', "9" * 20, "training"]
IN_PATH = ["1", "2", "3", "0", "-1", "x", "9" * 20, "%00", "a%20b", "%2e%2e"]
ROUNDS = 3


def fields(operation):
    model = schema(operation.body) if operation.body else None
    return [item.alias for item in model.__fields__.values()] if hasattr(model, "__fields__") else []


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_junk_is_answered_in_words(studio, capfd, seed):
    chance, session, wrong = random.Random(seed), requests.Session(), []
    session.headers["x-api-key"] = studio.api_key
    for operation in operations():
        if operation.name not in handlers() or operation.name == "delete_project":
            continue
        parts = operation.path.replace("{projectId}", "1").split("/")
        path = "/".join(chance.choice(IN_PATH) if part.startswith("{") else part for part in parts)
        query = {name: chance.choice(QUERY) for name in sorted(operation.query) if chance.random() < 0.5}
        body = {name: chance.choice(JUNK) for name in fields(operation) if chance.random() < 0.8}
        reply = session.request(
            operation.method,
            studio.api_endpoint + path,
            params=query,
            json=body if operation.method in ("POST", "PUT") else None,
            timeout=30,
        )
        if reply.status_code >= 500:
            wrong.append((operation.name, path, query, body))
    assert wrong == []
    assert "made a mistake" not in capfd.readouterr().err


UNSTORABLE = [b"NaN", b"-Infinity", b"1e999", rb'"\ud800"', rb'{"\udfff": 1}', b"[" * 5000 + b"]" * 5000]


@pytest.mark.parametrize("value", UNSTORABLE, ids=range(len(UNSTORABLE)))
def test_json_that_no_answer_could_hold_is_refused_where_it_comes_in(studio, capfd, value):
    session = requests.Session()
    session.headers.update({"x-api-key": studio.api_key, "content-type": "application/json"})
    place = f"{studio.api_endpoint}/api/{studio.project_id}"
    reply = session.post(place, data=b'{"metadata": {"a": %s}}' % value, timeout=10)
    assert (reply.status_code, reply.json()["error"]) == (400, "The body is not JSON")
    query = {"category": "all", "labels": value[:6000].decode()}
    assert session.get(f"{place}/raw-data", params=query, timeout=10).json()["success"] is False
    headers, body = multipart({"a.png": png(1)})
    headers["x-metadata"] = f'{{"a": {value[:2000].decode()}}}'
    reply = session.post(f"{studio.ingestion_endpoint}/api/training/files", data=body, headers=headers, timeout=10)
    assert reply.status_code == 400
    assert session.get(place, timeout=10).json()["dataSummary"]["dataCount"] == 0
    assert "made a mistake" not in capfd.readouterr().err


def test_a_whole_character_of_two_halves_is_taken(studio):
    place = f"{studio.api_endpoint}/api/{studio.project_id}"
    headers = {"x-api-key": studio.api_key}
    assert requests.post(place, data=rb'{"name": "\ud83e\udd8a"}', headers=headers, timeout=10).json()["success"]
    assert requests.get(place, headers=headers, timeout=10).json()["project"]["name"] == "🦊"
