"""`eiauto plan`."""

from __future__ import annotations

import json
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
)
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.workflow.plan import Plan

CHANGES = 2
"""Exit code with --detailed-exitcode where there are changes."""
SHOWN = 20
"""Rows of each kind of change on a terminal; --json has them all."""


@click.command()
@project_argument
@backend_option
@from_option
@groups_option
@prune_option
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 2 where there are changes, 0 where there are none."
)
@json_option
def plan(
    project: Path,
    backend: str,
    override: Path | None,
    groups: Path | None,
    prune: bool,
    detailed_exitcode: bool,
) -> None:
    """Show what `sync`, `train` and `deploy` would change in the live project; nothing is written there.

    With --json one line a change, then one with the summary.
    """
    from ei_automation.workflow.plan import plan as run
    from ei_automation.workflow.project import exclusive

    session = open_project(project, backend, override=override, groups=groups)
    with OUTPUT.watching(), exclusive(session):
        found = run(session, prune=prune)
    show_plan(found)
    if detailed_exitcode and found.pending:
        raise click.exceptions.Exit(CHANGES)


def show_plan(found: Plan) -> None:
    """Print a plan: JSON lines, or a table and a sentence."""
    if OUTPUT.json_mode:
        for change in found.changes:
            OUTPUT.plain(json.dumps(change.as_dict(), ensure_ascii=False, sort_keys=True))
        facts = {"project": found.project, "where": found.where, "changes": len(found.pending)}
        OUTPUT.plain(json.dumps({"summary": found.summary, **facts}, ensure_ascii=False, sort_keys=True))
        return
    kinds: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for change in found.changes:
        rows = kinds.setdefault((change.kind, change.action), [])
        rows.append((change.kind, change.action, change.subject, change.before or "", change.after or ""))
    shown = [row for rows in kinds.values() for row in rows[:SHOWN]]
    if shown:
        OUTPUT.table(f"{found.project}: {found.where}", ("kind", "action", "what", "now", "wanted"), shown)
    for (kind, action), rows in kinds.items():
        if len(rows) > SHOWN:
            OUTPUT.line(f"... and {len(rows) - SHOWN:,} more: {action} {kind} (--json lists them)")
    OUTPUT.line(found.summary)
