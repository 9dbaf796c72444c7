"""`eiauto deploy`."""

from __future__ import annotations

from pathlib import Path

import click

from ei_automation.cli.options import backend_option, json_option, open_project, project_argument
from ei_automation.cli.output import OUTPUT


@click.command()
@project_argument
@click.option("--format", "formats", multiple=True, help="Only this deployment; may be repeated.")
@backend_option
@json_option
def deploy(project: Path, formats: tuple[str, ...], backend: str) -> None:
    """Build the manifest's deployments from the last training's model."""
    from ei_automation.workflow.deploy import deploy as run
    from ei_automation.workflow.project import exclusive

    session = open_project(project, backend)
    with OUTPUT.watching(), exclusive(session):
        records = run(session, formats)
    if OUTPUT.json_mode:
        OUTPUT.document({"deployments": [record.model_dump(mode="json") for record in records]})
        return
    for record in records:
        OUTPUT.line(f"{record.format}: {project / record.file}, SHA-256 {record.sha256}")
    if not records:
        OUTPUT.line("the manifest wishes no deployments; add [[deployments]] with a format")
