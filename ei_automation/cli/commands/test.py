"""`eiauto test`."""

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
)
from ei_automation.cli.output import OUTPUT
from ei_automation.cli.tables import metric_columns, metric_row


@click.command()
@project_argument
@split_option
@backend_option
@json_option
def test(project: Path, split: str, backend: str) -> None:
    """Run the trained .tflite files over validation and testing samples."""
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.test import test as run

    session = open_project(project, backend)
    with OUTPUT.watching(), exclusive(session):
        metrics = run(session, known_split(session, split))
    if OUTPUT.json_mode:
        OUTPUT.document({"metrics": [item.model_dump(mode="json") for item in metrics]})
        return
    OUTPUT.table(f"Split {split}", metric_columns(), [metric_row(item) for item in metrics])
