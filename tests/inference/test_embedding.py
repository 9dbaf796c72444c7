from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.inference.embedding import embed, project
from ei_automation.inference.interpreter import Classifier
from tests.inference.tiny_models import float_model, int8_model, softmax

RANDOM = np.random.default_rng(3)
SHAPE = (2, 2, 3)
FEATURES = RANDOM.random((20, *SHAPE), dtype=np.float32)
HIDDEN = RANDOM.normal(size=(5, 12)).astype(np.float32)
LAST = RANDOM.normal(size=(4, 5)).astype(np.float32)


def test_gives_what_enters_the_last_dense_layer() -> None:
    model = float_model(SHAPE, HIDDEN, LAST)
    embedding = embed(model, [FEATURES[:7], FEATURES[7:]], threads=2)
    expected = np.maximum(FEATURES.reshape(20, 12) @ HIDDEN.T, 0)
    np.testing.assert_allclose(embedding, expected, atol=1e-5)
    np.testing.assert_allclose(softmax(embedding @ LAST.T), Classifier(model).scores(FEATURES), atol=1e-5)


def test_an_int8_model_gives_real_numbers_too() -> None:
    model = int8_model(SHAPE, RANDOM.integers(-9, 9, (3, 12)))
    np.testing.assert_allclose(embed(model, [FEATURES]), FEATURES.reshape(20, 12), atol=0.5 / 255 + 1e-6)


def test_no_features_give_no_rows() -> None:
    assert embed(float_model(SHAPE, LAST @ HIDDEN), []).shape == (0, 12)


def test_a_corrupt_model_is_refused() -> None:
    with pytest.raises(VerificationError, match="cannot be used"):
        embed(b"TFL3" * 40, [FEATURES])


def test_a_model_without_a_dense_layer_is_refused(shared_data: Path) -> None:
    model = (shared_data / "studio_deployments" / "openmv_fomo_2023_balloon" / "trained.tflite").read_bytes()
    with pytest.raises(NotFoundError, match="no fully connected layer"):
        embed(model, [np.zeros((1, 96, 96, 3), dtype=np.float32)])


def clusters(each: int) -> np.ndarray:
    centres = RANDOM.normal(size=(3, 64)) * 20
    return np.concatenate([centre + RANDOM.normal(size=(each, 64)) for centre in centres]).astype(np.float32)


def test_keeps_clusters_apart_in_both_layouts() -> None:
    embedding = clusters(40)
    for points in project(embedding, seed=3):
        groups = points.reshape(3, 40, -1)
        centres = groups.mean(axis=1)
        spread = np.linalg.norm(groups - centres[:, None], axis=2).max()
        gaps = [np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        assert min(gaps) > 2 * spread


def test_is_deterministic_and_within_one() -> None:
    embedding = clusters(15)
    first, second = project(embedding, seed=5), project(embedding, seed=5)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
        assert np.abs(one).max() == pytest.approx(1.0)
        assert one.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1, 2, 3, 29, 30, 31])
def test_any_number_of_samples(count: int) -> None:
    flat, space = project(RANDOM.random((count, 2), dtype=np.float32), seed=3)
    assert (flat.shape, space.shape) == ((count, 2), (count, 3))
    assert np.isfinite(flat).all()
    assert np.isfinite(space).all()


def test_samples_that_are_all_alike() -> None:
    flat, space = project(np.ones((40, 6), dtype=np.float32), seed=3)
    assert not flat.any()
    assert not space.any()


def test_many_samples_are_laid_out_by_pca() -> None:
    embedding = RANDOM.normal(size=(2001, 4)).astype(np.float32) * np.array([9, 3, 1, 0.1], dtype=np.float32)
    flat, space = project(embedding, seed=3)
    assert abs(np.corrcoef(flat[:, 0], embedding[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(space[:, 2], embedding[:, 2])[0, 1]) > 0.99
