"""`eiauto report`."""

from __future__ import annotations

from pathlib import Path

import click

from ei_automation.cli.options import backend_option, json_option, open_project, project_argument
from ei_automation.cli.output import OUTPUT


@click.command()
@project_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; PROJECT/report.html by default.")
@click.option("--readme", is_flag=True, help="Write PROJECT/README.md instead, and its row in the overview.")
@backend_option
@json_option
def report(project: Path, output: Path | None, readme: bool, backend: str) -> None:
    """Write one HTML file with everything that was found; it opens offline."""
    if readme:
        _readme(project)
        return
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.report import report as run

    session = open_project(project, backend)
    with OUTPUT.watching(), exclusive(session):
        path = run(session, output or session.folder / "report.html")
    if OUTPUT.json_mode:
        OUTPUT.document({"report": str(path), "size_bytes": path.stat().st_size})
        return
    OUTPUT.line(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def _readme(project: Path) -> None:
    from ei_automation.workflow.readme import write_readmes

    paths = write_readmes(open_project(project))
    if OUTPUT.json_mode:
        OUTPUT.document({"readmes": [str(path) for path in paths]})
        return
    for path in paths:
        OUTPUT.line(str(path))
