"""Geometry of the report's charts; the templates only place it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ei_automation.schema.metrics import TrainingCurves

WIDTH, HEIGHT = 460.0, 250.0
"""Units of the SVG's view box."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 22.0, 34.0
"""Margins for axes and marks, same units."""
TICKS = 5
MAX_DOTS = 80
"""With more cycles a dot for each one is only clutter."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis.

    Attributes:
        at: Where, in units of the view box.
        text: What it says.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Dot:
    """A value on a line.

    Attributes:
        x: In units of the view box.
        y: In units of the view box.
        text: What hovering says.
    """

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: In the legend.
        style: CSS class.
        path: SVG path data.
        dots: One a value, none where there are very many.
    """

    name: str
    style: str
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class LineChart:
    """A chart over training cycles.

    Attributes:
        title: What is drawn.
        lines: The curves.
        x_ticks: Cycles, from 1.
        y_ticks: Values.
        stages: Where the second and later stages start.
        best: The cycle whose weights were kept, on the validation curve; None where it has no value.
    """

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    stages: tuple[Tick, ...]
    best: Dot | None


def training_charts(curves: TrainingCurves) -> tuple[LineChart, ...]:
    """Loss and accuracy over the cycles of all stages."""
    pairs = (
        ("Loss", curves.loss, curves.validation_loss),
        ("Accuracy", curves.accuracy, curves.validation_accuracy),
    )
    return tuple(_chart(title, training, validation, curves) for title, training, validation in pairs if training)


def nice_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """Round numbers that cover a range: steps of 1, 2 or 5 times a power of ten.

    Args:
        low: The smallest value.
        high: The largest value.
        count: About how many steps.
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def _chart(
    title: str, training: Sequence[float], validation: Sequence[float], curves: TrainingCurves
) -> LineChart:
    """One chart with its training and its validation curve."""
    finite = [value for value in (*training, *validation) if math.isfinite(value)] or [0.0, 1.0]
    values = nice_ticks(min(finite), max(finite))
    cycles = len(training)

    def x(cycle: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (cycle / max(1, cycles - 1))

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (values[-1] - value) / (values[-1] - values[0])

    def line(name: str, style: str, series: Sequence[float]) -> Line:
        dots = tuple(
            Dot(round(x(cycle), 1), round(y(value), 1), f"{name}, cycle {cycle + 1}: {value:.4f}")
            for cycle, value in enumerate(series)
            if math.isfinite(value)
        )
        return Line(name, style, _path(dots), dots if len(dots) <= MAX_DOTS else ())

    best = curves.best_cycle
    has_best = best < len(validation) and math.isfinite(validation[best])
    return LineChart(
        title=title,
        lines=(line("training", "line-a", training), line("validation", "line-b", validation)),
        x_ticks=tuple(Tick(round(x(cycle), 1), str(cycle + 1)) for cycle in _cycle_ticks(cycles)),
        y_ticks=tuple(Tick(round(y(value), 1), f"{value:.6g}") for value in values),
        stages=tuple(
            Tick(round(x(start - 0.5), 1), f"stage {number}")
            for number, start in enumerate(curves.stage_starts, start=1)
            if 0 < start < cycles
        ),
        best=Dot(round(x(best), 1), round(y(validation[best]), 1), f"kept: cycle {best + 1}")
        if has_best
        else None,
    )


def _path(dots: Iterable[Dot]) -> str:
    """SVG path data through dots."""
    return " ".join(f"{'L' if index else 'M'}{dot.x} {dot.y}" for index, dot in enumerate(dots))


def _cycle_ticks(cycles: int) -> list[int]:
    """Whole cycles to name on the axis, from 0."""
    if cycles <= 1:
        return [0]
    steps = nice_ticks(1, cycles)
    whole = {int(step) for step in steps if step == int(step) and 1 <= step <= cycles} | {1}
    return [cycle - 1 for cycle in sorted(whole)]
