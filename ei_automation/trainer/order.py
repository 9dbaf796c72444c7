"""The order of the samples in a cycle, and the weight of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ei_automation.trainer.request import Floats, Labels

BUFFER_BATCHES = 4
"""Studio shuffles with a buffer of four batches (`shuffle(buffer_size=batch_size * 4)`)."""


def shuffled_order(count: int, batch_size: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """The order in which `tf.data`'s shuffle with Studio's buffer hands out samples.

    A buffer is filled with the first samples; each draw takes one at random and puts the next sample in its
    place. The draws themselves are ours: Studio's cannot be known.

    Args:
        count: Samples.
        batch_size: The buffer holds `BUFFER_BATCHES` of them.
        seed: Seed, stage and cycle, so that a cycle's order does not depend on those before it.

    Returns:
        A permutation of 0..count-1.
    """
    size = min(count, batch_size * BUFFER_BATCHES)
    draws = np.random.default_rng(seed).random(count)
    buffer = list(range(size))
    order = np.empty(count, np.int64)
    for place, draw in enumerate(draws):
        slot = int(draw * len(buffer))
        order[place] = buffer[slot]
        following = size + place
        buffer[slot] = following if following < count else buffer[-1]
        if following >= count:
            buffer.pop()
    return order


def class_weights(labels: Labels, class_count: int) -> Floats:
    """Studio's auto-balance: total / count of the class / classes present; 0 for a class without samples.

    Args:
        labels: Of the samples that train.
        class_count: Labels of the project.

    Returns:
        float32, (class_count,).
    """
    counts = np.bincount(labels, minlength=class_count)
    present = counts > 0
    weights = np.zeros(class_count, np.float32)
    weights[present] = len(labels) / counts[present] / present.sum()
    return weights
