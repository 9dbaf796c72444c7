"""The job that builds a deployment."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ei_automation.deployment import bundle, openmv, targets
from ei_automation.deployment.contents import BuildContents, DatasetSummary, make_zip
from ei_automation.files import fingerprint
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.metrics import Metrics
from ei_automation.studio_api.deployment import FIRMWARE_PARAMETER
from ei_automation.studio_server import deployment_metadata, learning, pretrained
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.deployment_targets import TARGETS, build_request
from ei_automation.studio_server.deployments import Origin
from ei_automation.studio_server.impulses import IMPULSE_ID, TRAINING
from ei_automation.studio_server.job_rows import JobFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ei_automation.backends.base import Backend
    from ei_automation.studio_server.studio import Studio
    from ei_automation.studio_server.workshop import JobTalk

CATEGORY, CATEGORY_KEY = "Building deployment", "deployment-build"


def made_of(studio: Studio, project_id: int) -> str:
    """Fingerprint of what a deployment made now depends on (model, impulse, thresholds); empty without a model."""
    if model := pretrained.in_use(studio, project_id):
        return model.made_of
    impulses, impulse = studio.impulses, studio.impulses.get(project_id)
    trained = _trained(studio, project_id)
    if impulse is None or trained is None:
        return ""
    options = {str(block["id"]): impulses.dsp_config(project_id, block["id"]) for block in impulse["dspBlocks"]}
    thresholds = {
        str(block["id"]): learning.confidence(impulses, project_id, block["id"])
        for block in impulse["learnBlocks"]
    }
    blocks = [impulse[kind] for kind in ("inputBlocks", "dspBlocks", "learnBlocks")]
    made = {"models": trained["models"], "labels": trained["labels"]}
    return fingerprint({"blocks": blocks, "options": options, "thresholds": thresholds, **made})


def _trained(studio: Studio, project_id: int) -> dict[str, Any] | None:
    """What is kept of the project's last training (`learning.train`); None where there is none."""
    learn_blocks = (studio.impulses.get(project_id) or {}).get("learnBlocks", ())
    kept = (studio.impulses.value(project_id, block["id"], TRAINING) for block in learn_blocks)
    return next((value for value in kept if value), None)


def start(studio: Studio, project_id: int, request: BuildRequest, *, by_public: bool = False) -> tuple[int, int]:
    """Start building.

    Args:
        studio: Whose project.
        project_id: Which.
        request: The format is one of `TARGETS`.
        by_public: Whether somebody asks who only reads the project.

    Returns:
        The job, and the number of the deployment that it makes.

    Raises:
        RefusalError: There is no such target or no model.
    """
    version = _begin(studio, project_id, request, by_public=by_public)

    def work(talk: JobTalk) -> None:
        _finish(studio, project_id, version, request, talk)

    job_id = studio.workshop.start(
        project_id,
        category=CATEGORY,
        category_key=CATEGORY_KEY,
        key=f"deploy-{request.format}-{request.variant}-{request.engine}",
        work=work,
        info={"deploymentVersion": version, "parameters": {FIRMWARE_PARAMETER: request.firmware_version}},
    )
    return job_id, version


def run(studio: Studio, project_id: int, deployment_format: str, body: Mapping[str, Any], talk: JobTalk) -> None:
    """Build within a job that did something else before.

    Args:
        studio: Whose project.
        project_id: Which.
        deployment_format: One of `TARGETS`.
        body: As of `build_on_device_model_job`.
        talk: The job.

    Raises:
        JobFailure: There is no such target or no model.
    """
    try:
        request = build_request(body, deployment_format)
        version = _begin(studio, project_id, request)
    except RefusalError as error:
        raise JobFailure(error.words) from None
    _finish(studio, project_id, version, request, talk)


def _begin(studio: Studio, project_id: int, request: BuildRequest, *, by_public: bool = False) -> int:
    """Take the number of the deployment that will be built from what the project is now."""
    state = made_of(studio, project_id)
    if not state:
        raise RefusalError("There is no trained model. Train the learn block, or upload a pretrained model")
    name = str((studio.impulses.get(project_id) or {}).get("name") or "Pretrained model")
    return studio.deployments.begin(project_id, request, Origin(IMPULSE_ID, name, state, by_public))


def _finish(studio: Studio, project_id: int, version: int, request: BuildRequest, talk: JobTalk) -> None:
    """Build it and keep it. A training may have ended since its number was taken: what counts is what is now."""
    target, state = TARGETS[request.format], made_of(studio, project_id)
    content = build_artifact(studio, project_id, version, target.local(request), talk)
    slug = _slug(studio.projects.info(project_id).name)
    name = f"{slug}-{request.format}-v{version}-impulse-#{IMPULSE_ID}{target.suffix}"
    studio.deployments.finish(project_id, version, content, filename=name, job_id=talk.job_id, made_of=state)
    talk.line(f"Built deployment version {version}: {target.name}, {len(content)} bytes")


def build_artifact(studio: Studio, project_id: int, version: int, request: BuildRequest, talk: JobTalk) -> bytes:
    """Build a deployment; a zip gets Studio's description of it inside.

    Args:
        studio: Whose project.
        project_id: Which.
        version: Number of the deployment.
        request: The format is that of a local target.
        talk: The job.

    Returns:
        The zip, or the Linux program.
    """
    model = pretrained.in_use(studio, project_id)
    if model is None:
        content = _build_trained(studio, project_id, request, talk)
    else:
        file = pretrained.read(studio.projects, project_id, model)
        content = pretrained.build_artifact(model, file, request, studio.projects.info(project_id).name)
    if request.format == targets.LINUX.format:
        return content
    files = _read_zip(content)
    labels, models = _made_of_files(studio, project_id, request, files)
    built = deployment_metadata.Built(version, labels, models)
    metadata = deployment_metadata.deployment_metadata(studio, project_id, built, with_impulse=model is None)
    return make_zip({**files, deployment_metadata.NAME: metadata})


def _made_of_files(
    studio: Studio, project_id: int, request: BuildRequest, files: Mapping[str, bytes]
) -> tuple[list[str], dict[str, bytes]]:
    """Labels and models of a build: those inside; of compiled code the project's, which it was compiled from."""
    inside = {name: file for name, file in files.items() if name.endswith(".tflite")}
    if inside:
        labels = files.get(bundle.LABELS_NAME, b"").decode().split("\n")
        return [label for label in labels if label], inside
    model = pretrained.in_use(studio, project_id)
    if model is not None:
        return list(model.labels), {openmv.MODEL_NAME: pretrained.read(studio.projects, project_id, model)}
    trained = _trained(studio, project_id)
    if trained is None:
        raise JobFailure("There is no trained model")
    place = learning.model_folder(studio.projects, project_id) / trained["models"][request.variant]["sha256"]
    return list(trained["labels"]), {openmv.MODEL_NAME: place.read_bytes()}


def without_key(content: bytes) -> bytes:
    """A zip for somebody who may not have the project's key."""
    return make_zip(deployment_metadata.without_key(_read_zip(content)))


def _read_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _build_trained(studio: Studio, project_id: int, request: BuildRequest, talk: JobTalk) -> bytes:
    """The local backend's build of the last training's model.

    The local backend builds only what today's samples would be trained to; Studio builds the model that there is.
    So where samples have come since, or the model was restored from elsewhere, what is kept of it is built.
    """
    trained = _trained(studio, project_id)
    if trained is None:
        raise JobFailure("There is no trained model")
    if trained["fingerprint"] == studio.samples.learning_fingerprint(project_id):
        with studio.workshop.backend(project_id) as backend:
            record = backend.training_record()
            if record is not None and record.model_dump(mode="json") == trained["record"]:
                return _build_by(backend, request, talk)
    talk.line("The model was restored or the samples have changed since; building what is kept of it", "warn")
    return targets.build(request, _kept_contents(studio, project_id, trained))


def _build_by(backend: Backend, request: BuildRequest, talk: JobTalk) -> bytes:
    with TemporaryDirectory() as folder:
        job_id = backend.start_build(request)
        learning.follow(backend, job_id, talk)
        return backend.download(job_id, Path(folder)).path.read_bytes()


def _kept_contents(studio: Studio, project_id: int, trained: Mapping[str, Any]) -> BuildContents:
    """What goes into a build of a model whose samples are no longer those of the project."""
    impulse, record = learning.current_impulse(studio.impulses, project_id), trained["record"]
    if impulse is None:
        raise JobFailure("There is no impulse that can be built")
    row, models = studio.projects.info(project_id), learning.model_folder(studio.projects, project_id)
    return BuildContents(
        project=row.name,
        labels=tuple(trained["labels"]),
        models={variant: (models / facts["sha256"]).read_bytes() for variant, facts in trained["models"].items()},
        input_shape=impulse.input_shape,
        resize_mode=impulse.input_block.resize_mode,
        channels=impulse.dsp_block.channels,
        dataset=DatasetSummary(origin="", split_method="", counts={}),
        weights_source=record["weights"]["source"] if record["weights"] else "",
        description=row.description,
        metrics=tuple(Metrics.model_validate(item) for item in trained["metrics"]),
        parameters=record["parameters"],
    )


def _slug(name: str) -> str:
    """A project's name as file names have it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "project"
