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
    prune_option,
)
from ei_automation.cli.output import OUTPUT


@click.command()
@project_argument
@backend_option
@from_option
@groups_option
@prune_option
@click.option("--new-split", is_flag=True, help="Drop the recorded split and split all samples anew.")
@click.option("--dry-run", is_flag=True, help="Only show what would change, as `eiauto plan` does.")
@json_option
def sync(
    project: Path,
    backend: str,
    override: Path | None,
    groups: Path | None,
    prune: bool,
    new_split: bool,
    dry_run: bool,
) -> None:
    """Fetch, audit and split the data; bring the backend's samples in line with them."""
    from ei_automation.cli.commands.plan import show_plan
    from ei_automation.workflow.plan import plan
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.sync import sync as run

    session = replace(open_project(project, backend, override=override, groups=groups), new_split=new_split)
    if dry_run:
        with OUTPUT.watching(), exclusive(session):
            found = plan(session, prune=prune)
        show_plan(found)
        return
    with OUTPUT.watching(), exclusive(session):
        outcome = run(session, prune=prune)
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
