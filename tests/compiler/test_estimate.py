"""Milliseconds are a range with its reason, never a bare number."""

from __future__ import annotations

import pytest

from ei_automation.compiler.measure.cores import CORES, Core, find_core
from ei_automation.compiler.measure.estimate import TimeRange, time_range
from ei_automation.errors import NotFoundError


@pytest.mark.parametrize(
    ("core", "clock_hz", "instructions", "published_ms"),
    [
        ("cortex-m4f", 80e6, 7_260_000, 186),
        ("cortex-m4f", 80e6, 190_600_000, 4471),
        ("cortex-m7", 480e6, 56_700_000, 140),
        ("cortex-m7", 216e6, 7_260_000, 39),
        ("cortex-m7", 480e6, 7_260_000, 13),
    ],
)
def test_the_published_times_lie_in_the_range(
    core: str, clock_hz: float, instructions: int, published_ms: float
) -> None:
    found = time_range(instructions, find_core(core), clock_hz)
    assert found.low_ms <= published_ms <= found.high_ms


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.name)
def test_every_core_has_a_range_and_a_reason(core: Core) -> None:
    found = time_range(30_000_000, core, 100e6)
    assert 0 < found.low_ms < found.high_ms
    assert "an estimate" in found.note
    assert "+-" in found.note
    doubled = time_range(60_000_000, core, 200e6)
    assert (doubled.low_ms, doubled.high_ms) == pytest.approx((found.low_ms, found.high_ms))


def test_cores_without_a_published_time_are_less_sure() -> None:
    def width(name: str) -> float:
        found = time_range(1_000_000, find_core(name), 1e8)
        return (found.high_ms - found.low_ms) / (found.high_ms + found.low_ms)

    assert width("cortex-m4f") == pytest.approx(0.05)
    assert width("cortex-m7") == pytest.approx(0.20)
    assert min(width(name) for name in ("cortex-m3", "cortex-m33", "cortex-m0plus")) >= 0.25


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (721.3, 797.1, "720 to 800 ms, estimated"),
        (58.36, 78.9, "58 to 79 ms, estimated"),
        (0.9149, 1.0101, "0.91 to 1.1 ms, estimated"),
    ],
)
def test_a_range_shows_two_digits_rounded_outwards(low: float, high: float, text: str) -> None:
    assert str(TimeRange(low, high, "")) == text


def test_an_unknown_core_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="cortex-m5") as caught:
        find_core("cortex-m5")
    assert "cortex-m" in caught.value.hint
