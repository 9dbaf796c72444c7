"""What can be built of a model: a new target is a module with `files` (or `program`), and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ei_automation.deployment import bundle, openmv
from ei_automation.deployment.contents import BACKGROUND, BuildContents, make_zip
from ei_automation.deployment.model_facts import read_model_facts
from ei_automation.errors import NotFoundError, UsageError, VerificationError
from ei_automation.schema.deployment import COMPILED_FORMATS, BuildRequest, DeploymentTarget

BuildFunction = Callable[[BuildRequest, BuildContents], bytes]


@dataclass(frozen=True)
class Target:
    """A target and how it is built.

    Attributes:
        target: What the backend lists.
        build: Gives the artifact's bytes.
        engines: Engines it can be built with.
        takes_fomo: Whether it can hold object detection too.
    """

    target: DeploymentTarget
    build: BuildFunction
    engines: tuple[str, ...] = ("tflite",)
    takes_fomo: bool = False


# The compiler is only imported where something is compiled.


def _build_cpp(request: BuildRequest, contents: BuildContents) -> bytes:
    from ei_automation.deployment import cpp

    return make_zip(cpp.files(request, contents))


def _build_wasm(request: BuildRequest, contents: BuildContents) -> bytes:
    from ei_automation.deployment import wasm

    return make_zip(wasm.files(request, contents))


def _build_linux(request: BuildRequest, contents: BuildContents) -> bytes:
    from ei_automation.deployment import linux

    return linux.program(request, contents)


CPP = DeploymentTarget(
    "cpp",
    "C++ library",
    "The network as C, with no interpreter and a fraction of the RAM; for any board with a C compiler.",
)
WASM = DeploymentTarget(
    "wasm", "WebAssembly", "A page that classifies the camera or a file in the browser, with nothing to install."
)
LINUX = DeploymentTarget(
    "linux", "Linux program", "One static program, .eim, that Edge Impulse's Linux clients run."
)
TARGETS: dict[str, Target] = {
    entry.target.format: entry
    for entry in (
        Target(openmv.DESCRIPTION, lambda request, contents: make_zip(openmv.files(request, contents))),
        Target(bundle.DESCRIPTION, lambda request, contents: make_zip(bundle.files(request, contents))),
        Target(CPP, _build_cpp, takes_fomo=True),
        Target(WASM, _build_wasm, takes_fomo=True),
        Target(LINUX, _build_linux, takes_fomo=True),
    )
}
"""Format to target."""


def build(request: BuildRequest, contents: BuildContents) -> bytes:
    """Build an artifact.

    Args:
        request: What to build.
        contents: What to put in.

    Returns:
        The zip, or the program. The same request and contents give the same bytes, on every machine (of what a C
        compiler made: with the same version of it).

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
    check_models(contents, takes_fomo=target.takes_fomo)
    return target.build(request, contents)


def problem(request: BuildRequest, contents: BuildContents) -> str:
    """Why these models cannot be built so, found without building; empty where nothing speaks against it.

    Args:
        request: A target of `TARGETS` and one of the variants.
        contents: What would be put in.
    """
    try:
        check_models(contents, takes_fomo=TARGETS[request.format].takes_fomo)
        model = contents.model(request.variant)
        if request.flavor == "edge-impulse":
            from ei_automation.deployment import edge_impulse

            edge_impulse.check_runs(request, read_model_facts(model))
    except (UsageError, VerificationError) as error:
        return error.message
    return _compile_problem(model) if request.format in COMPILED_FORMATS else ""


@lru_cache(maxsize=2)  # asked for each target, and slow
def _compile_problem(model: bytes) -> str:
    """Why a model has no code; empty where it has."""
    from ei_automation.compiler.bind import bind_graph
    from ei_automation.compiler.check import check
    from ei_automation.compiler.fold import fold
    from ei_automation.compiler.read import read_graph

    try:
        graph = read_graph(model)
        check(graph)
        bind_graph(fold(graph))
    except VerificationError as error:
        return error.message
    return ""


def check_models(contents: BuildContents, *, takes_fomo: bool = False) -> None:
    """Refuse models that are not of these labels and this impulse.

    Args:
        contents: The models, labels and the impulse.
        takes_fomo: Whether a grid of cells will do: its first label is the background.

    Raises:
        VerificationError: They are not, or a model is corrupt.
    """
    for variant, model in contents.models.items():
        facts = read_model_facts(model)
        scores = facts.output.shape[-1:] if takes_fomo and facts.is_fomo else facts.output.shape[1:]
        if scores != (len(contents.labels),):
            raise VerificationError(
                f"the {variant} model gives {facts.output.shape}, the project has {len(contents.labels)} labels",
                hint="train again",
            )
        if facts.is_fomo and takes_fomo and contents.labels[0] != BACKGROUND:
            raise VerificationError(
                f"the first label of an object detection model must be {BACKGROUND}, it is {contents.labels[0]}",
                hint=f"its first output is for cells with nothing in them: name it {BACKGROUND}",
            )
        if facts.input.shape != (1, *contents.input_shape):
            raise VerificationError(
                f"the {variant} model takes {facts.input.shape}, the impulse gives {(1, *contents.input_shape)}",
                hint="train again",
            )
