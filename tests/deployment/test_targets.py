from __future__ import annotations

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from ei_automation.deployment.contents import BuildContents, labels_file, make_zip
from ei_automation.deployment.targets import TARGETS, build
from ei_automation.errors import NotFoundError, UsageError, VerificationError
from ei_automation.schema.deployment import BuildRequest
from tests.inference.tiny_models import int8_model


def test_targets_are_found_by_their_format() -> None:
    assert list(TARGETS) == ["openmv", "bundle", "cpp", "wasm", "linux"]
    assert all(entry.target.format == name and entry.target.description for name, entry in TARGETS.items())


@pytest.mark.parametrize("name", ["openmv", "bundle", "cpp"])
def test_the_same_contents_give_the_same_bytes(contents: BuildContents, name: str) -> None:
    assert build(BuildRequest(name), contents) == build(BuildRequest(name), contents)


def test_the_zip_depends_on_nothing_but_names_and_contents() -> None:
    data = make_zip({"b.txt": b"2", "a/c.txt": b"1"})
    assert data == make_zip({"a/c.txt": b"1", "b.txt": b"2"})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        assert archive.read("a/c.txt") == b"1"
    assert [entry.filename for entry in entries] == ["a/c.txt", "b.txt"]
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o644}
    assert {entry.create_system for entry in entries} == {3}


def test_an_unknown_target_names_the_known_ones(contents: BuildContents) -> None:
    with pytest.raises(NotFoundError, match="'zip'") as caught:
        build(BuildRequest("zip"), contents)
    assert caught.value.hint == "known are openmv, bundle, cpp, wasm, linux"


def test_an_unknown_engine(contents: BuildContents) -> None:
    with pytest.raises(UsageError, match="cannot be built with engine 'tflite-eon'"):
        build(BuildRequest("openmv", engine="tflite-eon"), contents)


def test_a_model_of_other_labels_or_another_impulse_is_refused(contents: BuildContents) -> None:
    with pytest.raises(VerificationError, match="the project has 2 labels"):
        build(BuildRequest("bundle"), dataclasses.replace(contents, labels=("a", "b")))
    other = int8_model((12, 4, 3), np.ones((3, 144)))
    with pytest.raises(VerificationError, match=r"takes \(1, 12, 4, 3\), the impulse gives \(1, 6, 8, 3\)"):
        build(BuildRequest("openmv"), dataclasses.replace(contents, models={"int8": other}))


def test_a_corrupt_model_is_refused(contents: BuildContents) -> None:
    with pytest.raises(VerificationError, match="cannot be read"):
        build(BuildRequest("openmv"), dataclasses.replace(contents, models={"int8": b"no model" * 9}))


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "a\rb", "a\u2028b"])
def test_a_label_that_cannot_stand_on_a_line(label: str) -> None:
    with pytest.raises(VerificationError, match=r"cannot stand in labels\.txt"):
        labels_file(("good", label))
