from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ei_automation.deployment.contents import BuildContents, make_zip
from ei_automation.deployment.recognise import recognise
from ei_automation.deployment.targets import build
from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.deployment import BuildRequest
from tests.inference.tiny_models import float_model, int8_model

SHAPE = (6, 8, 3)
MODEL = int8_model(SHAPE, np.ones((2, 144)))

REAL = {
    "studio_deployments/openmv_cls_2020_mask": (("face", "mask"), (1, 96, 96, 3)),
    "studio_deployments/openmv_cls_2023_person": (("no person", "person"), (1, 96, 96, 1)),
    "studio_deployments/openmv_cls_2025_speed_sign": (
        ("100sign", "40sign", "80sign", "90sign", "background"),
        (1, 160, 160, 1),
    ),
    "studio_deployments/openmv_cls_2026_food": (
        ("Apple", "Banana", "Broccoli", "Burger", "Donut", "Fries", "Pizza"),
        (1, 96, 96, 1),
    ),
    "studio_deployments/openmv_fomo_2023_balloon": (("background", "green", "purple"), (1, 96, 96, 3)),
    "openmv_rubbish": (("battery", "bottle", "can", "cigarette"), (1, 96, 96, 3)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_deployments(shared_data: Path, name: str) -> None:
    found = recognise(shared_data / name)
    assert found.problems == ()
    assert (found.labels, found.input.shape) == REAL[name]
    assert found.kind == ("openmv-fomo" if "fomo" in name else "openmv")
    assert found.output.shape[-1] == len(found.labels)
    assert found.model_sha256 == sha256_bytes(found.model)
    assert found.script_api is None


def test_a_last_newline_is_a_note_and_no_problem(shared_data: Path) -> None:
    # One public deployment has it, by its owner's hand or Studio's; scripts read line by line.
    found = recognise(shared_data / "studio_deployments" / "openmv_cls_2026_food")
    assert any("newline" in note for note in found.notes)


@pytest.mark.parametrize(("firmware", "api"), [("4.5.5", "tf"), ("", "ml")])
def test_our_own_openmv_build(contents: BuildContents, tmp_path: Path, firmware: str, api: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(build(BuildRequest("openmv", firmware_version=firmware), contents))
    found = recognise(path)
    assert (found.kind, found.script_api, found.problems, found.notes) == ("openmv", api, (), ())
    assert found.labels == contents.labels
    assert found.model == contents.models["int8"]
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "folder")
    assert recognise(tmp_path / "folder") == found


def test_our_own_bundle(contents: BuildContents, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(build(BuildRequest("bundle"), contents))
    found = recognise(path)
    assert (found.kind, found.problems, found.notes) == ("bundle", (), ())
    assert found.model == contents.models["int8"]


def problems(folder: Path, files: dict[str, bytes]) -> tuple[str, ...]:
    path = folder / "a.zip"
    path.write_bytes(make_zip(files))
    return recognise(path).problems


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (b"a", "gives 2 scores, labels.txt has 1 labels"),
        (b"a\nb\nc", "gives 2 scores, labels.txt has 3 labels"),
        (b"a\n\nb", "empty line"),
        (b"a\nb\n\n", "empty line"),
        (b"a\na", "names a label twice"),
        (b"\xff\xfe", "no UTF-8"),
    ],
)
def test_labels_that_are_wrong(tmp_path: Path, labels: bytes, words: str) -> None:
    found = problems(tmp_path, {"trained.tflite": MODEL, "labels.txt": labels})
    assert any(words in problem for problem in found)


def test_labels_that_are_missing(tmp_path: Path) -> None:
    assert problems(tmp_path, {"trained.tflite": MODEL}) == ("labels.txt is missing",)


def test_a_float_model_in_an_openmv_library(tmp_path: Path) -> None:
    model = float_model(SHAPE, np.ones((2, 144), dtype=np.float32))
    found = problems(tmp_path, {"trained.tflite": model, "labels.txt": b"a\nb"})
    assert found == ("the model's input is float32, not int8", "the model's output is float32, not int8")


def test_another_input_scale(tmp_path: Path) -> None:
    model = int8_model(SHAPE, np.ones((2, 144)), input_scale=2 / 255)
    found = problems(tmp_path, {"trained.tflite": model, "labels.txt": b"a\nb"})
    assert len(found) == 1
    assert "scale 0.007843138 and zero point -128; 0.003921569 and -128" in found[0]


@pytest.mark.parametrize(("script", "words"), [(b"print(1)", "neither"), (b"ml.Model('a')\ntf.load('a')", "both")])
def test_a_script_that_is_wrong(tmp_path: Path, script: bytes, words: str) -> None:
    files = {"trained.tflite": MODEL, "labels.txt": b"a\nb", "ei_image_classification.py": script}
    assert any(words in problem for problem in problems(tmp_path, files))


def test_scripts_of_each_generation_are_told_apart(tmp_path: Path) -> None:
    calls = {
        "tf.classify('trained.tflite', img)": "tf",
        "labels, net = tf.load_builtin_model('trained')": "tf",
        "net = tf.load('trained.tflite')": "tf",
        "net = ml.Model('trained.tflite')": "ml",
    }
    for call, api in calls.items():
        (tmp_path / "trained.tflite").write_bytes(MODEL)
        (tmp_path / "labels.txt").write_text("a\nb")
        (tmp_path / "ei_object_detection.py").write_text(call)
        assert recognise(tmp_path).script_api == api


def test_fomo_needs_background_first(shared_data: Path, tmp_path: Path) -> None:
    model = (shared_data / "studio_deployments" / "openmv_fomo_2023_balloon" / "trained.tflite").read_bytes()
    found = problems(tmp_path, {"trained.tflite": model, "labels.txt": b"green\nbackground\npurple"})
    assert found == ("the first label of a FOMO model must be background, it is green",)


def test_a_bundle_with_parts_missing_or_mixed(contents: BuildContents, tmp_path: Path) -> None:
    labels = "\n".join(contents.labels).encode()
    other = float_model((4, 4, 3), np.ones((3, 48), dtype=np.float32))
    files = {"model_int8.tflite": contents.models["int8"], "labels.txt": labels, "model_float32.tflite": other}
    assert problems(tmp_path, files) == (
        "metrics.json is missing",
        "MODEL_CARD.md is missing",
        "the two models have different inputs or outputs",
    )


def empty(path: Path) -> None:
    path.write_bytes(make_zip({"readme.txt": b"hello"}))


def damaged(path: Path) -> None:
    path.write_bytes(make_zip({"trained.tflite": MODEL})[:-30])


def flipped(path: Path) -> None:
    data = bytearray(make_zip({"trained.tflite": MODEL}))
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def text(path: Path) -> None:
    path.write_text("no zip")


def no_model(path: Path) -> None:
    path.write_bytes(make_zip({"trained.tflite": b"no model" * 9, "labels.txt": b"a\nb"}))


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (empty, NotFoundError, "no deployment that is known"),
        (damaged, VerificationError, "damaged"),
        (flipped, VerificationError, "damaged"),
        (text, VerificationError, "no zip"),
        (no_model, VerificationError, "cannot be read"),
    ],
)
def test_what_is_no_deployment(
    tmp_path: Path, make: Callable[[Path], None], kind: type[Exception], words: str
) -> None:
    path = tmp_path / "a.zip"
    make(path)
    with pytest.raises(kind, match=words):
        recognise(path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no deployment at"):
        recognise(tmp_path / "none.zip")
    with pytest.raises(NotFoundError, match="no deployment that is known"):
        recognise(tmp_path)


def test_a_zip_that_claims_a_huge_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trained.tflite", bytes(65 * 1024 * 1024))
    assert path.stat().st_size < 100_000
    with pytest.raises(VerificationError, match="no part of a deployment is as large"):
        recognise(path)


def test_other_files_are_left_alone(contents: BuildContents, tmp_path: Path) -> None:
    plain = build(BuildRequest("openmv"), dataclasses.replace(contents, models={"int8": contents.models["int8"]}))
    path = tmp_path / "a.zip"
    path.write_bytes(plain)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escape.txt", "no")
        archive.writestr("LICENSE", "MIT")
    assert recognise(path).problems == ()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zip"]
