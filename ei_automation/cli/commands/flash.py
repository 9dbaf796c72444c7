"""`eiauto flash`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import ProjectPath, json_option, open_project, port_option, wanted_port
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.schema.firmware import FlashPlan
    from ei_automation.workflow.flash import DfuTool, Flashed

SHOWN_HASH = 16
"""Digits of a SHA-256 that a table shows; --json has all 64."""


@click.command()
@click.argument("project", type=ProjectPath(path_type=Path), required=False)
@click.option("--board", default="", help="Which board; default: the project's only one.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="A deployment, Studio's or ours: a zip, a folder, a .spk or a .bin; instead of the project's own.",
)
@port_option
@click.option("--baud", type=click.IntRange(min=1200), help="Of the transfer to a Spresense; default 921600.")
@click.option(
    "--dfu-tool",
    type=click.Choice(["auto", "pyusb", "dfu-util"]),
    default="auto",
    show_default=True,
    help="What speaks DFU. auto: pyusb where libusb is installed, the program dfu-util otherwise.",
)
@click.option("--dry-run", is_flag=True, help="Show each write, and write nothing.")
@click.option("--skip-fit", is_flag=True, help="Flash what is thought not to fit the board's memory too.")
@json_option
def flash(
    project: Path | None,
    board: str,
    source: Path | None,
    port: str | None,
    baud: int | None,
    dfu_tool: DfuTool,
    dry_run: bool,
    skip_fit: bool,
) -> None:
    """Put a project's deployment, or any Studio deployment, onto a board, and check that it is there.

    The image is checked before anything is written: what it is, which board it is for, whether it fits. What a
    device holds is recorded in the project's lock.
    """
    from contextlib import nullcontext

    from ei_automation.workflow.flash import FlashRequest, prepare
    from ei_automation.workflow.flash import flash as run
    from ei_automation.workflow.project import exclusive

    session = open_project(project) if project is not None else None
    request = FlashRequest(board, source, wanted_port(session, port), baud, dfu_tool, skip_fit)
    with OUTPUT.watching(), exclusive(session) if session is not None and not dry_run else nullcontext():
        prepared = prepare(session, request, OUTPUT.on_event)
        flashed = None if dry_run else run(session, prepared)
    if OUTPUT.json_mode:
        _document(prepared.plan, flashed)
        return
    _show_plan(prepared.plan)
    if flashed is None:
        OUTPUT.line("nothing was written (--dry-run)")
        return
    for note in flashed.result.notes:
        OUTPUT.talk(f"note: {note}", style="yellow")
    OUTPUT.line(f"flashed in {flashed.result.seconds:.1f} s; {flashed.result.verified}")
    if flashed.proof.words:
        OUTPUT.line(flashed.proof.words)


def _document(plan: FlashPlan, flashed: Flashed | None) -> None:
    """Everything as JSON."""
    content = {"plan": asdict(plan), "written": flashed is not None}
    if flashed is not None:
        content |= {
            "result": asdict(flashed.result),
            "proof": asdict(flashed.proof),
            "record": flashed.record.model_dump(mode="json"),
        }
    OUTPUT.document(content)


def _show_plan(plan: FlashPlan) -> None:
    """What is written, and what happens around it."""
    device = ", ".join(word for word in (plan.port, plan.serial_number) if word)
    OUTPUT.line(f"{plan.board}{f' ({device})' if device else ''}: {plan.method}")
    rows = [(write.what, write.where, f"{write.size_bytes:,}", write.sha256[:SHOWN_HASH]) for write in plan.writes]
    OUTPUT.table("", ("file", "goes to", ">bytes", "SHA-256"), rows)
    for number, step in enumerate(plan.steps, 1):
        OUTPUT.line(f"{number}. {step}")
    for note in plan.notes:
        OUTPUT.talk(f"note: {note}", style="yellow")
