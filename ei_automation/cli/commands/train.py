"""`eiauto train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import (
    backend_option,
    json_option,
    known_split,
    open_project,
    project_argument,
    split_option,
    weights_option,
)
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.schema.lock import TrainingRecord


@click.command()
@project_argument
@split_option
@backend_option
@weights_option
@json_option
def train(project: Path, split: str, backend: str, weights: Path | None) -> None:
    """Train on the synced samples and quantize; nothing is done again that is unchanged."""
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.train import train as run

    session = open_project(project, backend, weights=weights)
    with OUTPUT.watching(), exclusive(session):
        outcome = run(session, known_split(session, split))
    record = outcome.record
    if OUTPUT.json_mode:
        OUTPUT.document({"unchanged": outcome.unchanged, "training": record.model_dump(mode="json")})
        return
    OUTPUT.line(f"{'Unchanged: trained' if outcome.unchanged else 'Trained'} on {_summary(record)}")
    for variant, model in sorted(record.models.items()):
        OUTPUT.line(f"{variant}: {model.size_bytes:,} bytes, SHA-256 {model.sha256}")
    if record.weights and record.weights.source == "none":
        OUTPUT.line('trained from scratch: weights = "none"')


def _summary(record: TrainingRecord) -> str:
    """How many samples, and the best cycle where the backend tells the curves."""
    curves = record.curves
    if not curves.validation_accuracy:
        return f"{record.training_count:,} samples, validated on {record.validation_count:,}"
    best = curves.best_cycle
    return (
        f"{record.training_count:,} samples; best cycle {best + 1} of {len(curves.validation_accuracy)},"
        f" validation accuracy {curves.validation_accuracy[best]:.1%} ({record.validation_count:,} samples, in"
        " training)"
    )
