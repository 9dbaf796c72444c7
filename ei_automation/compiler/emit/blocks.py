"""A schedule as blocks of steps that repeat: rows come in a rhythm, so few bytes say what hundreds of steps do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LONGEST = 255
"""Steps of a block, and repetitions: each is a byte of the table."""
HEADER = 2
"""Entries before a block's steps."""


class Block(NamedTuple):
    """Steps that run several times.

    Attributes:
        times: How often, 1..255.
        steps: Numbers of calls, 1..255 of them.
    """

    times: int
    steps: tuple[int, ...]


def find_blocks(steps: Sequence[int]) -> list[Block]:
    """Cut a schedule into blocks, always taking the repetition that saves most.

    Args:
        steps: The number of the call of each step.
    """
    blocks: list[Block] = []
    plain = position = 0
    while position < len(steps):
        period, times = _repetition(steps, position)
        if times == 1:
            position += 1
            continue
        blocks += _plain_blocks(steps[plain:position])
        blocks.append(Block(times, tuple(steps[position : position + period])))
        plain = position = position + period * times
    return blocks + _plain_blocks(steps[plain:])


def _repetition(steps: Sequence[int], start: int) -> tuple[int, int]:
    """The length and the number of repetitions that begin here; (1, 1) where they save no entry."""
    best, saved = (1, 1), HEADER
    for period in range(1, min(LONGEST, (len(steps) - start) // 2) + 1):
        if steps[start] != steps[start + period]:
            continue
        pattern, times = steps[start : start + period], 1
        while times < LONGEST and steps[start + period * times : start + period * (times + 1)] == pattern:
            times += 1
        if (times - 1) * period - HEADER > saved:
            best, saved = (period, times), (times - 1) * period - HEADER
    return best


def _plain_blocks(steps: Sequence[int]) -> list[Block]:
    """Steps that run once, in blocks that are not too long."""
    return [Block(1, tuple(steps[start : start + LONGEST])) for start in range(0, len(steps), LONGEST)]
