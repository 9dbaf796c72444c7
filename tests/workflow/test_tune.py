"""`eiauto tune` on the command line: the local Studio, with a scripted tuner in front of it."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl

import pytest
from starlette.responses import JSONResponse

from ei_automation.testing import start_studio
from tests.backends.studio.test_tuner import SCRIPT
from tests.backends.studio.tuner_server import Call, Tuner, operation_of
from tests.helpers import make_data, make_project

TUNER = """
[tuner]
max_trials = 2
target_latency_ms = 50

[tuner.target_device]
name = "sony-spresense"
ram_bytes = 1_500_000

[[tuner.space]]
image_sizes = [[96, 96], [160, 160]]
channels = ["RGB", "Grayscale"]
learning_rates = [0.001, 0.0005]
"""


class WithTuner:
    """The local Studio, whose tuner operations and jobs are the script's.

    Args:
        app: Everything else.
        tuner: The script.
    """

    def __init__(self, app, tuner):
        self._app, self._tuner = app, tuner

    async def __call__(self, scope, receive, send):
        path = scope.get("path", "").removeprefix("/v1")
        if scope["type"] == "http" and (found := await self._found(scope, path, receive)) is not None:
            await JSONResponse({"success": True, **found})(scope, receive, send)
        elif scope["type"] == "http" and "optimize" in path:
            await JSONResponse({"success": False, "error": "No EON Tuner state found"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _found(self, scope, path, receive):
        return self._answer(scope, path, await _body(scope, receive))

    def _answer(self, scope, path, body):
        if job := re.search(r"/jobs/(100|200|900)/(status|stdout)$", path):
            return self._job(int(job[1])) if job[2] == "status" else {"stdout": [], "totalCount": 0}
        operation = operation_of(scope["method"], path)
        answer = self._tuner.answers().get(operation.name) if operation else None
        if answer is None:
            return None
        found = answer(Call(operation.name, path, dict(parse_qsl(scope["query_string"].decode())), body))
        return found if isinstance(found, dict) else None

    def _job(self, number):
        over = number == 900 or not self._tuner.running
        ended = {"finished": "2026-01-01T00:01:00.000Z", "finishedSuccessful": True} if over else {}
        facts = {"category": "EON Tuner", "categoryKey": "tuner", "key": "tuner", "jobNotificationUids": []}
        return {"job": {"id": number, "created": "2026-01-01T00:00:00.000Z", **facts, **ended}}


async def _body(scope, receive):
    if scope["method"] != "POST" or not re.search("optimize|primary", scope["path"]):
        return None
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            return json.loads(content) if content else {}


@pytest.fixture
def tuner():
    return Tuner(SCRIPT)


@pytest.fixture
def project(tmp_path, tuner, monkeypatch):
    with start_studio(wrap=lambda app: WithTuner(app, tuner)) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        folder = make_project(tmp_path / "tuned", extra=TUNER)
        make_data(folder / "data", count=4)
        yield folder


def test_trials_are_shown_recorded_continued_and_made_primary(cli, project, tuner):
    assert cli("tune", project, "--backend", "studio") == 4
    assert "eiauto sync" in cli.err
    assert cli("sync", project, "--backend", "studio") == 0, cli.err
    assert cli("tune", project, "--backend", "studio", "--json") == 0, cli.err
    trials = cli.json()["trials"]
    assert [(trial["trial_id"], trial["status"]) for trial in trials] == [
        ("trial-1", "completed"),
        ("trial-2", "failed"),
    ]
    assert trials[0]["parameters"]["learn"][0]["config"]["learningRate"] == 0.0005
    assert "rgb-mobilenetv2-1: running" in cli.err
    assert "rgb-mobilenetv2-1: completed: validation 90.00%" in cli.err
    assert tuner.config["targetDevice"] == {"name": "sony-spresense", "ram": 1_500_000}
    assert tuner.config["space"][0]["inputBlocks"][0]["dimension"] == [[96, 96], [160, 160]]

    assert cli("tune", project, "--list", "--json") == 0
    assert cli.json()["trials"] == trials
    assert cli("tune", project, "--backend", "studio", "--extend") == 0, cli.err
    assert tuner.runs[-1]["continuationJobId"] == 100
    assert cli("tune", project, "--backend", "studio", "--primary", "rgb-mobilenetv2-1") == 0, cli.err
    assert tuner.made_primary[-1][0] == "trial-1"
    assert cli("tune", project, "--backend", "studio", "--primary", "no-such") == 4
    assert "rgb-mobilenetv2-2" in cli.err


def test_the_local_backend_has_no_tuner_yet_and_says_so(cli, project):
    assert cli("sync", project) == 0
    assert cli("tune", project) == 2
    assert "--backend studio" in cli.err
