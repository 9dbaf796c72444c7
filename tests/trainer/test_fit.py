"""The loop alone, on a dense layer: what is kept, when it stops, what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ei_automation.errors import InterruptedRunError, JobFailedError
from ei_automation.trainer.checkpoint import Checkpoint
from ei_automation.trainer.fit import Fit, Habits, Stage, Targets
from ei_automation.trainer.rows import ArrayRows
from ei_automation.trainer.tensorflow_door import keras

TARGETS = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
INPUTS = (TARGETS + np.random.default_rng(0).normal(0, 0.1, TARGETS.shape)).astype(np.float32)


def model() -> Any:
    inputs = keras.Input((2,))
    dense = keras.layers.Dense(2, "softmax", kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    return keras.Model(inputs, dense(inputs))


def fit(
    network: Any, folder: Path, *, patience: int | None = None, should_stop: Callable[[], bool] = lambda: False
) -> Fit:
    habits = Habits(seed=3, batch_size=8, early_stop_cycles=patience, total_cycles=4)
    targets = Targets(TARGETS, np.ones(40, np.float32), TARGETS)
    checkpoint = Checkpoint(folder, "inputs")
    return Fit(
        [network], targets, habits=habits, checkpoint=checkpoint, on_event=lambda _: None, should_stop=should_stop
    )


def stage(network: Any, cycles: int, rate: float, *, factor: float = 1.0, validation: Any = INPUTS) -> Stage:
    return Stage(
        "title",
        cycles,
        rate,
        ArrayRows({-1: INPUTS}),
        ArrayRows({-1: validation}),
        lambda rows, training: network(rows, training=training) * factor,
        network.trainable_variables,
    )


def test_a_second_stage_starts_from_the_best_and_must_beat_it(tmp_path: Path) -> None:
    network = model()
    begun: list[Any] = []

    def second() -> Stage:
        begun.append([array.copy() for array in network.get_weights()])
        return stage(network, 3, 1.0, validation=1 - INPUTS)

    curves = fit(network, tmp_path).run([lambda: stage(network, 3, 0.1), second])
    assert curves.stage_starts == [0, 3]
    assert curves.best_cycle == int(np.argmin(curves.validation_loss)) == 2
    assert all(np.array_equal(a, b) for a, b in zip(begun[0], network.get_weights(), strict=True))


def test_early_stopping_counts_from_the_best_cycle_and_anew_in_each_stage(tmp_path: Path) -> None:
    network = model()
    worse = 1 - INPUTS
    curves = fit(network, tmp_path, patience=2).run(
        [lambda: stage(network, 9, 0.1, validation=worse), lambda: stage(network, 9, 0.1, validation=worse)]
    )
    assert curves.best_cycle == 0, "learning one thing makes the opposite worse from cycle to cycle"
    assert curves.stage_starts == [0, 3]
    assert len(curves.loss) == 5


def test_no_finite_loss_is_a_failure(tmp_path: Path) -> None:
    network = model()
    with pytest.raises(JobFailedError, match="no finite validation loss"):
        fit(network, tmp_path).run([lambda: stage(network, 2, 0.1, factor=float("nan"))])


def test_should_stop_is_asked_within_a_cycle(tmp_path: Path) -> None:
    network = model()
    with pytest.raises(InterruptedRunError):
        fit(network, tmp_path, should_stop=lambda: True).run([lambda: stage(network, 2, 0.1)])
    assert list(tmp_path.iterdir()) == [], "half a cycle leaves no checkpoint"
