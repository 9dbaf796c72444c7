"""`eiauto tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import backend_option, json_option, open_project, project_argument
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.schema.tuner import Trial

COLUMNS = ("trial", "status", ">validation", ">testing", ">RAM", ">ROM", ">latency")


@click.command()
@project_argument
@backend_option
@click.option("--extend", is_flag=True, help="Continue the project's last run instead of starting a new one.")
@click.option("--primary", metavar="TRIAL", help="Run nothing; make this recorded trial the project's model.")
@click.option("--list", "only_list", is_flag=True, help="Run nothing; list the recorded runs with their trials.")
@json_option
def tune(project: Path, backend: str, extend: bool, primary: str | None, only_list: bool) -> None:
    """Search for better parameters with the EON Tuner, as the manifest's [tuner] says."""
    from ei_automation.workflow.project import exclusive
    from ei_automation.workflow.tune import make_primary, recorded_runs
    from ei_automation.workflow.tune import tune as run

    session = open_project(project, backend)
    with OUTPUT.watching(), exclusive(session):
        if primary is not None:
            trials = [make_primary(session, primary)]
        elif only_list:
            trials = [trial for record in recorded_runs(session) for trial in record.trials]
        else:
            precision = session.manifest.tuner.precision if session.manifest.tuner else "int8"
            record = run(session, extend=extend, on_trial=lambda trial: _tell(trial, precision))
            trials = list(record.trials)
    if OUTPUT.json_mode:
        OUTPUT.document({"trials": [trial.model_dump(mode="json") for trial in trials]})
        return
    precision = session.manifest.tuner.precision if session.manifest.tuner else "int8"
    if not trials:
        OUTPUT.line("no trials are recorded yet")
        return
    OUTPUT.table("Trials", COLUMNS, [_row(trial, precision) for trial in trials])
    if primary is not None:
        OUTPUT.line(f"{trials[0].name} is now the project's model; its parameters: {trials[0].parameters}")


def _tell(trial: Trial, precision: str) -> None:
    """One line for each change of a trial."""
    name, status, validation, testing, ram, rom, latency = _row(trial, precision)
    numbers = [f"{word} {value}" for word, value in (("validation", validation), ("testing", testing)) if value]
    numbers += [f"{word} {value}" for word, value in (("RAM", ram), ("ROM", rom), ("latency", latency)) if value]
    OUTPUT.talk(f"  {name}: {status}{': ' if numbers else ''}{', '.join(numbers)}")


def _row(trial: Trial, precision: str) -> tuple[str, ...]:
    accuracy = {item.category: item.accuracy for item in trial.metrics if item.variant == precision}
    size = next((item for item in trial.footprints if item.variant == precision), None)
    return (
        trial.name,
        trial.status,
        _shown(accuracy.get("validation"), "{:.2%}"),
        _shown(accuracy.get("testing"), "{:.2%}"),
        _shown(size.ram_bytes if size else None, "{:,} bytes"),
        _shown(size.rom_bytes if size else None, "{:,} bytes"),
        _shown(size.latency_ms if size else None, "{:.0f} ms"),
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
