"""Upload 1,000 JPEGs to the local Studio: our client against Edge Impulse's Python package, and any other one.

    python benchmarks/upload.py
    python benchmarks/upload.py --other "uploader" "edge-impulse-uploader --directory {folder}"

Every client runs in a process of its own against a fresh server in its own process, without and with a line that
costs 80 ms per request and 160 ms per new connection (the server's own faults); the fastest of a few runs counts.
Wall time is that of the upload alone: without imports, and without our hashing, which a sync has done before (it
is printed). Of a client that is given as a command it is the whole process. CPU time and memory are those of the
whole process; the Python package runs without TensorFlow, which it would import where it is installed. The server
keeps its state in memory where the system has a folder for that (`--disk` for a real one): it waits for its disk
before it answers, and the disk is not what is compared. Last, what a second sync of 12,500 files costs.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES, LISTED, REPEATS = 1000, 12_500, 5
LABELS = ("basophil", "eosinophil", "lymphocyte", "monocyte")
LINES = {"0 ms": (0.0, 0.0), "80 ms a request, 160 ms a connection": (80.0, 160.0)}
MEMORY = Path("/dev/shm")
PLACE = "EIAUTO_BENCHMARK_PLACE"
"""Environment variable of this program and its processes: the folder of the servers' state."""
PEAK_UNIT = 1024
"""Of ru_maxrss on Linux, bytes."""


MANIFEST = """
schema = 1
name = "many"
dataset = { origin = { type = "folder", path = "data" } }
impulse = { input_block = { image_width = 24, image_height = 24 } }
[training.learn_block]
type = "keras"
visual_layers = [{ type = "flatten" }]
"""


@dataclass(frozen=True)
class Run:
    """What one client needed.

    Attributes:
        seconds: Wall time.
        cpu_s: User and system time of its process.
        peak_mb: Memory of its process.
        stored: Samples that the server has afterwards.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    stored: int


# Data


def make_images(folder: Path, count: int, size: int) -> Path:
    """JPEGs of noise whose names begin with their label, as the Python package wants it."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in range(count):
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=90)
        (folder / f"{LABELS[number % len(LABELS)]}.{number:05d}.jpg").write_bytes(stream.getvalue())
    return folder


# Server


def serve(request_ms: float, connection_ms: float, place: str) -> None:
    """A local Studio until stdin ends; its environment on stdout.

    Args:
        request_ms: Wait before every request.
        connection_ms: Wait on every new connection.
        place: Where its state goes.
    """
    from ei_automation.studio_server.faults import Faults, Rule
    from ei_automation.testing import start_studio

    rules = []
    if request_ms:
        rules.append(Rule(delay_ms=request_ms))
    if connection_ms:
        rules.append(Rule(connection_delay_ms=connection_ms))
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        start_studio(Path(folder), faults=Faults(rules)) as studio,
    ):
        print(json.dumps({**studio.environment, "EI_PROJECT_ID": str(studio.project_id)}), flush=True)
        sys.stdin.read()


@contextmanager
def server(request_ms: float = 0, connection_ms: float = 0) -> Iterator[dict[str, str]]:
    """A fresh server in a process of its own; gives the environment of its clients."""
    command = [sys.executable, __file__, "--serve", str(request_ms), str(connection_ms), os.environ[PLACE]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(30)


# Clients


def wanted(folder: Path) -> list[Any]:
    """The folder's files as samples of ours."""
    from ei_automation.schema.sample import Category, Sample

    return [
        Sample(
            path,
            path.name,
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.name.split(".")[0],
            Category.TRAINING,
        )
        for path in sorted(folder.iterdir())
    ]


def ours(folder: Path) -> None:
    """Our client; wall and CPU seconds of the upload, and seconds of the hashing before it, on stdout."""
    from ei_automation.backends.studio.client import StudioClient
    from ei_automation.backends.studio.upload import upload
    from ei_automation.settings import Settings

    start = time.perf_counter()
    samples = wanted(folder)
    hashing_s = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    with StudioClient(Settings.from_env().studio) as client:
        report = upload(client, int(os.environ["EI_PROJECT_ID"]), samples, lambda _done, _all: None)
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, hashing_s]))
    assert not report.failed, next(iter(report.failed.items()))


def sync_thrice(folder: Path) -> None:
    """`sync` of a project: the first stores, the others find nothing to do; CPU and wall seconds of each, as JSON.

    The first has imported what it needs; the second reads the lock that it wrote, and the third has it in memory.
    """
    import gc

    from ei_automation.cli.main import GARBAGE
    from ei_automation.settings import Settings
    from ei_automation.workflow.project import open_session
    from ei_automation.workflow.sync import sync

    gc.set_threshold(*GARBAGE)
    spent = []
    for _ in range(3):
        start, cpu = time.perf_counter(), time.process_time()
        outcome = sync(open_session(folder, Settings.from_env(), backend_name="studio"))
        spent.append([time.process_time() - cpu, time.perf_counter() - start])
    assert outcome.unchanged, outcome.summary
    print(json.dumps(spent))


def official(folder: Path) -> None:
    """Edge Impulse's Python package; wall and CPU seconds of the upload on stdout."""
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    from edgeimpulse.experimental.data import upload_directory

    start, cpu = time.perf_counter(), time.process_time()
    answer = upload_directory(directory=str(folder), category="training")
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu]))
    assert not answer.fails, answer.fails[0]


def measure(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float, float, str]:
    """Wall seconds, CPU seconds and peak megabytes of a process, and what it printed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, cwd=folder)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{shlex.join(command)} ended with {process.returncode}")
    seconds = time.perf_counter() - start
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * PEAK_UNIT / 1e6, said


def stored(environment: dict[str, str]) -> int:
    """Samples that the server has."""
    import requests

    address = f"{environment['EI_API_ENDPOINT']}/api/{environment['EI_PROJECT_ID']}/raw-data/count"
    answer = requests.get(
        address, params={"category": "all"}, headers={"x-api-key": environment["EI_API_KEY"]}, timeout=30
    )
    return int(answer.json()["count"])


def best(command: list[str], folder: Path, line: tuple[float, float], *, own_time: bool) -> Run:
    """The fastest of a few runs: the others measure what else the machine did."""
    runs = [run(command, folder, line, own_time=own_time) for _ in range(REPEATS)]
    return min(runs, key=lambda found: found.seconds)


def run(command: list[str], folder: Path, line: tuple[float, float], *, own_time: bool) -> Run:
    """A client against a fresh server."""
    with server(*line) as environment:
        seconds, cpu_s, peak_mb, said = measure(command, environment, folder)
        if own_time:
            seconds = json.loads(said.splitlines()[-1])[0]
        return Run(seconds, cpu_s, peak_mb, stored(environment))


# The comparison


def compare(folder: Path, others: dict[str, str]) -> None:
    """Print a table for every kind of line."""
    commands = {
        "ours": [sys.executable, __file__, "--ours", str(folder)],
        "Python package": [sys.executable, __file__, "--official", str(folder)],
        **{name: shlex.split(command.format(folder=folder)) for name, command in others.items()},
    }
    for kind, line in LINES.items():
        print(f"\n{FILES:,} JPEGs, {kind}")
        print(f"{'client':<20}{'s':>8}{'images/s':>10}{'ours is':>10}{'CPU s':>8}{'MB':>7}{'stored':>8}")
        reference: Run | None = None
        for name, command in commands.items():
            found = best(command, folder, line, own_time=name not in others)
            reference = reference or found
            faster = f"{found.seconds / reference.seconds:.1f} x"
            print(
                f"{name:<20}{found.seconds:>8.2f}{FILES / found.seconds:>10.0f}{faster:>10}"
                f"{found.cpu_s:>8.2f}{found.peak_mb:>7.0f}{found.stored:>8}",
                flush=True,
            )


def make_project(folder: Path) -> Path:
    """A project of many small images in class folders."""
    make_images(folder / "all", LISTED, 24)
    for path in (folder / "all").iterdir():
        place = folder / "data" / path.name.split(".")[0]
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    (folder / "project.toml").write_text(MANIFEST)
    return folder


def second_sync(folder: Path) -> None:
    """Print what a sync costs where everything is there."""
    with server() as environment:
        command = [sys.executable, __file__, "--sync", str(folder)]
        first, second, third = json.loads(measure(command, environment, folder)[3])
    print(f"\n{LISTED:,} files: first sync {first[1]:.1f} s, decoding and auditing included")
    print(f"with nothing to do: {second[0]:.2f} s of our own CPU time, {first[0] / second[0]:.0f} times less")
    print(f"({second[1]:.2f} s with the server's answers; again, with the lock in memory: {third[0]:.2f} s)")


def main() -> None:
    """Measure and print; or be one of the processes of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"))
    parser.add_argument(
        "--disk", action="store_true", help="the server's state on the disk of the temporary folder"
    )
    parser.add_argument("--no-listing", action="store_true", help="leave out the second sync")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    for name in ("--ours", "--official", "--sync"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(float(chosen.serve[0]), float(chosen.serve[1]), chosen.serve[2])
    elif chosen.ours or chosen.official:
        ours(chosen.ours) if chosen.ours else official(chosen.official)
    elif chosen.sync:
        sync_thrice(chosen.sync)
    else:
        os.environ[PLACE] = str(MEMORY) if MEMORY.is_dir() and not chosen.disk else tempfile.gettempdir()
        with tempfile.TemporaryDirectory() as place:
            compare(make_images(Path(place) / "images", FILES, 94), dict(chosen.other))
            if not chosen.no_listing:
                second_sync(make_project(Path(place) / "many"))


if __name__ == "__main__":
    main()
