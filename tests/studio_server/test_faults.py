"""What goes wrong on purpose goes wrong exactly so."""

from __future__ import annotations

import json
import time

import pytest
import requests

from ei_automation.errors import NotFoundError, UsageError
from ei_automation.studio_server.faults import TEXTS, Faults, Rule, read_plan, rule_from_text, rules_from
from ei_automation.studio_server.serve import GRACE_S
from tests.studio_server.wire import answer, connection, multipart, png, request, said

FILES = "/api/training/files"


def upload(link, studio, files):
    headers, body = multipart(files)
    link.sendall(request("POST", FILES, {"x-api-key": studio.api_key, **headers}, body))


def get(studio, path="/api/projects"):
    return requests.get(studio.api_endpoint + path, headers={"x-api-key": studio.api_key}, timeout=10)


def count(studio):
    return studio.studio.samples.count(studio.project_id)


def until_reset(link):
    """What comes before the end, and whether that is a reset."""
    received = b""
    try:
        while chunk := link.recv(1 << 16):
            received += chunk
    except ConnectionResetError:
        return received, True
    return received, False


# The plan


@pytest.mark.parametrize(
    ("rule", "applied"),
    [
        ({"nth": 3}, [3]),
        ({"every": 2}, [2, 4, 6]),
        ({"first": 2}, [1, 2]),
        ({"after": 4}, [5, 6]),
        ({"after": 2, "nth": 2}, [4]),
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"probability": 0.0}, []),
    ],
)
def test_rules_count_what_fits_them(rule, applied):
    faults = Faults(rules_from([{"status": 500, "path": "^/api/", **rule}], "here"))
    found = []
    for number in range(1, 7):
        assert faults.of_request("GET", "/elsewhere", str) == []
        if faults.of_request("GET", "/api/1", str):
            found.append(number)
    assert found == applied
    assert [(item["seen"], item["done"]) for item in faults.report()] == [(6, len(applied))]


def test_chance_is_the_same_for_the_same_seed():
    def drawn(seed):
        faults = Faults([Rule(status=500, probability=0.5, seed=seed)])
        return [bool(faults.of_request("GET", "/", str)) for _ in range(64)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 16 < sum(drawn(1)) < 48


def test_jobs_and_sockets_ask_the_plan():
    faults = Faults(rules_from([{"fail_job": "train", "nth": 1, "error": "out of memory"}], "here"))
    faults.add([Rule(drop_socket_after=5, first=1)])
    assert faults.job_fails("generate_features") is None
    assert [faults.job_fails("train_keras") for _ in range(2)] == ["out of memory", None]
    assert [faults.socket_drop_after() for _ in range(2)] == [5, None]
    faults.clear()
    assert faults.report() == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"path": "/x"}, "one kind of thing"),
        ({"status": 500, "fail_job": "train"}, "one kind of thing"),
        ({"status": "500"}, "status: Input should be a valid integer"),
        ({"status": 99}, "status"),
        ({"stauts": 500}, "stauts"),
        ({"status": 500, "path": "("}, "no regular expression"),
        ({"status": 500, "probability": 1.5}, "probability"),
        (7, "rule 1"),
        ({"status": 500, "hang": True}, "one of status, reset and hang"),
        ({"reset": "after", "status": 500}, "one of status, reset and hang"),
        ({"fail_job": "train", "path": "/x"}, "about requests only"),
        ({"reset": "before", "retry_after_s": 1}, "belong to a status"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_number_and_key(rule, words):
    with pytest.raises(UsageError, match="here: rule 1") as caught:
        rules_from([rule], "here")
    assert words in caught.value.message


def test_plans_come_from_toml_json_and_words(tmp_path):
    toml, file = tmp_path / "plan.toml", tmp_path / "plan.json"
    toml.write_text('[[rule]]\npath = "/files$"\nnth = 3\nreset = "after"\n')
    file.write_text(json.dumps([{"path": "/files$", "nth": 3, "reset": "after"}]))
    rule = Rule(path="/files$", nth=3, reset="after")
    assert read_plan(toml) == read_plan(file) == [rule]
    assert rule_from_text("path=/files$ nth=3 reset=after") == rule
    assert rule_from_text("status=503 hang=false error=7").error == "7"
    assert rule_from_text("fail_job=train error='out of memory'").error == "out of memory"
    assert {name for name in TEXTS if "str" in str(Rule.model_fields[name].annotation)} | {"reset"} == TEXTS
    for text, words in (("status", "not key=value"), ("error='", "close the quotes"), ("status=x", "status")):
        with pytest.raises(UsageError) as caught:
            rule_from_text(text)
        assert words in caught.value.message + caught.value.hint
    with pytest.raises(NotFoundError, match=r"no file .*missing\.toml"):
        read_plan(tmp_path / "missing.toml")
    toml.write_text("rule = [")
    with pytest.raises(UsageError, match="no plan of faults"):
        read_plan(toml)


# Over the wire


def test_a_status_comes_with_its_words_and_retry_after(start):
    studio = start(
        faults=Faults(
            rules_from(
                [
                    {
                        "operation": "list_projects",
                        "nth": 1,
                        "status": 429,
                        "retry_after_s": 2,
                        "error": "Slow down",
                    },
                    {"path": "/files$", "status": 502, "body": "<html>Bad Gateway</html>", "nth": 1},
                ],
                "here",
            )
        )
    )
    first, second = get(studio), get(studio)
    assert (first.status_code, first.headers["retry-after"], first.json()["error"]) == (429, "2", "Slow down")
    assert second.json()["success"] is True
    with connection(studio.ingestion_endpoint) as link:
        upload(link, studio, {"a.png": png(1)})
        status, headers, body = answer(link)
        assert (status, headers["content-type"].split(";")[0], body) == (
            502,
            "text/html",
            b"<html>Bad Gateway</html>",
        )
        assert count(studio) == 0
        upload(link, studio, {"a.png": png(1)})  # the connection is still good
        assert said(link)[1]["files"][0]["success"] is True
    assert count(studio) == 1


@pytest.mark.parametrize(("when", "stored"), [("early", 0), ("before", 0), ("during", 1), ("after", 1)])
def test_a_reset_is_a_real_one_and_stores_nothing_before_and_all_after(start, when, stored):
    studio = start(faults=Faults([Rule(path="/files$", nth=1, reset=when)]))
    with connection(studio.ingestion_endpoint) as link:
        upload(link, studio, {"a.png": png(1)})
        received, was_reset = until_reset(link)
    assert was_reset
    assert bool(received) == (when == "during")
    assert count(studio) == stored
    with connection(studio.ingestion_endpoint) as link:
        upload(link, studio, {"a.png": png(1)})
        assert said(link)[0] == 200


def test_half_an_answer_is_half_of_what_was_announced(start):
    studio = start(faults=Faults([Rule(operation="list_projects", reset="during")]))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(studio)


def test_what_hangs_is_let_go_when_the_server_stops(start):
    studio = start(faults=Faults([Rule(operation="list_projects", hang=True, first=2)]))
    with connection(studio.api_endpoint) as link:
        link.sendall(request("GET", "/v1/api/projects", {"x-api-key": studio.api_key}))
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(1)
    with connection(studio.api_endpoint) as link:
        link.sendall(request("GET", "/v1/api/projects", {"x-api-key": studio.api_key}))
        link.settimeout(0.1)
        with pytest.raises(TimeoutError):
            link.recv(1)
        began = time.monotonic()
        studio.stop()
        assert time.monotonic() - began < GRACE_S
    assert [item["done"] for item in studio.studio.faults.report()] == [2]


def test_delays_add_up_per_request_connection_and_file(start):
    rules = [{"delay_ms": 40}, {"connection_delay_ms": 80}, {"path": "/files$", "file_delay_ms": 30}]
    studio = start(faults=Faults(rules_from(rules, "here")))
    with connection(studio.ingestion_endpoint) as link:
        times = []
        for number in range(2):
            began = time.monotonic()
            upload(link, studio, {f"{number}{name}.png": png(10 * number + name) for name in range(3)})
            assert said(link)[0] == 200
            times.append(time.monotonic() - began)
    assert 0.19 <= times[0] < 5
    assert 0.12 <= times[1] < 5


def test_a_failing_job_says_the_plans_words(start):
    studio = start(faults=Faults([Rule(fail_job="", error="out of disk")]))
    workshop = studio.studio.workshop
    job_id = workshop.start(
        studio.project_id, category="Anything", category_key="anything", key="any-1", work=lambda talk: None
    )
    job = workshop.job(job_id)
    assert job is not None
    assert job.successful is False
    assert any("out of disk" in line.text for line in workshop.log(job_id))


# The admin endpoint


def test_the_plan_is_set_shown_and_cleared_while_the_server_runs(studio):
    place = studio.api_endpoint.removesuffix("/v1") + "/admin/faults"
    key = {"x-api-key": studio.api_key}
    added = requests.post(
        place, json={"rule": [{"operation": "list_projects", "status": 500, "nth": 1}]}, headers=key
    )
    assert added.json()["rules"][0]["rule"] == {"operation": "list_projects", "status": 500, "nth": 1}
    assert [get(studio).status_code for _ in range(2)] == [500, 200]
    shown = requests.get(place, headers=key).json()["rules"]
    assert [(item["seen"], item["done"]) for item in shown] == [(2, 1)]
    assert requests.delete(place, headers=key).json() == {"success": True, "rules": []}


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"7", 400), (b'{"nonsense": 1}', 400), (b"[]", 200), (b'[{"status": 5}]', 400)],
)
def test_a_wrong_plan_is_refused_by_the_admin_endpoint(shared, body, status):
    place = shared.api_endpoint.removesuffix("/v1") + "/admin/faults"
    reply = requests.post(place, data=body, headers={"x-api-key": shared.api_key}, timeout=10)
    assert (reply.status_code, reply.json()["success"]) == (status, status == 200)


def test_the_admin_endpoint_wants_an_admin_key(shared):
    place = shared.api_endpoint.removesuffix("/v1") + "/admin/faults"
    _, reader = shared.studio.projects.add_key(shared.project_id, "reader", "readonly")
    assert requests.get(place, timeout=10).status_code == 401
    assert requests.get(place, headers={"x-api-key": reader}, timeout=10).status_code == 403


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_leaves_the_connection_usable(start, status):
    studio = start(faults=[{"operation": "list_projects", "status": status, "nth": 1}])
    with connection(studio.api_endpoint) as link:
        head = request("GET", "/v1/api/projects", {"x-api-key": studio.api_key})
        link.sendall(head)
        assert answer(link)[0] == status
        link.sendall(head)
        assert said(link)[1]["success"] is True


def test_a_plan_serves_one_server_after_the_other(start):
    faults = Faults([Rule(operation="list_projects", hang=True)])
    for _ in range(2):
        studio = start(faults=faults)
        with pytest.raises(requests.Timeout):
            requests.get(f"{studio.api_endpoint}/api/projects", headers={"x-api-key": studio.api_key}, timeout=0.3)
        studio.stop()
