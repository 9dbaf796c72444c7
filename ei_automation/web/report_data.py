"""What a report shows. Plain data: whoever has it fills it in, `render` draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ei_automation.schema.findings import Finding
from ei_automation.schema.metrics import EvaluationCategory, Metrics, ModelVariant, TrainingCurves


@dataclass(frozen=True)
class VerdictRow:
    """One published number beside ours.

    Attributes:
        name: What was measured, e.g. `accuracy, int8, testing`.
        published: As the source states it; None where it cannot be read.
        ours: None where there is none.
        interval: 95 % interval of ours; None where there is none.
        verdict: reproduced, within tolerance, differs or not comparable.
        source: Where the source says it.
        note: Why it is not comparable, or what else must be known.
        is_ratio: True for ratios 0..1, shown as per cent; False for a loss, nats.
    """

    name: str
    published: float | None
    ours: float | None
    interval: tuple[float, float] | None
    verdict: str
    source: str
    note: str = ""
    is_ratio: bool = True


@dataclass(frozen=True)
class SampleImage:
    """An image of the data set.

    Attributes:
        image: PNG or JPEG bytes.
        name: The sample's.
        label: Its label.
        category: Where it belongs.
    """

    image: bytes
    name: str
    label: str
    category: str


@dataclass(frozen=True)
class ExplorerPoint:
    """A sample in the feature explorer.

    Attributes:
        plane: Where it lies in two dimensions, -1..1 each.
        space: Where it lies in three dimensions, -1..1 each.
        label: Its label.
        predicted: What the model says; empty where it was not asked.
        name: The sample's.
        image: PNG or JPEG bytes.
        category: Where it belongs.
    """

    plane: tuple[float, float]
    space: tuple[float, float, float]
    label: str
    predicted: str
    name: str
    image: bytes
    category: str = ""


@dataclass(frozen=True)
class Misclassified:
    """A sample that a model got wrong.

    Attributes:
        image: PNG or JPEG bytes.
        name: The sample's.
        actual: Its label.
        predicted: The model's answer, or uncertain.
        score: Of that answer, 0..1.
        variant: Which model.
        category: Of which category the sample is.
    """

    image: bytes
    name: str
    actual: str
    predicted: str
    score: float
    variant: ModelVariant
    category: EvaluationCategory


@dataclass(frozen=True)
class SplitReport:
    """One split of the data and what was trained on it.

    Attributes:
        name: main, or the name of a compared split.
        description: How it was split, one sentence.
        counts: Category to label to samples.
        metrics: Every variant and category that was measured.
        curves: None where nothing was trained.
    """

    name: str
    description: str
    counts: Mapping[str, Mapping[str, int]]
    metrics: tuple[Metrics, ...] = ()
    curves: TrainingCurves | None = None


@dataclass(frozen=True)
class BoardRow:
    """What the int8 model takes of a board, compiled to C.

    Attributes:
        name: The board's.
        core: Of its processor.
        flash_bytes: Code and constants.
        ram_bytes: Variables, the arena among them.
        stack_bytes: High-water mark.
        instructions: Of one inference.
        time: Of one inference, a range that says that it is estimated.
        time_note: What that rests on.
        fits: Deployment, e.g. C++, to whether it fits and why.
    """

    name: str
    core: str
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    instructions: int
    time: str
    time_note: str
    fits: Mapping[str, tuple[bool, str]]


@dataclass(frozen=True)
class ReportData:
    """Everything in a report. What is empty is left out of it.

    Attributes:
        project: Its name.
        description: One or two sentences.
        labels: In the order of the model's outputs.
        splits: The main split first, then those it is compared with.
        published_title: Of the project that is reproduced.
        published_url: Where that is; a link only when it is http or https.
        verdicts: Published numbers beside ours.
        assumptions: What the source leaves open and how it was filled in.
        samples: A few images a label.
        explorer: Points of the feature explorer.
        misclassified: Samples of the main split that were got wrong; may be cut to the first ones.
        parameters: Training parameters; nested tables become dotted names.
        environment: Versions, machine and times.
        findings: Of the audit.
        notes: What must be said at the top, e.g. that the network was trained from scratch.
        boards: The project's boards, measured.
        board_notes: What the measurements are exact for, or why there are none.
    """

    project: str
    description: str
    labels: tuple[str, ...]
    splits: tuple[SplitReport, ...]
    published_title: str = ""
    published_url: str = ""
    verdicts: tuple[VerdictRow, ...] = ()
    assumptions: tuple[str, ...] = ()
    samples: tuple[SampleImage, ...] = ()
    explorer: tuple[ExplorerPoint, ...] = ()
    misclassified: tuple[Misclassified, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    boards: tuple[BoardRow, ...] = ()
    board_notes: tuple[str, ...] = ()
