"""Deployment targets, builds and artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ei_automation.schema.metrics import ModelVariant

Memory = Literal["planned", "streamed", "streamed-input"]
"""How compiled code keeps tensors: whole, as rings of rows, or with the image's rows pulled by a callback too."""
MEMORY_MODES: tuple[Memory, ...] = ("planned", "streamed", "streamed-input")
Flavor = Literal["", "edge-impulse"]
"""Of the C++ library: stand-alone, or in the shape that Edge Impulse's inferencing SDK compiles with."""
Architecture = Literal["", "x86_64", "aarch64", "armv7"]
"""Of a Linux program."""
ARCHITECTURES: tuple[Architecture, ...] = ("x86_64", "aarch64", "armv7")
COMPILED_FORMATS = ("cpp", "wasm", "linux")
"""Targets whose artifacts hold the model as compiled code, made by the local backend only."""


@dataclass(frozen=True)
class DeploymentTarget:
    """Something a model can be built into.

    Attributes:
        format: Its name in the manifest and the API, e.g. `openmv`.
        name: For people.
        description: What one does with it.
    """

    format: str
    name: str
    description: str


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        format: The target's.
        engine: tflite, or an engine that the target offers.
        variant: float32 or int8; a target that carries both ignores it.
        firmware_version: Of the board the artifact is for, e.g. `4.5.9`; empty for the newest.
        memory: Of compiled code.
        flavor: Of the C++ library.
        architecture: Of a Linux program.
    """

    format: str
    engine: str = "tflite"
    variant: ModelVariant = "int8"
    firmware_version: str = ""
    memory: Memory = "streamed"
    flavor: Flavor = ""
    architecture: Architecture = ""


def artifact_stem(project: str, target_format: str, request: BuildRequest) -> str:
    """Name of a build's file, without its suffix: like Studio's, without the version; the same build has the same.

    Args:
        project: The project's name.
        target_format: The target's format; a request may name the target otherwise.
        request: What was built.
    """
    firmware = f"-{request.firmware_version}" if request.firmware_version else ""
    engine = "" if request.engine == "tflite" else f"-{request.engine}"
    flavor = f"-{request.flavor}" if request.flavor else ""
    memory = "" if request.memory == "streamed" else f"-{request.memory}"
    architecture = f"-{request.architecture}" if request.architecture else ""
    variant = "" if request.variant == "int8" else f"-{request.variant}"
    stem = f"ei-{project}-{target_format}{flavor}{architecture}{firmware}{engine}{memory}{variant}"
    return re.sub(r"[^0-9A-Za-z._-]+", "-", stem)


def artifact_suffix(request: BuildRequest) -> str:
    """Suffix of what the local backend builds: a zip, or the program that the Linux clients run."""
    return ".eim" if request.format == "linux" else ".zip"


@dataclass(frozen=True)
class Artifact:
    """A built file.

    Attributes:
        path: The zip, or the program.
        sha256: Of its bytes.
        format: The target's.
        engine: As built.
        variant: As built.
        version: Counts the project's builds, from 1.
        model_sha256: Of the .tflite inside, or of the one that was compiled.
        training_job_id: The training that made the model.
    """

    path: Path
    sha256: str
    format: str
    engine: str
    variant: ModelVariant
    version: int
    model_sha256: str
    training_job_id: int


@dataclass(frozen=True)
class BuiltDeployment:
    """A build that the backend has.

    Attributes:
        format: The target's.
        version: The backend's number of the build.
        stale: Whether the model, the impulse or its thresholds changed since.
    """

    format: str
    version: int
    stale: bool
