"""`eiauto deploy`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ei_automation.cli.options import MEMORY, backend_option, json_option, open_project, project_argument
from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.workflow.deploy import SdkReport

ARCHITECTURES = ("x86_64", "aarch64", "armv7")
VARIANTS = ("float32", "int8")


@click.command()
@project_argument
@click.option(
    "--target",
    "--format",
    "formats",
    multiple=True,
    help="Only this one, wished by the manifest or not: openmv, bundle, cpp, wasm, linux; may be repeated.",
)
@click.option("--memory", type=MEMORY, help="Of cpp: how the network keeps its tensors.")
@click.option("--flavor", type=click.Choice(["edge-impulse"]), help="Of cpp: for Edge Impulse's inferencing SDK.")
@click.option("--architecture", type=click.Choice(ARCHITECTURES), help="Of linux.")
@click.option("--variant", type=click.Choice(VARIANTS), help="Which of the trained models.")
@click.option(
    "--sdk",
    type=click.Path(path_type=Path),
    help="Your copy of Edge Impulse's inferencing SDK: joined with the library, compiled, checked.",
)
@click.option("--skip-fit", is_flag=True, help="Build what does not fit the manifest's boards too.")
@backend_option
@json_option
def deploy(
    project: Path, formats: tuple[str, ...], sdk: Path | None, skip_fit: bool, backend: str, **flags: str | None
) -> None:
    """Build the manifest's deployments from the last training's model, or those that are named."""
    from ei_automation.workflow.deploy import assemble_sdk
    from ei_automation.workflow.deploy import deploy as run
    from ei_automation.workflow.project import exclusive

    session = open_project(project, backend)
    given = {key: value for key, value in flags.items() if value is not None}
    with OUTPUT.watching(), exclusive(session):
        records = run(session, formats, flags=given, misfit="ignore" if skip_fit else "refuse", sdk=sdk)
        reports = assemble_sdk(session, records, sdk) if sdk is not None else []
    if OUTPUT.json_mode:
        OUTPUT.document(
            {
                "deployments": [record.model_dump(mode="json") for record in records],
                "sdk": [{**asdict(report), "folder": str(report.folder)} for report in reports],
            }
        )
        return
    for record in records:
        OUTPUT.line(f"{record.format}: {project / record.file}, SHA-256 {record.sha256}")
    for report in reports:
        _tell(report)
    if not records:
        OUTPUT.line(
            "the manifest wishes no deployments; add [[deployments]] with a format, or name one with --target"
        )


def _tell(report: SdkReport) -> None:
    """Say what came of a library with Edge Impulse's SDK."""
    OUTPUT.line(f"with the SDK: {report.folder}")
    if not report.is_pinned:
        OUTPUT.talk(
            f"note: this SDK is not {report.sdk_version}, for which the library is written", style="yellow"
        )
    if not report.compiler:
        OUTPUT.talk("note: not checked, for there is no C++ compiler here (c++, g++, clang++)", style="yellow")
        return
    OUTPUT.line(
        f"run_classifier(), built with {report.compiler}: {report.scores} scores of one image equal those of"
        f" LiteRT's reference kernels (largest difference {report.difference:.1g})"
    )
