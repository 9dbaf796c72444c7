"""A live sample is known again, whatever Studio made of its name and hash."""

import hashlib
import json
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ei_automation.schema.sample import BoundingBox, Category
from ei_automation.studio_api.samples import (
    BATCH_FILES,
    METADATA_GROUP,
    METADATA_SHA256,
    bounding_boxes_file,
    boxes_from,
    boxes_json,
    identify,
    metadata_of,
    stored_sample,
    upload_name,
)
from tests.studio_server.official import problems

HASHES = [hashlib.sha256(bytes([number])).hexdigest() for number in range(BATCH_FILES)]
NAMES = st.text(
    st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1, max_size=30
).filter(lambda name: PurePosixPath(name).name == name and name not in (".", ".."))


def row(filename: str, metadata: dict[str, str] | None = None, own: str = "") -> dict[str, object]:
    return {
        "id": 7,
        "filename": filename,
        "label": "red",
        "category": "training",
        "sha256Hash": own,
        "metadata": metadata,
        "boundingBoxes": [],
    }


@given(NAMES, st.sampled_from(HASHES), st.booleans())
def test_a_name_carries_its_hash_and_gives_both_back(name, sha256, cut):
    sent = upload_name(f"TRAIN/red/{name}", sha256)
    live = sent.removesuffix(PurePosixPath(name).suffix) if cut else sent
    stored = stored_sample(row(live, metadata_of(HASHES, "g")))
    assert stored is not None
    assert (stored.sha256, stored.group) == (sha256, "g")
    if f".{sha256[:12]}" not in name:
        assert stored.name == (PurePosixPath(name).stem if cut else name)


@pytest.mark.parametrize(
    ("told", "disabled"), [({}, False), ({"isDisabled": False}, False), ({"isDisabled": True}, True)]
)
def test_whether_a_sample_takes_part(told, disabled):
    stored = stored_sample({**row("a.png", own=HASHES[0]), **told})
    assert stored is not None
    assert stored.disabled is disabled


def test_the_name_that_travels():
    assert upload_name("TRAIN/MONOCYTE/_0_207.jpeg", "0123456789abcdef") == "_0_207.0123456789ab.jpeg"
    assert upload_name("no-extension", "0123456789abcdef") == "no-extension.0123456789ab"


@pytest.mark.parametrize("suffix", [".png", "", ".4f262n1b.png", ".png.4f262n1b.ingestion-56f58bdc98-dh5w7.jpg"])
def test_suffixes_of_studio_do_not_hide_the_hash(suffix):
    assert identify(row(f"a.{HASHES[3][:12]}{suffix}", metadata_of(HASHES, ""))) == HASHES[3]


def test_a_name_that_holds_the_start_of_another_hash_of_the_post_is_settled_by_studios_own_hash():
    both = f"a.{HASHES[1][:12]}.{HASHES[2][:12]}.png"
    assert identify(row(both, metadata_of(HASHES, ""), own=HASHES[2])) == HASHES[2]
    assert identify(row(both, metadata_of(HASHES, ""))) is None


def test_a_renamed_sample_is_told_by_what_is_left():
    assert identify(row("renamed.png", metadata_of(HASHES, ""), own=HASHES[5])) == HASHES[5]
    assert identify(row("renamed.png", metadata_of([HASHES[4]], ""), own="f" * 64)) == HASHES[4]
    assert identify(row("renamed.png", metadata_of(HASHES, ""), own="f" * 64)) is None


def test_a_sample_of_another_client_is_its_own_hash():
    assert identify(row("a.png", None, own=HASHES[0])) == HASHES[0]
    assert identify(row("a.png", {"site": "x"}, own=HASHES[0])) == HASHES[0]
    assert identify(row("a.png", None, own="")) is None
    assert identify(row("a.png", {METADATA_SHA256: "nonsense"}, own=HASHES[0])) is None


def test_a_category_that_is_none_of_ours_is_no_sample_of_ours():
    other = {**row("a.png", None, own=HASHES[0]), "category": "post-processing"}
    assert stored_sample(other) is None
    testing = stored_sample({**other, "category": "testing"})
    assert testing is not None
    assert testing.category is Category.TESTING


def test_the_metadata_of_a_post_fits():
    metadata = metadata_of(HASHES, "")
    assert METADATA_GROUP not in metadata
    assert len(metadata[METADATA_SHA256]) <= 1040
    with pytest.raises(ValueError, match="17 files"):
        metadata_of([*HASHES, HASHES[0]], "")


def test_boxes_travel_as_studio_wants_them_and_come_back():
    boxes = (BoundingBox("straße", 1, 2, 3, 4), BoundingBox("b", 0, 0, 9, 9))
    rows = boxes_json(boxes)
    assert boxes_from(rows) == boxes
    assert boxes_from([{**rows[0], "x": 1.0}]) == boxes[:1]
    assert problems("SampleBoundingBoxesRequest", {"boundingBoxes": rows}) == []
    file = json.loads(bounding_boxes_file({"a.png": boxes, "b.png": ()}))
    assert file == {
        "version": 1,
        "type": "bounding-box-labels",
        "boundingBoxes": {"a.png": rows, "b.png": []},
    }
