"""The history of a project's trainings: one folder each in `.eiauto/runs`, readable without the tool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ei_automation.errors import NotFoundError
from ei_automation.files import write_atomically
from ei_automation.schema.lock import TrainingRecord
from ei_automation.schema.metrics import Metrics
from ei_automation.workflow.project import Session, environment_versions

DOING = "recording a run"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        run_id: UTC time and the first characters of its inputs' fingerprint.
        split: Which split it trained on.
        created: UTC, ISO 8601.
        training: What was trained.
        metrics: What was measured; empty before testing.
        versions: Of the libraries.
    """

    run_id: str
    split: str
    created: str
    training: TrainingRecord
    metrics: tuple[Metrics, ...]
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run_id": self.run_id,
            "split": self.split,
            "created": self.created,
            "training": self.training.model_dump(mode="json"),
            "metrics": [item.model_dump(mode="json") for item in self.metrics],
            "versions": self.versions,
        }


@dataclass(frozen=True)
class Difference:
    """Something that differs between two runs.

    Attributes:
        key: Dotted name.
        before: In the first run; None where it has none.
        after: In the second; None where it has none.
    """

    key: str
    before: Any
    after: Any


def runs_folder(session: Session) -> Path:
    """Where the runs are."""
    return session.state_folder / "runs"


def list_runs(session: Session) -> list[Run]:
    """Every run, the oldest first; one that cannot be read is named and left out."""
    runs = []
    for path in sorted(runs_folder(session).glob("*/run.json")):
        try:
            runs.append(_read(path))
        except (ValueError, KeyError, TypeError):
            session.note(f"{path} is damaged, or of another version, and is left out; delete {path.parent}")
    return runs


def find_run(session: Session, name: str) -> Run:
    """A run by its id, by the beginning of it, or by the characters after the time.

    Raises:
        NotFoundError: None or several fit.
    """
    runs = list_runs(session)
    fitting = [run for run in runs if run.run_id.startswith(name) or run.run_id.split("-")[-1].startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(run.run_id for run in runs[-5:]) or "none yet; `eiauto train` makes one"
    problem = "no run is" if not fitting else f"{len(fitting)} runs are"
    raise NotFoundError(f"{problem} called {name!r} in {session.folder}", hint=f"the newest: {known}")


def record_run(session: Session, split: str, training: TrainingRecord, log: Sequence[str]) -> None:
    """Write a run, unless the newest one of the split is of the same training."""
    latest = next((run for run in reversed(list_runs(session)) if run.split == split), None)
    if latest and latest.training == training:
        return
    now = datetime.now(UTC)
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{training.inputs[:8]}"
    run = Run(run_id, split, now.isoformat(timespec="seconds"), training, (), environment_versions())
    write_atomically(runs_folder(session) / run_id / "log.txt", "\n".join(log) + "\n", doing=DOING)
    _write(session, run)


def record_metrics(session: Session, split: str, inputs: str, metrics: Sequence[Metrics]) -> None:
    """Add what was measured to the newest run with these inputs; nothing changes where it is there already."""
    for run in reversed(list_runs(session)):
        if run.split == split and run.training.inputs == inputs:
            if run.metrics != tuple(metrics):
                _write(session, Run(run.run_id, split, run.created, run.training, tuple(metrics), run.versions))
            return


def diff_runs(before: Run, after: Run) -> list[Difference]:
    """What changed between two runs: parameters, weights, data, models, metrics."""
    left, right = _facts(before), _facts(after)
    return [
        Difference(key, left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _facts(run: Run) -> dict[str, Any]:
    facts = {"split": run.split, **_flat("versions", run.versions)}
    training = run.training.model_dump(mode="json", exclude={"inputs", "curves"})
    facts |= _flat("", training)
    for item in run.metrics:
        name = f"{item.variant} {item.category}"
        facts |= {
            f"{name} accuracy": item.accuracy,
            f"{name} loss": item.loss,
            f"{name} samples": item.sample_count,
        }
    return facts


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        items = [(f"{prefix}.{key}" if prefix else key, inner) for key, inner in value.items()]
    elif isinstance(value, list):
        items = [(f"{prefix}[{place}]", inner) for place, inner in enumerate(value)]
    else:
        return {prefix: value}
    return {key: leaf for name, inner in items for key, leaf in _flat(name, inner).items()}


def _write(session: Session, run: Run) -> None:
    content = json.dumps(run.as_dict(), indent=1, sort_keys=True)
    write_atomically(runs_folder(session) / run.run_id / "run.json", content, doing=DOING)


def _read(path: Path) -> Run:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Run(
        content["run_id"],
        content["split"],
        content["created"],
        TrainingRecord.model_validate(content["training"]),
        tuple(Metrics.model_validate(item) for item in content["metrics"]),
        content["versions"],
    )
