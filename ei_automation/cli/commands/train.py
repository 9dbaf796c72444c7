"""`eiauto train`."""

from __future__ import annotations

from pathlib import Path

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
    best = record.curves.best_cycle
    OUTPUT.line(
        f"{'Unchanged: trained' if outcome.unchanged else 'Trained'} on {record.training_count:,} samples;"
        f" best cycle {best + 1} of {len(record.curves.loss)}, validation accuracy"
        f" {record.curves.validation_accuracy[best]:.1%} ({record.validation_count:,} samples, in training)"
    )
    for variant, model in sorted(record.models.items()):
        OUTPUT.line(f"{variant}: {model.size_bytes:,} bytes, SHA-256 {model.sha256}")
    if record.weights and record.weights.sha256 is None:
        OUTPUT.line('trained from scratch: weights = "none"')
