"""The official npm package `edge-impulse-linux`, unmodified: its runner builds and downloads a deployment.

What it gets is our TFLite bundle under the format's name, not an .eim; it can store it and cannot run it. The test
wants a folder in which `npm install --ignore-scripts` has installed the package, `EDGE_IMPULSE_LINUX_FOLDER`:

    {"dependencies": {"edge-impulse-linux": "1.25.2"}, "overrides": {"sharp": "0.33.5"}}
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ei_automation.studio_server.app import build_app
from ei_automation.studio_server.serve import Running, listen
from ei_automation.testing import RunningStudio
from tests.studio_server.judge import Judge
from tests.studio_server.trained import PROJECT, trained_folder  # noqa: F401

FOLDER = "EDGE_IMPULSE_LINUX_FOLDER"
STUDIO_PORT, INGESTION_PORT = 4800, 4810
"""Fixed in the official clients for a host that is an address."""
DEADLINE_S = 60


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


def test_the_runner_builds_and_downloads_a_deployment(
    runner: list[str], host: tuple[str, RunningStudio, Judge], tmp_path: Path
) -> None:
    address, running, judge = host
    target = tmp_path / "out" / "model.eim"
    command = [
        *runner,
        "--api-key",
        running.api_key,
        "--force-target",
        "runner-linux-x86_64",
        "--force-variant",
        "int8",
    ]
    said = run([*command, "--download", str(target)], address, tmp_path / "home")
    assert "Stored model in" in said
    (built,) = running.studio.deployments.history(running.project_id)
    assert (built.format, built.version) == ("runner-linux-x86_64", 1)
    assert target.read_bytes() == running.studio.deployments.read(built)
    with zipfile.ZipFile(target) as archive:
        assert "model_int8.tflite" in archive.namelist()
    assert "Built deployment version 1" in said, "the job's log came through the socket"
    assert judge.judged > 5
    assert judge.found == []
