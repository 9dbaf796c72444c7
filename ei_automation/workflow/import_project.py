"""`eiauto import`: the manifest of a published project, with what its API does not tell as assumptions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomli_w

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend, pull_published, read_published
from ei_automation.backends import restore_published as start_restoring
from ei_automation.backends.base import wait
from ei_automation.errors import UsageError
from ei_automation.files import write_atomically
from ei_automation.schema.lock import MAIN_SPLIT
from ei_automation.schema.manifest import Manifest
from ei_automation.schema.published import PublicProject, PublishedNumber
from ei_automation.schema.training import TrainingParameters
from ei_automation.settings import Settings
from ei_automation.workflow.manifest import FILE_NAME, load_manifest
from ei_automation.workflow.project import STATE_NAME

DATA_FOLDER = "data"
NOT_TOLD = {"fine_tuning", "seed", "threads", "validation_split", "augmentation_views", "early_stop_cycles"}
"""Training parameters that Studio's API has no field for; its own values, the defaults, are not written out."""
HEAD = """# Written by `eiauto import`. What the source does not tell stands under `assumptions`: correct them.
# `eiauto schema` prints every key with its meaning.

"""


@dataclass(frozen=True)
class Imported:
    """What `import_project` wrote.

    Attributes:
        path: The manifest.
        manifest: As it reads.
        source: What the API told.
    """

    path: Path
    manifest: Manifest
    source: PublicProject


def import_project(
    reference: str,
    folder: Path,
    settings: Settings,
    *,
    with_data: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Imported:
    """Read a project of Studio and write its manifest.

    Args:
        reference: Address or number of a published project, or of one that the key may read.
        folder: The project folder to write; made where it is not there.
        settings: Of the user, with the API key.
        with_data: Also download its images into `data/`.
        on_progress: Gets what is done, how far, of how much.

    Raises:
        UsageError: There is a manifest already, or the reference is none.
        NotFoundError: There is no such project.
        SettingsError: No key, or one that may not read it.
    """
    _check_host(reference, settings)
    path = folder / FILE_NAME
    if path.exists():
        raise UsageError(f"{path} is there already", hint="give another folder, or remove it")
    source = read_published(settings.studio, reference)
    renamed: dict[str, str] = {}
    if with_data:
        renamed = pull_published(
            settings.studio,
            source,
            folder / DATA_FOLDER,
            lambda done, total: on_progress("Downloading samples", done, total),
        )
    content = HEAD + tomli_w.dumps(_content(source, project_name(folder, source), renamed, with_data=with_data))
    write_atomically(path, content, doing="writing the manifest")
    return Imported(path, load_manifest(folder), source)


def _check_host(reference: str, settings: Settings) -> None:
    """Refuse the address of a project that is on another host than the one that would be asked."""
    host = urlsplit(reference).hostname if "://" in reference else None
    asked = urlsplit(settings.studio.api_endpoint).hostname
    if host is not None and host != asked:
        raise UsageError(
            f"{reference} is on {host}, and EI_HOST or EI_API_ENDPOINT points to {asked}",
            hint="unset them, or give the project's number",
        )


def restore_into_own(source: PublicProject, settings: Settings, on_line: Callable[[str], None]) -> int:
    """Copy a published version into the key's own project, which must be empty.

    Returns:
        That project's number.

    Raises:
        UsageError: It has data.
        JobFailedError: Studio could not do it.
    """
    options = BackendOptions(
        project=source.name,
        state_folder=Path(STATE_NAME),
        split=MAIN_SPLIT,
        cache_folder=settings.cache_folder,
        project_folder=Path(),
        weights=None,
        offline=settings.offline,
        facts=ProjectFacts(),
        studio=settings.studio,
    )
    with open_backend("studio", options) as backend:
        backend.check_ready()
        job_id = start_restoring(backend, source)
        wait(backend, job_id, deadline_s=settings.job_deadline_s, on_line=on_line)
        number = backend.provenance().project_id
    assert number is not None, "a Studio project has a number"
    return number


def project_name(folder: Path, source: PublicProject) -> str:
    """A name that a manifest takes: of the folder, else of the source, else its number."""
    for text in (folder.resolve().name, source.name):
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        if name := re.sub(r"[^a-z0-9]+", "-", plain).strip("-"):
            return name
    return f"project-{source.given_id}"


def _content(source: PublicProject, name: str, renamed: dict[str, str], *, with_data: bool) -> dict[str, Any]:
    assumptions = list(source.unknown)
    if not with_data:
        assumptions.append(
            f"dataset.origin: the images are not here; put them into {DATA_FOLDER}/ as category/label/image, or"
            " import again with --with-data"
        )
    content: dict[str, Any] = {"schema": 1, "name": name, "description": source.description}
    content["assumptions"] = assumptions
    content["published"] = _published(source)
    content["dataset"] = {
        "reader": "image-folder",
        "labels": renamed,
        "origin": {"type": "folder", "path": DATA_FOLDER},
        "split": {"method": "source"},
    }
    content["impulse"] = _impulse(source, assumptions)
    content["training"] = _training(source, assumptions)
    if source.minimum_confidence is not None and 0 <= source.minimum_confidence < 1:
        content["testing"] = {"minimum_confidence": source.minimum_confidence}
    content["deployments"] = [{"format": "openmv"}]
    return content


def _published(source: PublicProject) -> dict[str, Any]:
    published: dict[str, Any] = {
        "title": source.name or f"Edge Impulse project {source.given_id}",
        "authors": [source.owner] if source.owner else [],
        "url": source.url,
        "studio_project": source.given_id,
    }
    if count := sum(sum(labels.values()) for labels in source.counts.values()):
        published["sample_count"] = count
    published["metrics"] = [metric for number in source.numbers for metric in _metrics(number)]
    published["facts"] = [
        {
            "name": f"{category} samples",
            "value": f"{sum(labels.values())}",
            "source": f"project {source.project_id}",
        }
        for category, labels in sorted(source.counts.items())
    ]
    if source.license:
        published["facts"].append({"name": "licence", "value": source.license, "source": "the project's page"})
    return published


def _metrics(number: PublishedNumber) -> list[dict[str, Any]]:
    name = "accuracy_with_threshold" if number.with_threshold else "accuracy"
    common = {"variant": number.variant, "category": number.category, "source": number.source}
    found = [{"metric": name, "value": number.accuracy, **common}]
    if number.loss is not None:
        found.append({"metric": "loss", "value": number.loss, "tolerance": 0.1, **common})
    return found


def _impulse(source: PublicProject, assumptions: list[str]) -> dict[str, Any]:
    if source.impulse is not None:
        return source.impulse.model_dump(mode="json", exclude_none=True)
    assumptions.append("impulse: 96x96 pixels, squash, RGB, as Studio suggests for images")
    return {"input_block": {"image_width": 96, "image_height": 96}}


def _training(source: PublicProject, assumptions: list[str]) -> dict[str, Any]:
    if source.training is not None:
        usual = TrainingParameters(learn_block=source.training.learn_block).model_dump(mode="json")
        told = source.training.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in told.items() if key not in NOT_TOLD or value != usual[key]}
    assumptions.append("training: MobileNetV2 0.35 with Studio's own parameters")
    layer = {"type": "transfer_mobilenetv2_a35"}
    return {"learn_block": {"type": "keras-transfer-image", "visual_layer": layer}}
