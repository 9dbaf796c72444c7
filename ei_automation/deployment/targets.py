"""What can be built of a model: a new target is a module with `DESCRIPTION` and `files`, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ei_automation.deployment import bundle, openmv
from ei_automation.deployment.contents import BuildContents, make_zip
from ei_automation.deployment.model_facts import read_model_facts
from ei_automation.errors import NotFoundError, UsageError, VerificationError
from ei_automation.schema.deployment import BuildRequest, DeploymentTarget

FilesFunction = Callable[[BuildRequest, BuildContents], Mapping[str, bytes]]


@dataclass(frozen=True)
class Target:
    """A target and how it is built.

    Attributes:
        target: What the backend lists.
        files: Gives name in the zip to content.
        engines: Engines it can be built with.
    """

    target: DeploymentTarget
    files: FilesFunction
    engines: tuple[str, ...] = ("tflite",)


TARGETS: dict[str, Target] = {
    entry.target.format: entry
    for entry in (Target(openmv.DESCRIPTION, openmv.files), Target(bundle.DESCRIPTION, bundle.files))
}
"""Format to target."""


def build(request: BuildRequest, contents: BuildContents) -> bytes:
    """Build an artifact.

    Args:
        request: What to build.
        contents: What to put in.

    Returns:
        The zip. The same request and contents give the same bytes, on every machine.

    Raises:
        NotFoundError: There is no such target, or no such model.
        UsageError: The target cannot be built so.
        VerificationError: Model, labels and impulse do not belong together.
    """
    if request.format not in TARGETS:
        raise NotFoundError(
            f"there is no deployment target {request.format!r}", hint=f"known are {', '.join(TARGETS)}"
        )
    target = TARGETS[request.format]
    if request.engine not in target.engines:
        raise UsageError(
            f"deployment target {request.format} cannot be built with engine {request.engine!r}",
            hint=f"use {', '.join(target.engines)}",
        )
    check_models(contents)
    return make_zip(target.files(request, contents))


def check_models(contents: BuildContents) -> None:
    """Refuse models that are not of these labels and this impulse.

    Raises:
        VerificationError: They are not, or a model is corrupt.
    """
    for variant, model in contents.models.items():
        facts = read_model_facts(model)
        if facts.output.shape != (1, len(contents.labels)):
            raise VerificationError(
                f"the {variant} model gives {facts.output.shape}, the project has {len(contents.labels)} labels",
                hint="train again",
            )
        if facts.input.shape != (1, *contents.input_shape):
            raise VerificationError(
                f"the {variant} model takes {facts.input.shape}, the impulse gives {(1, *contents.input_shape)}",
                hint="train again",
            )
