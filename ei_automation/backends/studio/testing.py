"""Model testing: the threshold, the job, and whether what it found is of today's testing samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.jobs import newest, start_job
from ei_automation.backends.studio.results import Metadata, Scores, read_metadata, read_scores
from ei_automation.backends.studio.samples import list_samples
from ei_automation.backends.studio.training import CurrentTraining
from ei_automation.schema.metrics import VARIANTS, ModelVariant
from ei_automation.schema.sample import Category, StoredSample

CONFIDENCE_WORDS = ("confidence", "min_score")
"""In a threshold's key or description; Studio documents no keys."""


@dataclass(frozen=True)
class Tested:
    """What a test of the current training found.

    Attributes:
        job_id: Its job.
        metadata: Of the training.
        scores: By variant.
        samples: Today's testing samples with a label of the model, all of which have scores, by content hash.
        minimum_confidence: As the block is set, 0..1.
    """

    job_id: int
    metadata: Metadata
    scores: Mapping[ModelVariant, Scores]
    samples: Sequence[StoredSample]
    minimum_confidence: float


def read_test(
    client: StudioClient, project_id: int, current: CurrentTraining, *, just_ended: bool = False
) -> Tested | None:
    """What the last test found; None where there is none of the current model and today's testing samples.

    Args:
        client: To ask.
        project_id: Whose.
        current: The training.
        just_ended: The test ended a moment ago: results that are not there yet are waited for.
    """
    job = newest(current.jobs, "testing", successful=True)
    if job is None or job.job_id < current.job_id:
        return None
    metadata = read_metadata(client, project_id, current.learn_id)
    samples = sorted(
        (one for one in list_samples(client, project_id, Category.TESTING) if one.label in metadata.labels),
        key=lambda sample: sample.sha256,
    )
    scores = read_scores(
        client, project_id, current.learn_id, metadata.labels, expected=just_ended and bool(samples)
    )
    wanted = {sample.sample_id for sample in samples}
    if any(not wanted.issubset(scores.get(variant, {})) for variant in VARIANTS):
        return None
    return Tested(job.job_id, metadata, scores if samples else {}, samples, minimum_confidence(current.config)[1])


def start_testing(
    client: StudioClient, project_id: int, current: CurrentTraining, wanted_confidence: float
) -> int:
    """Start a test of the current model; the job of the same test, where it is there already.

    Args:
        client: To ask.
        project_id: Whose.
        current: The training.
        wanted_confidence: A best score under it is uncertain, 0..1.
    """
    key, now = minimum_confidence(current.config)
    if now != wanted_confidence:
        _set_confidence(client, project_id, current, key, wanted_confidence)
    elif (tested := read_test(client, project_id, current)) is not None:
        return tested.job_id
    last = newest(current.jobs, "testing")
    if last is not None and not last.finished:
        return last.job_id
    path = f"/api/{project_id}/jobs/classify"
    return start_job(client, project_id, path, {"modelVariants": list(VARIANTS)}, kind="testing")


def minimum_confidence(config: Mapping[str, Any]) -> tuple[str, float]:
    """The live threshold's key and value, 0..1; no key where the block has only the old field for it.

    Args:
        config: Studio's KerasResponse.
    """
    for threshold in config.get("thresholds") or ():
        words = f"{threshold['key']} {threshold.get('description', '')}".lower()
        if any(word in words for word in CONFIDENCE_WORDS) and isinstance(threshold["value"], int | float):
            return str(threshold["key"]), float(threshold["value"])
    return "", float(config["minimumConfidenceRating"])


def _set_confidence(
    client: StudioClient, project_id: int, current: CurrentTraining, key: str, value: float
) -> None:
    """Set the threshold, so that Studio's pages and a deployment show the same."""
    if not key:
        path = f"/api/{project_id}/training/keras/{current.learn_id}"
        client.post_again(path, {"minimumConfidenceRating": value})
        return
    body = {
        "thresholds": [{"blockId": current.learn_id, "key": key, "value": value}],
        "allowCreatingRegenerateModelTestingJobs": False,
    }
    client.post_again(f"/api/{project_id}/impulse/{current.live.blocks.impulse_id}/set-thresholds", body)
