"""`eiauto import`."""

from __future__ import annotations

from pathlib import Path

import click

from ei_automation.cli.options import json_option
from ei_automation.cli.output import OUTPUT


@click.command("import")
@click.argument("reference", metavar="URL-OR-ID")
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--with-data", is_flag=True, help="Also download its images into PROJECT/data.")
@click.option(
    "--to-project",
    is_flag=True,
    help="Also restore the published version into the project of EI_API_KEY, if empty.",
)
@json_option
def import_(reference: str, project: Path, with_data: bool, to_project: bool) -> None:
    """Write the manifest of a published Studio project, or of one that EI_API_KEY may read.

    What the API does not tell is listed under `assumptions`.
    """
    from ei_automation.settings import Settings
    from ei_automation.workflow.import_project import import_project, restore_into_own
    from ei_automation.workflow.project import Event

    settings = Settings.from_env()
    with OUTPUT.watching():
        OUTPUT.talk(f"Reading {reference}", style="bold")
        found = import_project(
            reference,
            project,
            settings,
            with_data=with_data,
            on_progress=lambda text, done, total: OUTPUT.on_event(Event("progress", text, done, total)),
        )
        number = restore_into_own(found.source, settings, OUTPUT.talk) if to_project else None
    if OUTPUT.json_mode:
        document = {"manifest": str(found.path), "assumptions": list(found.manifest.assumptions)}
        OUTPUT.document({**document, "restored_into": number, "project": found.source.project_id})
        return
    OUTPUT.line(f"{found.path}: {found.source.name or found.source.project_id}")
    for assumption in found.manifest.assumptions:
        OUTPUT.line(f"assumed: {assumption}")
    if number is not None:
        OUTPUT.line(f"restored into project {number}")
