"""Where a training reads its inputs from: one protocol over images, stored features and fresh features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ei_automation.dsp.image import to_features
from ei_automation.schema.impulse import Channels
from ei_automation.trainer.augment import augment, draw
from ei_automation.trainer.request import Floats, PixelSource, Rows

PLAIN = -1
"""View number of the image as it is."""


class RowSource(Protocol):
    """Inputs of one category, by their place in it."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one."""

    def read(self, places: NDArray[np.int64], cycle: int) -> Floats:
        """Some inputs as a cycle sees them: float32, (n, *row_shape)."""


@dataclass(frozen=True)
class Views:
    """Which view of an image a cycle sees.

    Attributes:
        augmented: False: always the plain one.
        stored: How many views are made once and used in turn; None for a fresh one each cycle.
    """

    augmented: bool = False
    stored: int | None = None

    def of(self, cycle: int) -> int:
        """View of a cycle; cycles count through all stages."""
        if not self.augmented:
            return PLAIN
        return cycle % self.stored if self.stored else cycle

    @property
    def numbers(self) -> tuple[int, ...]:
        """Views to store; empty when each cycle has its own."""
        if not self.augmented:
            return (PLAIN,)
        return tuple(range(self.stored)) if self.stored else ()


@dataclass(frozen=True)
class ImageRows:
    """Images of one category.

    Attributes:
        pixels: All images.
        rows: Those of the category, in its order.
        content_ids: SHA-256 of each of them.
        channels: Of the impulse.
        seed: Of the augmentation.
        views: Which view a cycle sees.
    """

    pixels: PixelSource
    rows: Rows
    content_ids: Sequence[str]
    channels: Channels
    seed: int
    views: Views = Views()

    @property
    def count(self) -> int:
        """Images of the category."""
        return len(self.rows)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return (*self.pixels.shape[1:3], 3 if self.channels == "RGB" else 1)

    def read(self, places: NDArray[np.int64], cycle: int) -> Floats:
        """Images as a cycle sees them."""
        return self.view(places, self.views.of(cycle))

    def view(self, places: NDArray[np.int64], view: int) -> Floats:
        """One view of some images: float32, (n, height, width, channels), 0..1 before brightness."""
        pixels = self.pixels.read(self.rows[places])
        if view == PLAIN:
            return to_features(pixels, self.channels)
        contents = [self.content_ids[place] for place in places]
        height, width = pixels.shape[1:3]
        return augment(pixels, draw(contents, (height, width), self.seed, view), self.channels)


@dataclass(frozen=True)
class ArrayRows:
    """Inputs in memory, one array for each stored view.

    Attributes:
        arrays: float32, (n, ...) each.
        views: Which of them a cycle sees.
    """

    arrays: dict[int, Floats]
    views: Views = Views()

    @property
    def count(self) -> int:
        """Inputs."""
        return len(next(iter(self.arrays.values())))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one."""
        return next(iter(self.arrays.values())).shape[1:]

    def read(self, places: NDArray[np.int64], cycle: int) -> Floats:
        """Inputs as a cycle sees them."""
        return self.arrays[self.views.of(cycle)][places]
