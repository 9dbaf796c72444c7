from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.schema.metrics import TrainingCurves
from ei_automation.web.charts import BOTTOM, HEIGHT, LEFT, MAX_DOTS, RIGHT, TOP, WIDTH, nice_ticks, training_charts


def curves(cycles: int, **changes: object) -> TrainingCurves:
    values = [1.0 / (cycle + 1) for cycle in range(cycles)]
    fields: dict[str, object] = {
        "loss": values,
        "accuracy": values,
        "validation_loss": values,
        "validation_accuracy": values,
        "stage_starts": [0],
        "best_cycle": cycles - 1,
    }
    return TrainingCurves.model_validate({**fields, **changes})


def test_draws_loss_and_accuracy_inside_the_axes() -> None:
    loss, accuracy = training_charts(curves(12))
    assert (loss.title, accuracy.title) == ("Loss", "Accuracy")
    dots = [dot for line in loss.lines for dot in line.dots]
    assert len(dots) == 24
    assert all(LEFT <= dot.x <= WIDTH - RIGHT and TOP <= dot.y <= HEIGHT - BOTTOM for dot in dots)
    assert dots[0].text == "training, cycle 1: 1.0000"
    assert loss.lines[0].path.startswith(f"M{LEFT} ")
    assert loss.lines[0].path.count("L") == 11


def test_marks_stages_and_the_kept_cycle() -> None:
    loss, _ = training_charts(curves(30, stage_starts=[0, 20], best_cycle=26))
    assert [stage.text for stage in loss.stages] == ["stage 2"]
    kept = loss.lines[1].dots[26]
    assert loss.best is not None
    assert (loss.best.x, loss.best.y, loss.best.text) == (kept.x, kept.y, "kept: cycle 27")
    assert loss.lines[1].dots[19].x < loss.stages[0].at < loss.lines[1].dots[20].x


def test_a_single_cycle_and_none() -> None:
    loss, _ = training_charts(curves(1))
    assert [tick.text for tick in loss.x_ticks] == ["1"]
    assert training_charts(curves(0, best_cycle=0)) == ()


def test_values_that_are_no_numbers_are_left_out() -> None:
    broken = curves(3, loss=[1.0, math.nan, 0.5], validation_loss=[math.inf] * 3)
    loss, _ = training_charts(broken)
    assert len(loss.lines[0].dots) == 2
    assert loss.lines[1].path == ""
    assert loss.best is None


def test_many_cycles_have_no_dots() -> None:
    loss, _ = training_charts(curves(MAX_DOTS + 1))
    assert loss.lines[0].dots == ()
    assert loss.lines[0].path.count("L") == MAX_DOTS


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.93, 0.97, [0.93, 0.94, 0.95, 0.96, 0.97]),
        (2.0, 2.0, [2, 2.5, 3, 3.5, 4]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_cover_the_range(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    slack = (ticks[1] - ticks[0]) * 1e-6 + 4 * math.ulp(abs(low) + width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
    assert 2 <= len(ticks) <= 12
    assert ticks == sorted(ticks)
