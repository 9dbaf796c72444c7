"""Projects with deployments for boards, made by hand: nothing is trained."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from ei_automation.files import sha256_bytes, sha256_file
from ei_automation.schema.lock import DatasetRecord, DeploymentRecord, OriginRecord, SplitRecord
from ei_automation.settings import Settings
from ei_automation.workflow.project import Session, open_session
from tests.devices.camera_scripts import Y2022, Y2024
from tests.devices.surroundings import CLASSIFIER, LABELS
from tests.helpers import make_project

SCRIPTS = {"ml": Y2024, "tf": Y2022}


def library(path: Path, *, api: str = "ml", model: bytes = CLASSIFIER, labels: Sequence[str] = LABELS) -> Path:
    """An OpenMV library as Studio makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("trained.tflite", model)
        archive.writestr("labels.txt", "\n".join(labels))
        archive.writestr("ei_image_classification.py", SCRIPTS[api])
    return path


def project_with(folder: Path, *files: str, extra: str = "", model: bytes = CLASSIFIER) -> Session:
    """A project whose lock records OpenMV libraries; a name with `tf` holds a script for old firmware."""
    make_project(folder, extra=extra)
    manifest = folder / "project.toml"
    manifest.write_text(manifest.read_text().replace("= 12\n", "= 8\n"))
    session = open_session(folder, Settings.from_env())
    records = []
    for name in files:
        path = library(folder / "deployments" / name, api="tf" if "tf" in name else "ml", model=model)
        records.append(
            DeploymentRecord(
                format="openmv",
                variant="int8",
                engine="tflite",
                firmware_version="",
                file=f"deployments/{name}",
                sha256=sha256_file(path),
                model_sha256=sha256_bytes(model),
            )
        )
    lock = session.read_lock()
    split = SplitRecord(deployments=records)
    session.write_lock(lock.model_copy(update={"splits": {"main": split}}), "deploy")
    return session


def synced(session: Session, labels: Sequence[str]) -> Session:
    """The project as if it had been synced with these labels; not at all where there are none."""
    if labels:
        record = DatasetRecord(
            wanted="",
            origin=OriginRecord(type="folder", reference="data"),
            samples_sha256="",
            labels=list(labels),
            split_specs={},
            counts={},
            set_aside={},
            findings=[],
        )
        session.write_lock(session.read_lock().model_copy(update={"dataset": record}), "sync")
    return session
