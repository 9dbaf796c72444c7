"""The state of a training that is under way, in one file: what a killed run needs to end with the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.files import ensure_folder, write_atomically

DOING = "writing the training checkpoint"
Arrays = list[NDArray[Any]]


@dataclass
class Curves:
    """One value a cycle, both stages in order; losses in nats, accuracies 0..1."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    stage_starts: list[int] = field(default_factory=list)
    best_cycle: int = -1


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        stage: That is running.
        cycle: Next cycle of it.
        curves: So far.
        variables: Values of all that can change, seeds of the dropout included.
        optimizer: Its state; empty at the start of a stage.
        best: Values of `variables` after the best cycle.
    """

    stage: int = 0
    cycle: int = 0
    curves: Curves = field(default_factory=Curves)
    variables: Arrays = field(default_factory=list)
    optimizer: Arrays = field(default_factory=list)
    best: Arrays = field(default_factory=list)


def values_of(variables: Sequence[Any]) -> Arrays:
    """Copies of Keras variables' values."""
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[Any], values: Arrays) -> None:
    """Put values back."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Checkpoint:
    """A file that is always whole.

    Args:
        folder: Where it is.
        inputs: Fingerprint of the request; another request never sees this state.
    """

    def __init__(self, folder: Path, inputs: str) -> None:
        self.path = folder / f"checkpoint-{inputs}.npz"

    def save(self, progress: Progress) -> None:
        """Write it atomically. Raises StorageError."""
        ensure_folder(self.path.parent, DOING)
        place = {"stage": progress.stage, "cycle": progress.cycle, "curves": asdict(progress.curves)}
        arrays: dict[str, Any] = {"place": np.array(json.dumps(place))}
        for name in ("variables", "optimizer", "best"):
            arrays |= {f"{name}_{index}": array for index, array in enumerate(getattr(progress, name))}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(self.path, buffer.getvalue(), doing=DOING)

    def load(self) -> Progress | None:
        """What was saved; None where nothing was, or where it cannot be read (`damaged` tells which)."""
        if not self.path.is_file() or self.damaged():
            return None
        with np.load(self.path, allow_pickle=False) as file:
            place = json.loads(str(file["place"]))
            lists = {
                name: [file[f"{name}_{index}"] for index in range(_count(file.files, name))]
                for name in ("variables", "optimizer", "best")
            }
        return Progress(place["stage"], place["cycle"], Curves(**place["curves"]), **lists)

    def damaged(self) -> bool:
        """Whether there is a file that is no whole checkpoint."""
        if not self.path.is_file():
            return False
        if not zipfile.is_zipfile(self.path):
            return True
        with zipfile.ZipFile(self.path) as archive:
            return archive.testzip() is not None

    def remove(self) -> None:
        """Forget it: the training has ended."""
        self.path.unlink(missing_ok=True)


def _count(names: list[str], prefix: str) -> int:
    return sum(name.startswith(f"{prefix}_") for name in names)
