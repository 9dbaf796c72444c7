"""Stand-ins for the modules of an OpenMV camera; they record calls, and stop the endless loop."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest


class CameraStopped(BaseException):
    """The test has seen enough frames. No script catches it."""


class Picture:
    """An image object: remembers its size and what was drawn into it."""

    def __init__(self, width: int, height: int, pixel_format: str) -> None:
        self.width, self.height, self.pixel_format = width, height, pixel_format
        self.drawn: list[tuple[Any, ...]] = []

    def clear(self) -> None:
        self.drawn = []

    def draw_image(self, image: Picture, x: int, y: int, *, x_scale: float, y_scale: float, hint: str) -> None:
        assert hint == "area"
        self.drawn.append((image, x, y, x_scale, y_scale))


class Camera:
    """Runs a script as the camera would.

    Args:
        folder: The camera's drive.
        api: The module its firmware has, ml or tf.
        scores: What its model answers.
        frames: Pictures it takes before it stops.
    """

    def __init__(self, folder: Path, api: str, scores: list[float], frames: int = 2) -> None:
        self.folder, self.api, self.scores, self.frames = folder, api, scores, frames
        self.calls: list[tuple[Any, ...]] = []
        self.seen: list[Picture] = []
        self.window = (320, 240)
        self.pixel_format = ""
        self.free = 200_000
        self.load_error: Exception | None = None

    def _sensor(self) -> types.ModuleType:
        module = types.ModuleType("sensor")

        def snapshot() -> Picture:
            if self.frames == 0:
                raise CameraStopped
            self.frames -= 1
            return Picture(*self.window, self.pixel_format)

        def set_pixformat(value: str) -> None:
            self.pixel_format = value

        def set_windowing(size: tuple[int, int]) -> None:
            self.window = size
            self.calls.append(("window", size))

        module.__dict__.update(
            RGB565="rgb565",
            GRAYSCALE="grayscale",
            QVGA="qvga",
            reset=lambda: self.calls.append(("reset",)),
            set_pixformat=set_pixformat,
            set_framesize=lambda size: self.calls.append(("framesize", size)),
            set_windowing=set_windowing,
            skip_frames=lambda time: self.calls.append(("skip", time)),
            snapshot=snapshot,
        )
        return module

    def _load(self, path: str, load_to_fb: bool) -> Camera:
        self.calls.append(("load", path, load_to_fb))
        if self.load_error is not None:
            raise self.load_error
        return self

    def predict(self, pictures: list[Picture]) -> list[Any]:
        """`ml.Model.predict`."""
        self.seen += pictures
        values = types.SimpleNamespace(flatten=lambda: types.SimpleNamespace(tolist=lambda: list(self.scores)))
        return [values]

    def classify(self, picture: Picture) -> list[Any]:
        """`tf`'s `classify`."""
        self.seen.append(picture)
        return [types.SimpleNamespace(output=lambda: list(self.scores))]

    def _modules(self) -> dict[str, types.ModuleType]:
        modules = {name: types.ModuleType(name) for name in ("image", "gc", "time", "os", self.api)}
        modules["sensor"] = self._sensor()
        modules["image"].__dict__.update(Image=Picture, AREA="area")
        modules["gc"].__dict__.update(collect=lambda: None, mem_free=lambda: self.free)
        clock = types.SimpleNamespace(tick=lambda: None, fps=lambda: 12.5)
        modules["time"].__dict__.update(clock=lambda: clock)
        modules["os"].__dict__.update(stat=lambda name: tuple((self.folder / name).stat()))
        modules[self.api].__dict__.update({"Model" if self.api == "ml" else "load": self._load})
        return modules

    def run(self, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run the script until it has taken all its pictures, or raised."""
        with monkeypatch.context() as patch:
            for name in ("ml", "tf"):
                patch.setitem(sys.modules, name, None)
            for name, module in self._modules().items():
                patch.setitem(sys.modules, name, module)
            globals_ = {
                "__name__": "__main__",
                "open": lambda name: (self.folder / name).open(encoding="utf-8"),
            }
            exec(compile(script, "ei_image_classification.py", "exec"), globals_)
