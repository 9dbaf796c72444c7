"""Deployment targets, builds and artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ei_automation.schema.metrics import ModelVariant


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
    """

    format: str
    engine: str = "tflite"
    variant: ModelVariant = "int8"
    firmware_version: str = ""


def artifact_stem(project: str, target_format: str, request: BuildRequest) -> str:
    """Name of a build's file, without its suffix: like Studio's, without the version; the same build has the same.

    Args:
        project: The project's name.
        target_format: The target's format; a request may name the target otherwise.
        request: What was built.
    """
    firmware = f"-{request.firmware_version}" if request.firmware_version else ""
    engine = "" if request.engine == "tflite" else f"-{request.engine}"
    variant = "" if request.variant == "int8" else f"-{request.variant}"
    return re.sub(r"[^0-9A-Za-z._-]+", "-", f"ei-{project}-{target_format}{firmware}{engine}{variant}")


@dataclass(frozen=True)
class Artifact:
    """A built file.

    Attributes:
        path: The zip.
        sha256: Of its bytes.
        format: The target's.
        engine: As built.
        variant: As built.
        version: Counts the project's builds, from 1.
        model_sha256: Of the .tflite inside.
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
