import hashlib

import numpy as np
import pytest

from ei_automation.dsp.image import to_features
from ei_automation.trainer.augment import Draws, augment, draw, enlarged, moved
from tests.trainer.naive import pictures

IDS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(200)]


def test_the_padded_size_is_studios() -> None:
    assert (enlarged(160, 3), enlarged(96, 3)) == (167, 100)


def test_draws_cover_studios_ranges() -> None:
    draws = draw(IDS, (160, 96), 3, 0)
    assert set(draws.shifts[:, 0].tolist()) == set(range(-4, 4))
    assert set(draws.shifts[:, 1].tolist()) == set(range(-2, 3))
    assert 0.35 < draws.flips.mean() < 0.65
    assert draws.deltas.min() > -0.2
    assert draws.deltas.max() < 0.2
    assert draws.deltas.std() == pytest.approx(0.4 / 12**0.5, rel=0.15)


def test_a_view_depends_on_seed_view_and_content_alone() -> None:
    source = pictures(6, 32, 3)[0].array
    whole = augment(source, draw(IDS[:6], (32, 32), 3, 5), "RGB")
    some = augment(source[[4, 1]], draw([IDS[4], IDS[1]], (32, 32), 3, 5), "RGB")
    np.testing.assert_array_equal(whole[[4, 1]], some)
    for other in (draw(IDS[:6], (32, 32), 3, 6), draw(IDS[:6], (32, 32), 4, 5)):
        assert np.abs(whole - augment(source, other, "RGB")).max() > 0.01


def test_flip_shift_and_brightness_do_what_they_say() -> None:
    image = np.arange(1, 2 * 3 * 3 + 1, dtype=np.uint8).reshape(1, 2, 3, 3)
    draws = Draws(np.array([True]), np.array([[1, -1]]), np.array([0.5], np.float32))
    expected = np.zeros_like(image)
    flipped = image[:, :, ::-1]
    expected[0, 1, :2] = flipped[0, 0, 1:]
    np.testing.assert_array_equal(moved(image, draws), expected)
    result = augment(image, draws, "RGB")
    np.testing.assert_allclose(result, expected / 255 + 0.5, atol=1e-6)
    assert result.dtype == np.float32


def test_gray_is_the_gray_of_the_moved_image() -> None:
    source = pictures(3, 32, 3)[0].array
    draws = draw(IDS[:3], (32, 32), 3, 0)
    result = augment(source, draws, "Grayscale")
    assert result.shape == (3, 32, 32, 1)
    expected = to_features(moved(source, draws), "Grayscale") + draws.deltas[:, None, None, None]
    np.testing.assert_array_equal(result, expected)
