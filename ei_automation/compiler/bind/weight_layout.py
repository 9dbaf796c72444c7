"""The orders in which the kernels take their weights from flash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.bind.channels import Channels

PAIR = 2
"""Output channels, and int16 halves of a word."""
GROUP = 4
"""Values of a window that go together: the bytes of a word."""
SPARE_BYTES = 3
"""Behind depthwise weights: the kernel reads the last ones as a word."""


def padded_depth(depth: int) -> int:
    """Values of a window, rounded up to whole groups."""
    return -(-depth // GROUP) * GROUP


def pack_pairs(weights: NDArray[np.int8]) -> NDArray[np.uint32]:
    """Weights for the multiply-accumulate loop of two outputs.

    A word holds two values of the window for outputs a and b, such that SXTB16 of the word gives a's two as int16
    and SXTB16 of the word turned by eight bits gives b's: from the lowest byte a0 b0 a2 b2, then a1 b1 a3 b3. (An
    input word gives its bytes 0 and 2, then 1 and 3, in the same way.)

    Args:
        weights: int8, (outputs, depth).

    Returns:
        uint32, (pairs of outputs, words); outputs and depth are filled up with zeros to a multiple of 2 and of 4.
    """
    outputs, depth = weights.shape
    full = np.zeros((-(-outputs // PAIR) * PAIR, padded_depth(depth)), np.int8)
    full[:outputs, :depth] = weights
    # (pair, output in it, group, half, odd or even) -> (pair, group, odd or even, half, output in it)
    cut = full.reshape(-1, PAIR, full.shape[1] // GROUP, PAIR, PAIR)
    packed = np.ascontiguousarray(cut.transpose(0, 2, 4, 3, 1))
    return packed.reshape(len(cut), -1).view("<u4").astype(np.uint32)


def pack_stream(channels: Channels) -> NDArray[np.uint32]:
    """All that a convolution reads of its channels: for each two outputs their starts, weights, multipliers.

    Returns:
        uint32, one axis.
    """
    outputs = len(channels.weights)
    starts, multipliers = (
        np.pad(values.astype(np.uint32), (0, outputs % PAIR)).reshape(-1, PAIR)
        for values in (channels.starts, channels.multipliers)
    )
    return np.concatenate([starts, pack_pairs(channels.weights), multipliers], axis=1).ravel()


def pack_rows(weights: NDArray[np.int8], height: int) -> NDArray[np.uint32]:
    """Weights of a dense layer over a map, for each row of the map by itself in the order of `pack_pairs`.

    Args:
        weights: int8, (outputs, height * values of a row).
        height: Rows of the map.
    """
    rows = weights.reshape(weights.shape[0], height, -1)
    return np.concatenate([pack_pairs(rows[:, row]).ravel() for row in range(height)])


def pack_windows(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Depthwise weights, a channel's window behind the other's, with spare bytes at the end.

    Args:
        weights: int8, (outputs, taps).
    """
    return np.concatenate([weights.ravel(), np.zeros(SPARE_BYTES, np.int8)])
