"""Draw a report: one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from ei_automation.schema.metrics import Metrics
from ei_automation.web.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, training_charts
from ei_automation.web.report_data import ExplorerPoint, ReportData, SampleImage
from ei_automation.web.tables import confusion, count_table, flatten
from ei_automation.web.thumbnails import Thumbnails

DECIMALS = 4
"""Of coordinates; finer than a pixel of any screen."""
VERDICT_CLASSES = {
    "reproduced": "good",
    "within tolerance": "near",
    "differs": "bad",
    "not comparable": "none",
}
VERDICT_MARKS = {
    "good": "\N{CHECK MARK}",
    "near": "\N{ALMOST EQUAL TO}",
    "bad": "\N{MULTIPLICATION X}",
    "none": "\N{EN DASH}",
}


def render(data: ReportData) -> str:
    """The report as HTML.

    Nothing in it asks for anything from outside: styles, scripts and images are inside, and a content security
    policy forbids the rest. All text is escaped.

    Args:
        data: What to show.

    Raises:
        VerificationError: An image is neither PNG nor JPEG.
    """
    thumbnails = Thumbnails()
    template = _environment().get_template("report.html.j2")
    return template.render(
        data=data,
        link=web_link(data.published_url),
        thumbnails=thumbnails,
        samples=by_label(data.samples, data.labels),
        explorer=explorer_json(data.explorer, data.labels, thumbnails),
        wrong_counts=wrong_counts(data.splits[0].metrics if data.splits else ()),
        chart_box={"w": WIDTH, "h": HEIGHT, "l": LEFT, "r": WIDTH - RIGHT, "t": TOP, "b": HEIGHT - BOTTOM},
    )


def _environment() -> Environment:
    """Templates with everything escaped."""
    environment = Environment(
        loader=PackageLoader("ei_automation.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["bytes"] = lambda count: f"{count:,}\N{NO-BREAK SPACE}B"
    environment.filters["interval"] = lambda bounds: f"{bounds[0] * 100:.1f} to {percent(bounds[1])}"
    environment.globals.update(
        charts=training_charts,
        confusion=confusion,
        count_table=count_table,
        flatten=flatten,
        verdict_class=lambda verdict: VERDICT_CLASSES.get(verdict, "none"),
        verdict_mark=lambda verdict: VERDICT_MARKS[VERDICT_CLASSES.get(verdict, "none")],
    )
    return environment


def percent(ratio: float, digits: int = 1) -> str:
    """A ratio 0..1 as per cent, on one line."""
    return f"{ratio * 100:.{digits}f}\N{NO-BREAK SPACE}%"


def web_link(url: str) -> str:
    """The address when it is one of the web, empty otherwise: a link must not run a script."""
    return url if urlsplit(url).scheme in ("http", "https") else ""


def by_label(samples: Sequence[SampleImage], labels: Sequence[str]) -> list[tuple[str, list[SampleImage]]]:
    """Sample images by label, in the model's order."""
    order = [*labels, *sorted({sample.label for sample in samples} - set(labels))]
    groups = [(label, [sample for sample in samples if sample.label == label]) for label in order]
    return [(label, group) for label, group in groups if group]


def wrong_counts(metrics: Sequence[Metrics]) -> dict[tuple[str, str], int]:
    """(variant, category) to samples whose best score names another label."""
    return {
        (one.variant, one.category): one.sample_count
        - sum(row[index] for index, row in enumerate(one.confusion_matrix))
        for one in metrics
    }


def explorer_json(
    points: Sequence[ExplorerPoint], labels: Sequence[str], thumbnails: Thumbnails
) -> dict[str, Any]:
    """What the explorer's script reads.

    Returns:
        `labels`, and `points`: x, y of the plane, x, y, z of space, label (an index), predicted, name, image
        id, category.
    """
    order = [*labels, *sorted({point.label for point in points} - set(labels))]
    index = {label: position for position, label in enumerate(order)}
    rows = [
        [
            *(round(float(value), DECIMALS) for value in (*point.plane, *point.space)),
            index[point.label],
            point.predicted,
            point.name,
            thumbnails.identify(point.image),
            point.category,
        ]
        for point in points
    ]
    return {"labels": order, "points": rows}
