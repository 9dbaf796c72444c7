"""The raw-data operations, over HTTP and under the Judge."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from ei_automation.dsp.image import resize
from ei_automation.files import sha256_bytes
from ei_automation.schema.impulse import Impulse, InputBlock
from ei_automation.schema.sample import BoundingBox
from ei_automation.studio_api.impulse import impulse_request
from ei_automation.studio_server.rooms.raw_data_batch import LARGE
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.sample_split import SplitOptions, groups, split_samples
from ei_automation.studio_server.samples import NewSample, SampleRow
from ei_automation.testing import RunningStudio, start_studio
from tests.studio_server.judge import Judge
from tests.studio_server.pictures import picture

BOX = {"label": "cell", "x": 1, "y": 2, "width": 3, "height": 4}


class Client:
    """Calls of a project's operations."""

    def __init__(self, studio: RunningStudio) -> None:
        self.studio, self.samples, self.project_id = studio, studio.studio.samples, studio.project_id
        self._session = requests.Session()
        self._session.headers["x-api-key"] = studio.api_key

    def send(self, method: str, path: str, query: dict[str, Any], body: Any = None) -> requests.Response:
        url = f"{self.studio.api_endpoint}/api/{self.project_id}/{path}"
        return self._session.request(method, url, params=query, json=body, timeout=20)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._answer(self.send("GET", path, query))

    def post(self, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        return self._answer(self.send("POST", path, query, body))

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> str:
        answer = self.send(method, path, query, body).json()
        assert answer["success"] is False
        return str(answer["error"])

    def _answer(self, response: requests.Response) -> dict[str, Any]:
        answer = response.json()
        assert answer["success"] is True, answer
        return dict(answer)

    def add(self, *items: NewSample) -> None:
        self.samples.add(self.project_id, items, refuse_duplicates=False)

    def ids(self, **query: Any) -> list[int]:
        answer = self.get("raw-data", **{"category": "all", **query})
        return [sample["id"] for sample in answer["samples"]]

    def row(self, sample_id: int) -> SampleRow:
        row = self.samples.get(self.project_id, sample_id)
        assert row is not None
        return row


@pytest.fixture
def client(studio: RunningStudio) -> Client:
    """A client of a project with five samples."""
    return with_samples(Client(studio))


@pytest.fixture(scope="module")
def reader() -> Iterator[Client]:
    """The same for all tests that change nothing."""
    judges: list[Judge] = []

    def judged(app: Any) -> Judge:
        judges.append(Judge(app))
        return judges[0]

    with start_studio(wrap=judged) as running:
        yield with_samples(Client(running))
    assert judges[0].found == []


def with_samples(client: Client) -> Client:
    client.add(
        new(1, metadata={"site": "x"}, boxes=(BoundingBox(**BOX),)),
        new(2, "b", "testing", metadata={"site": "y", "imported from": "bucket"}),
        new(3),
        new(4, "b", "validation"),
        new(5, "c & d", "post-processing"),
    )
    return client


def new(seed: int, label: str = "a", category: str = "training", **more: Any) -> NewSample:
    content = picture(seed)
    return NewSample(
        f"img.{seed}.jpg", content, sha256_bytes(content), len(content), 16, 12, label, category, **more
    )


def test_a_listed_sample(reader: Client) -> None:
    (sample,) = reader.get("raw-data", category="testing", labels="null")["samples"]
    content = picture(2)
    assert (sample["id"], sample["filename"], sample["label"], sample["category"]) == (2, "img.2", "b", "testing")
    assert sample["sha256Hash"] == sha256_bytes(content)
    assert sample["metadata"] == {"site": "y", "imported from": "bucket"}
    assert sample["imageDimensions"] == {"width": 16, "height": 12}
    assert (
        sample["sensors"]
        == sample["datastreams"][0]["sensors"]
        == [{"index": 0, "name": "image", "units": "rgba"}]
    )
    assert ".".join(sample["coldstorageFilename"].split(".")[:-3]) == "img.2.jpg", "as the Python package reads it"
    assert reader.get("raw-data", category="testing", excludeSensors="True")["samples"][0]["sensors"] == []


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"category": "training"}, [3, 1]),
        ({"limit": 2, "offset": 1}, [4, 3]),
        ({"limit": 0}, []),
        ({"maxId": 3}, [2, 1]),
        ({"minId": 4}, [5, 4]),
        ({"labels": '["b", "c & d"]'}, [5, 4, 2]),
        ({"filename": "g.4"}, [4]),
        ({"search": "C &"}, [5]),
        ({"includeDisabled": "enabled"}, [5, 4, 3, 2, 1]),
        ({"includeDisabled": "disabled"}, []),
        ({"dataType": "image"}, [5, 4, 3, 2, 1]),
        ({"dataType": "audio"}, []),
        ({"minLength": 0}, []),
        ({"maxLength": 100, "maxFrequency": 1.5, "signatureValidity": "valid"}, [5, 4, 3, 2, 1]),
        ({"signatureValidity": "invalid"}, []),
        ({"minDate": "2020-01-01T00:00:00+00:00"}, [5, 4, 3, 2, 1]),
        ({"maxDate": "2020-01-01T00:00:00.000Z"}, []),
        ({"metadata": '[{"key": "site", "op": "eq", "values": ["x"]}]'}, [1]),
        ({"metadata": '[{"key": "site", "op": "neq", "values": ["x"]}, {"no_metadata": false}]'}, [2]),
        ({"metadata": '[{"key": "site", "op": "eq"}, {"no_metadata": true}]'}, [5, 4, 3, 2, 1]),
        (
            {
                "metadata": '[{"key": "site", "values": ["x"]}, {"key": "imported from"},'
                ' {"filters_combinator": "or"}]'
            },
            [2, 1],
        ),
    ],
)
def test_filters(reader: Client, query: dict[str, Any], ids: list[int]) -> None:
    assert reader.ids(**query) == ids
    if not {"limit", "offset"} & set(query):
        count = reader.get("raw-data/count", **{"category": "all", **query})["count"]
        assert count == len(ids) == reader.get("raw-data", **{"category": "all", **query})["totalCount"]


def test_pages_are_complete_and_know_the_total(reader: Client) -> None:
    pages = [reader.get("raw-data", category="all", limit=2, offset=start) for start in (0, 2, 4)]
    assert [sample["id"] for page in pages for sample in page["samples"]] == [5, 4, 3, 2, 1]
    assert [page["totalCount"] for page in pages] == [5, 5, 5]
    assert sorted(reader.ids(sortBy="random")) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "Invalid value for category"),
        ({"category": "anomaly"}, "expected one of training, testing"),
        ({"category": "all", "labels": "b"}, "labels is not JSON"),
        ({"category": "all", "labels": "[1]"}, "labels is not a JSON list of strings"),
        ({"category": "all", "limit": "many"}, "Invalid value for limit"),
        ({"category": "all", "limit": -1}, "cannot be negative"),
        ({"category": "all", "sortBy": "name"}, "Invalid value for sortBy"),
        ({"category": "all", "ids": "x"}, "ids is not a list"),
        ({"category": "all", "minDate": "yesterday"}, "Invalid value for minDate, expected a date"),
        ({"category": "all", "minLabel": "x"}, "minLabel is not a number"),
        ({"category": "all", "metadata": "{}"}, "not a JSON list of objects"),
        ({"category": "all", "metadata": '[{"key": "a", "op": "lt"}]'}, "every filter has a key"),
        ({"category": "all", "metadata": '[{"filters_combinator": "xor"}]'}, "filters_combinator is"),
        ({"category": "all", "datasetVersionId": 3}, "has no datasetVersionId"),
    ],
)
def test_filters_that_make_no_sense(reader: Client, query: dict[str, Any], words: str) -> None:
    assert words in reader.refused("GET", "raw-data", **query)


def test_a_sample_and_its_pixels(reader: Client) -> None:
    answer = reader.get("raw-data/1", limitPayloadValues=17)
    pixels = np.asarray(Image.open(io.BytesIO(picture(1)))).reshape(-1, 3).astype(int)
    assert answer["sample"]["boundingBoxes"] == [BOX]
    assert answer["totalPayloadLength"] == 12 * 16
    assert answer["payload"]["values"] == [[(r << 16) + (g << 8) + b] for r, g, b in pixels[:17].tolist()]
    assert answer["datastreamPayloads"][0]["payload"] == answer["payload"]
    assert len(reader.get("raw-data/1")["payload"]["values"]) == 12 * 16
    assert reader.get("raw-data/1", limitPayloadValues=0)["payload"]["values"] == []


def test_files(reader: Client) -> None:
    image, raw = (reader.send("GET", f"raw-data/1/{kind}", {}) for kind in ("image", "raw"))
    assert image.content == raw.content == picture(1)
    assert image.headers["content-type"] == "image/jpeg"
    assert raw.headers["content-disposition"] == "attachment; filename*=utf-8''img.1.jpg"


def test_the_image_after_the_input_block(client: Client) -> None:
    assert "no impulse" in client.refused("GET", "raw-data/1/image", afterInputBlock="true")
    block = InputBlock(image_width=8, image_height=10, resize_mode="fit-long")
    client.post("impulse", impulse_request(Impulse(input_block=block), "keras", dsp_version=1))
    answer = client.send("GET", "raw-data/1/image", {"afterInputBlock": "true"})
    expected = resize(np.asarray(Image.open(io.BytesIO(picture(1)))), block)
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected)


def test_a_damaged_file_is_said(client: Client) -> None:
    client.samples.content(client.row(1)).write_bytes(b"\xff\xd8\xff")
    assert "cannot be decoded" in client.refused("GET", "raw-data/1")
    client.samples.content(client.row(1)).unlink()
    assert "cannot be read" in client.refused("GET", "raw-data/1/image")


def test_changes_of_one_sample(client: Client) -> None:
    client.post("raw-data/1/move", {"newCategory": "testing"})
    client.post("raw-data/1/edit-label", {"label": " 猫 "})
    assert "'label'" in client.refused("POST", "raw-data/1/edit-label", body={"label": "a\x00b"})
    client.post("raw-data/1/rename", {"name": "other"})
    client.post("raw-data/1/disable")
    client.post("raw-data/1/bounding-boxes", {"boundingBoxes": [BOX, BOX]})
    client.post("raw-data/1/metadata", {"metadata": {"k": "v"}})
    row = client.row(1)
    assert (row.category, row.label, row.filename, row.disabled) == ("testing", "猫", "other", True)
    assert (len(row.boxes), row.metadata) == (2, {"k": "v"})
    client.post("raw-data/1/enable")
    client.post("raw-data/1/edit-label", {})
    assert (client.row(1).disabled, client.row(1).label) == (False, "")
    assert client.send("DELETE", "raw-data/1", {}).json() == {"success": True}
    assert client.ids() == [5, 4, 3, 2]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/image", None),
        ("GET", "/raw", None),
        ("DELETE", "", None),
        ("POST", "/move", {"newCategory": "testing"}),
        ("POST", "/edit-label", {"label": "a"}),
        ("POST", "/rename", {"name": "a"}),
        ("POST", "/disable", None),
        ("POST", "/enable", None),
        ("POST", "/bounding-boxes", {"boundingBoxes": []}),
        ("POST", "/metadata", {"metadata": {}}),
    ],
)
def test_a_sample_that_is_not_there(reader: Client, method: str, path: str, body: Any) -> None:
    assert reader.refused(method, f"raw-data/99{path}", body) == "No sample found with ID 99"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("raw-data/1/move", {"newCategory": "split"}, "Invalid category 'split'"),
        ("raw-data/1/move", {}, "Missing or invalid value for 'newCategory'"),
        ("raw-data/1/edit-label", {"label": 7}, "Missing or invalid value for 'label'"),
        ("raw-data/1/rename", {"name": ".."}, "Missing or invalid value for 'name'"),
        ("raw-data/1/bounding-boxes", {"boundingBoxes": [{"label": "a"}]}, "bounding boxes need a label"),
        ("raw-data/1/metadata", {"metadata": {"a": 1}}, "not a JSON object of strings"),
        ("raw-data/batch/add-metadata?category=all", {"metadataKey": ""}, "'metadata"),
        ("raw-data/batch/edit-bounding-boxes?category=all", {"oldLabels": [1], "newLabel": ""}, "'oldLabels'"),
        ("raw-data/batch/delete", None, "Invalid value for category"),
        ("raw-data/delete-all/nonsense", None, "Invalid category 'nonsense'"),
        ("split", {"trainingSplitRatio": 0.5, "testingSplitRatio": 0.1}, "must add up to 1"),
        ("split", {"trainingSplitRatio": 2, "testingSplitRatio": -1}, "'trainingSplitRatio'"),
        ("split", {"trainingSplitRatio": 1, "keepTogetherMetadataKeys": "a"}, "'keepTogetherMetadataKeys'"),
    ],
)
def test_changes_that_make_no_sense(reader: Client, path: str, body: Any, words: str) -> None:
    assert words in reader.refused("POST", path, body)
    assert reader.ids() == [5, 4, 3, 2, 1]


def test_changes_of_many(client: Client) -> None:
    def batch(name: str, body: Any = None, **query: Any) -> None:
        assert client.post(f"raw-data/batch/{name}", body, **{"category": "all", **query}) == {"success": True}

    batch("moveSamples", {"newCategory": "training"}, ids="[2,4]")
    assert client.ids(category="training") == [4, 3, 2, 1]
    batch("edit-labels", {"label": "new"}, category="training", excludeIds="3")
    assert client.ids(labels='["new"]') == [4, 2, 1]
    batch("disable-samples", labels='["new"]')
    batch("enable-samples", ids="1")
    assert client.ids(includeDisabled="disabled") == [4, 2]
    batch("edit-bounding-boxes", {"oldLabels": ["cell"], "newLabel": "blob"})
    assert client.row(1).boxes[0].label == "blob"
    batch("add-metadata", {"metadataKey": "site", "metadataValue": "z"}, ids="1,3")
    assert [client.row(number).metadata.get("site") for number in (1, 2, 3)] == ["z", "y", "z"]
    batch("clear-metadata-by-key", {"metadataKey": "site"}, ids="[1]")
    batch("clear-metadata", ids="[2]")
    assert [client.row(number).metadata for number in (1, 2)] == [{}, {}]
    batch("delete", filename="img.5")
    assert client.ids() == [4, 3, 2, 1]
    client.post("raw-data/clear-all-object-detection-labels")
    assert client.row(1).boxes == ()


def test_deleting_all(client: Client) -> None:
    client.post("raw-data/delete-all/training")
    assert client.ids() == [5, 4, 2]
    client.post("raw-data/delete-all")
    assert client.ids() == []


def test_a_large_change_is_a_job(client: Client) -> None:
    content = picture(9)
    many = [
        NewSample(f"{i}.jpg", content, sha256_bytes(content), len(content), 16, 12, "a", "training")
        for i in range(LARGE)
    ]
    client.add(*many)
    answer = client.post("raw-data/batch/edit-labels", {"label": "z"}, category="training")
    job = client.get(f"jobs/{answer['id']}/status")["job"]
    assert job["finishedSuccessful"] is True
    assert client.get("raw-data/count", category="training", labels='["z"]')["count"] == LARGE + 2
    assert "id" in client.post("v2/rebalance")
    split = {"trainingSplitRatio": 0.7, "testingSplitRatio": 0.3}
    assert "id" in client.post("split-preview", split)
    rows = client.get("get-split-preview-results")["data"]["assignmentPreview"]["rows"]
    assert sum(row["sampleCount"] for row in rows) == LARGE + 4
    page = client.get("raw-data", category="all", limit=1000)
    assert (len(page["samples"]), page["totalCount"]) == (1000, LARGE + 5)


def test_metadata_listings(reader: Client) -> None:
    listed = reader.get("raw-data/metadata", category="training")["metadata"]
    assert listed == [{"id": 3, "metadata": {}}, {"id": 1, "metadata": {"site": "x"}}]
    options = reader.get("raw-data/metadata-filter-options", category="all")
    assert options["optionsList"] == [
        {"key": "imported from", "options": ["bucket"]},
        {"key": "site", "options": ["x", "y"]},
    ]
    page = reader.get("raw-data/metadata-filter-options", category="all", limit=1, offset=1)
    assert (page["totalCount"], page["count"], page["optionsList"][0]["key"]) == (2, 1, "site")
    imported = reader.get("raw-data/imported-from")["data"]
    assert imported == [{"id": 2, "category": "testing", "importedFrom": "bucket"}]
    assert reader.get("raw-data/project-metadata")["metadata"]["labels"] == ["a", "b", "c & d"]


def test_rebalancing_goes_by_name(client: Client) -> None:
    client.add(*(new(seed) for seed in range(10, 60)))
    first = client.post("rebalance")["ratio"]
    placed = {row.filename: row.category for row in client.samples.find(client.project_id)}
    assert first["training"] + first["testing"] <= 54
    assert 30 <= first["training"] <= 52
    assert placed["img.5"] == "post-processing", "it takes no part"
    client.samples.move(client.project_id, Filter(category="testing"), "validation")
    client.post("v2/rebalance")
    assert {row.filename: row.category for row in client.samples.find(client.project_id)} == placed


def test_the_ratio_leaves_out_testing_labels_that_training_does_not_know(client: Client) -> None:
    assert client.get("raw-data/ratio")["ratio"] == {"training": 2, "validation": 1, "testing": 0}
    client.post("raw-data/2/edit-label", {"label": "a"})
    assert client.get("raw-data/ratio")["ratio"]["testing"] == 1


def test_a_split_keeps_groups_together_and_does_what_its_preview_said(client: Client) -> None:
    client.post("raw-data/delete-all")
    client.add(
        *(new(s, "ab"[s % 2], metadata={"patient": str(s // 4), "site": "xy"[s % 3 == 0]}) for s in range(80))
    )
    options = {
        "trainingSplitRatio": 0.6,
        "testingSplitRatio": 0.2,
        "validationSplitRatio": 0.2,
        "stratifyBy": {"label": True, "metadataKeys": ["site"]},
        "keepTogetherMetadataKeys": ["patient"],
    }
    said = client.post("split-preview", options)["data"]
    assert {row.category for row in client.samples.find(client.project_id)} == {"training"}, (
        "a preview changes nothing"
    )
    client.post("split", options)
    rows = client.samples.find(client.project_id)
    assert all(len({row.category for row in rows if row.metadata["patient"] == str(n)}) == 1 for n in range(20))
    counts = Counter(row.category for row in rows)
    assert (counts["training"], counts["testing"], counts["validation"]) == (48, 16, 16)
    told = {
        (row["stratValue"], row["splitCategory"]): row["sampleCount"] for row in said["balancePreviews"][0]["rows"]
    }
    assert told == Counter((row.label, row.category) for row in rows)
    assert [section["title"] for section in said["balancePreviews"]] == ["Label", "site"]
    assert json.dumps(client.post("split-preview", options)["data"]) == json.dumps(said)


def test_an_even_split_is_exact_and_does_not_depend_on_order(client: Client) -> None:
    client.add(*(new(seed, "b") for seed in range(10, 45)))
    rows = client.samples.find(client.project_id)
    options = SplitOptions({"training": 0.75, "testing": 0.25, "validation": 0.0}, by_label=True)
    placed = split_samples(rows, options)
    counts = Counter((row.label, placed[row.sample_id]) for row in rows if row.sample_id in placed)
    assert counts["b", "training"] in (27, 28)
    assert counts["b", "training"] + counts["b", "testing"] == 37
    assert split_samples(rows[::-1], options) == placed
    client.samples.disable(client.project_id, Filter(ids=(1,)))
    options = SplitOptions({"training": 1.0}, exclude_disabled=True)
    assert 1 not in split_samples(client.samples.find(client.project_id), options)


def test_groups_connect_over_several_keys(client: Client) -> None:
    for number, metadata in enumerate(({"p": "1"}, {"p": "1", "q": "2"}, {"q": "2"}, {"p": "3"}, {}), 1):
        client.samples.set_metadata(client.project_id, Filter(ids=(number,)), metadata)
    found = groups(client.samples.find(client.project_id), ["p", "q"])
    assert sorted(sorted(row.sample_id for row in group) for group in found) == [[1, 2, 3], [4], [5]]


def test_labels_in_an_object_detection_project(client: Client) -> None:
    client.samples.relabel(client.project_id, Filter(ids=(1, 3)), "")
    shown = {sample["id"]: sample["label"] for sample in client.get("raw-data", category="training")["samples"]}
    assert shown == {1: "cell", 3: ""}
    client.studio.studio.projects.set(client.project_id, "labelingMethod", "object_detection")
    shown = {sample["id"]: sample["label"] for sample in client.get("raw-data", category="all")["samples"]}
    assert (shown[1], shown[2]) == ("cell", "-")
