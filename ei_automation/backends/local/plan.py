"""What a training, a test and a build depend on, without doing any of it: cheap enough for every call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ei_automation import __version__
from ei_automation.backends import BackendOptions
from ei_automation.backends.local.results import RESULT_VERSION
from ei_automation.backends.local.store import Store
from ei_automation.errors import VerificationError
from ei_automation.files import fingerprint
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.lock import TrainingRecord
from ei_automation.schema.sample import Category, StoredSample
from ei_automation.schema.training import TrainingParameters
from ei_automation.trainer.request import TRAINER_VERSION, ResolvedWeights
from ei_automation.trainer.weights import resolve_weights


@dataclass(frozen=True)
class TrainingPlan:
    """Everything a training depends on.

    Attributes:
        parameters: As asked for.
        impulse: As set.
        samples: Training and validation category, ordered by content hash: file order does not matter.
        labels: Sorted.
        weights: Of the base; None for a network without one.
        inputs: Fingerprint of all of it.
    """

    parameters: TrainingParameters
    impulse: Impulse
    samples: tuple[StoredSample, ...]
    labels: tuple[str, ...]
    weights: ResolvedWeights | None
    inputs: str


def require_impulse(store: Store) -> Impulse:
    """The impulse as it was set.

    Raises:
        VerificationError: It was not.
    """
    value = store.get("impulse")
    if value is None:
        raise VerificationError("the project has no impulse yet", hint="run `eiauto sync` first")
    return Impulse.model_validate(value)


def plan_training(store: Store, options: BackendOptions, parameters: TrainingParameters) -> TrainingPlan:
    """Collect what a training depends on.

    Raises:
        NotFoundError: The pretrained weights are not at hand.
        NetworkError: They could not be downloaded.
    """
    impulse, samples = require_impulse(store), _learning_samples(store)
    weights = resolve_weights(
        parameters.learn_block,
        impulse.dsp_block.channels,
        project_folder=options.project_folder,
        override=options.weights,
        cache_folder=options.cache_folder / "weights",
        offline=options.offline,
    )
    labels = tuple(sorted({sample.label for sample in samples}))
    inputs = training_inputs(store, parameters, weights.sha256 if weights else None)
    return TrainingPlan(parameters, impulse, samples, labels, weights, inputs)


def training_inputs(store: Store, parameters: TrainingParameters, weights_sha256: str | None) -> str:
    """Fingerprint of what a training depends on, with weights that are known by their hash."""
    return fingerprint(
        {
            "trainer": TRAINER_VERSION,
            "result": RESULT_VERSION,
            "parameters": parameters.model_dump(mode="json"),
            "impulse": require_impulse(store).model_dump(mode="json"),
            "weights": weights_sha256,
            "samples": samples_fingerprint(_learning_samples(store)),
        }
    )


def samples_fingerprint(samples: Sequence[StoredSample]) -> str:
    """Of what a training sees of its samples: contents, labels, categories, groups."""
    return fingerprint([(s.sha256, s.label, s.category.value, s.group) for s in samples])


def image_folder(options: BackendOptions) -> Path:
    """Where decoded images are, for every split of a project."""
    return options.state_folder / "cache" / "images"


def _learning_samples(store: Store) -> tuple[StoredSample, ...]:
    """Training and validation category, by content hash."""
    learning = (sample for sample in store.samples() if sample.category is not Category.TESTING)
    return tuple(sorted(learning, key=lambda sample: sample.sha256))


def testing_inputs(record: TrainingRecord, testing: list[StoredSample], minimum_confidence: float) -> str:
    """Fingerprint of what metrics are counted from."""
    return fingerprint(
        {
            "result": RESULT_VERSION,
            "models": {variant: model.sha256 for variant, model in record.models.items()},
            "validation": record.validation_sha256,
            "testing": sorted((sample.sha256, sample.label) for sample in testing),
            "minimum_confidence": minimum_confidence,
        }
    )


def build_inputs(record: TrainingRecord, options: BackendOptions, request: BuildRequest, metrics: object) -> str:
    """Fingerprint of what a build is made from."""
    return fingerprint(
        {
            "models": {variant: model.sha256 for variant, model in record.models.items()},
            "version": __version__,
            "project": options.project,
            "facts": repr(options.facts),
            "request": repr(request),
            "metrics": metrics,
        }
    )
