"""`eiauto run`."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ei_automation.cli.options import Number, ProjectPath, open_project, port_option, wanted_port
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ei_automation.workflow.parity import ParityReport
    from ei_automation.workflow.project import Session
    from ei_automation.workflow.run_board import Tally

PATH = click.Path(path_type=Path)
SHOWN_SAMPLES = 20
"""How many differing images the table names; --json has all."""
SHOWN_LABELS = 3
"""Of the summary."""
MATRIX_LABELS = 10
"""A matrix of more columns cannot be read on a terminal: what is mixed up is listed instead."""
LIVE_ONLY = ("seconds", "continuous", "debug", "script")
"""Options that belong to watching a board, not to --images."""


def _json_lines(_ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    """An error, of a wrong call too, is one more line."""
    OUTPUT.json_mode = OUTPUT.json_lines = value
    return value


@click.command()
@click.argument("project", type=ProjectPath(path_type=Path), required=False)
@click.option("--board", help="The kind of board, as `eiauto boards` names it; default: the manifest's.")
@port_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=_json_lines,
    help="One line of JSON per result, and one for an error; with --images one document.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many results; of --images so many images.")
@click.option("--seconds", type=Number(0, min_open=True), help="End after so many seconds.")
@click.option("--continuous", is_flag=True, help="AT firmware: classify without pauses, where it can.")
@click.option("--debug", is_flag=True, help="AT firmware: its debug mode, without pauses.")
@click.option("--script", type=PATH, help="OpenMV: the script to run; default: that of the deployment.")
@click.option("--from", "given", type=PATH, help="A deployment, instead of the project's.")
@click.option("--images", type=PATH, help="Send these images and compare the board with LiteRT.")
@click.option("--model", type=PATH, help="--images: the .tflite file to compare with.")
@click.option("--tolerance", type=Number(0, 1), help="--images: largest difference of a score; default: 2/256.")
@click.option(
    "--result-timeout",
    type=Number(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Give up when the board is silent for so many seconds.",
)
def run(project: Path | None, as_json: bool, **given: Any) -> None:
    """Run inference on a board and show what it says.

    With --images the board gets the features of images instead of its camera's, and its scores are compared
    with LiteRT's on this machine.
    """
    session = open_project(project) if project is not None else None
    if given["images"] is None:
        _refuse(given, ("model", "tolerance"), "is of --images")
        _live(session, as_json, given)
    else:
        OUTPUT.json_lines = False
        _refuse(given, LIVE_ONLY, "is not of --images")
        _parity(session, given)


def _refuse(given: dict[str, Any], names: Sequence[str], why: str) -> None:
    """Refuse options that would have no effect."""
    from ei_automation.errors import UsageError

    for name in names:
        if given[name] is not None and given[name] is not False:
            raise UsageError(f"--{name} {why}", hint="see `eiauto run --help`")


# Watching a board


def _live(session: Session | None, as_json: bool, given: dict[str, Any]) -> None:
    from ei_automation.cli.live import shown
    from ei_automation.workflow.board_session import plugged_board, wanted_board
    from ei_automation.workflow.camera_script import ScriptWish
    from ei_automation.workflow.run_board import RunRequest, run_board

    request = RunRequest(
        continuous=given["continuous"],
        debug=given["debug"],
        count=given["count"],
        seconds=given["seconds"],
        result_timeout_s=given["result_timeout"],
        scripts=ScriptWish(given["script"], given["given"], session),
    )
    plug = plugged_board(wanted_port(session, given["port"]), wanted_board(session, given["board"]))
    watcher = shown(as_json=as_json)
    try:
        tally = run_board(plug, request, watcher, on_event=OUTPUT.on_event)
    finally:
        watcher.close()
    OUTPUT.talk(_summary(tally, is_simulated=plug.is_simulated))
    _say_end(tally, has_end=request.count is not None or request.seconds is not None)


def _say_end(tally: Tally, *, has_end: bool) -> None:
    """Ctrl-C is the usual end of a run that has no other.

    Raises:
        InterruptedRunError: It was ended before its own end, or by the system.
    """
    from ei_automation.errors import InterruptedRunError

    if tally.ended == "interrupted" or (tally.ended == "stopped" and has_end):
        raise InterruptedRunError("interrupted; the board was stopped too")
    if tally.ended == "stopped":
        OUTPUT.talk("stopped, and the board too")


def _summary(tally: Tally, *, is_simulated: bool) -> str:
    """One line over all results."""
    from ei_automation.cli.live import SIMULATED_TIMES, milliseconds, visible

    parts = [f"{tally.results:,} result{'' if tally.results == 1 else 's'} in {tally.seconds:.1f} s"]
    if tally.mean_latency_us is not None:
        parts.append(f"mean latency {milliseconds(tally.mean_latency_us)}")
    if tally.tops:
        counts = ", ".join(f"{visible(label)} {count:,}" for label, count in tally.tops.most_common(SHOWN_LABELS))
        parts.append(f"most often {counts}")
    parts += [SIMULATED_TIMES] if is_simulated else []
    return "; ".join(parts)


# Comparing it with LiteRT


def _parity(session: Session | None, given: dict[str, Any]) -> None:
    from ei_automation.errors import VerificationError
    from ei_automation.workflow.board_session import plugged_board, wanted_board
    from ei_automation.workflow.parity import INT8_STEPS, ParityRequest, compare
    from ei_automation.workflow.parity_inputs import parity_model

    board = wanted_board(session, given["board"])
    request = ParityRequest(
        images=given["images"],
        model=parity_model(session, board, model=given["model"], given=given["given"], on_event=OUTPUT.on_event),
        count=given["count"],
        tolerance=INT8_STEPS if given["tolerance"] is None else given["tolerance"],
        mapping=session.manifest.dataset.labels if session else {},
        result_timeout_s=given["result_timeout"],
    )
    plug = plugged_board(wanted_port(session, given["port"]), board)
    with OUTPUT.watching():
        report = compare(plug, request, on_event=OUTPUT.on_event)
    if OUTPUT.json_mode:
        OUTPUT.document(report.document())
    else:
        _show(report)
    if report.ok:
        return
    if OUTPUT.json_mode:
        raise click.exceptions.Exit(VerificationError.exit_code)
    raise VerificationError(
        f"the board differs from LiteRT: {len(report.disagreeing)} of {len(report.samples)} images get another"
        f" label, {len(report.too_far)} a score that is more than {report.tolerance:.4f} off",
        hint="check that the firmware holds this model (--from, --model) and that the images come to its size in"
        " the same way (resize mode)",
    )


def _show(report: ParityReport) -> None:
    """The report for people."""
    samples = report.samples
    OUTPUT.line(f"board: {report.firmware}")
    OUTPUT.line(f"host: LiteRT, {report.model}, images by {report.resize_mode}")
    rows = [(row.label, f"{row.max_difference:.4f}", f"{row.mean_difference:.4f}") for row in report.classes]
    rows.append(("all", f"{report.max_difference:.4f}", f"{report.mean_difference:.4f}"))
    OUTPUT.table("Difference of the scores", ("label", ">largest", ">mean"), rows)
    if report.disagreeing:
        _matrix(
            report, "LiteRT", "Images by what LiteRT says (rows) and what the board says", report.host_and_board
        )
    if report.is_labelled:
        _matrix(
            report, "true label", "Images by true label (rows) and what the board says", report.truth_and_board
        )
    differing = report.differing
    if differing:
        named = [
            (each.name, each.label, each.board_top, each.host_top, f"{each.difference:.4f}")
            for each in differing[:SHOWN_SAMPLES]
        ]
        title = f"Images that differ ({len(differing)})"
        OUTPUT.table(title, ("image", "true label", "board", "LiteRT", ">difference"), named)
    agreeing = len(samples) - len(report.disagreeing)
    OUTPUT.line(f"{agreeing} of {len(samples)} images get the same label from both")
    for who, of_board in (("board", True), ("LiteRT", False)):
        accuracy = report.accuracy(of_board=of_board)
        if accuracy is not None:
            OUTPUT.line(f"accuracy of {who}: {accuracy:.2%}")


def _matrix(report: ParityReport, who: str, title: str, matrix: list[list[int]]) -> None:
    """Counts by label; where that would be too wide, what lies beside its diagonal, the largest first."""
    labels = report.labels
    if len(labels) <= MATRIX_LABELS:
        rows = [(label, *map(str, row)) for label, row in zip(labels, matrix, strict=True)]
        OUTPUT.table(title, ("", *(f">{label}" for label in labels)), rows)
        return
    places = itertools.permutations(range(len(labels)), 2)
    mixed = +Counter({(labels[row], labels[column]): matrix[row][column] for row, column in places})
    if mixed:
        shown = [(*pair, str(count)) for pair, count in mixed.most_common(SHOWN_SAMPLES)]
        OUTPUT.table(f"Labels that are mixed up ({len(mixed)} pairs)", (who, "board", ">images"), shown)
