"""The record of the current training, from what Studio tells; what it does not tell stays empty."""

from __future__ import annotations

from collections.abc import Callable

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.results import read_metadata
from ei_automation.backends.studio.samples import list_samples
from ei_automation.backends.studio.training import CurrentTraining, config_drift, exposed_by
from ei_automation.files import fingerprint, sha256_bytes
from ei_automation.schema.lock import ModelRecord, TrainingRecord, WeightsRecord
from ei_automation.schema.metrics import ModelVariant
from ei_automation.schema.sample import Category, StoredSample
from ei_automation.schema.training import TrainingParameters
from ei_automation.studio_api.training import parameters_from, training_request


def read_record(
    client: StudioClient,
    project_id: int,
    current: CurrentTraining,
    model: Callable[[ModelVariant], bytes],
    *,
    asked: TrainingParameters | None = None,
) -> TrainingRecord:
    """The record of a training.

    Args:
        client: To ask.
        project_id: Whose.
        current: The training.
        model: Gives the .tflite file of a variant.
        asked: What was last asked for. Where the learn block is set to just that, it is what the record says:
            some parameters, e.g. `threads`, mean nothing to Studio and are not told by it.

    Raises:
        UsageError: The learn block is set to what no manifest can say.
        EiautoError: As the client's.
    """
    metadata = read_metadata(client, project_id, current.learn_id)
    learning = [one for one in list_samples(client, project_id) if one.category is not Category.TESTING]
    known = asked if asked is not None and not config_drift(current.config, asked) else None
    parameters = known or parameters_from(current.config)
    samples = _fingerprint(learning)
    assert current.live.impulse is not None, "of a current training"
    impulse = current.live.impulse.model_dump(mode="json")
    models = {variant: _model_record(model(variant)) for variant in metadata.metrics}
    inputs = {
        "endpoint": client.settings.api_endpoint,
        "project": project_id,
        "job": current.job_id,
        "samples": samples,
        "impulse": impulse,
        "request": training_request(parameters, exposed_by(current.config)),
        "models": {variant: found.sha256 for variant, found in models.items()},
    }
    return TrainingRecord(
        inputs=fingerprint(inputs),
        impulse=impulse,
        samples_sha256=samples,
        parameters=parameters.model_dump(mode="json"),
        weights=_weights(parameters),
        seed=parameters.seed,
        threads=0,
        validation_sha256="",
        validation_count=metadata.validation_count,
        training_count=len(learning) - metadata.validation_count,
        curves=metadata.curves,
        models=models,
    )


def _fingerprint(learning: list[StoredSample]) -> str:
    """Of what a training sees of its samples; the same as the local backend's."""
    facts = sorted((one.sha256, one.label, one.category.value, one.group) for one in learning)
    return fingerprint(facts)


def _model_record(content: bytes) -> ModelRecord:
    return ModelRecord(sha256=sha256_bytes(content), size_bytes=len(content))


def _weights(parameters: TrainingParameters) -> WeightsRecord | None:
    """Where the base's weights came from: Studio's own, whose hash it does not tell."""
    weights = getattr(parameters.learn_block, "weights", None)
    return None if weights is None else WeightsRecord(source="none" if weights == "none" else "studio")
