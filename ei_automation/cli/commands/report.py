"""`eiauto report`."""

from __future__ import annotations

from pathlib import Path

import click

from ei_automation.cli.options import backend_option, json_option, open_project, project_argument, weights_option
from ei_automation.cli.output import OUTPUT


@click.command()
@project_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; PROJECT/report.html by default.")
@backend_option
@weights_option
@json_option
def report(project: Path, output: Path | None, backend: str, weights: Path | None) -> None:
    """Write one HTML file with everything that was found; it opens offline."""
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.report import report as run

    session = open_project(project, backend, weights=weights)
    with OUTPUT.watching(), exclusive(session):
        path = run(session, output or session.folder / "report.html")
    if OUTPUT.json_mode:
        OUTPUT.document({"report": str(path), "size_bytes": path.stat().st_size})
        return
    OUTPUT.line(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
