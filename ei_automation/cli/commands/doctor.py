"""`eiauto doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ei_automation.cli.options import json_option
from ei_automation.cli.output import OUTPUT


@click.command()
@json_option
def doctor() -> None:
    """Look at Python, the extras, the cache and the credentials, and say what is missing."""
    from ei_automation.errors import SettingsError
    from ei_automation.settings import Settings
    from ei_automation.workflow.doctor import doctor as run

    found = run(Settings.from_env())
    if OUTPUT.json_mode:
        OUTPUT.document({"checks": [asdict(item) for item in found]})
    else:
        OUTPUT.table("", ("", "what", "found"), [(item.status, item.name, item.detail) for item in found])
    if any(item.status == "problem" for item in found):
        raise click.exceptions.Exit(SettingsError.exit_code)
