"""Whatever a client sends to an operation that is served: an answer in words, never a mistake of the server."""

from __future__ import annotations

import random

import pytest
import requests

from ei_automation.studio_server.operations import handlers
from tests.studio_server.official import operations, schema

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
