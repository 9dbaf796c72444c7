"""Arguments and options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ei_automation.cli.output import OUTPUT
from ei_automation.settings import BACKENDS

if TYPE_CHECKING:
    from ei_automation.workflow.project import Session

Command = TypeVar("Command", bound=Callable[..., Any])
MEMORY = click.Choice(["planned", "streamed", "streamed-input"])
"""Kinds of memory; named here too, so that the command line's start need not load the schema."""


class ProjectPath(click.Path):
    """A project folder; completes to folders that hold a project.toml."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Project folders below the words typed so far, and below `projects/`."""
        del ctx, param
        found = {
            path.parent
            for pattern in ("*/project.toml", "projects/*/project.toml")
            for path in Path().glob(pattern)
        }
        typed = Path(incomplete).parent if incomplete else Path()
        found |= {path.parent for path in typed.glob("*/project.toml")}
        return [CompletionItem(str(path)) for path in sorted(found) if str(path).startswith(incomplete)]


class Number(click.FloatRange):
    """A number in a range; nan and inf, which would never be reached, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See `click.ParamType`."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that could be reached", param, ctx)
        return number


def project_argument(command: Command) -> Command:
    """PROJECT: the folder with the project.toml."""
    return click.argument("project", type=ProjectPath(path_type=Path))(command)


def json_option(command: Command) -> Command:
    """--json: one document on stdout."""

    def remember(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        OUTPUT.json_mode = value

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="One JSON document on stdout."
    )(command)


def memory_option(command: Command) -> Command:
    """--memory: how compiled code keeps tensors."""
    return click.option(
        "--memory",
        type=MEMORY,
        default="streamed",
        show_default=True,
        help="planned: whole tensors. streamed: row by row, with much less RAM. "
        "streamed-input: the image's rows too.",
    )(command)


def backend_option(command: Command) -> Command:
    """--backend: where it runs."""
    return click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="local",
        show_default=True,
        help="Where the project runs.",
    )(command)


def from_option(command: Command) -> Command:
    """--from: data that is there already."""
    return click.option(
        "--from",
        "override",
        type=click.Path(path_type=Path),
        help="A folder or zip with the data set, instead of the manifest's origin.",
    )(command)


def groups_option(command: Command) -> Command:
    """--groups: what the samples of `--from` were made from."""
    return click.option(
        "--groups",
        type=click.Path(path_type=Path),
        help="A CSV of the samples' groups that belongs to --from, instead of [dataset.groups] csv.",
    )(command)


def prune_option(command: Command) -> Command:
    """--prune: delete what the manifest does not have."""
    return click.option(
        "--prune",
        is_flag=True,
        help="Also delete live samples that the manifest does not have. The local backend always does.",
    )(command)


def weights_option(command: Command) -> Command:
    """--weights: pretrained weights that are there already."""
    return click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="Pretrained weights (Keras .h5), instead of the registry's. Also EIAUTO_WEIGHTS.",
    )(command)


def split_option(command: Command) -> Command:
    """--split: which one of the manifest's splits."""
    return click.option(
        "--split", default="main", show_default=True, help="`main`, or a name under [dataset.compare]."
    )(command)


def port_option(command: Command) -> Command:
    """--port: where the board is."""
    return click.option(
        "--port",
        envvar="EIAUTO_PORT",
        help="Where the board is: path, glob, VID:PID, serial number, or a URL such as sim://127.0.0.1:4750. "
        "Also EIAUTO_PORT. Default: the only one there.",
    )(command)


def wanted_port(session: Session | None, given: str | None) -> str | None:
    """Where the board is, by the flag, the environment or the config file; None for the only one there."""
    from ei_automation.settings import Settings

    return given or (session.settings if session else Settings.from_env()).port


def open_project(
    project: Path,
    backend: str = "local",
    *,
    override: Path | None = None,
    groups: Path | None = None,
    weights: Path | None = None,
) -> Session:
    """The session of a command: settings read, flags before environment, events shown.

    Raises:
        NotFoundError: The project, the data or the weights are not there.
    """
    from dataclasses import replace

    from ei_automation.errors import NotFoundError
    from ei_automation.settings import Settings
    from ei_automation.workflow.project import open_session

    settings = Settings.from_env()
    if weights is not None:
        settings = replace(settings, weights=weights)
    if settings.weights is not None and not settings.weights.is_file():
        raise NotFoundError(
            f"there is no weights file {settings.weights}", hint="check --weights or EIAUTO_WEIGHTS"
        )
    if groups is not None and not groups.is_file():
        raise NotFoundError(f"there is no groups CSV {groups}", hint="check --groups")
    return open_session(
        project, settings, backend_name=backend, override=override, groups=groups, on_event=OUTPUT.on_event
    )


def known_split(session: Session, split: str) -> str:
    """The split's name, if the manifest has it.

    Raises:
        UsageError: It does not.
    """
    from ei_automation.errors import UsageError

    if split not in session.splits:
        raise UsageError(f"the manifest has no split {split!r}", hint=f"there are: {', '.join(session.splits)}")
    return split
