"""Connections, batch size, pauses and patience follow what the server does; a clock that we turn ourselves."""

from __future__ import annotations

import pytest

from ei_automation.backends.studio.pace import BREAKER_TROUBLES, HALVING_EVERY_S, Limits, Pace


class Clock:
    """Seconds that pass when we say so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock=clock, chance=lambda: 1.0)


def test_a_server_that_stays_fast_gets_all_connections(pace: Pace) -> None:
    for _ in range(40):
        pace.answered(16, 0.1)
    assert pace.connections == pace.limits.connections


def test_a_server_where_requests_only_queue_gets_no_more(pace: Pace) -> None:
    """16 files of 20 ms each, one after the other: eight under way wait eight times as long as one."""
    pace.answered(16, 0.4)
    for _ in range(40):
        pace.answered(16, 0.08 + 0.32 * pace.connections)
    assert pace.connections <= 12


def test_trouble_halves_once_for_requests_that_were_under_way_together(pace: Pace, clock: Clock) -> None:
    before = pace.connections
    for _ in range(3):
        pace.troubled(smaller=False)
    assert pace.connections == before // 2
    clock.now += HALVING_EVERY_S
    pace.troubled(smaller=False)
    assert pace.connections == max(1, before // 4)


def test_a_service_that_was_never_reached_is_given_up_sooner(pace: Pace, clock: Clock) -> None:
    pace.progressed()
    pace.troubled(smaller=False, reached=False)
    clock.now += pace.limits.first_contact_s
    assert not pace.stalled
    clock.now += 0.1
    assert (pace.stalled, pace.never_reached) == (True, True)


def test_a_service_that_was_reached_once_keeps_its_patience(pace: Pace, clock: Clock) -> None:
    pace.troubled(smaller=False, reached=False)
    pace.throttled(None)
    pace.troubled(smaller=False, reached=False)
    clock.now += pace.limits.patience_s
    assert (pace.stalled, pace.never_reached) == (False, False)
    clock.now += 0.1
    assert pace.stalled


def test_what_broke_off_is_sent_in_smaller_batches_until_it_goes_well(pace: Pace) -> None:
    pace.troubled(smaller=True)
    assert pace.files == 8
    for _ in range(4):
        pace.answered(8, 0.1)
    assert pace.files == 16


def test_too_large_a_post_makes_batches_smaller_than_it_was(pace: Pace) -> None:
    pace.too_large(16)
    pace.too_large(16)
    assert pace.files == 8
    pace.too_large(1)
    assert pace.files == 1


def test_everything_waits_as_long_as_the_server_says(pace: Pace, clock: Clock) -> None:
    pace.throttled(7.0)
    assert pace.pause_s() == 7.0
    clock.now += 7.0
    assert pace.pause_s() == 0.0
    assert pace.files == 16
    assert not pace.broken


def test_a_wait_that_the_server_asked_for_does_not_use_up_the_patience(pace: Pace, clock: Clock) -> None:
    pace.throttled(200.0)
    clock.now += 201.0
    assert not pace.stalled
    clock.now += pace.limits.patience_s
    assert pace.stalled


def test_a_server_that_puts_off_for_ever_is_given_up(pace: Pace, clock: Clock) -> None:
    waits = 0
    while not pace.stalled:
        pace.throttled(100.0)
        clock.now += 100.0
        waits += 1
        assert waits < 100
    assert waits > 5


def test_throttling_without_a_time_backs_off_by_itself(pace: Pace) -> None:
    pace.throttled(None)
    assert pace.pause_s() == pytest.approx(0.5)
    pace.throttled(None)
    assert pace.pause_s() == pytest.approx(1.0)


def test_the_breaker_sends_one_at_a_time_with_growing_pauses_and_closes_at_a_success(
    pace: Pace, clock: Clock
) -> None:
    for _ in range(BREAKER_TROUBLES - 1):
        pace.troubled(smaller=False)
    assert not pace.broken
    assert pace.pause_s() == 0
    pauses = []
    for _ in range(8):
        pace.troubled(smaller=False)
        pauses.append(pace.pause_s())
        clock.now += pace.pause_s()
    assert pace.broken
    assert pace.connections == 1
    assert pauses == sorted(pauses)
    assert pauses[-1] == pace.limits.most_backoff_s
    pace.answered(16, 0.1)
    assert not pace.broken


def test_jitter_is_between_half_and_whole() -> None:
    assert Pace(chance=lambda: 0.0).backoff_s(3) == 1.0
    assert Pace(chance=lambda: 1.0).backoff_s(3) == 2.0
    assert Pace(chance=lambda: 1.0).backoff_s(10_000) == Limits().most_backoff_s


def test_a_slow_line_without_trouble_is_not_given_up(pace: Pace, clock: Clock) -> None:
    clock.now += 3600
    assert not pace.stalled
    pace.troubled(smaller=True)
    assert pace.stalled
    pace.progressed()
    assert not pace.stalled


def test_the_deadline_for_an_answer_follows_the_answers(pace: Pace) -> None:
    assert pace.answer_s == pace.limits.answer_s
    pace.answered(16, 0.1)
    assert pace.answer_s == pace.limits.least_answer_s
    for _ in range(60):
        pace.answered(16, 1.0)
    assert pace.answer_s == pytest.approx(20, rel=0.01)
