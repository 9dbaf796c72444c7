"""`eiauto footprint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import json_option, memory_option, open_project
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.schema.deployment import Memory
    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.workflow.footprint import BoardFootprint, CompilerName

COLUMNS = ("board", ">flash", ">RAM", ">stack", ">instructions", "time", "fits")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--board", "boards", multiple=True, help="Which board; may be repeated. Default: the project's.")
@click.option("--all-boards", is_flag=True, help="All boards that are known.")
@memory_option
@click.option(
    "--compiler",
    type=click.Choice(["zig", "gcc"]),
    default="zig",
    show_default=True,
    help="clang of the ziglang package, or arm-none-eabi-gcc.",
)
@click.option(
    "--variant",
    type=click.Choice(["int8", "float32"]),
    default="int8",
    show_default=True,
    help="Which model of a project.",
)
@click.option("--second-opinion", is_flag=True, help="Measure with arm-none-eabi-gcc and QEMU too, if installed.")
@json_option
def footprint(
    source: Path,
    boards: tuple[str, ...],
    all_boards: bool,
    memory: Memory,
    compiler: CompilerName,
    variant: ModelVariant,
    second_opinion: bool,
) -> None:
    """Measure what a model takes of a board: flash, RAM, stack, instructions, and about how long it takes.

    SOURCE is a .tflite file, a deployment that holds one, or a project whose model was trained. It is compiled for
    the board's core and run in an emulator; no board is needed.
    """
    from ei_automation.workflow.footprint import choose_boards, footprints, model_of, project_model

    session = open_project(source) if (source / "project.toml").is_file() else None
    model = model_of(source) if session is None else project_model(session, variant)
    chosen = choose_boards(boards, all_boards=all_boards, session=session)
    title = source.stem if session is None else session.manifest.name
    found = footprints(
        model,
        chosen,
        title=title,
        memory=memory,
        compiler=compiler,
        with_opinions=second_opinion,
        on_step=OUTPUT.talk,
    )
    if OUTPUT.json_mode:
        OUTPUT.document({"memory": memory, "footprints": [each.to_json() for each in found]})
        return
    _show(found)


def _show(found: Sequence[BoardFootprint]) -> None:
    """A table, and what belongs beside it."""
    from ei_automation.workflow.footprint import exactness

    OUTPUT.table("", COLUMNS, [_row(each) for each in found])
    first = found[0].footprint
    OUTPUT.line(f"RAM: {first.arena_bytes:,} bytes of it are the arena, {first.memory}")
    for each in {each.footprint.core: each for each in found}.values():
        OUTPUT.line(f"{each.footprint.core}: {exactness(each.footprint)}")
        _show_opinions(each)
    for each in found:
        OUTPUT.line(f"{each.board.name}: {each.time.note}")
        for fit in (each.fit, each.openmv):
            if fit is not None and not fit.fits:
                way = "with OpenMV's firmware" if fit.format == "openmv" else "as C++"
                OUTPUT.line(f"  {way} it {fit}")
                OUTPUT.line(f"  what would fit: {'; '.join(fit.would_fit)}")


def _row(each: BoardFootprint) -> tuple[str, ...]:
    measured = each.footprint
    fits = [("C++", each.fit), ("OpenMV", each.openmv)]
    words = [f"{name}: {'yes' if fit.fits else 'no'}" for name, fit in fits if fit is not None]
    return (
        each.board.name,
        f"{measured.flash_bytes:,}",
        f"{measured.ram_bytes:,}",
        f"{measured.stack_bytes:,}",
        f"{measured.instructions:,}",
        str(each.time),
        ", ".join(words),
    )


def _show_opinions(each: BoardFootprint) -> None:
    """What the other tools found."""
    if each.opinions is None:
        return
    gcc, qemu = each.opinions.gcc, each.opinions.qemu
    if gcc is not None:
        OUTPUT.line(
            f"  {gcc.compiler}: flash {gcc.flash_bytes:,}, RAM {gcc.ram_bytes:,}, stack {gcc.stack_bytes:,}, "
            f"instructions {gcc.instructions:,}"
        )
    if qemu is not None:
        OUTPUT.line(f"  {qemu.qemu}: instructions {qemu.instructions:,}")
    if gcc is None and qemu is None:
        OUTPUT.line(
            "  no second opinion: neither arm-none-eabi-gcc nor qemu-system-arm is installed for this core"
        )


__all__ = ["footprint"]
