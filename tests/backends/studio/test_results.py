"""Metrics, curves, scores and models as Studio tells them."""

import numpy as np
import pytest

from ei_automation.backends.studio.results import (
    Metadata,
    download_model,
    read_curves,
    read_scores,
    validation_metrics,
)
from ei_automation.backends.studio.results import (
    testing_metrics as metrics_of_scores,
)
from ei_automation.backends.studio.testing import minimum_confidence
from ei_automation.errors import NetworkError, NotFoundError
from ei_automation.inference.metrics import classification_metrics
from ei_automation.schema.sample import Category, StoredSample
from tests.backends.studio.tuner_server import Reply, Studio, serve

LABELS = ("blue", "green", "red")
EMPTY = read_curves(())


@pytest.fixture
def scripted():
    servers = []

    def start(answers):
        state = Studio(answers)
        servers.append(serve(state))
        return state

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# Validation


def test_validation_numbers_are_studios_with_what_follows_from_its_matrix():
    actual, predicted = [0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 2, 2]
    matrix = [[1.0, 1.0, 0.0], [0, 2, 1], [0, 0, 1]]
    found = {"confusionMatrix": matrix, "loss": 0.25, "accuracy": 4 / 6, "report": {}}
    metadata = Metadata(LABELS, {"int8": found}, EMPTY)
    (ours,) = validation_metrics(metadata)
    sure = np.eye(3, dtype=np.float32)[predicted]
    theirs = classification_metrics(
        sure, actual, LABELS, variant="int8", category="validation", minimum_confidence=0.0
    )
    assert (ours.accuracy, ours.accuracy_interval) == (theirs.accuracy, theirs.accuracy_interval)
    assert (ours.confusion_matrix, ours.report) == (theirs.confusion_matrix, theirs.report)
    assert (ours.loss, ours.roc_auc, ours.with_threshold, ours.sample_count) == (0.25, None, None, 6)
    assert metadata.validation_count == 6


@pytest.mark.parametrize("value", [0.5, -1])
def test_a_matrix_of_ratios_is_refused(value):
    with pytest.raises(NetworkError, match="no numbers of samples"):
        validation_metrics(Metadata(("a",), {"int8": {"confusionMatrix": [[value]], "loss": 0}}, EMPTY))


def test_curves_are_known_by_their_titles():
    graphs = [
        {"title": "Loss", "data": [{"title": "Training", "values": [3, 2, 1]}]},
        {"title": "epoch_loss", "data": [{"title": "validation", "values": [3, 1, 2]}]},
        {"title": "Accuracy", "data": [{"title": "train", "values": [0.1]}, {"title": "val", "values": [0.2]}]},
        {"title": "Learning rate", "data": [{"title": "Training", "values": [9]}]},
    ]
    curves = read_curves(graphs)
    assert (curves.loss, curves.validation_loss, curves.best_cycle) == ([3, 2, 1], [3, 1, 2], 1)
    assert (curves.accuracy, curves.validation_accuracy, curves.stage_starts) == ([0.1], [0.2], [0])
    assert (EMPTY.loss, EMPTY.validation_loss, EMPTY.stage_starts, EMPTY.best_cycle) == ([], [], [], 0)


# Scores


def outcome(rows, variants=("float32", "int8"), **more):
    """An answer of what is read only."""
    result = [
        {
            "sampleId": number,
            "classifications": [
                {"learnBlock": {"id": 9}, "result": [{"blue": 1.0}]},
                {"learnBlock": {"id": 3}, "result": [scores] if scores else []},
            ],
        }
        for number, scores in rows.items()
    ]
    return {"result": result, "availableVariants": list(variants), **more}


def test_scores_come_in_the_order_of_the_labels(scripted):
    rows = {5: {"red": 0.7, "blue": 0.2, "green": 0.1}, 6: {"green": 1.0}, 7: None}
    state = scripted({"get_classify_job_result": lambda _call: outcome(rows)})
    scores = read_scores(state.client(), 7, 3, LABELS, expected=False)
    assert scores["int8"] == {5: (0.2, 0.1, 0.7), 6: (0.0, 1.0, 0.0)}
    assert [call.query["variant"] for call in state.calls] == ["float32", "int8"]


@pytest.mark.parametrize(
    "answer",
    [
        "No model testing results found, run 'startClassifyJob' first",
        outcome({}),
        outcome({5: {"red": 1.0}}, variants=("float32",)),
        outcome({5: {"red": 1.0}}, noResultsBecauseThresholdsChanged="should_rerun_full_job"),
    ],
)
def test_results_that_are_not_there_are_none(scripted, answer):
    state = scripted({"get_classify_job_result": lambda _call: answer})
    assert read_scores(state.client(), 7, 3, LABELS, expected=False) == {}
    assert len(state.calls) == 2


def test_results_that_come_late_are_waited_for(scripted):
    late = scripted({})
    late.answers["get_classify_job_result"] = lambda _call: outcome({5: {"red": 1}} if len(late.calls) > 4 else {})
    assert read_scores(late.client(), 7, 3, LABELS, expected=True)["int8"] == {5: (0.0, 0.0, 1.0)}


def test_another_refusal_is_not_taken_for_no_results(scripted):
    state = scripted({"get_classify_job_result": "No trained impulse found, train your impulse first"})
    with pytest.raises(NotFoundError, match="No trained impulse found"):
        read_scores(state.client(), 7, 3, LABELS, expected=True)


def test_metrics_are_counted_from_the_scores():
    samples = [
        StoredSample(5, "a", "0" * 64, "red", Category.TESTING),
        StoredSample(6, "b", "1" * 64, "green", Category.TESTING),
    ]
    scores = {"float32": {6: (0.5, 0.4, 0.1), 5: (0.2, 0.1, 0.7), 9: (1.0, 0.0, 0.0)}}
    (found,) = metrics_of_scores(scores, samples, LABELS, 0.6)
    assert (found.accuracy, found.sample_count, found.with_threshold.uncertain) == (0.5, 2, 1)
    assert found.loss == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2, rel=1e-6)


# The threshold


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ([{"key": "min_score", "description": "Score threshold", "value": 0.7}], ("min_score", 0.7)),
        ([{"key": "x", "description": "Minimum confidence rating", "value": 1}], ("x", 1.0)),
        ([{"key": "min_anomaly", "description": "Anomaly", "value": 3.0}], ("", 0.6)),
        ([{"key": "confidence", "description": "", "value": "auto"}], ("", 0.6)),
        ([], ("", 0.6)),
    ],
)
def test_the_live_threshold_is_known_by_its_words(thresholds, expected):
    assert minimum_confidence({"thresholds": thresholds, "minimumConfidenceRating": 0.6}) == expected


# Models


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"id": "8", "type": "TensorFlow Lite (int8 quantized)", "link": ""}, "/learn-data/3/model/8"),
        ({"type": "TensorFlow Lite (int8 quantized)", "link": "/v1/api/7/learn-data/3/model/tflite-int8"},
         "/learn-data/3/model/tflite-int8"),
        ({"type": "TensorFlow Lite (int8 quantized)", "link": "/v1/api/7/learn-data/4/model/8"}, None),
        ({"id": "8", "type": "TensorFlow Lite (float32)", "link": ""}, None),
        ({"id": "8", "type": "TensorFlow Lite (int8 quantized with float32 input and output)", "link": ""}, None),
        ({"id": "8", "type": "Keras h5 model (int8)", "link": ""}, None),
        ({"type": "TensorFlow Lite (int8 quantized)", "link": ""}, None),
    ],
)  # fmt: skip
def test_a_model_is_found_among_the_downloads(scripted, item, path):
    state = scripted(
        {
            "list_downloads": {"downloads": [{"name": "Transfer learning model", **item}]},
            "download_learn_model": lambda call: Reply(call.path.encode(), media_type="application/octet-stream"),
        }
    )
    if path is None:
        with pytest.raises(NotFoundError, match="lists no int8 model"):
            download_model(state.client(), 7, 3, "int8")
    else:
        assert download_model(state.client(), 7, 3, "int8") == f"/v1/api/7{path}".encode()
