"""The manifest: lines are found, nothing that is typed into it crashes the reader."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.errors import ManifestError, NotFoundError
from ei_automation.workflow.manifest import find_line, load_manifest, parse_manifest
from tests.helpers import MANIFEST

PROJECTS = sorted((Path(__file__).resolve().parents[2] / "projects").iterdir())

TEXT = """a = 1
[one]
b = 2
"quoted key" = 3
[one.two]   # a comment
c.d = 4
[[many]]
e = 5
[[many]]
e = 6
list = [
  { x = 1, y = 2 },
  { x = 3,
    y = 4 },
]
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("a",), 1),
        (("one",), 2),
        (("one", "b"), 3),
        (("one", "quoted key"), 4),
        (("one", "two", "c", "d"), 6),
        (("one", "two", "missing"), 5),
        (("many", 0, "e"), 8),
        (("many", 1, "e"), 10),
        (("many", 1, "list", 0, "y"), 12),
        (("many", 1, "list", 1, "y"), 14),
        (("nowhere",), None),
    ],
)
def test_lines(location, line):
    assert find_line(TEXT, location) == line


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_the_published_projects_have_valid_manifests(folder):
    manifest = load_manifest(folder)
    assert manifest.name == folder.name
    assert manifest.published is not None
    assert all(metric.source for metric in manifest.published.metrics)
    assert manifest.assumptions


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFoundError) as caught:
        load_manifest(tmp_path)
    assert "eiauto init" in caught.value.hint


VALID = tomllib.loads(MANIFEST.format(method="group", cycles=3, dataset="", training=""))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@given(st.sampled_from(sorted(VALID)), VALUES)
def test_any_value_is_taken_or_refused_with_its_key(key, value):
    content = {**VALID, key: value}
    caught = None
    try:
        parse_manifest(content, "", Path("project.toml"))
    except ManifestError as error:
        caught = error
    assert caught is None or (caught.key.startswith(key) and caught.hint)


@given(st.text(min_size=1, max_size=20).filter(lambda name: name not in VALID))
def test_unknown_keys_are_refused_by_name(name):
    known = {"description", "published", "assumptions", "testing", "boards"}
    if name in known:
        return
    with pytest.raises(ManifestError, match="unknown key"):
        parse_manifest({**VALID, name: 1}, "", Path("project.toml"))
