"""Studio's augmentation "all": flip, shift with black border, brightness.

Studio's generated scripts: `random_flip_left_right`; `resize_with_crop_or_pad` to the size times a factor
that Python's generator gives once in a run (it pads with zeros, it does not scale) and `random_crop` back, which
together shift the image; `random_brightness(max_delta=0.2)` without clipping.

A view is drawn from (seed, view, content), so that an image's view depends neither on the order nor on which
other images there are.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ei_automation.dsp.image import to_features
from ei_automation.schema.impulse import Channels
from ei_automation.trainer.request import Floats

MAX_ENLARGEMENT = 1.2
MAX_BRIGHTNESS_DELTA = 0.2
_UNIT = 2.0**-64


@dataclass(frozen=True)
class Draws:
    """What was drawn for each image.

    Attributes:
        flips: bool, (n,).
        shifts: int, (n, 2): rows and columns that the image moves down and right.
        deltas: float32, (n,): added to every value.
    """

    flips: NDArray[np.bool_]
    shifts: NDArray[np.int64]
    deltas: Floats


def enlarged(size_px: int, seed: int) -> int:
    """Side of the padded image: 160 gives 167 and 96 gives 100 with Studio's seed 3."""
    return math.floor(size_px * random.Random(seed).uniform(1, MAX_ENLARGEMENT))


def draw(content_ids: Sequence[str], shape: tuple[int, int], seed: int, view: int) -> Draws:
    """Draw one view of some images.

    Args:
        content_ids: SHA-256 of each image.
        shape: (height, width).
        seed: Of the training.
        view: Number of the view, from 0.
    """
    units = np.array([_units(content, seed, view) for content in content_ids]).reshape(-1, 4)
    room = np.array([enlarged(side, seed) - side for side in shape])
    crops = np.floor(units[:, 1:3] * (room + 1)).astype(np.int64)
    deltas = (2 * units[:, 3] - 1) * MAX_BRIGHTNESS_DELTA
    return Draws(units[:, 0] < 0.5, room // 2 - crops, deltas.astype(np.float32))


def _units(content: str, seed: int, view: int) -> list[float]:
    """Four numbers in 0..1 from a hash: cheaper than a generator for each image."""
    digest = hashlib.blake2b(f"{seed}:{view}:{content}".encode(), digest_size=32).digest()
    return [int.from_bytes(digest[at : at + 8], "little") * _UNIT for at in range(0, 32, 8)]


def augment(pixels: NDArray[np.uint8], draws: Draws, channels: Channels) -> Floats:
    """Apply a view.

    Args:
        pixels: uint8, (n, H, W, 3), 0..255, RGB.
        draws: One for each image.
        channels: Of the impulse.

    Returns:
        float32, (n, H, W, 3 or 1), about -0.2..1.2.
    """
    features = to_features(moved(pixels, draws), channels)
    features += draws.deltas[:, None, None, None]
    return features


def moved(pixels: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
    """Flip and shift, black where nothing was: uint8, (n, H, W, 3)."""
    out = np.zeros_like(pixels)
    height, width = pixels.shape[1:3]
    points = np.ascontiguousarray(pixels).view("V3")[..., 0]
    target = out.view("V3")[..., 0]
    for index, (flip, (down, right)) in enumerate(zip(draws.flips, draws.shifts.tolist(), strict=True)):
        source = points[index, :, ::-1] if flip else points[index]
        rows, source_rows = _overlap(height, down)
        columns, source_columns = _overlap(width, right)
        target[index, rows, columns] = source[source_rows, source_columns]
    return out


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    """Where a shifted axis lands, and from where it comes."""
    return (
        slice(max(shift, 0), length + min(shift, 0)),
        slice(max(-shift, 0), length - max(shift, 0)),
    )
