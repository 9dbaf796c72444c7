"""`eiauto boards`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import json_option, port_option, wanted_port
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.workflow.boards import BoardsReport, PluggedRow

SUPPORTED = ("!--board", "board", "core", "flashed by", "run by")
PLUGGED_IN = ("!port", "USB id", "serial number", "board", "what answers")
DRIVE = "drive"


@click.command()
@port_option
@click.option("--supported", is_flag=True, help="Only the table of supported boards, as Markdown.")
@click.option("--udev", is_flag=True, help="Only a rules file for Linux's udev, so that no group is needed.")
@json_option
def boards(port: str | None, supported: bool, udev: bool) -> None:
    """List the boards that can be flashed and run, and what is plugged in.

    A board in its boot loader is listed too. Where a permission is missing, the way to get it is said.
    """
    from ei_automation.errors import UsageError
    from ei_automation.workflow.boards import look, supported_markdown, udev_text

    if (supported or udev) and (OUTPUT.json_mode or (supported and udev)):
        raise UsageError("--supported, --udev and --json exclude one another", hint="leave out all but one")
    if supported or udev:
        OUTPUT.plain(supported_markdown() if supported else udev_text().rstrip("\n"))
        return
    report = look(wanted_port(None, port))
    if OUTPUT.json_mode:
        OUTPUT.document(report.to_json())
        return
    _show(report)


def _show(report: BoardsReport) -> None:
    """Two tables, and what to do."""
    from ei_automation.workflow.boards import ways_line

    rows = [(each.id, each.name, each.core, each.flashed or "no", each.run or "no") for each in report.supported]
    OUTPUT.table("Supported", SUPPORTED, rows)
    OUTPUT.line(ways_line())
    if report.plugged_in:
        has_drives = any(each.drive for each in report.plugged_in)
        plugged = [(*_row(each), each.drive) if has_drives else _row(each) for each in report.plugged_in]
        OUTPUT.table("Plugged in", (*PLUGGED_IN, DRIVE) if has_drives else PLUGGED_IN, plugged)
    else:
        OUTPUT.line(
            "Nothing is plugged in. With no board at hand: `eiauto sim BOARD`, then --port with its address."
        )
    for hint in report.hints:
        OUTPUT.talk(f"note: {hint}", style="yellow")


def _row(each: PluggedRow) -> tuple[str, ...]:
    """One thing that is plugged in."""
    port = each.port or "none"
    return (
        port if each.permitted else f"{port} (not permitted)",
        each.usb_id,
        each.serial_number,
        each.board,
        f"{each.state} (simulated)".strip() if each.is_simulated else each.state,
    )


__all__ = ["boards"]
