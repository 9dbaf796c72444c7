"""Decoding, geometry and colour, against hand-made goldens."""

import io

import numpy as np
import pytest
from PIL import Image

from ei_automation.dsp.image import (
    UnusableImageError,
    crop_box,
    decode,
    letterbox,
    read_image,
    resize,
    to_features,
)
from ei_automation.schema.impulse import InputBlock


def png(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "target", "box"),
    [
        ((320, 240), (160, 160), (40, 0, 240, 240)),
        ((240, 320), (160, 160), (0, 40, 240, 240)),
        ((321, 240), (96, 96), (40, 0, 240, 240)),
        ((100, 100), (96, 48), (0, 25, 100, 50)),
        ((7, 3), (8, 8), (2, 0, 3, 3)),
    ],
)
def test_fit_short_crops_the_centre(size, target, box):
    block = InputBlock(image_width=target[0], image_height=target[1], resize_mode="fit-short")
    assert crop_box(*size, block) == box


@pytest.mark.parametrize(
    ("size", "target", "box"),
    [
        ((320, 240), (160, 160), (0, 20, 160, 120)),
        ((240, 320), (160, 160), (20, 0, 120, 160)),
        ((321, 240), (96, 96), (0, 12, 95, 71)),  # int(321 * (96 / 321)) is 95, in the SDK too
        ((1000, 1), (96, 96), (0, 47, 96, 1)),
    ],
)
def test_fit_long_letterboxes_with_integer_sides(size, target, box):
    block = InputBlock(image_width=target[0], image_height=target[1], resize_mode="fit-long")
    assert letterbox(*size, block) == box


def quarters() -> np.ndarray:
    """A 16x8 image: left half red, right half blue."""
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :8, 0], image[:, 8:, 2] = 200, 100
    return image


def test_squash_scales_both_axes():
    out = resize(quarters(), InputBlock(image_width=8, image_height=8))
    assert out[:, :4].tolist() == [[[200, 0, 0]] * 4] * 8
    assert out[:, 4:].tolist() == [[[0, 0, 100]] * 4] * 8


def test_fit_short_keeps_the_middle_columns():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16, 1] = 50
    out = resize(wide, InputBlock(image_width=8, image_height=8, resize_mode="fit-short"))
    assert (out == [0, 50, 0]).all()


def test_fit_long_pads_with_black():
    out = resize(quarters(), InputBlock(image_width=16, image_height=16, resize_mode="fit-long"))
    assert not out[:4].any()
    assert not out[12:].any()
    assert (out[4:12] == quarters()).all()


def test_area_averaging_is_exact_for_whole_factors():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1).repeat(3, 2)
    image = np.tile(image, (2, 2, 1))
    out = resize(image, InputBlock(image_width=8, image_height=8))
    expected = image.reshape(8, 2, 8, 2, 3).astype(float).mean((1, 3))
    assert np.abs(out - expected).max() <= 0.5


def test_features_are_pixels_over_255_and_unrounded_luma():
    pixels = np.array([[[[255, 0, 0], [10, 20, 30]]]], np.uint8)
    assert to_features(pixels, "RGB")[0, 0, 1].tolist() == pytest.approx([10 / 255, 20 / 255, 30 / 255], abs=1e-7)
    gray = to_features(pixels, "Grayscale")
    assert gray.shape == (1, 1, 2, 1)
    assert gray.ravel().tolist() == pytest.approx([0.299, (0.299 * 10 + 0.587 * 20 + 0.114 * 30) / 255], abs=1e-6)


def test_transparent_pixels_become_black_and_palettes_become_colours():
    picture = Image.new("RGBA", (9, 9), (255, 0, 0, 0))
    picture.putpixel((0, 0), (0, 255, 0, 255))
    image, mode = decode(png(picture))
    assert mode == "RGBA"
    assert image.getpixel((0, 0)) == (0, 255, 0)
    assert image.getpixel((5, 5)) == (0, 0, 0)
    assert decode(png(Image.new("RGB", (9, 9), (1, 2, 3)).quantize(4)))[0].getpixel((4, 4)) == (1, 2, 3)


def test_exif_orientation_is_applied():
    picture = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[274] = 6
    assert decode(png(picture, exif=exif))[0].size == (10, 20)


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"hello, I am text", "unreadable"),
        (jpeg()[:700], "truncated"),
        (jpeg()[:-300], "truncated"),
        (jpeg()[:10], "unreadable"),
        (png(Image.new("I;16", (9, 9))), "wrong-mode"),
    ],
)
def test_unusable_images_are_named(data, problem):
    with pytest.raises(UnusableImageError) as caught:
        decode(data)
    assert caught.value.problem == problem
    facts, pixels = read_image(data, "00", InputBlock(image_width=8, image_height=8))
    assert (facts.problem, pixels) == (problem, None)
    assert facts.detail


def test_the_perceptual_hash_survives_recompression_and_tells_pictures_apart():
    block = InputBlock(image_width=8, image_height=8)
    rng = np.random.default_rng(1)
    one = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((128, 128))
    two = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((128, 128))

    def hashed(image: Image.Image, quality: int) -> int:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return read_image(stream.getvalue(), "0", block)[0].perceptual_hash

    assert (hashed(one, 95) ^ hashed(one, 60)).bit_count() <= 4
    assert (hashed(one, 95) ^ hashed(two, 95)).bit_count() > 10
