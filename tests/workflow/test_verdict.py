"""Verdicts know the tolerance and how small a test set is."""

from pathlib import Path

import pytest

from ei_automation.inference.metrics import wilson_interval
from ei_automation.schema.lock import Lock, SampleRecord, SplitRecord
from ei_automation.schema.manifest import PublishedMetric
from ei_automation.schema.metrics import ClassReport, Metrics, ThresholdAccuracy
from ei_automation.workflow.manifest import load_manifest
from ei_automation.workflow.verdict import Verdict, judge, judge_metric

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


def measured(accuracy: float, count: int) -> Metrics:
    correct = round(accuracy * count)
    interval = wilson_interval(correct, count)
    return Metrics(
        variant="int8",
        category="testing",
        labels=["a", "b"],
        sample_count=count,
        accuracy=accuracy,
        accuracy_interval=interval,
        loss=0.5,
        roc_auc=None,
        confusion_matrix=[[1, 0], [0, 1]],
        report={"a": ClassReport(precision=1, recall=1, f1_score=0.8, support=1)},
        with_threshold=ThresholdAccuracy(
            threshold=0.6,
            accuracy=accuracy,
            accuracy_interval=interval,
            uncertain=0,
            confusion_matrix=[[1, 0, 0], [0, 1, 0]],
        ),
    )


def published(value: float | None, **changes: object) -> PublishedMetric:
    fields = {"metric": "accuracy", "variant": "int8", "category": "testing", "source": "table 1", **changes}
    return PublishedMetric.model_validate({"value": value, **fields})


@pytest.mark.parametrize(
    ("value", "ours", "count", "verdict"),
    [
        (0.90, 0.90, 1000, Verdict.REPRODUCED),
        (0.90, 0.915, 1000, Verdict.REPRODUCED),
        (0.90, 0.919, 100_000, Verdict.WITHIN_TOLERANCE),
        (0.90, 0.95, 1000, Verdict.DIFFERS),
        (0.90, 0.80, 1000, Verdict.DIFFERS),
        (0.90, 0.80, 20, Verdict.NOT_COMPARABLE),
        (None, 0.80, 1000, Verdict.NOT_COMPARABLE),
    ],
)
def test_accuracies(value, ours, count, verdict):
    assert judge_metric(published(value), [measured(ours, count)]).verdict is verdict


def test_a_small_test_set_is_named_as_the_reason():
    row = judge_metric(published(0.9), [measured(0.8, 20)])
    assert row.reason == "20 samples are too few to tell"


def test_other_variants_and_categories_do_not_stand_in():
    row = judge_metric(published(0.9, variant="float32"), [measured(0.9, 100)])
    assert (row.verdict, row.ours, row.reason) == (Verdict.NOT_COMPARABLE, None, "nothing was measured for it")


def test_losses_and_f1_scores_have_no_interval():
    assert judge_metric(published(0.51, metric="loss"), [measured(0.9, 100)]).verdict is Verdict.REPRODUCED
    row = judge_metric(published(0.7, metric="f1_score", label="a"), [measured(0.9, 100)])
    assert (row.verdict, row.ours, row.interval) == (Verdict.DIFFERS, 0.8, None)


def test_other_data_are_not_comparable():
    row = judge_metric(published(0.9), [measured(0.9, 100)], other_data="other data: 10 samples")
    assert (row.verdict, row.reason) == (Verdict.NOT_COMPARABLE, "other data: 10 samples")


@pytest.mark.parametrize(
    ("count", "verdict"), [(100, Verdict.REPRODUCED), (99, Verdict.REPRODUCED), (90, Verdict.NOT_COMPARABLE)]
)
def test_a_few_samples_more_or_less_are_the_same_data(count, verdict):
    manifest = load_manifest(PROJECTS / "digits")
    source = manifest.published.model_copy(update={"sample_count": 100, "metrics": (published(0.9),)})
    sample = SampleRecord(name="a", sha256="b", label="c", categories={})
    lock = Lock(
        schema=1,
        project="digits",
        samples=[sample] * count,
        splits={"main": SplitRecord(metrics=[measured(0.9, 1000)])},
    )
    (row,) = judge(manifest.model_copy(update={"published": source}), lock)
    assert row.verdict is verdict
