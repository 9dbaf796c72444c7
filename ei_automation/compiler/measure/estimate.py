"""From instructions to milliseconds: an estimate, always a range.

An emulator counts instructions; how many cycles each takes depends on the pipeline, the caches and the flash's
wait states, which it does not have. The factors come from times that Edge Impulse publishes for boards, divided by
the instructions that the same networks took in its own SDK (-O3) when they were counted in an emulator:

| published | cycles | instructions | cycles per instruction |
|---|---|---|---|
| MobileNetV2 32x32 gray 0.05, Cortex-M4F 80 MHz, 186 ms | 14.9 M | 7.26 M | 2.05 |
| MobileNetV2 160x160 0.5, Cortex-M4F 80 MHz, 4471 ms | 357.7 M | 190.6 M | 1.88 |
| MobileNetV2 32x32 gray 0.05, Cortex-M7 216 MHz, 39 ms | 8.4 M | 7.26 M | 1.16 |
| MobileNetV2 32x32 gray 0.05, Cortex-M7 480 MHz, 13 ms | 6.2 M | 7.26 M | 0.86 |
| MobileNetV2 96x96 0.35, Cortex-M7 480 MHz, 140 ms | 67.2 M | 56.7 M | 1.19 |

(docs.edgeimpulse.com, knowledge/metrics/inference-performance; the 160x160 row is a public student project that
quotes Studio.) No board has been timed with the code that is generated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ei_automation.compiler.measure.cores import Core


@dataclass(frozen=True)
class Speed:
    """Cycles that a core takes for an instruction.

    Attributes:
        cycles: Mean.
        uncertainty_ratio: Half the range, of the mean.
        source: Where it comes from.
    """

    cycles: float
    uncertainty_ratio: float
    source: str


M4 = Speed(1.97, 0.05, "two published times on Cortex-M4F boards at 80 MHz")
SPEEDS = {
    "cortex-m4": M4,
    "cortex-m4f": M4,
    # 0.86 to 1.19 were published: 1.07 is their mean, and 20 % are the fewest that leave none of the three out.
    "cortex-m7": Speed(1.07, 0.20, "three published times on Cortex-M7 boards at 216 and 480 MHz"),
    # The same pipeline as Cortex-M4, with slower multiplications.
    "cortex-m3": Speed(1.97, 0.25, "taken over from Cortex-M4F; no published time"),
    # Arm's figures: 1.50 DMIPS/MHz against 1.25 of Cortex-M4.
    "cortex-m33": Speed(1.97 * 1.25 / 1.50, 0.30, "Cortex-M4F's, by Arm's ratio of DMIPS/MHz; no published time"),
    # Its multiplier takes one cycle or thirty-two, as the chip's maker chose.
    "cortex-m0plus": Speed(
        1.97, 0.40, "taken over from Cortex-M4F, for a one-cycle multiplier; no published time"
    ),
}


@dataclass(frozen=True)
class TimeRange:
    """An estimated time.

    Attributes:
        low_ms: The shortest that is likely.
        high_ms: The longest that is likely.
        note: What it rests on; belongs beside the numbers wherever they are shown.
    """

    low_ms: float
    high_ms: float
    note: str

    def __str__(self) -> str:
        return f"{_two_digits(self.low_ms, math.floor)} to {_two_digits(self.high_ms, math.ceil)} ms, estimated"


def time_range(instructions: int, core: Core, clock_hz: float) -> TimeRange:
    """The time that a number of instructions takes, as a range.

    Args:
        instructions: As counted in an emulator.
        core: Which core.
        clock_hz: Its clock, above 0.
    """
    speed = SPEEDS[core.name]
    mean_ms = instructions * speed.cycles / clock_hz * 1000
    spread = mean_ms * speed.uncertainty_ratio
    note = (
        f"an estimate: {instructions / 1e6:.2f} M instructions at {speed.cycles:.2f} cycles each"
        f" +- {speed.uncertainty_ratio:.0%} ({speed.source}), {clock_hz / 1e6:.0f} MHz"
    )
    return TimeRange(mean_ms - spread, mean_ms + spread, note)


def _two_digits(value: float, rounding: Callable[[float], int]) -> str:
    """A number with two digits, rounded to the outside of the range: more would claim what is not known."""
    if value <= 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{rounding(value / step) * step:.6g}"
