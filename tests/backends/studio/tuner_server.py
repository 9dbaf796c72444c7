"""A loopback Studio with scripted answers, each checked against the official schema; and one that runs a tuner."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ei_automation.backends.studio.client import StudioClient
from ei_automation.settings import Secret, StudioSettings
from tests.studio_server.official import OfficialOperation, operations, problems

KEY = "ei_" + "5a" * 32
PROJECT = 7


@dataclass
class Call:
    """One request as it arrived."""

    name: str  # of the operation, as in the official client
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class Reply:
    """A file instead of JSON."""

    content: bytes
    disposition: str = ""
    media_type: str = "application/zip"


@dataclass
class Studio:
    """Answers by operation: a dictionary (an envelope without `success`), a Reply, a refusal, or a function."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what the official schemas find wrong, either way
    port: int = 0

    def named(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    def client(self) -> StudioClient:
        return StudioClient(
            StudioSettings(
                f"http://127.0.0.1:{self.port}/v1", f"http://127.0.0.1:{self.port}", Secret(KEY), PROJECT
            )
        )

    def answer(self, call: Call) -> Any:
        found = self.answers.get(call.name, f"{call.name} is not scripted")
        return found(call) if callable(found) else found


@contextmanager
def served(state: Studio) -> Iterator[Studio]:
    """Serve answers for a while; at the end everything that was said must have been of the official schemas."""
    server = serve(state)
    yield state
    server.shutdown()
    server.server_close()
    assert state.problems == []


def serve(state: Studio) -> ThreadingHTTPServer:
    """Start the server in a thread; it fills in `state.port`."""

    class Handler(_Handler):
        studio = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def operation_of(method: str, path: str) -> OfficialOperation | None:
    """The official operation of a request; fixed parts of a path go before those in braces."""
    matching = [
        operation
        for operation in operations()
        if operation.method == method
        and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(operation.path)), path)
    ]
    return min(matching, key=lambda operation: operation.path.count("{"), default=None)


class _Handler(BaseHTTPRequestHandler):
    studio: Studio
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._serve(json.loads(content) if content else None)

    def _serve(self, body: Any) -> None:
        address = urlsplit(self.path)
        operation = operation_of(self.command, address.path.removeprefix("/v1"))
        if operation is None or self.headers.get("x-api-key") != KEY:
            self._json({"success": False, "error": "Invalid API key" if operation else "no such operation"})
            return
        call = Call(operation.name, address.path, dict(parse_qsl(address.query)), body)
        self.studio.calls.append(call)
        if operation.body and body is not None:
            self.studio.problems += problems(operation.body, body)
        answer = self.studio.answer(call)
        if isinstance(answer, Reply):
            self._send(answer.content, answer.media_type, answer.disposition)
        elif isinstance(answer, str):
            self._json({"success": False, "error": answer})
        else:
            content = {"success": True, **answer}
            self.studio.problems += problems(operation.response, content)
            self._json(content)

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, content: bytes, media_type: str, disposition: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        if disposition:
            self.send_header("Content-Disposition", disposition)
        self.end_headers()
        self.wfile.write(content)


# A tuner


@dataclass
class Tuner:
    """Runs whose trials appear one by one: each look at the state moves the newest run a step on.

    `creating` looks find no state at all, as while a run is being created.
    """

    script: list[list[dict[str, Any]]]
    creating: int = 1
    config: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    step: int = -1
    made_primary: list[tuple[str, str]] = field(default_factory=list)

    def answers(self) -> dict[str, Callable[[Call], Any]]:
        return {
            "update_config": self._set_config,
            "optimize_job": self._start,
            "get_state": lambda call: self._state(None),
            "get_tuner_run_state": lambda call: self._state(int(call.path.split("/")[-2])),
            "list_tuner_runs": lambda call: {"runs": self.runs},
            "set_tuner_primary_job": self._make_primary,
        }

    @property
    def running(self) -> bool:
        return bool(self.runs) and self.step < len(self.script) - 1

    def _set_config(self, call: Call) -> dict[str, Any]:
        self.config = call.body
        return {}

    def _start(self, call: Call) -> dict[str, Any]:
        number = len(self.runs) + 1
        extended = call.query.get("extendedFromJobId")
        run = {
            "tunerJobId": 1000 + number,
            "tunerCoordinatorJobId": 100 * number,
            "index": number,
            "created": f"2026-01-0{number}T00:00:00.000Z",
            "jobStatus": "success",
            "visible": True,
            **({"continuationJobId": int(extended)} if extended else {}),
        }
        self.runs.append(run)
        self.step = -1 - self.creating
        return {"id": run["tunerCoordinatorJobId"]}

    def _make_primary(self, call: Call) -> dict[str, Any]:
        self.made_primary.append((call.query["trialId"], call.body.get("name", "")))
        return {"id": 900}

    def _state(self, job_id: int | None) -> dict[str, Any] | str:
        if not self.runs or (job_id not in (None, self.runs[-1]["tunerCoordinatorJobId"])):
            return "No EON Tuner state found"
        if job_id is not None and self.running:
            self.step += 1
        if self.step < 0:
            return "No EON Tuner state found"
        trials = self.script[self.step]
        count = {status: sum(trial["status"] == status for trial in trials) for status in STATUSES}
        return {
            "config": self.config,
            "status": {
                "numPendingTrials": count["pending"],
                "numRunningTrials": count["running"],
                "numCompletedTrials": count["completed"],
                "numFailedTrials": count["failed"],
                "numReadyWorkers": 0,
                "numBusyWorkers": count["running"],
                "numPendingWorkers": 0,
                "status": "running" if self.running else "completed",
            },
            "tunerJobId": self.runs[-1]["tunerJobId"],
            "tunerCoordinatorJobId": self.runs[-1]["tunerCoordinatorJobId"],
            "tunerJobIsRunning": self.running,
            "trials": trials,
            "projectDataType": "image",
            "workers": [],
            "nextRunIndex": len(self.runs) + 1,
            "canExtendSearch": True,
            "isWhitelabel": False,
            "totalTrainingTimeExceeded": False,
        }


STATUSES = ("pending", "running", "completed", "failed")


def evaluation(variant: str, accuracy: float, loss: float = 0.4) -> dict[str, Any]:
    """A `KerasModelMetadataMetrics`."""
    return {
        "type": variant,
        "loss": loss,
        "accuracy": accuracy,
        "confusionMatrix": [[3, 1], [0, 4]],
        "report": {},
        "onDevicePerformance": [device(ram=60_000, rom=300_000, latency=12)],
        "visualization": "none",
        "isSupportedOnMcu": True,
        "additionalMetrics": [],
    }


def device(*, ram: int, rom: int, latency: float) -> dict[str, Any]:
    """One entry of an on-device performance."""
    needs = {"ramRequired": ram, "romRequired": rom, "arenaSize": ram - 1000, "modelSize": rom - 1000}
    return {
        "mcu": "Cortex-M7 216MHz",
        "name": "Cortex-M7",
        "isDefault": True,
        "latency": latency,
        "tflite": needs,
        "eon": {**needs, "ramRequired": ram - 5000, "romRequired": rom - 20_000},
        "hasPerformance": True,
    }


def trial(number: int, status: str, **values: Any) -> dict[str, Any]:
    """A `TunerTrial` with everything that it chose."""
    keras = {
        "mode": "visual",
        "visualLayers": [{"type": "transfer_mobilenetv2_a35", "neurons": 16, "dropoutRate": 0.1}],
        "trainingCycles": 20,
        "learningRate": 0.0005,
        "batchSize": 32,
        "script": "import tensorflow as tf",
        "transferLearningModels": [{"name": "MobileNetV2 96x96 0.35"}],
    }
    learn = {"block": {"id": 4, "type": "keras-transfer-image"}, "config": keras}
    return {
        "id": f"trial-{number}",
        "name": f"rgb-mobilenetv2-{number}",
        "status": status,
        "blocks": [{"id": 2, "retries": 0, "status": status, "type": "dsp"}],
        "impulse": {
            "inputBlocks": [{"type": "image", "imageWidth": 96, "imageHeight": 96, "resizeMode": "squash"}],
            "dspBlocks": [{"block": {"type": "image"}, "config": {"channels": "RGB"}, "performance": {"ram": 4}}],
            "learnBlocks": [learn],
        },
        "model": {"inputBlocks": [{"dimension": [96, 96]}]},
        **values,
    }
