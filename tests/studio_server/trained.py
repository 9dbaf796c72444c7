"""A tiny project, trained once in a test run, and a local Studio with a copy of it for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

from ei_automation.schema.impulse import Impulse, InputBlock
from ei_automation.studio_api.impulse import impulse_request
from ei_automation.testing import RunningStudio, start_studio
from tests.helpers import COLOURS, noisy

LEARN_ID = 3
PROJECT = "Two colours & more"
TRAINING = {
    "mode": "visual",
    "visualLayers": [
        {"type": "conv2d", "neurons": 4, "kernelSize": 3, "stack": 1},
        {"type": "flatten"},
    ],
    "trainingCycles": 2,
    "learningRate": 0.01,
    "batchSize": 16,
    "trainTestSplit": 0.2,
    "autoClassWeights": False,
    "augmentationPolicyImage": "none",
}


class Caller:
    """Calls of the API with the project's key; `post` and `get` give the JSON of a success.

    Args:
        running: Which Studio.
    """

    def __init__(self, running: RunningStudio, key: str | None = None) -> None:
        self.running = running
        self._session = requests.Session()
        self._session.headers["x-api-key"] = key or running.api_key

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        """An answer as it is; `{p}` in the path stands for the project."""
        place = path.replace("{p}", str(self.running.project_id))
        return self._session.request(method, f"{self.running.api_endpoint}/api/{place}", timeout=60, **options)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET, which must succeed."""
        return checked(self.raw("GET", path, params=query))

    def post(self, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """POST, which must succeed."""
        return checked(self.raw("POST", path, json={} if body is None else body, params=query))

    def login(self, username: str = "me", password: str = "me") -> str:
        """A token of somebody who logs in."""
        place = f"{self.running.api_endpoint}/api-login"
        answer = requests.post(place, json={"username": username, "password": password}, timeout=60)
        return str(checked(answer)["token"])

    def refused(self, method: str, path: str, body: Any = None) -> str:
        """The words of a call that must be refused."""
        answer = self.raw(method, path, json=body).json()
        assert answer["success"] is False
        return str(answer["error"])

    def done(self, answer: dict[str, Any]) -> str:
        """The log of a job that must have ended well, oldest line first."""
        job = self.get(f"{{p}}/jobs/{answer['id']}/status")["job"]
        log = "".join(line["data"] for line in reversed(self.get(f"{{p}}/jobs/{answer['id']}/stdout")["stdout"]))
        assert job["finishedSuccessful"], log
        return log

    def failed(self, answer: dict[str, Any]) -> str:
        """The log of a job that must have failed."""
        job = self.get(f"{{p}}/jobs/{answer['id']}/status")["job"]
        assert job["finishedSuccessful"] is False
        return "".join(line["data"] for line in reversed(self.get(f"{{p}}/jobs/{answer['id']}/stdout")["stdout"]))

    def upload(self, category: str, label: str, images: dict[str, bytes]) -> list[int]:
        """Upload images of one label; gives their numbers."""
        answer = self._session.post(
            f"{self.running.ingestion_endpoint}/api/{category}/files",
            headers={"x-label": label},
            files=[("data", (name, content, "image/png")) for name, content in images.items()],
            timeout=60,
        )
        return [item["sampleId"] for item in checked(answer)["files"]]


def checked(answer: requests.Response) -> dict[str, Any]:
    """The JSON of an answer that must be a success."""
    content: dict[str, Any] = answer.json()
    assert content["success"] is True, content
    return content


def images(label: str, count: int, first: int = 0) -> dict[str, bytes]:
    """Noisy images of a colour, by file name."""
    place = list(COLOURS).index(label)
    return {
        f"{label} {number}.png": noisy(COLOURS[label], 1000 * place + number)
        for number in range(first, first + count)
    }


def fill(caller: Caller) -> None:
    """Upload two colours and set an impulse."""
    for label in ("green", "red"):
        caller.upload("training", label, images(label, 10))
        caller.upload("testing", label, images(label, 3, first=100))
    impulse = Impulse(input_block=InputBlock(image_width=12, image_height=12))
    caller.post("{p}/impulse", impulse_request(impulse, "keras", dsp_version=1, ids=(1, 2, LEARN_ID)))


def train(caller: Caller) -> None:
    """Features, training and testing."""
    caller.done(caller.post("{p}/jobs/generate-features", {"dspId": 2, "calculateFeatureImportance": False}))
    caller.done(caller.post(f"{{p}}/jobs/train/keras/{LEARN_ID}", TRAINING))
    caller.done(caller.post("{p}/jobs/classify", {}))


@cache
def _train_once(base: Path) -> Path:
    folder = base / "trained-studio"
    with start_studio(folder, project=PROJECT) as running:
        caller = Caller(running)
        fill(caller)
        train(caller)
    return folder


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stopped local Studio whose project is trained; one for all modules that import this."""
    return _train_once(tmp_path_factory.getbasetemp())


@pytest.fixture
def trained(trained_folder: Path, tmp_path: Path, start: Callable[..., RunningStudio]) -> RunningStudio:
    """A local Studio, under the Judge, with a copy of the trained project."""
    shutil.copytree(trained_folder, tmp_path / "studio")
    return start(tmp_path / "studio", project=PROJECT)
