"""`eiauto completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ei_automation.cli.options import json_option
from ei_automation.cli.output import OUTPUT


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@json_option
def completion(ctx: click.Context, shell: str) -> None:
    """The completion script for a shell: eval "$(eiauto completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None, "click has these shells"
    script = found(ctx.find_root().command, {}, "eiauto", "_EIAUTO_COMPLETE").source()
    if OUTPUT.json_mode:
        OUTPUT.document({"shell": shell, "script": script})
        return
    OUTPUT.plain(script)
