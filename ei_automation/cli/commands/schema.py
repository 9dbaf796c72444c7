"""`eiauto schema`."""

from __future__ import annotations

import click

from ei_automation.cli.options import json_option
from ei_automation.cli.output import OUTPUT


@click.command()
@json_option
def schema() -> None:
    """The manifest's JSON Schema, for editors that complete and check it."""
    from ei_automation.schema.manifest import Manifest

    OUTPUT.document({"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()})
