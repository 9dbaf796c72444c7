"""A board held against LiteRT: the same model, another one, and what cannot be compared."""

import io

import numpy as np
import pytest
from PIL import Image

from ei_automation.devices.host import SerialPort
from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.errors import DatasetError, DeviceError, NotFoundError, UsageError, VerificationError
from ei_automation.schema.board import find_board
from ei_automation.workflow.board_session import PluggedBoard
from ei_automation.workflow.parity import INT8_STEPS, ParityReport, ParityRequest, ParitySample, compare
from ei_automation.workflow.parity_inputs import (
    ParityModel,
    input_pixels,
    listed_images,
    packed,
    parity_model,
)
from tests.devices.surroundings import CLASSIFIER, FOMO, FOMO_LABELS, LABELS, surroundings
from tests.helpers import make_data
from tests.inference.tiny_models import int8_model
from tests.workflow.board_projects import library, project_with

OTHER = int8_model((8, 8, 3), np.random.default_rng(6).integers(-90, 90, (3, 192)).astype(np.int8), scale=0.02)
MODEL = ParityModel(CLASSIFIER, "test", LABELS)


@pytest.fixture(scope="module")
def nicla(tmp_path_factory):
    around = surroundings(tmp_path_factory.mktemp("nicla"), model=CLASSIFIER, labels=LABELS)
    with serving(SimulatedNicla(around)) as url:
        host = SimulatedHost(url)
        yield PluggedBoard(host, host.ports()[0])


@pytest.fixture
def images(tmp_path):
    return make_data(tmp_path / "images", 1, labels=("blue", "green", "red"))


NAMES = dict(zip(("blue", "green", "red"), LABELS, strict=True))


def asked(plug, request):
    events = []
    report = compare(plug, request, on_event=events.append)
    assert [(event.done, event.total) for event in events][-1] == (len(report.samples), len(report.samples))
    return report


def test_a_board_with_the_same_model_agrees(nicla, images):
    report = asked(nicla, ParityRequest(images, MODEL, mapping=NAMES))
    assert report.ok
    assert [sample.label for sample in report.samples] == list(LABELS)
    assert report.max_difference < 1e-6  # the firmware prints six digits
    assert sum(map(sum, report.host_and_board)) == sum(map(sum, report.truth_and_board)) == 3
    assert report.accuracy(of_board=True) == report.accuracy(of_board=False)
    document = report.document()
    assert document["ok"] is True
    assert document["top_label_agreement_ratio"] == 1.0
    assert document["samples"][0]["board_top"] == report.samples[0].board_top
    assert "project Simulated project" in document["firmware"]


def test_a_board_with_another_model_differs(nicla, images):
    (images / "blue" / "again.png").write_bytes((images / "red" / "red (0).png").read_bytes())
    report = asked(nicla, ParityRequest(images / "blue", ParityModel(OTHER, "other"), tolerance=0.01))
    assert not report.ok
    assert len(report.samples) == 2
    assert report.too_far
    assert report.labels == LABELS  # of the board, since nothing else knew them
    assert report.accuracy(of_board=True) is None


def test_a_board_with_other_labels_is_refused(nicla, images):
    flat = images / "blue"
    with pytest.raises(
        VerificationError, match="knows the labels dark, left side, red-ish, the model has a, b, c"
    ):
        asked(nicla, ParityRequest(flat, ParityModel(CLASSIFIER, "test", ("a", "b", "c"))))


def test_folders_that_are_no_labels_are_refused_before_anything_is_sent(images):
    with pytest.raises(DatasetError, match="no labels of the model: blue, green, red"):
        compare(PluggedBoard(None, None), ParityRequest(images, MODEL), on_event=print)


def test_a_model_with_more_scores_than_labels_is_refused_before_anything_is_sent(images):
    model = ParityModel(CLASSIFIER, "trained.zip", ("blue", "left side"))
    with pytest.raises(
        VerificationError, match=r"trained\.zip gives 3 scores, and the labels are blue, left side"
    ):
        compare(PluggedBoard(None, None), ParityRequest(images / "red", model), on_event=print)


def test_a_board_that_takes_other_images_is_a_device_error(nicla, images):
    larger = int8_model((9, 8, 3), np.ones((3, 216), np.int8))
    with pytest.raises(DeviceError, match="the network takes 64 features, 72 were sent"):
        asked(nicla, ParityRequest(images / "red", ParityModel(larger, "larger", LABELS)))


def test_a_camera_takes_no_features(images):
    plug = PluggedBoard(None, SerialPort("x", 0x37C5, 0x1204), find_board("openmv-cam-h7"))
    with pytest.raises(UsageError, match="from its camera only"):
        compare(plug, ParityRequest(images / "red", MODEL), on_event=print)


def test_firmware_that_finds_objects_is_refused(tmp_path, images):
    board = SimulatedNicla(surroundings(tmp_path, model=FOMO, labels=FOMO_LABELS))
    with serving(board) as url:
        host = SimulatedHost(url)
        plug = PluggedBoard(host, host.ports()[0])
        with pytest.raises(UsageError, match="finds objects"):
            compare(plug, ParityRequest(images / "red", MODEL), on_event=print)


# The numbers


def sample(name, label, board, host):
    board, host = dict(zip("ab", board, strict=True)), dict(zip("ab", host, strict=True))
    return ParitySample(name, label, board, host, max(abs(board[key] - host[key]) for key in board), None)


def test_the_report_counts():
    rows = (
        sample("1", "a", (0.9, 0.1), (0.9, 0.1)),
        sample("2", "b", (0.52, 0.48), (0.48, 0.52)),
        sample("3", "", (0.3, 0.7), (0.2, 0.8)),
    )
    report = ParityReport("fw", "m", "0" * 64, "squash", ("a", "b"), INT8_STEPS, rows)
    assert [each.name for each in report.disagreeing] == ["2"]
    assert [each.name for each in report.too_far] == ["2", "3"]
    assert [each.name for each in report.differing] == ["3", "2"]
    assert not report.ok
    assert report.max_difference == pytest.approx(0.1)
    assert report.mean_difference == pytest.approx((0.04 + 0.1) / 3)
    assert report.host_and_board == [[1, 0], [1, 1]]
    assert report.truth_and_board == [[1, 0], [1, 0]]
    assert (report.accuracy(of_board=True), report.accuracy(of_board=False)) == (0.5, 1.0)


def test_two_steps_of_int8_pass_and_three_do_not():
    for steps, ok in ((2, True), (3, False)):
        row = sample("1", "", (0.75, 0.25), (0.75 - steps / 256, 0.25 + steps / 256))
        assert ParityReport("fw", "m", "", "squash", ("a", "b"), INT8_STEPS, (row,)).ok is ok


# What is compared


def test_features_are_pixels_as_one_number():
    pixels = np.array([[[1, 2, 3], [255, 255, 255]]], np.uint8)
    assert packed(pixels).tolist() == [0x010203, 0xFFFFFF]
    assert packed(pixels).dtype == np.float32


def test_images_with_and_without_labels(images):
    assert [image.label for image in listed_images(images)] == ["blue", "green", "red"]
    assert [image.label for image in listed_images(images, mapping={"red": "rot"})] == ["blue", "green", "rot"]
    assert [image.label for image in listed_images(images / "red")] == [""]
    (images / "loose.png").write_bytes((images / "red" / "red (0).png").read_bytes())
    assert {image.name: image.label for image in listed_images(images)}["loose.png"] == ""
    (images / "loose.png").unlink()
    make_data(images, 9)
    assert [image.label for image in listed_images(images, count=3)] == ["blue", "green", "red"]
    with pytest.raises(NotFoundError, match="there is no folder"):
        listed_images(images / "none")
    (images / "empty").mkdir()
    with pytest.raises(DatasetError, match="there are no images"):
        listed_images(images / "empty")


def test_images_come_to_the_models_size_by_the_resize_mode(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (40, 20), (200, 100, 50)).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    (pixels,) = input_pixels(listed_images(tmp_path), (8, 8, 3), "fit-long")
    assert pixels[0].max() == 0
    assert pixels[4].tolist() == [[200, 100, 50]] * 8
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"1 of 2 images cannot be used: b\.png \(unreadable"):
        input_pixels(listed_images(tmp_path), (8, 8, 3), "squash")


def test_the_model_is_the_projects_with_its_resize_mode(tmp_path):
    session = project_with(tmp_path, "ei-ml.zip")
    found = parity_model(session, None, on_event=print)
    assert (found.content, found.labels, found.resize_mode) == (CLASSIFIER, LABELS, "squash")
    session = project_with(tmp_path, "ei-ml.zip", model=OTHER)
    (tmp_path / "m.tflite").write_bytes(CLASSIFIER)
    assert parity_model(session, None, model=tmp_path / "m.tflite", on_event=print).content == CLASSIFIER


def test_without_a_project_images_are_squashed_and_that_is_said(tmp_path):
    events = []
    given = library(tmp_path / "x.zip")
    assert parity_model(None, None, given=given, on_event=events.append).labels == LABELS
    assert "squashed" in events[0].text
    with pytest.raises(UsageError, match="nothing says which model"):
        parity_model(None, None, on_event=print)


def test_models_that_cannot_be_compared_are_refused(tmp_path):
    session = project_with(tmp_path / "p", "ei-ml.zip", model=int8_model((9, 8, 3), np.ones((3, 216), np.int8)))
    with pytest.raises(VerificationError, match=r"takes \(9, 8, 3\) .* gives \(8, 8, 3\)"):
        parity_model(session, None, on_event=print)
    given = library(tmp_path / "fomo.zip", model=FOMO, labels=FOMO_LABELS)
    with pytest.raises(UsageError, match="finds objects"):
        parity_model(None, None, given=given, on_event=print)
    (tmp_path / "app.spk").write_bytes(b"\xefMOD" + bytes(200))
    with pytest.raises(NotFoundError, match="its network is compiled code"):
        parity_model(None, None, given=tmp_path / "app.spk", on_event=print)
