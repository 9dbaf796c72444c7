"""Samples in Studio's JSON."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ei_automation.dsp.image import UnusableImageError, decode
from ei_automation.studio_api.samples import boxes_json
from ei_automation.studio_server.call import RefusalError, iso
from ei_automation.studio_server.samples import SampleRow

if TYPE_CHECKING:
    from ei_automation.studio_server.studio import Studio

SENSORS = [{"index": 0, "name": "image", "units": "rgba"}]
"""Of every image. The Python package downloads what has a sensor `image` as an image."""
OBJECT_DETECTION = "object_detection"
NO_BOXES = "-"
"""Label of an image without bounding boxes in an object detection project."""
MOST_VALUES = 1 << 18
"""Pixels in a payload where nobody asks for fewer; `totalPayloadLength` tells how many there are."""


@dataclass(frozen=True)
class ProjectFacts:
    """What a sample's JSON says of its project.

    Attributes:
        name: As shown.
        owner: User who made it.
        labeling: Labeling method.
    """

    name: str
    owner: str
    labeling: str


def project_facts(studio: Studio, project_id: int) -> ProjectFacts:
    """Look them up."""
    row = studio.projects.info(project_id)
    return ProjectFacts(row.name, row.owner, studio.projects.get(project_id, "labelingMethod", "single_label"))


def sample_json(row: SampleRow, project: ProjectFacts, *, sensors: bool = True) -> dict[str, Any]:
    """A sample as schema Sample has it.

    Args:
        row: The sample.
        project: Its project.
        sensors: Whether to list them; they are the same for every image.
    """
    created, size = iso(row.created), {"width": row.width, "height": row.height}
    listed, values = SENSORS if sensors else [], row.width * row.height
    return {
        "id": row.sample_id,
        "filename": row.filename,
        "signatureValidate": True,
        "created": created,
        "lastModified": iso(row.modified),
        "category": row.category,
        "coldstorageFilename": coldstorage_name(row),
        "label": shown_label(row, project),
        "intervalMs": 0,
        "frequency": 0,
        "originalIntervalMs": 0,
        "originalFrequency": 0,
        "deviceType": row.device_type,
        "sensors": listed,
        "valuesCount": values,
        "totalLengthMs": 0,
        "added": created,
        "boundingBoxes": boxes_json(row.boxes) if row.boxes else [],
        "boundingBoxesType": OBJECT_DETECTION,
        "chartType": "image",
        "isDisabled": row.disabled,
        "isProcessing": False,
        "processingError": False,
        "isCropped": False,
        "metadata": row.metadata,
        "projectId": row.project_id,
        "projectOwnerName": project.owner,
        "projectName": project.name,
        "projectLabelingMethod": project.labeling,
        "sha256Hash": row.sha256,
        "imageDimensions": size,
        "datastreams": [
            {
                "index": 0,
                "chartType": "image",
                "intervalMs": 0,
                "frequencyHz": 0,
                "sensors": listed,
                "valuesCount": values,
                "imageDimensions": size,
                "totalLengthMs": 0,
            }
        ],
    }


def shown_label(row: SampleRow, project: ProjectFacts) -> str:
    """The label in lists: that of the bounding boxes where the sample has none of its own."""
    if row.label and project.labeling != OBJECT_DETECTION:
        return row.label
    if row.boxes:
        return ", ".join(sorted({box.label for box in row.boxes}))
    return NO_BOXES if project.labeling == OBJECT_DETECTION else row.label


def coldstorage_name(row: SampleRow) -> str:
    """The name in cold storage: the file's, and three parts more, which the Python package cuts off again."""
    return f"{row.filename}{row.extension}.{row.sample_id:08x}.ingestion-local{row.extension or '.bin'}"


def payload_json(row: SampleRow, content: bytes, limit: int | None) -> dict[str, Any]:
    """The payload of a sample as schema GetSampleResponse has it: one packed RGB number a pixel, row by row.

    Args:
        row: The sample.
        content: Its file.
        limit: Most values; None for `MOST_VALUES`.

    Raises:
        RefusalError: The file is no longer the image that was stored.
    """
    most = MOST_VALUES if limit is None else max(limit, 0)
    payload = {
        "device_type": row.device_type,
        "sensors": SENSORS,
        "values": [[value] for value in _packed(content, most)] if most else [],
        "intervalMs": 0,
        "frequencyHz": 0,
    }
    total = row.width * row.height
    stream = {"index": 0, "payload": payload, "totalPayloadLength": total}
    return {"payload": payload, "totalPayloadLength": total, "datastreamPayloads": [stream]}


def _packed(content: bytes, most: int) -> list[int]:
    """The first pixels as 0xRRGGBB."""
    pixels = np.asarray(decoded(content)[0]).reshape(-1, 3)[:most].astype(np.int64)
    packed: list[int] = (pixels @ np.array([1 << 16, 1 << 8, 1])).tolist()
    return packed


def decoded(content: bytes) -> Any:
    """Picture and mode of a stored image.

    Raises:
        RefusalError: It is damaged.
    """
    try:
        return decode(content)
    except UnusableImageError as error:
        raise RefusalError(f"This sample cannot be decoded: {error}") from error


def png(image: Any) -> bytes:
    """A Pillow image as a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
