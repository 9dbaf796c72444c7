"""`eiauto verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ei_automation.cli.options import backend_option, json_option, open_project, project_argument
from ei_automation.cli.output import OUTPUT


@click.command()
@project_argument
@backend_option
@json_option
def verify(project: Path, backend: str) -> None:
    """Check data, splits, models and deployments against the record, offline."""
    from ei_automation.errors import VerificationError
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.verify import verify as run

    session = open_project(project, backend)
    with OUTPUT.watching(), exclusive(session):
        checks = run(session)
    failed = [check for check in checks if not check.ok]
    if OUTPUT.json_mode:
        OUTPUT.document({"ok": not failed, "checks": [asdict(check) for check in checks]})
        if failed:
            raise click.exceptions.Exit(VerificationError.exit_code)
        return
    rows = [("ok" if check.ok else "DIFFERS", check.name, check.detail) for check in checks]
    OUTPUT.table("", ("", "what", "found"), rows)
    if failed:
        names = ", ".join(check.name for check in failed)
        raise VerificationError(
            f"{len(failed)} of {len(checks)} checks differ from the record: {names}",
            hint="restore what was changed, or make a new record with `eiauto reproduce`",
        )
