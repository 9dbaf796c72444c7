"""A local Studio and an uploading client as processes of their own, to be killed.

`python -m tests.backends.studio.processes serve FOLDER PORT INGESTION_PORT` and `... upload PLAN`, where the plan
is a JSON file. Both say a line on stdout when they are at work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

from ei_automation.schema.sample import Category, Sample

READY_S = 60.0


class Process:
    """A process that has said that it is at work; ended at the latest with the with statement.

    Args:
        arguments: Of this module.
    """

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "tests.backends.studio.processes", *arguments]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        self.first = self._process.stdout.readline()
        if not self.first:
            raise RuntimeError(self.end()[1])

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def end(self, timeout_s: float = READY_S) -> tuple[str, str]:
        """Wait for its end; what it said on stdout and stderr."""
        try:
            return self._process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    @property
    def code(self) -> int | None:
        """Its exit code."""
        return self._process.returncode


def write_plan(place: Path, samples: list[Sample], environment: dict[str, str], project_id: int) -> Path:
    """What the client is to do."""
    rows = [{**asdict(sample), "path": str(sample.path), "bounding_boxes": ()} for sample in samples]
    place.write_text(json.dumps({"samples": rows, "environment": environment, "project_id": project_id}))
    return place


def _say(content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def _serve(folder: Path, port: int, ingestion_port: int) -> None:
    from ei_automation.studio_server.app import build_app
    from ei_automation.studio_server.serve import Running, listen, open_project
    from ei_automation.studio_server.studio import Studio, StudioOptions

    studio = Studio(StudioOptions(folder, folder / "cache", offline=True))
    project_id, key = open_project(studio, "kill")
    sockets = [listen("127.0.0.1", port), listen("127.0.0.1", ingestion_port)]
    running = Running(build_app(studio), sockets, studio.faults)
    _say({"project_id": project_id, "key": key})
    threading.Event().wait(600)
    running.stop()


def _upload(plan: Path) -> None:
    from ei_automation.backends.studio.client import StudioClient
    from ei_automation.backends.studio.pace import Pace
    from ei_automation.backends.studio.upload import upload
    from ei_automation.settings import Settings
    from tests.backends.studio.parts import BRISK

    content = json.loads(plan.read_text())
    samples = [
        Sample(**{**row, "path": Path(row["path"]), "category": Category(row["category"]), "bounding_boxes": ()})
        for row in content["samples"]
    ]
    _say("at work")
    with StudioClient(Settings.from_env(content["environment"]).studio) as client:
        pace = Pace(replace(BRISK, files=4, connections=4))  # slow enough to be killed in the middle
        report = upload(client, content["project_id"], samples, lambda _done, _all: None, pace=pace)
    _say({"added": len(report.added), "present": len(report.present), "failed": report.failed})


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        _upload(Path(sys.argv[2]))
