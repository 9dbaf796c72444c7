"""The official npm package `edge-impulse-linux`, unmodified: its runner builds, downloads and runs a deployment.

The test wants a folder in which `npm install --ignore-scripts` has installed the package,
`EDGE_IMPULSE_LINUX_FOLDER`:

    {"dependencies": {"edge-impulse-linux": "1.25.2"}, "overrides": {"sharp": "0.33.5"}}
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ei_automation.studio_server.app import build_app
from ei_automation.studio_server.serve import Running, listen
from ei_automation.testing import RunningStudio
from tests.deployment.zig_builds import zig_cache, zig_folder  # noqa: F401
from tests.studio_server.judge import Judge
from tests.studio_server.trained import PROJECT, trained_folder  # noqa: F401

FOLDER = "EDGE_IMPULSE_LINUX_FOLDER"
STUDIO_PORT, INGESTION_PORT = 4800, 4810
"""Fixed in the official clients for a host that is an address."""
DEADLINE_S = 120
"""More than zig needs for a C library that it has not built yet."""
CLASSIFY = """
const { LinuxImpulseRunner } = require(process.argv[1]);
(async () => {
    const runner = new LinuxImpulseRunner(process.argv[2], { shmBehavior: process.argv[3] });
    const told = await runner.init();
    const answer = await runner.classify(Array(told.modelParameters.input_features_count).fill(0xff0000));
    console.log(JSON.stringify({ told, answer, threshold: await runner.setLearnBlockThreshold({ id: 3 }) }));
    await runner.stop();
})();
"""


@pytest.fixture
def runner() -> list[str]:
    """The runner's command."""
    node, folder = shutil.which("node"), os.environ.get(FOLDER)
    if node is None:
        pytest.skip("node is not installed")
    if not folder:
        pytest.skip(f"{FOLDER} does not say where edge-impulse-linux is installed")
    script = Path(folder) / "node_modules" / "edge-impulse-linux" / "build" / "cli" / "linux" / "runner.js"
    if not script.is_file():
        pytest.skip(f"edge-impulse-linux is not installed in {folder}")
    return [node, str(script)]


@pytest.fixture
def host(
    trained_folder: Path,  # noqa: F811
    tmp_path: Path,
    start: Callable[..., RunningStudio],
) -> Iterator[tuple[str, RunningStudio, Judge]]:
    """A trained local Studio on an address of its own with the fixed ports, and its Judge."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has all of 127.0.0.0/8 for servers side by side")
    shutil.copytree(trained_folder, tmp_path / "studio")
    running = start(tmp_path / "studio", project=PROJECT, jobs="real")
    address = f"127.88.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
    judge = Judge(build_app(running.studio))
    with ExitStack() as stack:
        sockets = [stack.enter_context(listen(address, port)) for port in (STUDIO_PORT, INGESTION_PORT)]
        served = Running(judge, sockets, running.studio.faults)
        stack.callback(served.stop)
        yield address, running, judge


def run(command: list[str], address: str, home: Path) -> str:
    """Run an official client with an empty home; gives all that it said."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "EI_HOST": address}
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_runner_builds_downloads_and_runs_a_deployment(
    runner: list[str],
    host: tuple[str, RunningStudio, Judge],
    zig_cache: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    address, running, judge = host
    target = tmp_path / "out" / "model.eim"
    wanted = ["--force-target", "runner-linux-x86_64", "--force-variant", "int8"]
    said = run(
        [*runner, "--api-key", running.api_key, *wanted, "--download", str(target)], address, tmp_path / "home"
    )
    assert "Stored model in" in said
    (built,) = running.studio.deployments.history(running.project_id)
    assert (built.format, built.version, built.engine) == ("runner-linux-x86_64", 1, "tflite-eon")
    assert target.read_bytes() == running.studio.deployments.read(built)
    assert "Built deployment version 1" in said, "the job's log came through the socket"
    assert judge.judged > 5
    assert judge.found == []
    if platform.machine() != "x86_64":
        pytest.skip(f"a program for x86_64 does not run on {platform.machine()}")
    package = Path(runner[1]).parents[3]
    script = [runner[0], "-e", CLASSIFY, str(package), str(target)]
    answers = [json.loads(run([*script, shared], address, tmp_path / "home")) for shared in ("always", "never")]
    for answer in answers:
        parameters = answer["told"]["modelParameters"]
        assert (parameters["labels"], parameters["sensorType"]) == (["green", "red"], "camera")
        assert answer["told"]["project"]["name"] == PROJECT
        assert answer["threshold"]["success"] is False, "a classification has none"
    scores = answers[0]["answer"]["result"]["classification"]
    assert scores == answers[1]["answer"]["result"]["classification"]
    assert sum(scores.values()) == pytest.approx(1, abs=0.01)
