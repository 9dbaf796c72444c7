from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ei_automation.errors import VerificationError
from ei_automation.web.report import render, web_link, wrong_counts
from ei_automation.web.report_data import ReportData
from tests.web.conftest import EVIL, LABELS, measured, picture

LOADING = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "use": "href",
}
"""Elements that make a browser load something, and by which attribute."""


class Page(HTMLParser):
    """The elements of a page, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.blocks: dict[str, str] = {}
        self._inside: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag in ("script", "style"):
            self._inside.append(found.get("id", tag))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self._inside:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[self._inside[-1]] = self.blocks.get(self._inside[-1], "") + data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def html(data: ReportData) -> str:
    return render(data)


@pytest.fixture
def page(html: str) -> Page:
    return Page(html)


def test_asks_for_nothing_from_outside(page: Page, html: str) -> None:
    loads = [attributes[LOADING[tag]] for tag, attributes in page.elements if LOADING.get(tag) in attributes]
    assert len(loads) == 2
    assert all(address.startswith("data:image/") for address in loads)
    assert not page.all("link")
    assert not re.search(r"url\(|@import", page.blocks["style"])
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|WebSocket)\b\s*\(", page.blocks["script"])
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<]*", re.sub(r"base64,[^\"]+", "", html)))
    assert addresses == {"https://example.org/project?a=1&amp;b=2"}


def test_forbids_the_browser_to_ask(page: Page) -> None:
    policy = next(
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_names_cannot_become_elements(page: Page, html: str) -> None:
    assert EVIL not in html
    assert len(page.all("script")) == 3
    assert page.blocks["script"].count("alert") == 0
    assert page.words.count(EVIL) > 15
    assert any(EVIL in image["alt"] for image in page.all("img"))


def test_labels_of_any_script_are_shown(page: Page) -> None:
    assert f"actual \\ predicted {LABELS[0]} {LABELS[1]}" in page.words
    assert json.loads(page.blocks["points"])["labels"] == list(LABELS)


def test_each_image_is_written_once(page: Page, html: str) -> None:
    carried = [image["src"] for image in page.all("img") if "src" in image]
    rest = json.loads(page.blocks["images"])
    assert len(set(carried) | set(rest.values())) == len(carried) + len(rest) == 3
    assert html.count("base64,") == 3
    shown = {image["data-image"] for image in page.all("img") if "data-image" in image}
    sources = {image["data-image"] for image in page.all("img") if "src" in image} | set(rest)
    points = json.loads(page.blocks["points"])["points"]
    assert shown | {point[8] for point in points} == sources


def test_explorer_holds_every_point(page: Page) -> None:
    first, second = json.loads(page.blocks["points"])["points"]
    assert first[:8] == [0.1, -0.2, 0.3, 0.4, -0.5, 0, EVIL, f"a {EVIL}.png"]
    assert first[9] == "testing"
    assert second[5:8] == [1, EVIL, "c.png"]
    assert {button["data-view"] for button in page.all("button") if "data-view" in button} == {"2", "3"}
    assert len(page.all("canvas")) == 1


def test_has_every_section_and_the_links_to_them(page: Page) -> None:
    sections = [section["id"] for section in page.all("section")]
    names = ["verdicts", "data", "training", "results", "boards", "explorer", "misclassified", "record"]
    assert sections == names
    inside = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert set(inside) == {*sections, "content"}


def test_shows_verdicts_intervals_and_assumptions(page: Page) -> None:
    words = page.words
    assert "accuracy 90.0 % 70.0 % 39.7 to 89.2 % \N{MULTIPLICATION X} differs" in words
    assert "loss 0.500 0.610 none" in words
    assert "other data" in words
    badges = [item["class"] for item in page.all("li") if item.get("class", "").startswith("badge")]
    assert badges == ["badge bad", "badge near", "badge none"]
    assert f"The seed {EVIL}" in words
    assert f"Trained from scratch {EVIL}" in words


def test_testing_matrices_have_the_uncertain_column(page: Page) -> None:
    captions = re.findall(
        r"(float32|int8), (validation|testing) ([\d.]+) % of 10(; a best score under 0.6)?", page.words
    )
    assert set(captions) == {
        ("float32", "validation", "70.0", ""),
        ("int8", "validation", "70.0", ""),
        ("float32", "testing", "50.0", "; a best score under 0.6"),
        ("int8", "testing", "50.0", "; a best score under 0.6"),
    }
    kinds = [cell["class"] for cell in page.all("td") if cell.get("style", "").startswith("--heat")]
    assert kinds.count("uncertain") == 2 * 2
    assert kinds.count("right") + kinds.count("right strong") == 2 * 5
    heats = [cell["style"] for cell in page.all("td") if cell.get("class") == "right strong"]
    assert heats == ["--heat:0.800"] * 3


def test_splits_stand_side_by_side(page: Page) -> None:
    assert "Split main. Stratified" in page.words
    assert "grouped validation float32 10 70.0 %" in page.words


def test_shows_findings_parameters_and_environment(page: Page) -> None:
    assert "9 samples, the first 2" in page.words
    assert f"learn_block.type {EVIL}" in page.words
    assert "learn_block.weights not set" in page.words
    assert "python 3.11" in page.words


def test_shows_what_boards_have_to_hold(page: Page) -> None:
    words = page.words
    assert "cortex-m7 476,090 B 31,152 B 488 B 22,560,783" in words
    assert "42 to 58 ms, estimated" in words
    assert "C++: yes" in words
    assert "OpenMV script: no" in words
    assert "exact for clang" in words


def test_misclassified_can_be_filtered(page: Page) -> None:
    cards = [(item["data-variant"], item["data-category"]) for item in page.all("li") if "data-variant" in item]
    assert cards == [("float32", "testing"), ("int8", "testing")]
    assert {select["id"] for select in page.all("select")} == {
        "filter-variant",
        "filter-category",
        "filter-actual",
    }
    assert "float32, validation: 3; int8, validation: 3;" in page.words


def test_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert all("alt" in image for image in page.all("img"))
    assert all(head.get("scope") in ("row", "col") for head in page.all("th"))
    assert all(drawing.get("aria-label") or drawing.get("aria-hidden") for drawing in page.all("svg"))
    assert "viewport" in {meta.get("name") for meta in page.all("meta")}


def test_follows_the_colour_scheme_and_prints(page: Page) -> None:
    assert "@media (prefers-color-scheme: dark)" in page.blocks["style"]
    assert "@media print" in page.blocks["style"]


def test_the_same_data_gives_the_same_page(data: ReportData, html: str) -> None:
    assert render(data) == html


def test_a_report_of_nothing_but_a_name() -> None:
    page = Page(render(ReportData(project="empty", description="", labels=(), splits=())))
    assert [section["id"] for section in page.all("section")] == [
        "data",
        "training",
        "results",
        "misclassified",
    ]
    assert "No training is recorded." in page.words


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://a.b/c", "https://a.b/c"),
        ("http://a", "http://a"),
        ("javascript:alert(1)", ""),
        ("", ""),
        ("a/b", ""),
    ],
)
def test_only_web_addresses_become_links(data: ReportData, url: str, link: str) -> None:
    assert web_link(url) == link
    page = Page(render(dataclasses.replace(data, published_url=url)))
    assert [a["href"] for a in page.all("a") if not a["href"].startswith("#")] == ([link] if link else [])


def test_an_image_that_is_none_is_refused(data: ReportData) -> None:
    broken = dataclasses.replace(data.samples[0], image=b"GIF89a")
    with pytest.raises(VerificationError, match="neither PNG nor JPEG"):
        render(dataclasses.replace(data, samples=(broken,)))


def test_counts_what_the_best_score_gets_wrong() -> None:
    assert wrong_counts([measured("int8", "testing")]) == {("int8", "testing"): 3}


def test_a_large_report_is_fast_and_small(data: ReportData) -> None:
    point: Any = data.explorer[0]
    images = [picture(shade) for shade in range(200)]
    points = tuple(dataclasses.replace(point, name=f"{n}.png", image=images[n % 200]) for n in range(2000))
    html = render(dataclasses.replace(data, explorer=points))
    assert len(json.loads(Page(html).blocks["points"])["points"]) == 2000
    assert len(html) < 500_000
