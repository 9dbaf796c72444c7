"""`deployment-metadata.json`, which Studio puts beside the model.

The fields are those of Edge Impulse's description of the file (DeploymentMetadataV1) and of the files that Studio
writes. What is not known here (arena sizes, DSP latency) is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ei_automation.studio_server.impulses import IMPULSE_ID
from ei_automation.studio_server.pretrained import tensors

if TYPE_CHECKING:
    from ei_automation.studio_server.studio import Studio

NAME = "deployment-metadata.json"
FOLDERS = {"input": "/home/input", "output": "/home/output"}
"""Where Studio's own build has its files; every deployment says so."""


@dataclass(frozen=True)
class Built:
    """What the file describes.

    Attributes:
        version: Number of the deployment.
        classes: The model's labels; empty where it has none.
        models: File name to the bytes of each .tflite file.
    """

    version: int
    classes: Sequence[str]
    models: Mapping[str, bytes]


def deployment_metadata(studio: Studio, project_id: int, built: Built, *, with_impulse: bool) -> bytes:
    """The file for a deployment.

    Args:
        studio: Whose project.
        project_id: Which.
        built: What was built.
        with_impulse: Whether the project's impulse is what the model belongs to.
    """
    models = [_model(f"{FOLDERS['input']}/{name}", content) for name, content in sorted(built.models.items())]
    shape = models[0]["details"]["inputs"][0]["shape"]
    is_image = len(shape) == 4
    content = {
        "version": 1,
        "samplesPerInference": shape[1] * shape[2] if is_image else models[0]["inputFrameSize"],
        "axesCount": 1,
        "classes": list(built.classes),
        "deployCounter": built.version,
        "folders": FOLDERS,
        "frequency": 0,
        "impulse": _impulse(studio, project_id, built.classes) if with_impulse else _no_impulse(),
        "project": _project(studio, project_id),
        "tfliteModels": models,
    }
    if is_image:
        content["sensor"] = "camera"
    return _text(content)


def without_key(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A deployment's files for somebody who may not have the project's key: it is taken out of the metadata."""
    content = json.loads(files[NAME])
    content["project"].pop("apiKey", None)
    return {**files, NAME: _text(content)}


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=4, ensure_ascii=False) + "\n").encode()


def _model(path: str, content: bytes) -> dict[str, Any]:
    inputs, outputs = tensors(content)
    size = 1
    for side in inputs[0]["shape"]:
        size *= side
    return {
        "inputFrameSize": size,
        "inputTensor": inputs[0]["name"],
        "outputTensor": outputs[0]["name"],
        "details": {"modelType": inputs[0]["dataType"], "inputs": inputs, "outputs": outputs},
        "modelPath": path,
    }


def _project(studio: Studio, project_id: int) -> dict[str, Any]:
    row = studio.projects.info(project_id)
    project = {"name": row.name, "id": project_id, "owner": row.owner, "studioHost": urlsplit(studio.url).netloc}
    key = studio.projects.development_key(project_id)
    return {**project, "impulseId": IMPULSE_ID, **({"apiKey": key} if key else {})}


def _no_impulse() -> dict[str, list[Any]]:
    return {"inputBlocks": [], "dspBlocks": [], "learnBlocks": []}


def _impulse(studio: Studio, project_id: int, classes: Sequence[str]) -> dict[str, Any]:
    """The impulse's blocks, the DSP block with its options and the learn block with its threshold."""
    impulse = studio.impulses.get(project_id)
    if impulse is None:
        return _no_impulse()
    options = {block["id"]: studio.impulses.dsp_config(project_id, block["id"]) for block in impulse["dspBlocks"]}
    return {
        "inputBlocks": impulse["inputBlocks"],
        "dspBlocks": [
            {**block, "metadata": {"dspConfig": {"options": options[block["id"]]}, "labels": list(classes)}}
            for block in impulse["dspBlocks"]
        ],
        "learnBlocks": [
            {**block, "thresholds": _thresholds(studio, project_id, block["id"])}
            for block in impulse["learnBlocks"]
        ],
    }


def _thresholds(studio: Studio, project_id: int, learn_id: int) -> dict[str, float]:
    confidence = studio.impulses.keras_config(project_id, learn_id).get("minimumConfidenceRating")
    return {} if confidence is None else {"minConfidenceRating": float(confidence)}
