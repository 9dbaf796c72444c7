"""What a running board says, for people: a live view on a terminal, one line a result elsewhere."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ei_automation.cli.output import OUTPUT

if TYPE_CHECKING:
    from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing
    from ei_automation.workflow.run_board import RunFacts, Tally

REFRESH_HZ = 8
"""Often enough for the eye; a serial line brings a few results a second."""
NARROW = 32
"""Columns under which there is no room for bars."""
AROUND_LINES = 9
"""Lines that are neither bars nor boxes: heading, numbers and the space between, wrapped once each."""
LEAST_ROWS = 3
SIMULATED_TIMES = "simulated: times are this computer's"
TOP_LABELS = 3
"""How many labels a plain line names."""


def visible(text: str) -> str:
    """What a board says, without what would move the cursor or clear the screen."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def milliseconds(value_us: float) -> str:
    """A time with about three digits, in the unit that suits it."""
    if value_us < 1000:
        return f"{value_us:.0f} µs"
    return f"{value_us / 1000:.1f} ms" if value_us < 100_000 else f"{value_us / 1000:,.0f} ms"


def timing_words(timing: Timing, fps: float | None) -> str:
    """What one image took, part by part; empty where nothing was said."""
    parts = (
        ("DSP", timing.dsp_us),
        ("inference", timing.inference_us),
        ("anomaly", timing.anomaly_us or None),  # firmware without that block prints 0
        ("postprocessing", timing.postprocessing_us),
    )
    words = [f"{name} {milliseconds(value)}" for name, value in parts if value is not None]
    return ", ".join([*words, *([f"{fps:.1f} fps"] if fps is not None else [])])


def box_words(box: ObjectBox) -> str:
    """An object in a few words."""
    score = "" if box.score is None else f" {box.score:.3f}"
    size = f" {box.width}x{box.height}" if box.width or box.height else ""
    track = "" if box.track is None else f" #{box.track}"
    return f"{visible(box.label)}{track}{score} at {box.x},{box.y}{size}"


def other_words(result: InferenceResult) -> list[str]:
    """What is neither a class nor a box."""
    words = []
    if result.regression is not None:
        words.append(f"value {result.regression:g}")
    if result.anomaly is not None:
        words.append(f"anomaly {result.anomaly:.3f}")
    if result.visual_anomaly_mean is not None or result.visual_anomaly_max is not None:
        shown = [
            f"{name} {value:.3f}"
            for name, value in (("mean", result.visual_anomaly_mean), ("max", result.visual_anomaly_max))
            if value is not None
        ]
        words.append(f"visual anomaly {', '.join(shown)}, {len(result.visual_anomalies)} cells")
    return words


def plain_line(result: InferenceResult, number: int, seconds: float) -> str:
    """A result in one line."""
    words = []
    if result.classification:
        ranked = sorted(result.classification.items(), key=lambda item: -item[1])
        words.append("  ".join(f"{visible(label)} {score:.3f}" for label, score in ranked[:TOP_LABELS]))
    if result.boxes is not None:
        words.append("; ".join(box_words(box) for box in result.boxes) or "no objects")
    words += other_words(result)
    took = timing_words(result.timing, result.fps)
    return f"{number:>5}  {seconds:8.2f} s  {', '.join(words)}{f'  ({took})' if took else ''}"


def as_json(result: InferenceResult, number: int, seconds: float, *, is_simulated: bool = False) -> dict[str, Any]:
    """A result as a line of JSON has it: always the same keys."""
    timing, top = result.timing, result.top
    return {
        "number": number,
        "seconds": round(seconds, 3),
        "simulated": is_simulated,
        "top": {"label": top[0], "score": top[1]} if top else None,
        "classification": dict(result.classification),
        "boxes": None if result.boxes is None else [_box(box) for box in result.boxes],
        "anomaly": result.anomaly,
        "visual_anomaly": {
            "mean": result.visual_anomaly_mean,
            "max": result.visual_anomaly_max,
            "cells": [_box(box) for box in result.visual_anomalies],
        },
        "regression": result.regression,
        "timing_us": {
            "dsp": timing.dsp_us,
            "inference": timing.inference_us,
            "anomaly": timing.anomaly_us,
            "postprocessing": timing.postprocessing_us,
            "total": timing.total_us,
        },
        "fps": result.fps,
    }


def _box(box: ObjectBox) -> dict[str, Any]:
    return {
        "label": box.label,
        "score": box.score,
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "track": box.track,
    }


class LiveView:
    """What is on the terminal now: the last result, and numbers over all of them.

    Args:
        facts: What runs.
        tally: Counts the results; read at each drawing, so that the time goes on between results.
    """

    def __init__(self, facts: RunFacts, tally: Tally) -> None:
        self._facts, self._tally = facts, tally
        self._result: InferenceResult | None = None

    def show(self, result: InferenceResult) -> None:
        """Another result is the last one now."""
        self._result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        around = AROUND_LINES + 2 * self._facts.is_simulated
        rows = max(LEAST_ROWS, options.size.height - around)
        yield Text(visible(f"{self._facts.board} at {self._facts.port}"), style="bold")
        if self._facts.firmware:
            yield Text(visible(self._facts.firmware), style="dim")
        if self._facts.is_simulated:
            yield Text(SIMULATED_TIMES, style="yellow")
        yield Text()
        yield self._body(options.max_width, rows)
        yield Text()
        yield Text(self._numbers())
        yield Text("Ctrl-C stops the board and ends", style="dim")

    def _body(self, width: int, rows: int) -> RenderableType:
        result = self._result
        if result is None:
            return Text("waiting for the first result ...")
        parts: list[RenderableType] = []
        if result.classification:
            parts.append(bars(result, width, rows))
        if result.boxes is not None:
            parts.append(box_table(result.boxes, width, rows))
        if result.visual_anomalies:
            parts.append(box_table(result.visual_anomalies, width, rows))
        parts += [Text(word) for word in other_words(result)]
        took = timing_words(result.timing, result.fps)
        return Group(*parts, Text(took, style="dim")) if took else Group(*parts)

    def _numbers(self) -> str:
        """The line over all results."""
        tally = self._tally
        parts = [f"{tally.results:,} result{'' if tally.results == 1 else 's'} in {tally.seconds:.0f} s"]
        if tally.rate_hz is not None:
            parts.append(f"{tally.rate_hz:.2f} a second")
        if tally.mean_latency_us is not None:
            parts.append(f"mean latency {milliseconds(tally.mean_latency_us)}")
        return ", ".join(parts)


def bars(result: InferenceResult, width: int, rows: int) -> Table:
    """A bar a class, in the firmware's order, so that nothing jumps about; the highest is marked.

    Args:
        result: Of a firmware that classifies.
        width: Columns that there are.
        rows: Classes that there is room for; the highest ones are shown.
    """
    scores, top = result.classification, result.top
    kept = set(sorted(scores, key=lambda label: -scores[label])[:rows])
    table = Table.grid(expand=width >= NARROW, padding=(0, 1))
    table.add_column(width=1)
    table.add_column(max_width=max(6, width // 3), no_wrap=True, overflow="ellipsis")
    if width >= NARROW:
        table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for label, score in scores.items():
        if label not in kept:
            continue
        is_top = top is not None and label == top[0]
        style = "bold green" if is_top else ""
        bar = [ProgressBar(1.0, min(1.0, max(0.0, score)), complete_style="green" if is_top else "cyan")]
        cells: list[RenderableType] = [Text("▶" if is_top else "", style), Text(visible(label), style)]
        table.add_row(*cells, *(bar if width >= NARROW else []), Text(f"{score:.3f}", style))
    if len(scores) > len(kept):
        table.add_row("", Text(f"and {len(scores) - len(kept)} lower", style="dim"))
    return table


def box_table(boxes: tuple[ObjectBox, ...], width: int, rows: int) -> RenderableType:
    """The objects, in the firmware's order."""
    if not boxes:
        return Text("no objects")
    table = Table(box=None, header_style="bold", pad_edge=False)
    has_size = any(box.width or box.height for box in boxes)
    table.add_column("object", max_width=max(6, width // 3), no_wrap=True, overflow="ellipsis")
    for name in ("score", "x", "y", *(("width", "height") if has_size and width >= NARROW else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for box in boxes[:rows]:
        track = "" if box.track is None else f" #{box.track}"
        score = "" if box.score is None else f"{box.score:.3f}"
        size = (str(box.width), str(box.height)) if has_size and width >= NARROW else ()
        table.add_row(Text(visible(box.label) + track), score, str(box.x), str(box.y), *size)
    if len(boxes) > rows:
        table.add_row(Text(f"and {len(boxes) - rows} more", style="dim"))
    return table


# Who is told


class Shown(Protocol):
    """Shows results as they come; a `Watcher` of the workflow that is closed at the end."""

    def start(self, facts: RunFacts, tally: Tally) -> None:
        """Inference begins."""

    def result(self, result: InferenceResult, tally: Tally) -> None:
        """The board said something."""

    def close(self) -> None:
        """Nothing more comes."""


class JsonLines:
    """One line of JSON a result."""

    def __init__(self) -> None:
        self._is_simulated = False

    def start(self, facts: RunFacts, tally: Tally) -> None:
        """Say on stderr what runs."""
        del tally
        self._is_simulated = facts.is_simulated
        OUTPUT.talk(heading(facts))

    def result(self, result: InferenceResult, tally: Tally) -> None:
        """Print it."""
        line = as_json(result, tally.results, tally.seconds, is_simulated=self._is_simulated)
        OUTPUT.plain(json.dumps(line, ensure_ascii=False))

    def close(self) -> None:
        """Nothing is open."""


class PlainLines(JsonLines):
    """One line a result, for people who read a file or a pipe."""

    def result(self, result: InferenceResult, tally: Tally) -> None:
        """Print it."""
        OUTPUT.plain(plain_line(result, tally.results, tally.seconds))


class Terminal:
    """A view that stands still on the terminal; its last state stays there."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._view: LiveView | None = None

    def start(self, facts: RunFacts, tally: Tally) -> None:
        """Draw it."""
        self._view = LiveView(facts, tally)
        console = Console(file=sys.stdout, highlight=False)
        self._live = Live(self._view, console=console, refresh_per_second=REFRESH_HZ)
        self._live.start()

    def result(self, result: InferenceResult, tally: Tally) -> None:
        """Draw it at the next refresh."""
        del tally
        if self._view is not None:
            self._view.show(result)

    def close(self) -> None:
        """Draw a last time, and leave it there."""
        if self._live is not None:
            self._live.stop()


def heading(facts: RunFacts) -> str:
    """What runs, in one line."""
    simulated = f" ({SIMULATED_TIMES})" if facts.is_simulated else ""
    return visible(f"{facts.board} at {facts.port}: {facts.firmware}{simulated}")


def shown(*, as_json: bool) -> Shown:
    """Who is to be told: other programs, a terminal, or a file."""
    if as_json:
        return JsonLines()
    return Terminal() if sys.stdout.isatty() else PlainLines()
