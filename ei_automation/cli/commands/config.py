"""`eiauto config show`."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from ei_automation.cli.options import json_option
from ei_automation.cli.output import OUTPUT
from ei_automation.settings import (
    ENVIRONMENT,
    FOREIGN_ENVIRONMENT,
    KEY_VARIABLE,
    SECRETS,
    STUDIO,
    Setting,
    Settings,
)


@click.group()
def config() -> None:
    """The settings: flags, then environment, then the config file."""


@config.command()
@json_option
def show() -> None:
    """Every setting, its value and where it came from; secrets are only said to be set."""
    shown = [*Settings.from_env().shown, *_foreign()]
    if OUTPUT.json_mode:
        OUTPUT.document({"settings": [asdict(setting) for setting in shown]})
        return
    manual = ENVIRONMENT | STUDIO | FOREIGN_ENVIRONMENT
    OUTPUT.table(
        "", ("setting", "value", "from", "meaning"), [(s.name, s.value, s.origin, manual[s.name]) for s in shown]
    )


def _foreign() -> list[Setting]:
    found = []
    for name in (KEY_VARIABLE, *FOREIGN_ENVIRONMENT):
        value = os.environ.get(name, "")
        shown = "(set)" if value and name in SECRETS else value
        found.append(Setting(name, shown, "environment" if value else "default"))
    return found
