"""Small real data sets and projects for tests, and the command line in this process."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ei_automation.cli.main import main

COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (200, 50, 40)}

MANIFEST = """
schema = 1
name = "colours"

[dataset]
reader = "image-folder"
{dataset}

[dataset.origin]
type = "folder"
path = "data"

[dataset.split]
method = "{method}"
testing_ratio = 0.25
seed = 3

[impulse.input_block]
image_width = 12
image_height = 12

[training]
training_cycles = {cycles}
learning_rate = 0.01
batch_size = 16
{training}

[training.learn_block]
type = "keras"
visual_layers = [
  {{ type = "conv2d", filters = 4 }},
  {{ type = "flatten" }},
  {{ type = "dropout", dropout_ratio = 0.1 }},
]

[[deployments]]
format = "openmv"

[[deployments]]
format = "bundle"
"""


def noisy(colour: tuple[int, int, int], seed: int, size: int = 20) -> bytes:
    """A PNG of one colour with noise."""
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(colour) + rng.normal(0, 40, (size, size, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def make_data(folder: Path, count: int = 16, labels: tuple[str, ...] = tuple(COLOURS), first: int = 0) -> Path:
    """Class folders with `count` images each."""
    for place, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            image = noisy(COLOURS[label], 1000 * place + number)
            (folder / label / f"{label} ({number}).png").write_bytes(image)
    return folder


def make_project(
    folder: Path,
    *,
    method: str = "stratified",
    cycles: int = 3,
    dataset: str = "",
    training: str = "",
    extra: str = "",
) -> Path:
    """A project folder with a manifest; its data belong into `data`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = MANIFEST.format(method=method, cycles=cycles, dataset=dataset, training=training) + extra
    (folder / "project.toml").write_text(text)
    return folder


class Cli:
    """`eiauto` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.out = self.err = ""

    def __call__(self, *arguments: str | Path) -> int:
        """Run a command; returns its exit code and keeps what it printed."""
        self._monkeypatch.setattr("sys.argv", ["eiauto", *map(str, arguments)])
        self._capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leave:
            code = leave.code or 0
        self.out, self.err = self._capsys.readouterr()
        return int(code)

    def json(self) -> Any:
        """What was printed on stdout, which must be one JSON document."""
        return json.loads(self.out)
