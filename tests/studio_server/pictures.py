"""Small images in memory, each seed another one."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (12, 16), mode: str = "RGB") -> bytes:
    """An image file.

    Args:
        seed: Which.
        kind: JPEG or PNG.
        size: Height and width, pixels.
        mode: Pillow's.
    """
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, kind)
    return stream.getvalue()
