"""`eiauto compile`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import json_option, memory_option
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.schema.deployment import Memory


@click.command(name="compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the files."
)
@memory_option
@click.option(
    "--name", default="model", show_default=True, help="Begins the names of files, functions and macros."
)
@click.option("--labels", default="", help="A file with one label a line, or the labels with commas between them.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other files too.")
@json_option
def compile_(model: Path, folder: Path, memory: Memory, name: str, labels: str, force: bool) -> None:
    """Compile MODEL to C with no dependency, no heap and no interpreter.

    MODEL is a .tflite file, int8 or float32, or a deployment (zip or folder) that holds one. Every byte that an
    int8 model gives equals that of TensorFlow Lite's reference kernels.
    """
    from ei_automation.workflow.compile import compile_file

    done = compile_file(model, folder, memory=memory, name=name, labels=labels, force=force)
    if OUTPUT.json_mode:
        OUTPUT.document({**asdict(done), "folder": str(done.folder), "files": list(done.files)})
        return
    OUTPUT.line(f"{done.folder}: {', '.join(done.files)}")
    OUTPUT.line(f"{done.operators} operators; {done.constant_bytes:,} bytes of weights and tables in flash")
    rows = [
        (f"{mode} (this one)" if mode == done.memory else mode, f"{size:,}") for mode, size in done.arenas.items()
    ]
    OUTPUT.table("", ("--memory", ">static RAM, bytes"), rows)


__all__ = ["compile_"]
