"""The ingestion service, over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from ei_automation.studio_server.image_file import NotAnImageError, image_size
from ei_automation.studio_server.ingestion import MOST_FILES
from ei_automation.studio_server.sample_files import inferred_label, split_category
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.samples import SampleRow
from ei_automation.testing import RunningStudio, start_studio
from tests.studio_server.pictures import picture
from tests.studio_server.wire import answer, connection, multipart, request


@pytest.fixture(scope="module")
def server() -> Iterator[RunningStudio]:
    """One server for all tests here: the Judge does not know the ingestion service."""
    with start_studio() as running:
        yield running


@pytest.fixture
def studio(server: RunningStudio) -> RunningStudio:
    """A project of its own on that server."""
    project_id = server.studio.projects.create("another", owner="me")
    _, key = server.studio.projects.add_key(project_id, "key", "admin")
    return replace(server, project_id=project_id, api_key=key)


Files = list[tuple[str, bytes]]
BOXES = [{"label": "RBC", "x": 4, "y": 5, "width": 6, "height": 7}]


def post(
    studio: RunningStudio, files: Files, category: str = "training", service: str = "files", **headers: str
) -> requests.Response:
    """Send files; a header's name is written with `_` here."""
    sent = {"x-api-key": studio.api_key} | {name.replace("_", "-"): value for name, value in headers.items()}
    parts = [("data", (name, content, "multipart/form-data")) for name, content in files]
    url = f"{studio.ingestion_endpoint}/api/{category}/{service}"
    return requests.post(url, files=parts, headers=sent, timeout=20)


def sent(studio: RunningStudio, files: Files, category: str = "training", **headers: str) -> list[dict[str, Any]]:
    """The verdicts of a request that must succeed."""
    response = post(studio, files, category, **headers)
    body = response.json()
    assert (response.status_code, body["success"]) == (200, True), response.text
    return list(body["files"])


def rows(studio: RunningStudio) -> list[SampleRow]:
    """Everything that is stored, oldest first."""
    return studio.studio.samples.find(studio.project_id)[::-1]


def boxes_file(**boxes: object) -> tuple[str, bytes]:
    content = {"version": 1, "type": "bounding-box-labels", "boundingBoxes": boxes}
    return "bounding_boxes.labels", json.dumps(content).encode()


def test_many_files_in_one_request(studio: RunningStudio) -> None:
    files = [(f"cell.{number}.jpg", picture(number)) for number in range(3)]
    verdicts = sent(studio, files, "testing", x_label="poly p", x_device_type="CAM", x_metadata='{"site": "ü"}')
    assert verdicts == [
        {"success": True, "projectId": studio.project_id, "sampleId": row.sample_id, "fileName": name}
        for row, (name, _) in zip(rows(studio), files, strict=True)
    ]
    for row, (name, content) in zip(rows(studio), files, strict=True):
        assert (row.filename + row.extension, row.label, row.category) == (name, "poly p", "testing")
        assert (row.width, row.height, row.size_bytes) == (16, 12, len(content))
        assert (row.metadata, row.device_type, row.sha256) == (
            {"site": "ü"},
            "CAM",
            hashlib.sha256(content).hexdigest(),
        )
        assert studio.studio.samples.content(row).read_bytes() == content


@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("no%20rm%25", "no rm%"),
        ("poly p", "poly p"),
        ("100% sure", "100% sure"),
        (quote("белка 猫"), "белка 猫"),
        ("caf\u00e9", "café"),
        ("猫".encode().decode("latin-1"), "猫"),
        ("%E9", "%E9"),
        ("", "cell-1"),
    ],
)
def test_labels_as_clients_send_them(studio: RunningStudio, header: str, label: str) -> None:
    headers, body = multipart({"cell-1.01.jpg": picture(1)})
    with connection(studio.ingestion_endpoint) as link:
        headers |= {"x-api-key": studio.api_key, "x-label": header}
        link.sendall(request("POST", "/api/training/files", headers, body))
        status, _, _ = answer(link)
    assert (status, rows(studio)[0].label) == (200, label)


@pytest.mark.parametrize(
    ("name", "label"),
    [("idle.01.jpg", "idle"), ("my label-1_x.jpg", "my label-1_x"), (".jpg", ""), ("é.jpg", ""), ("a#1.png", "a")],
)
def test_labels_from_names(name: str, label: str) -> None:
    assert inferred_label(name) == label


def test_no_label_is_asked_for(studio: RunningStudio) -> None:
    sent(studio, [("cell.jpg", picture(1))], x_no_label="1", x_label="")
    assert rows(studio)[0].label == ""


def test_duplicates_fail_inside_a_success(studio: RunningStudio) -> None:
    (first,) = sent(studio, [("a.jpg", picture(1))], "testing")
    verdicts = sent(studio, [("b.jpg", picture(1)), ("c.jpg", picture(2))], x_disallow_duplicates="true")
    words = f"An item with this hash already exists (ids: {first['sampleId']})"
    assert verdicts[0] == {"success": False, "error": words, "fileName": "b.jpg"}
    assert verdicts[1]["success"]
    assert sent(studio, [("b.jpg", picture(1))])[0]["success"], "nobody has forbidden duplicates here"
    assert len(rows(studio)) == 3


def test_the_same_file_from_several_clients_at_once_is_stored_once(studio: RunningStudio) -> None:
    verdicts: list[dict[str, Any]] = []
    files = [("a.jpg", picture(1)), ("b.jpg", picture(2))]
    threads = [
        threading.Thread(target=lambda: verdicts.extend(sent(studio, files, x_disallow_duplicates="1")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(verdicts), sum(verdict["success"] for verdict in verdicts), len(rows(studio))) == (12, 2, 2)


@pytest.mark.parametrize("category", ["training", "testing", "validation", "post-processing"])
def test_categories(studio: RunningStudio, category: str) -> None:
    sent(studio, [("a.jpg", picture(1))], category)
    assert rows(studio)[0].category == category


def test_old_and_unknown_categories(studio: RunningStudio) -> None:
    sent(studio, [("a.jpg", picture(1))], "anomaly")
    assert rows(studio)[0].category == "post-processing"
    response = post(studio, [("a.jpg", picture(1))], "nonsense")
    assert response.status_code == 400
    assert "Invalid category 'nonsense'" in response.json()["error"]


def test_the_split_goes_by_content(studio: RunningStudio) -> None:
    files = [(f"{number}.jpg", picture(number)) for number in range(60)]
    sent(studio, files, "split")
    stored = {row.sha256: row.category for row in rows(studio)}
    assert stored == {hashlib.sha256(content).hexdigest(): split_category(content) for _, content in files}
    assert 40 <= sum(category == "training" for category in stored.values()) <= 56


def test_the_split_rule() -> None:
    """Hashes found by trying: md5 of b"0" begins with c, of b"3" with e, of b"1" with c, of b"5" with e4da."""
    found = {text: split_category(text) for text in (b"0", b"2", b"3", b"8", b"41")}
    for text, category in found.items():
        first = hashlib.md5(text).hexdigest().lstrip("f")[0]
        assert category == ("testing" if first in "cde" else "training")
    assert set(found.values()) == {"training", "testing"}


def test_bounding_boxes_in_a_side_file(studio: RunningStudio) -> None:
    files = [("img0.jpg", picture(1)), boxes_file(**{"img0.jpg": BOXES, "img1.jpg": []}), ("img1.jpg", picture(2))]
    assert [verdict["fileName"] for verdict in sent(studio, files)] == ["img0.jpg", "img1.jpg"]
    first, second = rows(studio)
    assert ([vars_of(box) for box in first.boxes], first.label) == (BOXES, "")
    assert (second.boxes, second.label) == ((), "img1")


def vars_of(box: Any) -> dict[str, Any]:
    return {name: getattr(box, name) for name in ("label", "x", "y", "width", "height")}


def test_bounding_boxes_in_a_header(studio: RunningStudio) -> None:
    sent(studio, [("a.jpg", picture(1))], x_bounding_boxes=json.dumps(BOXES), x_label="kept")
    assert (rows(studio)[0].boxes[0].label, rows(studio)[0].label) == ("RBC", "kept")


def test_info_labels_say_what_each_file_is(studio: RunningStudio) -> None:
    entries = [
        {
            "path": "training/a.jpg",
            "category": "testing",
            "label": {"type": "label", "label": "x"},
            "metadata": {"k": "v"},
            "boundingBoxes": BOXES,
        },
        {"path": "b.jpg", "category": "training", "label": {"type": "unlabeled"}},
        {"path": "c.jpg", "category": "training", "label": {"type": "multi-label", "labels": []}},
    ]
    info = ("info.labels", json.dumps({"version": 1, "files": entries}).encode())
    files = [(f"{name}.jpg", picture(number)) for number, name in enumerate("abcd")]
    verdicts = sent(studio, [*files, info], "split", x_label="all", x_metadata='{"m": "n"}')
    assert [verdict["success"] for verdict in verdicts] == [True, True, False, True]
    assert "multi-label" in verdicts[2]["error"]
    first, second, third = rows(studio)
    assert (first.label, first.category, first.metadata) == ("x", "testing", {"m": "n", "k": "v"})
    assert [vars_of(box) for box in first.boxes] == BOXES
    assert (second.label, second.category, third.label) == ("", "training", "all")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("structured_labels.labels", {"type": "structured-labels", "structuredLabels": {"a.jpg": []}}),
        ("label_map.labels", {"type": "label-map-labels", "labels": {"a.jpg": {"k": "v"}}}),
        ("attachments.labels", {"type": "attachments", "attachments": {"a.jpg": []}}),
    ],
)
def test_labels_that_images_cannot_have_fail_their_files(
    studio: RunningStudio, name: str, content: object
) -> None:
    files = [("a.jpg", picture(1)), ("b.jpg", picture(2)), (name, json.dumps(content).encode())]
    first, second = sent(studio, files)
    assert (first["success"], second["success"]) == (False, True)
    assert name in first["error"]


def test_a_unique_suffix(studio: RunningStudio) -> None:
    names = [sent(studio, [("a.b.jpg", picture(seed))], x_add_date_id="1")[0]["fileName"] for seed in (1, 2)]
    assert len(set(names)) == 2
    assert all(name.startswith("a.b.") and name.endswith(".jpg") and len(name) > 15 for name in names)


def test_bad_files_fail_and_good_ones_stay(studio: RunningStudio) -> None:
    good = picture(1)
    bad = {
        "empty.jpg": b"",
        "text.jpg": b"hello",
        "cut.jpg": good[: len(good) // 2],
        "cut.png": picture(2, "PNG")[:200],
        "cmyk.jpg": picture(3, mode="CMYK"),
        "data.json": b'{"protected": {}}',
        "noise.jpg": b"\xff\xd8\xff" + b"x" * 500 + b"\xff\xd9",
    }
    verdicts = sent(studio, [*bad.items(), ("../../good.jpg", good)])
    assert [verdict["success"] for verdict in verdicts] == [False] * len(bad) + [True]
    assert [verdict["fileName"] for verdict in verdicts] == [*bad, "good.jpg"]
    words = [verdict["error"] for verdict in verdicts[:-1]]
    assert "is empty" in words[0]
    assert "neither a JPEG nor a PNG" in words[1]
    assert "Truncated" in words[2]
    assert "CMYK" in words[4]
    assert len(rows(studio)) == 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_sizes_from_headers_and_from_decoding_agree(kind: str, mode: str) -> None:
    content = picture(1, kind, (21, 34), mode)
    assert image_size(content) == (34, 21)
    assert image_size(content + b"\0") == (34, 21), "what has a tail is decoded"


@pytest.mark.parametrize("cut", [3, 20, 30])
def test_cut_headers_are_refused(cut: int) -> None:
    for kind in ("JPEG", "PNG"):
        with pytest.raises(NotAnImageError):
            image_size(picture(1, kind)[:cut])


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"x_metadata": "{"}, "x-metadata is not JSON"),
        ({"x_metadata": '{"a": 1}'}, "x-metadata: metadata is not a JSON object of strings"),
        ({"x_metadata": "[]"}, "not a JSON object of strings"),
        ({"x_bounding_boxes": '[{"label": "a"}]'}, "x-bounding-boxes: bounding boxes need"),
        ({"x_bounding_boxes": "7"}, "x-bounding-boxes: bounding boxes need"),
        ({"x_label": "a%00b"}, "x-label has control characters"),
        ({"x_label": "a" * 2000}, "more than 1,000 characters"),
    ],
)
def test_headers_that_make_no_sense_store_nothing(
    studio: RunningStudio, headers: dict[str, str], words: str
) -> None:
    response = post(studio, [("a.jpg", picture(1))], **headers)
    assert (response.status_code, response.json()["success"]) == (400, False)
    assert words in response.json()["error"]
    assert rows(studio) == []


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"boundingBoxes": []}', b'{"boundingBoxes": {"a.jpg": [{}]}}'])
def test_a_side_file_that_makes_no_sense_stores_nothing(studio: RunningStudio, content: bytes) -> None:
    response = post(studio, [("a.jpg", picture(1)), ("bounding_boxes.labels", content)])
    assert (response.status_code, response.json()["success"]) == (400, False)
    assert "bounding_boxes.labels" in response.json()["error"]
    assert rows(studio) == []


def test_requests_with_nothing_in_them(studio: RunningStudio) -> None:
    url, key = f"{studio.ingestion_endpoint}/api/training/files", {"x-api-key": studio.api_key}
    for response, words in (
        (requests.post(url, headers=key, timeout=9), "not multipart/form-data"),
        (requests.post(url, headers=key, json={}, timeout=9), "not multipart/form-data"),
        (requests.post(url, headers=key, files={"field": (None, "text")}, timeout=9), "No files were sent"),
        (post(studio, [boxes_file()]), "No files were sent"),
    ):
        assert (response.status_code, response.json()["success"]) == (400, False)
        assert words in response.json()["error"]


def test_a_part_with_another_name_fails(studio: RunningStudio) -> None:
    url = f"{studio.ingestion_endpoint}/api/training/files"
    response = requests.post(
        url, headers={"x-api-key": studio.api_key}, files={"file": ("a.jpg", picture(1))}, timeout=9
    )
    assert "expected 'data'" in response.json()["files"][0]["error"]


def test_too_many_files(studio: RunningStudio) -> None:
    headers, body = multipart({f"{number}.jpg": b"" for number in range(MOST_FILES + 1)})
    url = f"{studio.ingestion_endpoint}/api/training/files"
    response = requests.post(url, data=body, headers={**headers, "x-api-key": studio.api_key}, timeout=20)
    assert (response.status_code, rows(studio)) == (400, [])
    assert "More than 1,000 files" in response.json()["error"]


@pytest.mark.parametrize("key", ["", "ei_wrong"])
def test_a_wrong_key_is_401_even_to_a_client_that_sends_all_first(studio: RunningStudio, key: str) -> None:
    for service in ("files", "data"):
        response = post(studio, [("a.jpg", picture(1) + b"x" * 3_000_000)], service=service, x_api_key=key)
        assert response.status_code == 401
        assert "Invalid API key" in response.text
    assert rows(studio) == []


def test_a_key_that_may_only_read_is_refused(studio: RunningStudio) -> None:
    _, key = studio.studio.projects.add_key(studio.project_id, "reader", "readonly")
    response = post(studio, [("a.jpg", picture(1))], x_api_key=key)
    assert (response.status_code, response.json()["success"]) == (403, False)


def test_a_client_that_stops_in_the_middle_stores_nothing(studio: RunningStudio) -> None:
    headers, body = multipart({"a.jpg": picture(1), "b.jpg": picture(2)})
    with connection(studio.ingestion_endpoint) as link:
        whole = request("POST", "/api/training/files", {**headers, "x-api-key": studio.api_key}, body)
        link.sendall(whole[:-10])
    with connection(studio.ingestion_endpoint) as link:  # ends as its length says, but without its last boundary
        link.sendall(request("POST", "/api/training/files", {**headers, "x-api-key": studio.api_key}, body[:-6]))
        assert answer(link)[0] == 400
    assert rows(studio) == []


def test_a_large_body_waits_in_files_and_leaves_none(studio: RunningStudio) -> None:
    large = [(f"{number}.jpg", picture(number) + b"\0" * 9_000_000 + b"\xff\xd9") for number in range(3)]
    small = picture(9)
    verdicts = sent(studio, [*large, ("text.jpg", b"t" * 1000), ("small.jpg", small)], x_disallow_duplicates="1")
    assert [verdict["success"] for verdict in verdicts] == [True, True, True, False, True]
    assert [row.size_bytes for row in rows(studio)] == [*(len(content) for _, content in large), len(small)]
    assert studio.studio.samples.content(rows(studio)[1]).read_bytes() == large[1][1]
    assert not any(studio.studio.samples.contents(studio.project_id).incoming.iterdir())


def test_a_disk_that_refuses_is_a_server_error_and_stores_nothing(studio: RunningStudio) -> None:
    content = picture(1)
    contents = studio.studio.samples.contents(studio.project_id)
    contents.place(hashlib.sha256(content).hexdigest()).parent.write_bytes(b"a file where a folder is needed")
    response = post(studio, [("a.jpg", content), ("b.jpg", picture(2))])
    assert (response.status_code, response.json()["success"]) == (507, False)
    assert "storing samples failed" in response.json()["error"]
    assert rows(studio) == []
    assert not any(contents.incoming.iterdir())


def test_the_old_address_takes_one_image(studio: RunningStudio) -> None:
    url, key = f"{studio.ingestion_endpoint}/api/training/data", {"x-api-key": studio.api_key}
    response = requests.post(url, data=picture(1), headers={**key, "x-file-name": "idle.01.jpg"}, timeout=9)
    assert (response.status_code, response.text) == (200, "idle.01.jpg")
    assert response.headers["content-type"].startswith("text/plain")
    assert (rows(studio)[0].filename, rows(studio)[0].label) == ("idle.01", "idle")
    for headers, words in ((key, "x-file-name"), ({**key, "x-file-name": "a.cbor"}, "neither a JPEG nor a PNG")):
        response = requests.post(url, data=b"\xa3", headers=headers, timeout=9)
        assert response.status_code == 400
        assert words in response.text


def test_deleting_allows_the_same_file_again(studio: RunningStudio) -> None:
    (first,) = sent(studio, [("a.jpg", picture(1))], x_disallow_duplicates="1")
    studio.studio.samples.delete(studio.project_id, Filter())
    (second,) = sent(studio, [("a.jpg", picture(1))], x_disallow_duplicates="1")
    assert second["sampleId"] > first["sampleId"]


SERVER = """
import sys, time
from pathlib import Path
from ei_automation.testing import start_studio
with start_studio(Path(sys.argv[1])) as studio:
    print(studio.ingestion_endpoint, studio.api_key, flush=True)
    time.sleep(60)
"""


def killed_while_receiving(folder: Path, count: int, acknowledged: set[int]) -> None:
    """Run a server, send to it, kill it when it has acknowledged so many pictures more; collects which."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, folder], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    endpoint, key = server.stdout.readline().split()
    stop = threading.Event()

    def send(offset: int) -> None:
        for number in range(offset, 4000, 3):
            try:
                headers = {"x-api-key": key, "x-disallow-duplicates": "1"}
                parts = [
                    ("data", (f"{number}.jpg", picture(number))),
                    ("data", (f"x{number}.jpg", picture(number + 10_000))),
                ]
                url = f"{endpoint}/api/training/files"
                if requests.post(url, files=parts, headers=headers, timeout=9).status_code == 200:
                    acknowledged.add(number)
            except requests.RequestException:
                return
            if stop.is_set():
                return

    threads = [threading.Thread(target=send, args=(offset,)) for offset in (1, 2, 3)]
    for thread in threads:
        thread.start()
    end, enough = time.monotonic() + 20, len(acknowledged) + count
    while len(acknowledged) < enough and time.monotonic() < end:
        time.sleep(0.001)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    stop.set()
    for thread in threads:
        thread.join()
    server.stdout.close()


def test_kill_at_any_time_loses_nothing_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for count in (5, 23):
        killed_while_receiving(tmp_path, count, acknowledged)
    with start_studio(tmp_path) as studio:
        check_what_is_left(studio, acknowledged)


def check_what_is_left(studio: RunningStudio, acknowledged: set[int]) -> None:
    stored = {row.filename for row in rows(studio)}
    assert len(acknowledged) >= 28
    assert {str(number) for number in acknowledged} <= stored
    for row in rows(studio):
        content = studio.studio.samples.content(row).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256
    assert len(stored) == len(rows(studio)), "a picture was stored twice"
    assert not any(studio.studio.samples.contents(studio.project_id).incoming.iterdir())
