"""The live impulse: read, written where it differs, and its features.

A block that stays as it is keeps its number and is sent back as it came, so that what it has made stays valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.jobs import list_jobs, newest, start_job
from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.schema.impulse import Impulse
from ei_automation.studio_api.impulse import (
    DEFAULT_RESIZE_METHOD,
    LiveBlocks,
    dsp_request,
    dsp_values,
    impulse_from,
    impulse_request,
    live_blocks,
)

DEFAULT_LEARN_BLOCK = "keras-transfer-image"
"""Of an impulse that is set before a training says which learn block it wants."""
FIRST_NAME = "Impulse #1"
SET_BY_STUDIO = ("createdBy", "createdAt")
"""Of a block; Studio refuses to be told."""
SYNC_FIRST = "run `eiauto sync` first"


@dataclass(frozen=True)
class LiveImpulse:
    """The impulse as it is.

    Attributes:
        raw: Studio's Impulse.
        blocks: Its blocks.
        impulse: As our noun; None where no manifest can describe it.
    """

    raw: Mapping[str, Any]
    blocks: LiveBlocks
    impulse: Impulse | None


def read_impulse(client: StudioClient, project_id: int) -> LiveImpulse | None:
    """The project's impulse; None where there is none yet."""
    raw = client.get(f"/api/{project_id}/impulse").get("impulse")
    if not raw or not (raw.get("inputBlocks") or raw.get("dspBlocks") or raw.get("learnBlocks")):
        return None
    blocks = live_blocks(raw)
    config = client.get(f"/api/{project_id}/dsp/{blocks.dsp_id}") if blocks.dsp_id is not None else {}
    return LiveImpulse(raw, blocks, impulse_from(raw, config))


def require_impulse(client: StudioClient, project_id: int) -> LiveImpulse:
    """The project's impulse, with all three blocks.

    Raises:
        VerificationError: There is none, or it is none of ours.
    """
    live = read_impulse(client, project_id)
    if live is None:
        raise VerificationError("the project has no impulse yet", hint=SYNC_FIRST)
    if live.impulse is None:
        raise VerificationError(
            "the project's impulse has other blocks than a manifest can ask for", hint=SYNC_FIRST
        )
    return live


def write_impulse(client: StudioClient, project_id: int, impulse: Impulse) -> None:
    """Make the live impulse the wanted one; where it is, nothing is written.

    Raises:
        VerificationError: Studio took it, and now has another one.
        EiautoError: As the client's.
    """
    live = read_impulse(client, project_id)
    if live is not None and live.impulse == impulse:
        return
    dsp_id = live.blocks.dsp_id if live else None
    if dsp_id is None or live is None or live.impulse is None or live.impulse.input_block != impulse.input_block:
        _label_by_sample(client, project_id)
        ids = _ids(client, project_id, live.blocks if live else None)
        wanted = impulse_request(
            impulse,
            (live.blocks.learn_type if live else "") or DEFAULT_LEARN_BLOCK,
            dsp_version=_image_block_version(client, project_id),
            ids=ids,
            name=str(live.raw["name"]) if live else FIRST_NAME,
            resize_method=live.blocks.resize_method if live else DEFAULT_RESIZE_METHOD,
        )
        _post_impulse(client, project_id, wanted, live)
        dsp_id = ids[1]
    path = f"/api/{project_id}/dsp/{dsp_id}"
    if dsp_values(client.get(path)).get("channels") != impulse.dsp_block.channels:
        client.post_again(path, dsp_request(impulse))
    after = read_impulse(client, project_id)
    if after is None or after.impulse != impulse:
        raise VerificationError("Studio took the impulse and has another one now", hint="look at it in Studio")


def ensure_learn_block(client: StudioClient, project_id: int, learn_type: str) -> LiveImpulse:
    """The live impulse with a learn block of a type: another one gives way to a new block.

    Raises:
        VerificationError: There is no impulse of ours.
    """
    live = require_impulse(client, project_id)
    if live.blocks.learn_type == learn_type:
        return live
    assert live.impulse is not None
    assert live.blocks.dsp_id is not None
    learn_id = _new_id(client, project_id)
    (learn,) = impulse_request(live.impulse, learn_type, dsp_version=1, ids=(0, live.blocks.dsp_id, learn_id))[
        "learnBlocks"
    ]
    kept = {key: [_own(block) for block in live.raw[key]] for key in ("inputBlocks", "dspBlocks")}
    _post_impulse(client, project_id, {"name": live.raw["name"], **kept, "learnBlocks": [learn]}, live)
    return require_impulse(client, project_id)


def is_stale(client: StudioClient, project_id: int, impulse_id: int) -> bool:
    """Whether samples changed since the features were generated, as Studio has it."""
    impulses = client.get(f"/api/{project_id}/impulses-detailed")["impulses"]
    return any(item["isStale"] for item in impulses if item["impulse"]["id"] == impulse_id)


def start_features(client: StudioClient, project_id: int) -> int:
    """Start generating features; where they are today's samples', the job that made them is the answer.

    Raises:
        VerificationError: There is no impulse of ours.
    """
    blocks = require_impulse(client, project_id).blocks
    last = newest(list_jobs(client, project_id), "features")
    if last is not None and not last.finished:
        return last.job_id
    if last is not None and last.successful and has_features(client, project_id, blocks):
        return last.job_id
    path = f"/api/{project_id}/jobs/generate-features"
    return start_job(client, project_id, path, {"dspId": blocks.dsp_id}, kind="features")


def has_features(client: StudioClient, project_id: int, blocks: LiveBlocks) -> bool:
    """Whether there are features of today's samples."""
    path = f"/api/{project_id}/dsp/{blocks.dsp_id}/metadata"
    made = bool(client.get(path, excludeIncludedSamples=True)["generated"])
    return made and not is_stale(client, project_id, blocks.impulse_id)


def _post_impulse(
    client: StudioClient, project_id: int, wanted: Mapping[str, Any], live: LiveImpulse | None
) -> None:
    """Set an impulse: the one there is, or the project's first."""
    number = live.blocks.impulse_id if live else None
    client.post_again(f"/api/{project_id}/impulse", wanted, impulseId=number)


def _own(block: Mapping[str, Any]) -> dict[str, Any]:
    """A live block as it may be sent back."""
    return {key: value for key, value in block.items() if key not in SET_BY_STUDIO and value is not None}


def _ids(client: StudioClient, project_id: int, blocks: LiveBlocks | None) -> tuple[int, int, int]:
    """Numbers of the three blocks: those there are, new ones for the others; 1 to 3 for a first impulse."""
    if blocks is None:
        return (1, 2, 3)
    ids: list[int] = []
    for number in (blocks.input_id, blocks.dsp_id, blocks.learn_id):
        ids.append(number if number is not None else _new_id(client, project_id, above=max(ids, default=0)))
    return (ids[0], ids[1], ids[2])


def _new_id(client: StudioClient, project_id: int, *, above: int = 0) -> int:
    """A block number that was never used."""
    return max(int(client.post_again(f"/api/{project_id}/impulse/get-new-block-id")["blockId"]), above + 1)


def _image_block_version(client: StudioClient, project_id: int) -> int:
    """Newest implementation version of the image block; an impulse that names none would get version 1.

    Raises:
        NotFoundError: Studio has no image block.
    """
    for block in client.get(f"/api/{project_id}/impulse/blocks")["dspBlocks"]:
        if block["type"] == "image":
            return int(block["latestImplementationVersion"])
    raise NotFoundError("Studio offers no image block to this project", hint="look at its impulse in Studio")


def _label_by_sample(client: StudioClient, project_id: int) -> None:
    """One label a sample: a project of detections takes no classification block."""
    project = client.get(f"/api/{project_id}")["project"]
    if project.get("labelingMethod") != "single_label":
        client.post_again(f"/api/{project_id}", {"labelingMethod": "single_label"})
