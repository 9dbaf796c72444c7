"""`eiauto runs list|show|diff`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ei_automation.cli.options import json_option, open_project, project_argument
from ei_automation.cli.output import OUTPUT
from ei_automation.cli.tables import metric_columns, metric_row


@click.group()
def runs() -> None:
    """The project's trainings: list them, show one, compare two."""


@runs.command("list")
@project_argument
@json_option
def list_runs(project: Path) -> None:
    """Every run, the oldest first."""
    from ei_automation.workflow.runs import list_runs as find_all

    found = find_all(open_project(project))
    if OUTPUT.json_mode:
        OUTPUT.document({"runs": [run.as_dict() for run in found]})
        return
    rows = []
    for run in found:
        accuracy = {(m.variant, m.category): f"{m.accuracy:.2%}" for m in run.metrics}
        block = run.training.parameters["learn_block"]
        network = block["visual_layer"]["type"] if "visual_layer" in block else block["type"]
        testing = accuracy.get(("int8", "testing"), "")
        rows.append((run.run_id, run.split, network, str(run.training.parameters["training_cycles"]), testing))
    OUTPUT.table("", ("run", "split", "network", ">cycles", ">int8 testing"), rows)


@runs.command()
@project_argument
@click.argument("run")
@json_option
def show(project: Path, run: str) -> None:
    """One run: parameters and metrics. RUN is its id or the beginning of it."""
    from ei_automation.workflow.runs import find_run

    found = find_run(open_project(project), run)
    if OUTPUT.json_mode:
        OUTPUT.document(found.as_dict())
        return
    OUTPUT.line(f"{found.run_id}, split {found.split}, {found.created}")
    for key, value in sorted(found.training.parameters.items()):
        OUTPUT.line(f"  {key} = {value}")
    OUTPUT.table("", metric_columns(), [metric_row(item) for item in found.metrics])


@runs.command()
@project_argument
@click.argument("before")
@click.argument("after")
@json_option
def diff(project: Path, before: str, after: str) -> None:
    """What changed between two runs, and what moved with it."""
    from ei_automation.workflow.runs import diff_runs, find_run

    session = open_project(project)
    differences = diff_runs(find_run(session, before), find_run(session, after))
    if OUTPUT.json_mode:
        OUTPUT.document({"differences": [asdict(item) for item in differences]})
        return
    if not differences:
        OUTPUT.line("the two runs are the same")
        return
    OUTPUT.table(
        "", ("what", "before", "after"), [(d.key, _short(d.before), _short(d.after)) for d in differences]
    )


def _short(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
