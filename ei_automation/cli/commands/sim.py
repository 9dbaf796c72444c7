"""`eiauto sim`."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import click

from ei_automation.cli.options import Number, json_option
from ei_automation.cli.output import OUTPUT

PORT = 4750
"""Where a simulated board listens, so that EIAUTO_PORT can stay as it is."""


class FirmwareVersion(click.ParamType[tuple[int, int, int]]):
    """`4.8.1`."""

    name = "version"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        """Three numbers."""
        match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", str(value))
        if match is None:
            self.fail(f"{value!r} is no version; write it as 4.8.1", param, ctx)
        return int(match[1]), int(match[2]), int(match[3])


@click.command()
@click.argument("board", required=False)
@click.option("--model", type=click.Path(path_type=Path), help="A .tflite file or a deployment: it classifies.")
@click.option("--labels", default="", help="A labels.txt, or labels with commas, for a --model without them.")
@click.option("--images", type=click.Path(path_type=Path), help="A folder with what its camera sees.")
@click.option("--fault", "faults", multiple=True, help="What goes wrong, e.g. nak=7; may be repeated.")
@click.option("--list-faults", is_flag=True, help="Show the faults and end.")
@click.option("--listen", default=PORT, show_default=True, help="TCP port on this machine; 0 takes a free one.")
@click.option("--pty", is_flag=True, help="Also open a pseudo terminal, for programs that know no URLs.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it keeps its drive; default: nowhere.")
@click.option(
    "--firmware-version", type=FirmwareVersion(), default="4.8.1", show_default=True, help="Of an OpenMV camera."
)
@click.option("--project-name", default="", help="What Edge Impulse's firmware says it is of.")
@click.option("--deploy-version", default=0, help="Of the build that it says it is; 0: it does not say.")
@click.option("--seconds", type=Number(0), help="End after that long; default: at Ctrl-C.")
@json_option
def sim(
    board: str | None,
    model: Path | None,
    labels: str,
    images: Path | None,
    faults: tuple[str, ...],
    list_faults: bool,
    listen: int,
    pty: bool,
    folder: Path | None,
    firmware_version: tuple[int, int, int],
    project_name: str,
    deploy_version: int,
    seconds: float | None,
) -> None:
    """Start a simulated board, and print its address for --port and EIAUTO_PORT.

    It is flashed and run as a real one is: with its boot loader, its firmware's serial line, its drive. With
    --model its firmware really classifies what its camera sees.
    """
    from ei_automation.workflow.simulate import SIMULATED, SimulationRequest, simulation

    if list_faults:
        _show_faults()
        return
    if board is None:
        raise click.UsageError(f"which board? There are {', '.join(SIMULATED)}")
    request = SimulationRequest(
        board,
        listen,
        model,
        labels,
        images,
        faults,
        pty=pty,
        folder=folder,
        firmware_version=firmware_version,
        project=project_name,
        deploy_version=deploy_version,
    )
    with simulation(request, lambda line: OUTPUT.talk(f"  {line}", style="dim")) as running:
        if OUTPUT.json_mode:
            OUTPUT.document(asdict(running))
        else:
            OUTPUT.plain(running.url)
            if running.pty:
                OUTPUT.plain(running.pty)
        OUTPUT.talk(f"A simulated {running.board} listens. In another terminal:")
        OUTPUT.talk(f"  export EIAUTO_PORT={running.url}")
        OUTPUT.talk(f"  eiauto boards; eiauto flash PROJECT --board {running.board}; eiauto run")
        for fault in running.faults:
            OUTPUT.talk(f"goes wrong on purpose: {fault}", style="yellow")
        with suppress(KeyboardInterrupt):  # the usual end
            threading.Event().wait(seconds)


def _show_faults() -> None:
    """Every fault and what it does."""
    from ei_automation.workflow.simulate import FAMILIES, FAULTS

    if OUTPUT.json_mode:
        OUTPUT.document(FAULTS)
    else:
        rows = [(name, ", ".join(FAMILIES[name]), text) for name, text in FAULTS.items()]
        OUTPUT.table("", ("!fault", "boards", "what goes wrong"), rows)
