"""`eiauto sync`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ei_automation.cli.options import (
    backend_option,
    from_option,
    groups_option,
    json_option,
    open_project,
    project_argument,
)
from ei_automation.cli.output import OUTPUT


@click.command()
@project_argument
@backend_option
@from_option
@groups_option
@click.option("--new-split", is_flag=True, help="Drop the recorded split and split all samples anew.")
@json_option
def sync(project: Path, backend: str, override: Path | None, groups: Path | None, new_split: bool) -> None:
    """Fetch, audit and split the data; bring the backend's samples in line with them."""
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.sync import sync as run

    session = replace(open_project(project, backend, override=override, groups=groups), new_split=new_split)
    with OUTPUT.watching(), exclusive(session):
        outcome = run(session)
    if OUTPUT.json_mode:
        OUTPUT.document(outcome.as_dict())
        return
    rows = [
        (
            split,
            category,
            f"{sum(labels.values()):,}",
            ", ".join(f"{label} {n:,}" for label, n in sorted(labels.items())),
        )
        for split, categories in outcome.dataset.counts.items()
        for category, labels in sorted(categories.items())
    ]
    OUTPUT.table("Samples", ("split", "category", ">samples", "labels"), rows)
    for finding in outcome.dataset.findings:
        OUTPUT.line(f"{finding.severity}: {finding.message}")
    for name, code in sorted(outcome.dataset.set_aside.items()):
        OUTPUT.line(f"set aside: {name} ({code})")
    OUTPUT.line(outcome.summary)
