"""Decoding, resize modes and colour.

Geometry and interpolation are those of Edge Impulse's Python Linux SDK (`edge_impulse_linux/image.py`:
`cv2.INTER_AREA` everywhere, integer crop and letterbox arithmetic); features are those of its Image processing
block (`processing-blocks/image/dsp.py`: pixel / 255, ITU-R 601-2 luma without rounding). What Studio's
ingestion itself uses to resize is not public.
"""

from __future__ import annotations

import io

import cv2
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ei_automation.schema.findings import ImageFacts
from ei_automation.schema.impulse import Channels, InputBlock

Pixels = NDArray[np.uint8]

LUMA_RED, LUMA_GREEN, LUMA_BLUE = 0.299, 0.587, 0.114
"""ITU-R 601-2, as in Edge Impulse's image block."""

READABLE_MODES = frozenset({"RGB", "L", "LA", "P", "PA", "RGBA", "1"})
"""Pillow modes that become 8-bit RGB without a guess; CMYK, 16-bit, float and others do not."""

MAX_PIXELS = 64 * 1024 * 1024
"""A larger image is refused unread: a few hundred bytes can claim any size."""


class UnusableImageError(ValueError):
    """An image that cannot become a sample.

    Args:
        problem: empty, unreadable, truncated or wrong-mode.
        detail: The decoder's words.
        facts: Width, height and mode where the header could be read.
    """

    def __init__(self, problem: str, detail: str, facts: tuple[int, int, str] = (0, 0, "")) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem, self.detail, self.facts = problem, detail, facts


def decode(data: bytes) -> tuple[Image.Image, str]:
    """Decode a whole image file, upright by its EXIF orientation.

    Returns:
        The picture in mode RGB, and the mode that the file has.

    Raises:
        UnusableImageError: It is empty, no image, cut off, or of a mode that has no one 8-bit RGB form.
    """
    if not data:
        raise UnusableImageError("empty", "the file has no bytes")
    try:
        image = Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableImageError("unreadable", str(error).split(" <")[0]) from error
    header = (*image.size, image.mode)
    if image.width * image.height > MAX_PIXELS:
        raise UnusableImageError("unreadable", f"{image.width}x{image.height} pixels are too many", header)
    if image.mode not in READABLE_MODES:
        raise UnusableImageError("wrong-mode", f"mode {image.mode}", header)
    mode = image.mode
    try:
        image.load()
        return _flat_rgb(ImageOps.exif_transpose(image)), mode
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UnusableImageError("truncated", str(error), header) from error


def _flat_rgb(image: Image.Image) -> Image.Image:
    """RGB on black where the image is transparent, as a deployed model sees a padded frame."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def crop_box(width: int, height: int, block: InputBlock) -> tuple[int, int, int, int]:
    """The centre crop of fit-short: left, top, width, height, in pixels of the source."""
    aspect = block.image_width / block.image_height
    if width / height > aspect:
        kept = max(1, int(height * aspect))
        return ((width - kept) // 2, 0, kept, height)
    kept = max(1, int(width / aspect))
    return (0, (height - kept) // 2, width, kept)


def letterbox(width: int, height: int, block: InputBlock) -> tuple[int, int, int, int]:
    """Where fit-long puts the image: left, top, width, height, in pixels of the result."""
    scale = min(block.image_width / width, block.image_height / height)
    inner_width, inner_height = max(1, int(width * scale)), max(1, int(height * scale))
    left = (block.image_width - inner_width) // 2
    return (left, (block.image_height - inner_height) // 2, inner_width, inner_height)


def resize(image: Pixels, block: InputBlock) -> Pixels:
    """Bring an image to the impulse's size.

    Args:
        image: uint8, (h, w, 3), 0..255, RGB.
        block: Size and resize mode.

    Returns:
        uint8, (image_height, image_width, 3), 0..255.
    """
    size = (block.image_width, block.image_height)
    height, width = image.shape[:2]
    if block.resize_mode == "fit-long":
        left, top, inner_width, inner_height = letterbox(width, height, block)
        canvas = np.zeros((block.image_height, block.image_width, 3), np.uint8)
        inner = cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_AREA)
        canvas[top : top + inner_height, left : left + inner_width] = inner
        return canvas
    if block.resize_mode == "fit-short":
        left, top, kept_width, kept_height = crop_box(width, height, block)
        image = image[top : top + kept_height, left : left + kept_width]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def read_image(data: bytes, sha256: str, block: InputBlock) -> tuple[ImageFacts, Pixels | None]:
    """Decode once: the facts that the audit needs, and the pixels that the impulse needs.

    Returns:
        Facts, and uint8 (image_height, image_width, 3) RGB; None where the image cannot be used.
    """
    try:
        image, mode = decode(data)
    except UnusableImageError as error:
        width, height, mode = error.facts
        return ImageFacts(sha256, width, height, mode, None, error.problem, error.detail), None
    hashed = int(str(imagehash.phash(image)), 16)
    return ImageFacts(sha256, image.width, image.height, mode, hashed), resize(np.asarray(image), block)


def to_features(pixels: Pixels, channels: Channels) -> NDArray[np.float32]:
    """The Image block's features.

    Args:
        pixels: uint8, (N, H, W, 3), 0..255, RGB.
        channels: RGB or Grayscale.

    Returns:
        float32, (N, H, W, 3 or 1), 0..1.
    """
    if channels == "RGB":
        return pixels.astype(np.float32) / np.float32(255)
    luma = np.array([LUMA_RED, LUMA_GREEN, LUMA_BLUE], np.float32) / np.float32(255)
    return np.asarray(pixels.astype(np.float32) @ luma, np.float32)[..., None]


def thumbnail(pixels: Pixels, longest_px: int) -> bytes:
    """A small JPEG of an image; a smaller image keeps its size.

    Args:
        pixels: uint8, (H, W, 3), 0..255, RGB.
        longest_px: Of the longer side.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((longest_px, longest_px))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
