from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ei_automation.errors import InterruptedRunError, VerificationError
from ei_automation.inference.evaluate import PIECE, Truth, evaluate
from tests.inference.tiny_models import float_model

SHAPE = (1, 2, 1)
MODEL = float_model(SHAPE, np.array([[9.0, 0.0], [0.0, 9.0]], dtype=np.float32))
COUNT = 2 * PIECE + 40
FEATURES = np.random.default_rng(3).random((COUNT, *SHAPE), dtype=np.float32)
ACTUAL = (FEATURES[:, 0, 1, 0] > FEATURES[:, 0, 0, 0]).astype(np.int64)


def truth(actual: np.ndarray = ACTUAL) -> Truth:
    return Truth(actual, ("left", "right"), "float32", "testing", 0.6)


def test_streams_chunks_of_any_size() -> None:
    alive = []

    def chunks() -> Iterator[np.ndarray]:
        for start in (0, 7, 300):
            alive.append(start)
            yield FEATURES[start : {0: 7, 7: 300, 300: COUNT}[start]]

    steps: list[tuple[int, int]] = []
    result = evaluate(MODEL, chunks(), truth=truth(), threads=2, on_progress=lambda *step: steps.append(step))
    assert result.metrics.accuracy == 1.0
    assert result.metrics.sample_count == COUNT
    assert result.scores.shape == (COUNT, 2)
    assert alive == [0, 7, 300]
    assert steps[0] == (7, COUNT)
    assert steps[-1] == (COUNT, COUNT)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    whole = evaluate(MODEL, [FEATURES], truth=truth())
    assert np.array_equal(whole.scores, result.scores)
    assert whole.metrics == result.metrics


def test_can_be_stopped_between_pieces() -> None:
    answers = iter([False, True])
    with pytest.raises(InterruptedRunError, match=f"after {PIECE} of {COUNT}"):
        evaluate(MODEL, [FEATURES], truth=truth(), should_stop=lambda: next(answers))


def test_no_sample_at_all() -> None:
    result = evaluate(MODEL, [], truth=truth(ACTUAL[:0]))
    assert result.metrics.sample_count == 0
    assert result.scores.shape == (0, 2)


@pytest.mark.parametrize(("labels", "words"), [(COUNT - 1, "more samples than"), (COUNT + 1, "have labels")])
def test_samples_and_labels_must_match(labels: int, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        evaluate(MODEL, [FEATURES], truth=truth(np.zeros(labels, dtype=np.int64)))
