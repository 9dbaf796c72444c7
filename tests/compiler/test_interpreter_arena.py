"""The arena of TensorFlow Lite Micro, against its own package."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from ei_automation.compiler.interpreter_arena import interpreter_arena_bytes, planned_bytes
from ei_automation.compiler.read import read_graph
from tests.compiler.architectures import QUICK, architecture
from tests.compiler.test_fold import classifier
from tests.compiler.test_read import REAL

LINE = r"\[RecordingMicroAllocator\] Arena allocation (total|head) (\d+) bytes"


def reported(model: bytes) -> dict[str, int]:
    """What the package says of a model: the whole arena, and the part that tensors share (head)."""
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not installed"
    )
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=8 << 20)
    interpreter.invoke()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)  # it writes past Python's stderr
        try:
            interpreter.print_allocations()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        return {name: int(size) for name, size in re.findall(LINE, said.read().decode())}


def agrees(model: bytes) -> None:
    found, graph = reported(model), read_graph(model)
    assert planned_bytes(graph) == found["head"]
    assert 0 <= interpreter_arena_bytes(graph) - found["total"] <= 600


def test_a_small_model() -> None:
    agrees(classifier((9, 5), first_reshape=True).finish())


@pytest.mark.parametrize(("folder", "operators", "shape"), REAL)
def test_real_models(shared_data: Path, folder: str, operators: int, shape: tuple[int, ...]) -> None:
    agrees((shared_data / folder / "trained.tflite").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_the_trainers_models(name: str, dtype: str) -> None:
    agrees(architecture(name, dtype))
