"""`eiauto init`."""

from __future__ import annotations

from pathlib import Path

import click

from ei_automation.cli.options import from_option, json_option
from ei_automation.cli.output import OUTPUT


@click.command()
@click.argument("project", type=click.Path(path_type=Path))
@from_option
@json_option
def init(project: Path, override: Path | None) -> None:
    """Write a commented project.toml into a new project folder."""
    from ei_automation.workflow.init import init as run

    path = run(project, override)
    if OUTPUT.json_mode:
        OUTPUT.document({"manifest": str(path)})
        return
    OUTPUT.line(f"{path} written; next: eiauto reproduce {project}")
