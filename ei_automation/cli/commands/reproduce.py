"""`eiauto reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import (
    backend_option,
    from_option,
    groups_option,
    json_option,
    open_project,
    project_argument,
    prune_option,
    weights_option,
)
from ei_automation.cli.output import OUTPUT
from ei_automation.cli.tables import metric_columns, metric_row, side_by_side, verdict_columns, verdict_row

if TYPE_CHECKING:
    from ei_automation.workflow.reproduce import Reproduction


@click.command()
@project_argument
@backend_option
@from_option
@groups_option
@weights_option
@prune_option
@json_option
def reproduce(
    project: Path, backend: str, override: Path | None, groups: Path | None, weights: Path | None, prune: bool
) -> None:
    """Run everything from data to deployment, then show published numbers beside ours.

    Only what changed is done again; a run that was stopped continues. Exits with 8 where a published
    number is outside its tolerance.
    """
    from ei_automation.errors import VerificationError
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.reproduce import reproduce as run

    session = open_project(project, backend, override=override, groups=groups, weights=weights)
    with OUTPUT.watching(), exclusive(session):
        result = run(session, prune=prune)
    if OUTPUT.json_mode:
        OUTPUT.document(result.as_dict())
    else:
        _show(result)
    if result.differs:
        raise click.exceptions.Exit(VerificationError.exit_code)


def _show(result: Reproduction) -> None:
    for split in result.splits:
        OUTPUT.table(
            f"Split {split.name} ({split.method})", metric_columns(), [metric_row(m) for m in split.metrics]
        )
    if len(result.splits) > 1:
        OUTPUT.table("Accuracy, the splits side by side", *side_by_side(result.splits))
    for finding in result.findings:
        OUTPUT.line(f"{finding.severity}: {finding.message}")
    if result.rows:
        OUTPUT.table("Published and reproduced", verdict_columns(), [verdict_row(row) for row in result.rows])
        OUTPUT.line("Where the source says it:")
        for row in result.rows:
            OUTPUT.line(f"  - {row.name}: {row.source}")
    if result.assumptions:
        OUTPUT.line("Assumptions, where the source leaves it open:")
        for assumption in result.assumptions:
            OUTPUT.line(f"  - {assumption}")
    for record in result.deployments:
        OUTPUT.line(f"Deployment {record.format}: {record.file}")
