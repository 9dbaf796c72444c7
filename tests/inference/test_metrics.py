from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ei_automation.errors import VerificationError
from ei_automation.inference.metrics import classification_metrics, wilson_interval
from ei_automation.schema.metrics import Metrics

LABELS = ("a", "b", "c")


def count(scores: list[list[float]], actual: list[int], threshold: float = 0.6) -> Metrics:
    table = np.array(scores, dtype=np.float32).reshape(len(actual), len(LABELS))
    return classification_metrics(
        table, actual, LABELS, variant="int8", category="testing", minimum_confidence=threshold
    )


def test_counts_by_hand() -> None:
    metrics = count([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.1, 0.6, 0.3]], [0, 1, 1, 2])
    assert metrics.confusion_matrix == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert metrics.accuracy == 0.5
    assert metrics.accuracy_interval == pytest.approx((0.150, 0.850), abs=1e-3)
    assert metrics.loss == pytest.approx(-np.log([0.7, 0.4, 0.8, 0.3]).mean(), rel=1e-6)
    assert metrics.report["b"].precision == 0.5
    assert metrics.report["b"].recall == 0.5
    assert metrics.report["c"].f1_score == 0.0
    assert [metrics.report[label].support for label in LABELS] == [1, 2, 1]
    assert metrics.report["weighted avg"].recall == 0.5


def test_under_the_threshold_is_uncertain_and_not_correct() -> None:
    metrics = count([[0.7, 0.2, 0.1], [0.59, 0.41, 0.0], [0.1, 0.6, 0.3]], [0, 0, 2])
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert metrics.with_threshold.accuracy == pytest.approx(1 / 3)
    assert metrics.with_threshold.uncertain == 1
    assert metrics.with_threshold.confusion_matrix == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_auc_is_scikit_learns_weighted_one_against_rest() -> None:
    random = np.random.default_rng(3)
    actual = random.integers(0, 3, 90)
    scores = random.dirichlet((1, 1, 1), 90)
    expected = roc_auc_score(actual, scores, multi_class="ovr", average="weighted")
    metrics = count(scores.tolist(), actual.tolist())
    assert metrics.roc_auc == pytest.approx(expected, abs=1e-6)


def test_int8_scores_need_not_sum_to_one() -> None:
    metrics = count([[0.98, 0.0, 0.0], [0.5, 0.5078125, 0.0], [0.0, 0.0, 0.99609375]], [0, 1, 2])
    assert metrics.loss == pytest.approx(-np.log(0.5078125 / 1.0078125) / 3, rel=1e-6)
    assert metrics.roc_auc == 1.0


def test_a_row_of_zeros_is_uniform() -> None:
    assert count([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [1, 0]).loss == pytest.approx(np.log(3) / 2)


def test_labels_that_are_absent() -> None:
    metrics = count([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.6, 0.4, 0.0]], [0, 1, 1])
    assert metrics.report["c"].support == 0
    assert metrics.confusion_matrix[2] == [0, 0, 0]
    assert metrics.roc_auc == 1.0


def test_a_single_label_present() -> None:
    metrics = count([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1]], [0, 0])
    assert metrics.roc_auc is None
    assert metrics.accuracy == 0.5
    assert metrics.loss > 0


def test_no_sample() -> None:
    metrics = count([], [])
    assert metrics.sample_count == 0
    assert metrics.accuracy_interval == (0.0, 1.0)
    assert metrics.roc_auc is None
    assert metrics.confusion_matrix == [[0, 0, 0]] * 3
    assert metrics.with_threshold.confusion_matrix == [[0, 0, 0, 0]] * 3
    assert set(metrics.report) == {*LABELS, "weighted avg"}
    assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_labels_named_as_the_reports_own_rows() -> None:
    names = ("accuracy", "macro avg")
    metrics = classification_metrics(
        np.eye(2), [0, 1], names, variant="int8", category="testing", minimum_confidence=0.6
    )
    assert list(metrics.report) == [*names, "weighted avg"]
    assert metrics.report["accuracy"].recall == 1.0


@pytest.mark.parametrize(
    ("scores", "actual", "words"),
    [
        (np.zeros((2, 4)), [0, 1], "2 samples with 3 labels"),
        (np.zeros((1, 3)), [0, 1], "2 samples with 3 labels"),
        (np.zeros((1, 3)), [3], "outside 0..2"),
        (np.full((1, 3), np.nan), [0], "no numbers"),
    ],
)
def test_what_does_not_fit_is_refused(scores: np.ndarray, actual: list[int], words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        classification_metrics(scores, actual, LABELS, variant="int8", category="testing", minimum_confidence=0.6)


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score without continuity correction).
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(20, 20)[1] == 1.0


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_ratio(case: tuple[int, int]) -> None:
    correct, n = case
    low, high = wilson_interval(correct, n)
    assert 0.0 <= low <= correct / n <= high <= 1.0
    assert low < high
