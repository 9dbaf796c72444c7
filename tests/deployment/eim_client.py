"""A small client of an .eim, that speaks as Edge Impulse's Python package does."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEADLINE_S = 30.0


class EimClient:
    """A started program and a connection to it.

    Args:
        command: The program, with an emulator before it where it needs one.
        folder: For its socket.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        self.path = folder / "runner.sock"
        self.process = subprocess.Popen([*command, str(self.path)], stdout=subprocess.DEVNULL)
        self.socket = self.connect()
        self._next = 0
        self.shared: NDArray[np.float32] | None = None

    def connect(self) -> socket.socket:
        """A connection to the program, as soon as its socket is there."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.path.exists():
            assert self.process.poll() is None, f"the program ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "the program made no socket"
            time.sleep(0.005)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(DEADLINE_S)
        made.connect(str(self.path))
        return made

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message with a number; its answer."""
        self._next += 1
        self.socket.sendall(json.dumps({**message, "id": self._next}).encode())
        answer = self.answer()
        assert answer.pop("id") == self._next
        return answer

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        (answer,) = self.answers(1)
        return answer

    def answers(self, count: int) -> list[dict[str, Any]]:
        """The next answers; each ends in a NUL, and nothing comes after the last."""
        data = b""
        while data.count(b"\0") < count:
            chunk = self.socket.recv(1024)
            assert chunk, f"the program ended the connection after {data!r}"
            data += chunk
        assert data.endswith(b"\0")
        assert data.isascii()
        return [_by_braces(part.decode()) for part in data[:-1].split(b"\0")]

    def hello(self) -> dict[str, Any]:
        """What the model is; its shared memory is opened."""
        told = self.ask(hello=1)
        place = told["features_shm"]
        assert place["size_bytes"] == 4 * place["elements"]
        self.memory = Path("/dev/shm") / place["name"].lstrip("/")
        with self.memory.open("r+b") as stream:
            opened = mmap.mmap(stream.fileno(), place["size_bytes"])
        self.shared = np.frombuffer(opened, np.float32)
        return told

    def classify(self, pixels: NDArray[np.uint8], *, shared: bool = False) -> dict[str, Any]:
        """The result for a picture: uint8, (height, width, 3)."""
        features = features_of(pixels)
        if not shared:
            answer = self.ask(classify=features.tolist())
        else:
            assert self.shared is not None
            self.shared[:] = features
            answer = self.ask(classify_shm={"elements": len(features)})
        assert answer["success"], answer
        assert {"dsp", "classification", "anomaly"} <= set(answer["timing"])
        return dict(answer["result"])

    def stop(self) -> int:
        """End the program as the official clients do; its exit code."""
        self.socket.close()
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
        return self.process.wait(DEADLINE_S)


def features_of(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """0xRRGGBB of each pixel."""
    wide = pixels.reshape(-1, 3).astype(np.int64)
    return (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]


def _by_braces(text: str) -> dict[str, Any]:
    """The first object of a text, as the official clients find its end: by counting braces."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            answer: dict[str, Any] = json.loads(text[: place + 1])
            return answer
    raise AssertionError(f"no whole object in {text!r}")
