"""`eiauto studio`: a Studio of one's own, over the local backend."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import json_option
from ei_automation.cli.output import OUTPUT
from ei_automation.settings import KEY_VARIABLE

if TYPE_CHECKING:
    from ei_automation.studio_server.faults import Faults
    from ei_automation.studio_server.serve import Ready
    from ei_automation.studio_server.studio import Studio, StudioOptions

PORT = click.IntRange(0, 65535)


@click.group()
def studio() -> None:
    """A local Edge Impulse Studio: its API over the local backend, for tests and for work without an account."""


@studio.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=4800, show_default=True, help="Of the Studio API; 0: a free one.")
@click.option(
    "--ingestion-port", type=PORT, default=4810, show_default=True, help="Of the ingestion API; 0: a free one."
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keeps everything. Default: the user's data folder."
)
@click.option("--project", default="local", show_default=True, help="Project whose key is shown; made if needed.")
@click.option(
    "--jobs",
    type=click.Choice(["real", "immediate"]),
    default="real",
    show_default=True,
    help="immediate: a job has ended when its request is answered.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Pretrained weights (Keras .h5).")
@click.option("--faults", type=click.Path(path_type=Path), help="A plan of what goes wrong (TOML or JSON).")
@click.option("--fault", "words", multiple=True, help='One rule of it, e.g. "path=/files$ nth=3 status=500".')
@click.option("--env-file", type=click.Path(path_type=Path), help="Write the exports here once it listens.")
@json_option
def serve(
    host: str,
    port: int,
    ingestion_port: int,
    folder: Path | None,
    project: str,
    jobs: str,
    weights: Path | None,
    faults: Path | None,
    words: tuple[str, ...],
    env_file: Path | None,
) -> None:
    """Serve Studio's API until Ctrl-C, and print what to export so that clients find it.

    Training is real training by the local backend. Requests need the key that is printed. What goes wrong can also
    be set while it runs: POST, GET and DELETE /admin/faults, with the key.

    EIAUTO_STUDIO_API_KEY gives the project a key of one's own (ei_ and at least 32 characters in all), for tests
    that want a fixed one.
    """
    from ei_automation.studio_server.door import studio_extra

    with studio_extra():
        from ei_automation.studio_server.serve import Place
        from ei_automation.studio_server.serve import serve as run
        from ei_automation.studio_server.studio import Studio

    server = Studio(_options(folder, jobs, weights), _faults(faults, words))
    try:
        place = Place(host, port, ingestion_port)
        run(
            server,
            place,
            project=project,
            api_key=os.environ.get(KEY_VARIABLE) or None,
            on_ready=lambda ready: _tell(ready, server, env_file),
        )
    finally:
        server.close()


def _options(folder: Path | None, jobs: str, weights: Path | None) -> StudioOptions:
    """How it works: flags, then settings."""
    import platformdirs

    from ei_automation.errors import NotFoundError
    from ei_automation.settings import Settings
    from ei_automation.studio_server.studio import StudioOptions

    settings = Settings.from_env()
    weights = weights or settings.weights
    if weights is not None and not weights.is_file():
        raise NotFoundError(f"there is no weights file {weights}", hint="check --weights or EIAUTO_WEIGHTS")
    return StudioOptions(
        folder=(folder or Path(platformdirs.user_data_dir("eiauto")) / "studio").absolute(),
        cache_folder=settings.cache_folder,
        jobs="immediate" if jobs == "immediate" else "real",
        weights=weights,
        offline=settings.offline,
    )


def _faults(plan: Path | None, words: tuple[str, ...]) -> Faults:
    from ei_automation.studio_server.faults import Faults, read_plan, rule_from_text

    rules = read_plan(plan) if plan is not None else []
    return Faults([*rules, *(rule_from_text(text) for text in words)])


def _tell(ready: Ready, server: Studio, env_file: Path | None) -> None:
    """Say that it listens, and where."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in ready.environment.items()]
    if env_file is not None:
        _write_private(env_file, "\n".join([*exports, ""]))
    if OUTPUT.json_mode:
        OUTPUT.document({"environment": ready.environment, "project_id": ready.project_id})
    else:
        for line in exports:
            OUTPUT.plain(line)
    options = server.options
    OUTPUT.talk(f"The local Studio listens; project {ready.project_id}, state in {options.folder}")
    OUTPUT.talk(f"To log in: user {options.username}, password {server.password}. Ctrl-C ends it.")
    if not ready.api_endpoint.startswith(("http://127.", "http://localhost", "http://[::1]")):
        OUTPUT.talk("Others in the network can reach it, without encryption.", style="yellow")
    for item in server.faults.report():
        OUTPUT.talk(f"goes wrong on purpose: {item['rule']}", style="yellow")


def _write_private(path: Path, text: str) -> None:
    """A file with a key in it: whole when it appears, and for its owner only."""
    from ei_automation.files import storage_errors

    path = path.absolute()
    with storage_errors(path, "writing the exports"):
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@studio.command()
@click.option("--summary", is_flag=True, help="Only the numbers.")
@json_option
def coverage(summary: bool) -> None:
    """List the API's operations: which the local Studio serves (+), and which it does not (-)."""
    from ei_automation.studio_server.coverage import coverage as run
    from ei_automation.studio_server.door import studio_extra

    with studio_extra():
        found = run()
    if OUTPUT.json_mode:
        names = {
            item.tag: {
                "served": [operation.name for operation in item.served],
                "not_served": [operation.name for operation in item.not_served],
            }
            for item in found
        }
        OUTPUT.document({"tags": names})
        return
    if not summary:
        for item in found:
            for sign, operations in (("+", item.served), ("-", item.not_served)):
                for operation in operations:
                    OUTPUT.plain(f"{sign} {item.tag}.{operation.name}  {operation.method} {operation.path}")
    rows = [(item.tag, str(len(item.served)), str(len(item.served) + len(item.not_served))) for item in found]
    total = tuple(str(sum(int(row[column]) for row in rows)) for column in (1, 2))
    OUTPUT.table("", ("tag", ">served", ">of"), [*rows, ("all", *total)])


__all__ = ["studio"]
