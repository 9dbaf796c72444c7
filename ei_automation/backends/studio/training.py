"""Training: starting it with every parameter, and telling whether what is there is today's.

Studio's API does not tell what a model was trained with. It tells what the learn block is set to, and a training
sets all of it in the call that starts it; nothing here sets the block without training, so that the two belong
together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.impulse import (
    LiveImpulse,
    ensure_learn_block,
    has_features,
    is_stale,
    read_impulse,
)
from ei_automation.backends.studio.jobs import LiveJob, list_jobs, newest, start_job
from ei_automation.errors import NotFoundError, ProjectBusyError, UsageError, VerificationError
from ei_automation.schema.training import TrainingParameters
from ei_automation.studio_api.training import parameters_from, training_request

TRAIN_AGAIN = "run `eiauto train` again"
NO_MODEL = "there is no trained model"
OLDER = "the model is older than the samples or the impulse"


@dataclass(frozen=True)
class CurrentTraining:
    """The training whose model is there, of today's samples and impulse.

    Attributes:
        job_id: Its job; 0 where Studio no longer lists it.
        live: The impulse.
        learn_id: The learn block.
        config: What the learn block is set to, Studio's KerasResponse.
        jobs: The project's jobs, the newest first.
    """

    job_id: int
    live: LiveImpulse
    learn_id: int
    config: Mapping[str, Any]
    jobs: tuple[LiveJob, ...]


def read_config(client: StudioClient, project_id: int, learn_id: int) -> dict[str, Any]:
    """What a learn block is set to: Studio's KerasResponse."""
    return client.get(f"/api/{project_id}/training/keras/{learn_id}")


def current_training(client: StudioClient, project_id: int) -> CurrentTraining:
    """The last training, if its model is one of today's samples and impulse and no later one has failed.

    Raises:
        NotFoundError: Nothing was trained.
        VerificationError: Something newer was wanted than what there is.
    """
    jobs = tuple(list_jobs(client, project_id))
    last, features = newest(jobs, "training"), newest(jobs, "features", successful=True)
    live = read_impulse(client, project_id)
    learn_id = live.blocks.learn_id if live else None
    if last is not None and not last.successful:
        raise VerificationError(
            "the model is older than the last training, which did not end well", hint=TRAIN_AGAIN
        )
    config = read_config(client, project_id, learn_id) if learn_id is not None else {}
    if live is None or learn_id is None or not config["trained"]:
        if last is None:
            raise NotFoundError(NO_MODEL, hint="run `eiauto train` first")
        raise VerificationError(OLDER, hint=TRAIN_AGAIN)
    features_newer = features is not None and last is not None and features.job_id > last.job_id
    if live.impulse is None or features_newer or is_stale(client, project_id, live.blocks.impulse_id):
        raise VerificationError(OLDER, hint=TRAIN_AGAIN)
    return CurrentTraining(last.job_id if last else 0, live, learn_id, config, jobs)


def training_drift(
    client: StudioClient, project_id: int, parameters: TrainingParameters
) -> dict[str, tuple[str, str]]:
    """What a training would change of the learn block.

    Returns:
        Studio's key to (value now, value wanted); empty where there is no learn block yet.
    """
    live = read_impulse(client, project_id)
    if live is None or live.blocks.learn_id is None:
        return {}
    wanted = parameters.learn_block.type
    if live.blocks.learn_type != wanted:
        return {"learnBlock": (live.blocks.learn_type, wanted)}
    return config_drift(read_config(client, project_id, live.blocks.learn_id), parameters)


def config_drift(config: Mapping[str, Any], parameters: TrainingParameters) -> dict[str, tuple[str, str]]:
    """Where a learn block is set to something else than parameters ask for.

    Args:
        config: Studio's KerasResponse.
        parameters: What is wanted.

    Returns:
        Studio's key to (value now, value wanted).

    Raises:
        UsageError: Studio cannot be asked for these parameters.
    """
    exposed = exposed_by(config)
    wanted = training_request(parameters, exposed)
    try:
        now = training_request(parameters_from(config), exposed)
    except UsageError:  # expert mode, or layers of another kind
        now = {key: config.get(key) for key in wanted}
    now |= {key: config[key] for key in ("useLearnedOptimizer", "profileInt8") if config.get(key) is not None}
    left, right = _flat(now), _flat(wanted)
    return {
        key: (left.get(key, ""), right.get(key, ""))
        for key in dict.fromkeys([*right, *left])
        if left.get(key, "") != right.get(key, "")
    }


def exposed_by(config: Mapping[str, Any]) -> frozenset[str]:
    """Parameters of ours that a block lets one choose."""
    return frozenset(config.get("customParameters") or {})


def start_training(
    client: StudioClient, project_id: int, parameters: TrainingParameters, make_features: Callable[[], None]
) -> int:
    """Start a training; the job of the same training, where it is there already.

    Args:
        client: To ask.
        project_id: Whose.
        parameters: Of the training.
        make_features: Called before a training whose features are missing or older than the samples: Studio
            trains on what there is.

    Raises:
        ProjectBusyError: Another training is going on.
        UsageError: Studio cannot be asked for these parameters, or did not take them.
        VerificationError: The project has no impulse of ours.
    """
    live = ensure_learn_block(client, project_id, parameters.learn_block.type)
    learn_id = live.blocks.learn_id
    assert learn_id is not None
    config = read_config(client, project_id, learn_id)
    request = training_request(parameters, exposed_by(config))
    if (done := _same(client, project_id, same=not config_drift(config, parameters))) is not None:
        return done
    if config.get("customValidationMetadataKey"):  # of an earlier training: leaving it out would leave it on
        request = {"customValidationMetadataKey": "", **request}
    _validate_by_category(client, project_id)
    if not has_features(client, project_id, live.blocks):
        make_features()
    path = f"/api/{project_id}/jobs/train/keras/{learn_id}"
    job_id = start_job(client, project_id, path, request, kind="training")
    if changed := config_drift(read_config(client, project_id, learn_id), parameters):
        client.post_again(f"/api/{project_id}/jobs/{job_id}/cancel")
        key, (now, wanted) = next(iter(changed.items()))
        raise UsageError(
            f"Studio did not take {key} = {wanted}: it is {now or 'not set'} after the start of the training,"
            " which was cancelled",
            hint="choose another value, or train with --backend local",
        )
    return job_id


def _same(client: StudioClient, project_id: int, *, same: bool) -> int | None:
    """The job of the training that is asked for, where it is there or going on.

    Args:
        client: To ask.
        project_id: Whose.
        same: Whether the learn block is set as it should be.

    Raises:
        ProjectBusyError: Another training is going on: two at once would mix up what the block is set to.
    """
    last = newest(list_jobs(client, project_id), "training")
    if last is not None and not last.finished:
        if same:
            return last.job_id
        raise ProjectBusyError(
            f"training job {last.job_id} is going on in the project, with other parameters",
            hint="wait for its end, or cancel it in Studio; then run the same command again",
        )
    try:
        job_id = current_training(client, project_id).job_id if same else 0
    except (NotFoundError, VerificationError):
        return None
    return job_id or None


def _validate_by_category(client: StudioClient, project_id: int) -> None:
    """Let samples of the validation category validate, where there are some."""
    reply = client.get(f"/api/{project_id}/raw-data/count", category="validation")
    if not reply["count"]:
        return
    if not client.get(f"/api/{project_id}").get("explicitValidationEnabled"):
        client.post_again(f"/api/{project_id}", {"explicitValidationEnabled": True})


def _flat(request: Mapping[str, Any]) -> dict[str, str]:
    """Studio's keys to values as text; what is not set is left out."""
    flat: dict[str, str] = {}
    for key, value in request.items():
        if key == "customParameters":
            flat |= {name: str(text) for name, text in (value or {}).items() if text not in (None, "")}
        elif isinstance(value, list):
            flat |= {f"{key}.{place}": _layer_text(layer) for place, layer in enumerate(value)}
        elif value not in (None, ""):
            flat[key] = _text(value)
    return flat


def _text(value: object) -> str:
    """A value as JSON has it; 32 and 32.0 are the same number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _layer_text(layer: Mapping[str, Any]) -> str:
    """A visual layer in one line, e.g. `conv2d neurons=8 kernelSize=3 stack=1`."""
    fields = [
        f"{key}={value}" for key, value in layer.items() if key not in ("type", "enabled") and value is not None
    ]
    return " ".join([str(layer.get("type")), *fields])
