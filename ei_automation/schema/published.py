"""A project of Studio as somebody else reads it: what the API tells, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ei_automation.schema.impulse import Impulse
from ei_automation.schema.metrics import EvaluationCategory, ModelVariant
from ei_automation.schema.training import TrainingParameters


@dataclass(frozen=True)
class PublishedNumber:
    """An accuracy that the project states.

    Attributes:
        variant: Of the model.
        category: validation: after training; testing: model testing.
        accuracy: Ratio 0..1.
        loss: Nats; None where it is not told.
        with_threshold: Whether scores under the confidence threshold count as wrong.
        source: Which answer of the API says so.
    """

    variant: ModelVariant
    category: EvaluationCategory
    accuracy: float
    loss: float | None
    with_threshold: bool
    source: str


@dataclass(frozen=True)
class PublicProject:
    """What the API tells of a project.

    Attributes:
        given_id: The number in the reference.
        project_id: The project that was read: a published version is a project of its own.
        version: Its number among the published versions; None for a project that was read as it is now.
        url: Of its page.
        name: The project's.
        owner: User or organisation.
        description: The project's; empty where it is not told.
        license: Its name; empty where it is not told.
        counts: Category to label to samples.
        labels: In the order of the model's outputs where there is a model, else sorted.
        impulse: None where it is not told, or is none that a manifest can say.
        training: As `impulse`.
        learn_block_type: E.g. keras-transfer-image; empty where it is not told.
        minimum_confidence: The threshold of model testing, 0..1; None where it is not told.
        numbers: What it states about its models.
        unknown: What is not told, one line each, manifest key first.
    """

    given_id: int
    project_id: int
    version: int | None
    url: str
    name: str
    owner: str
    description: str = ""
    license: str = ""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    impulse: Impulse | None = None
    training: TrainingParameters | None = None
    learn_block_type: str = ""
    minimum_confidence: float | None = None
    numbers: tuple[PublishedNumber, ...] = ()
    unknown: tuple[str, ...] = ()
