"""What is sent together, what is tried again, and which file is blamed: with a sender that answers as we say."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ei_automation.backends.studio.client import PassingError, UnreachableError
from ei_automation.backends.studio.ingestion import (
    AnsweredError,
    Duplicate,
    Refused,
    Stored,
    Verdict,
    WholeRefusedError,
)
from ei_automation.backends.studio.pace import Pace
from ei_automation.backends.studio.transfer import Transfer, Waiting
from ei_automation.errors import NetworkError, SettingsError
from ei_automation.schema.sample import BoundingBox, Category, Sample
from tests.backends.studio.parts import BRISK


def plain(number: int, **values: object) -> Sample:
    sample = Sample(Path(f"{number}.jpg"), f"{number}.jpg", f"{number:064x}", "a", Category.TRAINING)
    return replace(sample, **values)  # type: ignore[arg-type]


Answer = Callable[[Sequence[Sample]], dict[str, Verdict]]


def transfer(samples: Sequence[Sample], answer: Answer, **limits: object) -> dict[str, Verdict]:
    """Verdicts by name; each sample has exactly one."""
    found: list[tuple[str, Verdict]] = []
    pace = Pace(replace(BRISK, **limits))  # type: ignore[arg-type]
    Transfer(
        samples, lambda batch, _s: answer(batch), pace, lambda one, verdict: found.append((one.name, verdict))
    ).run()
    assert Counter(name for name, _ in found) == Counter(sample.name for sample in samples)
    return dict(found)


def stored(batch: Sequence[Sample]) -> dict[str, Verdict]:
    return {sample.sha256: Stored(int(sample.sha256, 16)) for sample in batch}


def test_a_batch_shares_label_category_group_and_having_boxes() -> None:
    boxes = (BoundingBox("x", 1, 2, 3, 4),)
    samples = [
        *(plain(n) for n in range(20)),
        *(plain(n, label="b") for n in range(20, 22)),
        *(plain(n, category=Category.TESTING) for n in range(22, 24)),
        *(plain(n, group="p1") for n in range(24, 26)),
        *(plain(n, bounding_boxes=boxes) for n in range(26, 28)),
    ]
    waiting, sizes = Waiting(samples), []
    while batch := waiting.take(0, 16, 1 << 20):
        keys = {(one.label, one.category, one.group, bool(one.bounding_boxes)) for one in batch.samples}
        assert len(keys) == 1
        sizes.append(len(batch.samples))
    assert sizes == [16, 4, 2, 2, 2, 2]
    assert not waiting


def test_a_batch_is_bounded_in_bytes_and_takes_one_large_file_alone(tmp_path: Path) -> None:
    samples = []
    for number, size in enumerate((10, 10, 10, 500, 10)):
        path = tmp_path / str(number)
        path.write_bytes(b"x" * size)
        samples.append(plain(number, path=path))
    waiting = Waiting(samples)
    taken = [waiting.take(0, 16, 25) for _ in range(4)]
    assert [len(batch.samples) for batch in taken if batch] == [2, 1, 1, 1]


def test_every_sample_gets_its_verdict() -> None:
    found = transfer([plain(n) for n in range(100)], stored)
    assert found["42.jpg"] == Stored(42)


def test_no_more_requests_are_under_way_than_allowed() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1
        return stored(batch)

    transfer([plain(n) for n in range(200)], answer, files=2, connections=5, first_connections=3)
    assert 3 <= most <= 5


@pytest.mark.parametrize(
    "trouble", [PassingError("reset"), AnsweredError("500", 500, None), AnsweredError("429", 429, 0.01)]
)
def test_what_fails_once_is_sent_again(trouble: PassingError) -> None:
    failed: set[str] = set()

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        if batch[0].sha256 not in failed:
            failed.add(batch[0].sha256)
            raise trouble
        return stored(batch)

    found = transfer([plain(n) for n in range(64)], answer)
    assert all(isinstance(verdict, Stored) for verdict in found.values())


@pytest.mark.parametrize("trouble", [PassingError("reset"), AnsweredError("500", 500, None)])
def test_the_one_file_that_breaks_the_server_is_found(trouble: PassingError) -> None:
    bad = plain(13)

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        if bad in batch:
            raise trouble
        return stored(batch)

    found = transfer([plain(n) for n in range(40)], answer)
    failed = {name: verdict for name, verdict in found.items() if isinstance(verdict, Refused)}
    assert list(failed) == ["13.jpg"]
    assert str(trouble) in failed["13.jpg"].words


def test_a_post_refused_as_a_whole_is_split_until_one_file_is_left() -> None:
    bad = plain(3)

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        if bad in batch:
            raise WholeRefusedError("not an image", 400)
        return stored(batch)

    found = transfer([plain(n) for n in range(16)], answer)
    assert found.pop("3.jpg") == Refused("the ingestion service refuses it: not an image")
    assert all(isinstance(verdict, Stored) for verdict in found.values())


def test_too_large_a_post_is_sent_in_smaller_ones() -> None:
    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        if len(batch) > 3:
            raise WholeRefusedError("too large", 413)
        return stored(batch)

    found = transfer([plain(n) for n in range(50)], answer)
    assert all(isinstance(verdict, Stored) for verdict in found.values())


def test_a_file_refused_or_forgotten_among_others_is_tried_alone_before_it_fails() -> None:
    calls: Counter[str] = Counter()

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        calls.update(one.name for one in batch)
        verdicts = stored(batch)
        if len(batch) > 1:
            verdicts.pop(batch[0].sha256)
            verdicts[batch[1].sha256] = Refused("busy")
        if batch[0].name == "1.jpg":
            return {batch[0].sha256: Refused("no image")}
        return verdicts

    found = transfer([plain(n) for n in range(10)], answer)
    assert found.pop("1.jpg") == Refused("no image")
    assert calls["0.jpg"] == calls["1.jpg"] == 2
    assert calls["2.jpg"] == 1
    assert all(isinstance(verdict, Stored) for verdict in found.values())


def test_a_file_that_cannot_be_sent_is_not_tried_again() -> None:
    calls: Counter[str] = Counter()

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        calls.update(one.name for one in batch)
        return {one.sha256: Refused("changed", final=True) for one in batch}

    found = transfer([plain(n) for n in range(5)], answer)
    assert set(calls.values()) == {1}
    assert set(found.values()) == {Refused("changed", final=True)}


def test_a_duplicate_is_a_verdict() -> None:
    assert transfer([plain(1)], lambda batch: {batch[0].sha256: Duplicate((7,))}) == {"1.jpg": Duplicate((7,))}


def test_a_refused_key_ends_it_at_once() -> None:
    calls = []

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        calls.append(len(batch))
        raise SettingsError("Invalid API key")

    with pytest.raises(SettingsError):
        transfer([plain(n) for n in range(1000)], answer, connections=4, first_connections=4)
    assert len(calls) <= 4


@pytest.mark.parametrize("trouble", [PassingError("refused"), AnsweredError("503", 503, None)])
@pytest.mark.parametrize("count", [1, 200])
def test_a_server_that_is_down_ends_it_when_patience_does(trouble: PassingError, count: int) -> None:
    calls = []

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        calls.append(len(batch))
        raise trouble

    with pytest.raises(NetworkError, match="no sample could be stored"):
        transfer([plain(n) for n in range(count)], answer, patience_s=0.25)
    assert len(calls) < 40


def test_a_service_that_is_not_there_ends_it_soon_and_says_where_to_look() -> None:
    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        raise UnreachableError("nobody listens", hint="check EI_INGESTION_ENDPOINT")

    with pytest.raises(NetworkError, match="nobody listens") as caught:
        transfer([plain(n) for n in range(40)], answer, first_contact_s=0.2, patience_s=60.0)
    assert caught.value.hint == "check EI_INGESTION_ENDPOINT"


def test_a_service_that_went_away_is_waited_for() -> None:
    calls, gone_until = 0, 0.0

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        nonlocal calls, gone_until
        calls += 1
        if calls == 1:
            gone_until = time.monotonic() + 0.4
        elif time.monotonic() < gone_until:
            raise UnreachableError("refused")
        return stored(batch)

    found = transfer([plain(n) for n in range(40)], answer, first_connections=1, files=1, first_contact_s=0.1)
    assert all(isinstance(verdict, Stored) for verdict in found.values())
    assert calls > 40


def test_a_server_that_comes_back_finds_the_rest_of_the_work() -> None:
    calls = 0

    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        nonlocal calls
        calls += 1
        if 3 < calls < 16:
            raise PassingError("refused")
        return stored(batch)

    found = transfer([plain(n) for n in range(200)], answer, first_connections=2)
    assert all(isinstance(verdict, Stored) for verdict in found.values())


def test_a_bug_of_the_sender_is_raised() -> None:
    def answer(batch: Sequence[Sample]) -> dict[str, Verdict]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        transfer([plain(1)], answer)
