"""kill -9 of client and server at any time: what is completed afterwards is exactly what was wanted."""

from __future__ import annotations

import json
import random
import socket
import time
from pathlib import Path

import pytest

from ei_automation.files import sha256_file
from ei_automation.schema.sample import Sample
from tests.backends.studio.parts import Uploader, as_live, client_of, make_samples
from tests.backends.studio.processes import Process, write_plan

SAMPLES = 400
KILLS = 3
"""A round."""


def free_ports() -> list[int]:
    """Two ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Round:
    """One folder of a local Studio, and clients that upload the same samples into it.

    Args:
        folder: Of this round.
        samples: Wanted.
        seed: Of what is killed when.
    """

    def __init__(self, folder: Path, samples: list[Sample], seed: int) -> None:
        self._folder, self._samples, self._chance = folder, samples, random.Random(seed)
        self._ports = free_ports()
        self.stored_at_kill: list[int] = []
        self._serve()
        told = json.loads(self._server.first)
        self._project_id = told["project_id"]
        api, ingestion = (f"http://127.0.0.1:{port}" for port in self._ports)
        environment = {
            "EI_API_KEY": told["key"],
            "EI_API_ENDPOINT": f"{api}/v1",
            "EI_INGESTION_ENDPOINT": ingestion,
        }
        self._plan = write_plan(folder / "plan.json", samples, environment, self._project_id)
        self._live = Uploader(client_of(f"{api}/v1", ingestion, told["key"]), self._project_id)

    def _serve(self) -> None:
        self._server = Process("serve", str(self._folder / "studio"), *map(str, self._ports))

    def disturb(self) -> None:
        """Upload, and kill the client, the server, or both, while it is at it."""
        client = Process("upload", str(self._plan))
        try:
            time.sleep(self._chance.uniform(0, 0.3))
            if self._chance.random() < 0.5:
                client.kill()
                self.stored_at_kill.append(len(self._live.live()))
                return
            self._server.kill()
            time.sleep(self._chance.uniform(0, 0.3))
            if self._chance.random() < 0.5:
                client.kill()
            self._serve()
            self.stored_at_kill.append(len(self._live.live()))
            if client.running:
                time.sleep(self._chance.uniform(0, 0.2))
        finally:
            client.kill()

    def complete(self) -> None:
        """Upload without a disturbance, and look."""
        client = Process("upload", str(self._plan))
        said, errors = client.end()
        assert client.code == 0, errors
        report = json.loads(said.splitlines()[-1])
        assert report["failed"] == {}
        assert report["added"] + report["present"] == len(self._samples)
        assert self._live.live() == as_live(self._samples)
        contents = {path.name: path for path in (self._folder / "studio").rglob("*") if len(path.name) == 64}
        assert all(sha256_file(contents[sample.sha256]) == sample.sha256 for sample in self._samples)

    def close(self) -> None:
        """End the server."""
        self._live.client.close()
        self._server.kill()


def rounds(folder: Path, seeds: range, kills: int = KILLS) -> list[int]:
    """Play them, with so many kills each; returns how many samples were there at each kill."""
    samples = make_samples(folder / "images", SAMPLES)
    found = []
    for seed in seeds:
        place = folder / f"round {seed}"
        place.mkdir()
        one = Round(place, samples, seed)
        try:
            for _ in range(kills):
                one.disturb()
            one.complete()
            found += one.stored_at_kill
        finally:
            one.close()
    return found


def test_killed_and_completed(tmp_path: Path) -> None:
    rounds(tmp_path, range(2, 3), kills=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_fifty_times_and_completed(tmp_path: Path) -> None:
    at_kill = rounds(tmp_path, range(50))
    midway = [count for count in at_kill if 0 < count < SAMPLES]
    assert len(midway) > 40, f"the kills came too early or too late: {at_kill}"
