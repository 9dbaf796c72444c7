"""Runs of the tuner against a loopback Studio whose trials appear over time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.tuner import start_making_primary, start_tuning, trials
from ei_automation.errors import NotFoundError, UsageError
from ei_automation.schema.tuner import TunerConfig, TunerSpace
from ei_automation.studio_api.tuner import optimize_config
from tests.backends.studio.tuner_server import PROJECT, Studio, Tuner, evaluation, served, trial

CONFIG = TunerConfig(name="first", space=(TunerSpace(learning_rates=(0.001, 0.0005)),), max_trials=2)
SCRIPT = [
    [],
    [trial(1, "running"), trial(2, "pending")],
    [trial(1, "completed", metrics={"validation": {"int8": evaluation("int8", 0.9)}}), trial(2, "running")],
    [trial(1, "completed", metrics={"validation": {"int8": evaluation("int8", 0.9)}}), trial(2, "failed")],
]


@pytest.fixture
def tuner() -> Tuner:
    return Tuner(SCRIPT)


@pytest.fixture
def studio(tuner: Tuner) -> Iterator[Studio]:
    state = Studio(tuner.answers())
    with served(state):
        yield state


def test_trials_are_seen_as_they_come(client: StudioClient, tuner: Tuner) -> None:
    job_id = start_tuning(client, PROJECT, CONFIG)
    assert tuner.config == optimize_config(CONFIG)
    seen = [[(item.trial_id, item.status) for item in trials(client, PROJECT, job_id)] for _ in range(5)]
    assert seen == [
        [],  # no state yet
        [],  # a state without trials
        [("trial-1", "running"), ("trial-2", "pending")],
        [("trial-1", "completed"), ("trial-2", "running")],
        [("trial-1", "completed"), ("trial-2", "failed")],
    ]
    first, second = trials(client, PROJECT, job_id)
    assert [item.accuracy for item in first.metrics] == [0.9]
    assert first.parameters["learn"][0]["config"]["batchSize"] == 32
    assert second.metrics == ()


def test_a_run_that_goes_on_is_not_started_twice(client: StudioClient, studio: Studio, tuner: Tuner) -> None:
    tuner.creating = 0
    job_id = start_tuning(client, PROJECT, CONFIG)
    trials(client, PROJECT, job_id)
    assert start_tuning(client, PROJECT, CONFIG) == job_id
    assert start_tuning(client, PROJECT, CONFIG, extend=True) == job_id
    assert len(studio.named("optimize_job")) == 1


def test_another_search_is_another_run(client: StudioClient, tuner: Tuner) -> None:
    tuner.creating = 0
    first = start_tuning(client, PROJECT, CONFIG)
    trials(client, PROJECT, first)
    second = start_tuning(client, PROJECT, CONFIG.model_copy(update={"max_trials": 9}))
    assert second != first
    assert tuner.config["tuningMaxTrials"] == 9
    assert trials(client, PROJECT, first) == []  # the second run's trials are not shown as the first one's


def test_a_run_is_continued(client: StudioClient, studio: Studio, tuner: Tuner) -> None:
    tuner.creating = 0
    first = start_tuning(client, PROJECT, CONFIG)
    while tuner.running:
        trials(client, PROJECT, first)
    second = start_tuning(client, PROJECT, CONFIG, extend=True)
    assert second != first
    assert [call.query for call in studio.named("optimize_job")] == [{}, {"extendedFromJobId": str(first)}]


def test_there_must_be_a_run_to_continue(client: StudioClient, studio: Studio) -> None:
    with pytest.raises(NotFoundError, match="no run of the tuner") as caught:
        start_tuning(client, PROJECT, CONFIG, extend=True)
    assert "--extend" in caught.value.hint
    assert studio.named("update_config") == []


def test_nothing_is_sent_without_a_search_space(client: StudioClient, studio: Studio) -> None:
    with pytest.raises(UsageError, match="either a template or a space"):
        start_tuning(client, PROJECT, TunerConfig())
    assert studio.calls == []


def test_a_trial_is_made_primary(client: StudioClient, tuner: Tuner) -> None:
    assert start_making_primary(client, PROJECT, "trial-1", "best one") == 900
    assert start_making_primary(client, PROJECT, "trial 2&x") == 900
    assert tuner.made_primary == [("trial-1", "best one"), ("trial 2&x", "")]


def test_a_state_in_pieces_is_no_crash(client: StudioClient, studio: Studio) -> None:
    """Not of the official schema: what a server may answer while it is still creating a run."""
    for answer in ({}, {"trials": None}, {"trials": [None, {}, {"id": "x"}], "tunerCoordinatorJobId": 5}):
        studio.answers["get_tuner_run_state"] = studio.answers["get_state"] = answer
        assert [item.trial_id for item in trials(client, PROJECT, 5)] == (["x"] if len(answer) == 2 else [])
    assert studio.problems != []
    studio.problems.clear()
