"""Near duplicates: perceptual hashes with a small Hamming distance, found without a matrix of all pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Rows that are compared with all later ones at a time: 256 x 12,500 hashes take 26 MB."""

Indices = NDArray[np.intp]


def near_pairs(hashes: Sequence[int], distance_bits: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of hashes that differ in few bits, a block of rows at a time.

    Args:
        hashes: 64-bit hashes, 0..2**64 - 1.
        distance_bits: Largest Hamming distance of a pair, 0..64.

    Yields:
        Indices i and j of the block's pairs, i < j; intp, (pairs,).
    """
    values = np.array(hashes, dtype=np.uint64)
    for start in range(0, len(values), BLOCK):
        rows = values[start : start + BLOCK]
        close = np.bitwise_count(rows[:, None] ^ values[None, start:]) <= distance_bits
        left, right = np.nonzero(close)
        later = left < right
        yield left[later] + start, right[later] + start


def near_lower(
    hashes: Sequence[int], contents: Sequence[str], rankings: Sequence[Sequence[int]], distance_bits: int
) -> list[dict[int, int]]:
    """For each ranking, the samples that are near to one of a lower rank and of another content.

    Args:
        hashes: 64-bit perceptual hash of each sample.
        contents: SHA-256 of each sample.
        rankings: For each question a rank per sample.
        distance_bits: Largest Hamming distance that counts as near.

    Returns:
        For each ranking: index of a sample to the index of such a neighbour.
    """
    numbers = np.unique(np.array(contents, dtype=str), return_inverse=True)[1]
    ranks = [np.array(ranking, dtype=np.int64) for ranking in rankings]
    partners = [np.full(len(hashes), -1, dtype=np.intp) for _ in rankings]
    for left, right in near_pairs(hashes, distance_bits):
        other = numbers[left] != numbers[right]
        left, right = left[other], right[other]
        for rank, partner in zip(ranks, partners, strict=True):
            for high, low in ((left, right), (right, left)):
                hit = rank[high] > rank[low]
                partner[high[hit]] = low[hit]
    return [{int(index): int(row[index]) for index in np.flatnonzero(row >= 0)} for row in partners]
