"""Tag classify of the local Studio, and the results of evaluate jobs."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_server.impulses import TESTING
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.testing import RunningStudio
from tests.studio_server.trained import LEARN_ID, Caller, images, trained, trained_folder

__all__ = ["trained", "trained_folder"]


def test_every_testing_sample_has_every_score(trained: RunningStudio) -> None:
    caller = Caller(trained)
    rows = trained.studio.samples.find(trained.project_id, Filter(category="testing"))
    for variant in VARIANTS:
        found = caller.get("{p}/classify/all/result", variant=variant)
        assert [item["sampleId"] for item in found["result"]] == sorted(row.sample_id for row in rows)
        for item in found["result"]:
            (classification,) = item["classifications"]
            (scores,) = classification["result"]
            assert set(scores) == {"green", "red"}
            assert math.isclose(sum(scores.values()), 1, abs_tol=0.01)
            assert classification["expectedLabels"][0]["label"] == item["sample"]["label"]
        totals = Counter(item["predictionCorrect"] for item in found["predictions"])
        assert found["accuracy"]["totalSummary"] == {"good": totals[True], "bad": totals[False]}
        assert found["accuracy"]["accuracyScore"] == totals[True] / 6
        assert found["accuracy"]["allLabels"] == ["green", "red", "uncertain"]
        assert found["availableVariants"] == list(VARIANTS)
    assert caller.get("{p}/classify/all/result", featureExplorerOnly="True")["result"] == []
    assert "akida" in caller.refused("GET", "{p}/classify/all/result?variant=akida")


def test_results_come_in_pages(trained: RunningStudio) -> None:
    caller = Caller(trained)
    whole = caller.get("{p}/classify/all/result")["result"]
    pages = [caller.get("{p}/classify/all/result/page", limit=4, offset=offset) for offset in (0, 4)]
    assert [item for page in pages for item in page["result"]] == whole
    assert [page["totalCount"] for page in pages] == [6, 6]
    red = caller.get("{p}/classify/all/result/page", limit=10, offset=0, labels='["red"]')
    assert {item["label"] for item in red["predictions"]} == {"red"}
    assert red["totalCount"] == 3


def test_a_sample_that_is_gone_has_no_result_any_more(trained: RunningStudio) -> None:
    caller = Caller(trained)
    first = caller.get("{p}/classify/all/result")["result"][0]["sampleId"]
    trained.studio.samples.delete(trained.project_id, Filter(ids=(first,)))
    found = caller.get("{p}/classify/all/result")
    assert len(found["result"]) == 5
    assert sum(found["accuracy"]["totalSummary"].values()) == 5


def test_an_evaluation_tells_of_both_variants(trained: RunningStudio) -> None:
    caller = Caller(trained)
    trained.studio.impulses.drop(trained.project_id, TESTING)
    assert "No model testing results found" in caller.refused("GET", "{p}/classify/all/result")
    assert "No model testing results found" in caller.refused("GET", "{p}/deployment/evaluate/cache")
    caller.done(caller.post("{p}/jobs/evaluate"))
    for stats in caller.get("{p}/deployment/evaluate")["result"]:
        assert stats["totalWindowCount"] == 6
        right = sum(stats["confusionMatrix"][label][label]["raw"] for label in stats["trainingLabels"])
        assert stats["accuracy"]["raw"] == right / 6
    assert caller.get("{p}/jobs/all", key="evaluate")["totalJobCount"] == 1


def test_without_testing_samples_nothing_was_tested(trained: RunningStudio) -> None:
    caller = Caller(trained)
    trained.studio.samples.delete(trained.project_id, Filter(category="testing"))
    assert "There are no testing samples" in caller.done(caller.post("{p}/jobs/classify", {}))
    found = caller.get("{p}/classify/all/result")
    assert (found["result"], found["accuracy"]["totalSummary"]) == ([], {"good": 0, "bad": 0})
    assert caller.get("{p}/deployment/evaluate")["result"][0]["accuracy"] == {}


def test_testing_wants_a_model_and_a_known_category(studio: RunningStudio, trained: RunningStudio) -> None:
    assert "train your impulse first" in Caller(studio).refused("POST", "{p}/jobs/classify", {})
    assert "testing data only" in Caller(trained).refused("POST", "{p}/jobs/classify?category=training", {})
    body = {"modelVariants": ["akida"]}
    assert "no model variant" in Caller(trained).refused("POST", "{p}/jobs/classify", body)


def test_a_model_older_than_the_samples_is_tested_all_the_same(trained: RunningStudio) -> None:
    caller, samples = Caller(trained), trained.studio.samples
    before = caller.get("{p}/classify/all/result", variant="float32")
    row = samples.find(trained.project_id, Filter(category="training"))[0]
    samples.delete(trained.project_id, Filter(ids=(row.sample_id,)))
    assert "not those of the training" in caller.done(caller.post("{p}/jobs/classify", {}))
    after = caller.get("{p}/classify/all/result", variant="float32")
    assert after["predictions"] == before["predictions"]
    for one, other in zip(before["result"], after["result"], strict=True):
        (old,), (new,) = one["classifications"][0]["result"], other["classifications"][0]["result"]
        assert new == pytest.approx(old, abs=1e-6)


def test_one_sample_gets_the_scores_that_testing_gave_it(trained: RunningStudio) -> None:
    caller = Caller(trained)
    item = caller.get("{p}/classify/all/result", variant="float32")["result"][0]
    number, (tested,) = item["sampleId"], item["classifications"][0]["result"]
    by_variant = caller.raw("POST", f"{{p}}/classify/v2/{number}/variants?variants=float32,int8").json()
    assert [found["variant"] for found in by_variant["results"]] == list(VARIANTS)
    found = caller.raw("POST", f"{{p}}/classify/v2/{number}?variant=float32").json()
    assert found["classifications"] == by_variant["results"][0]["classifications"]
    (scores,) = found["classifications"][0]["result"]
    assert scores == pytest.approx(tested, abs=1e-6)
    assert found["sample"]["sample"]["id"] == number
    assert caller.get(f"{{p}}/classify/{number}")["classifications"][0]["learnBlock"]["id"] == LEARN_ID
    assert "No sample found with ID 4711" in caller.refused("POST", "{p}/classify/v2/4711")


def test_an_image_of_a_request_is_classified(trained: RunningStudio) -> None:
    caller = Caller(trained)
    (content,) = images("red", 1, first=500).values()
    answer = caller.raw("POST", "{p}/classify/image", files={"image": ("a.png", content, "image/png")}).json()
    assert max(answer["result"], key=answer["result"].get) == "red"
    bad = caller.raw("POST", "{p}/classify/image", files={"image": ("a.png", b"no image", "image/png")}).json()
    assert (bad["success"], "cannot be decoded" in bad["error"]) == (False, True)
    assert "'image'" in caller.raw("POST", "{p}/classify/image", files={"other": ("a", b"x")}).json()["error"]


def test_a_variant_that_is_none_is_refused(trained: RunningStudio) -> None:
    for variant in ("", "akida", ["int8"], None):
        words = Caller(trained).refused("POST", "{p}/jobs/classify", {"modelVariants": [variant]})
        assert words == f"There is no model variant '{variant}'"
