from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.inference.interpreter import Classifier, Quantization
from tests.inference.tiny_models import LOGITS_SCALE, float_model, int8_model, softmax

SHAPE = (2, 3, 1)
RANDOM = np.random.default_rng(3)
FEATURES = RANDOM.random((37, *SHAPE), dtype=np.float32)
WEIGHTS = RANDOM.normal(size=(3, 6)).astype(np.float32) * 4
INT_WEIGHTS = RANDOM.integers(-127, 128, (3, 6)).astype(np.int8)


def test_float_scores_are_those_computed_by_hand() -> None:
    classifier = Classifier(float_model(SHAPE, WEIGHTS))
    assert (classifier.input_shape, classifier.output_count) == (SHAPE, 3)
    assert classifier.input_quantization == Quantization("float32", 0.0, 0)
    expected = softmax(FEATURES.reshape(37, 6) @ WEIGHTS.T)
    np.testing.assert_allclose(classifier.scores(FEATURES), expected, atol=1e-6)


def test_int8_scores_are_those_computed_by_hand() -> None:
    classifier = Classifier(int8_model(SHAPE, INT_WEIGHTS, scale=0.05))
    pixels = np.clip(np.around(FEATURES * 255), 0, 255).reshape(37, 6) / 255
    logits = np.clip(np.around(pixels @ (INT_WEIGHTS.T * 0.05) / LOGITS_SCALE), -128, 127) * LOGITS_SCALE
    scores = classifier.scores(FEATURES)
    np.testing.assert_allclose(scores, softmax(logits), atol=0.07)
    assert (scores.argmax(axis=1) == logits.argmax(axis=1)).mean() > 0.9
    assert scores.dtype == np.float32
    assert classifier.output_quantization == Quantization("int8", 1 / 256, -128)


def test_quantize_rounds_half_to_even_and_clips() -> None:
    quantization = Quantization("int8", 0.5, 0)
    values = np.array([0.25, 0.75, -0.25, 1000.0, -1000.0], dtype=np.float32)
    assert quantization.quantize(values).tolist() == [0, 2, 0, 127, -128]
    unsigned = Quantization("uint8", 1 / 255, 0)
    assert unsigned.quantize(np.array([0.0, 1.0, 2.0], dtype=np.float32)).tolist() == [0, 255, 255]
    assert unsigned.dequantize(np.array([0, 255], dtype=np.uint8)).tolist() == pytest.approx([0.0, 1.0])


def test_every_pixel_becomes_pixel_minus_128() -> None:
    pixels = (np.arange(256) / np.float32(255)).astype(np.float32)
    quantized = Quantization("int8", 0.003921568859368563, -128).quantize(pixels)
    assert quantized.tolist() == list(range(-128, 128))


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_nothing(threads: int) -> None:
    model = int8_model(SHAPE, INT_WEIGHTS)
    assert np.array_equal(Classifier(model).scores(FEATURES), Classifier(model, threads=threads).scores(FEATURES))


def test_more_threads_than_samples_and_no_sample() -> None:
    classifier = Classifier(float_model(SHAPE, WEIGHTS), threads=4)
    assert classifier.scores(FEATURES[:2]).shape == (2, 3)
    assert classifier.scores(FEATURES[:0]).shape == (0, 3)


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(float_model(SHAPE, WEIGHTS))
    assert Classifier(path).output_count == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no model at"):
        Classifier(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"garbage" * 50, float_model(SHAPE, WEIGHTS)[:200]])
def test_a_corrupt_model_is_refused(content: bytes) -> None:
    with pytest.raises(VerificationError, match="cannot be used"):
        Classifier(content)


@pytest.mark.parametrize(("slot", "part"), [(6, "operator codes"), (8, "subgraphs"), (12, "buffers")])
def test_a_model_without_a_part_is_refused_before_it_ends_the_process(slot: int, part: str) -> None:
    content = bytearray(float_model(SHAPE, WEIGHTS))
    (root,) = struct.unpack_from("<I", content)
    table = root - struct.unpack_from("<i", content, root)[0]
    struct.pack_into("<H", content, table + slot, 0)
    with pytest.raises(VerificationError, match=f"has no {part}"):
        Classifier(bytes(content))


def test_a_model_that_would_take_all_memory_is_refused() -> None:
    content = bytearray(float_model(SHAPE, WEIGHTS))
    place = content.find(struct.pack("<4i", 1, *SHAPE))
    struct.pack_into("<i", content, place + 8, 1_375_731_720)
    with pytest.raises(VerificationError, match="would take 11,005,853,760 bytes"):
        Classifier(bytes(content))


def test_features_of_another_impulse_are_refused() -> None:
    classifier = Classifier(float_model(SHAPE, WEIGHTS))
    with pytest.raises(VerificationError, match=r"takes images of \(2, 3, 1\).*\(3, 2, 1\)"):
        classifier.scores(np.zeros((1, 3, 2, 1), dtype=np.float32))


def test_a_real_model_sorts_real_images(shared_data: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    root = shared_data / "openmv_rubbish"
    images, labels = [], []
    for index, label in enumerate((root / "labels.txt").read_text().split("\n")):
        for path in sorted((root / "dataset" / f"{label}.class").glob("*.jpg"))[:40]:
            small = cv2.resize(cv2.imread(str(path)), (96, 96), interpolation=cv2.INTER_AREA)
            images.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
            labels.append(index)
    scores = Classifier(root / "trained.tflite", threads=2).scores(
        np.stack(images).astype(np.float32) / np.float32(255)
    )
    # The published model, on part of the data it was made from; bottles are its weak side.
    assert (scores.argmax(axis=1) == labels).mean() > 0.8
