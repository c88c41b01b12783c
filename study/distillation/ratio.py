"""What times taken in turn come to: percentiles of one network, the ratio of two and its interval.

Ratios are of lower quartiles, which other work moves least (`stopwatch`).
"""

from dataclasses import dataclass

import numpy as np

from study.distillation.stopwatch import Times

QUARTILE = 25
# A ratio is known well enough once its 95 % interval is this narrow, as a share of it.
SETTLED_WITHIN = 0.03
_RESAMPLES = 1000


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one forward pass: the median and other percentiles of the repeats."""

    median: float
    p95: float
    p90: float
    p99: float
    p25: float


@dataclass(frozen=True)
class Ratio:
    """Inference-time ratio teacher/student: above 1 the student is faster.

    `low` and `high` bound its 95 % bootstrap interval.
    """

    median: float
    low: float
    high: float

    @property
    def settled(self) -> bool:
        """Whether the interval is narrow enough."""
        return self.high - self.low < SETTLED_WITHIN * self.median

    def times(self, factor: float) -> "Ratio":
        """The ratio of so many times the numerator."""
        return Ratio(factor * self.median, factor * self.low, factor * self.high)


def timing_of(milliseconds: Times) -> Timing:
    """Percentiles of the repeats, milliseconds in an array of any shape."""
    return Timing(
        *(float(value) for value in np.percentile(milliseconds, [50, 95, 90, 99, QUARTILE]))
    )


def quartile_ratio(numerator: Times, denominator: Times, seed: int = 0) -> Ratio:
    """Ratio of the lower quartiles of times taken in turn, with its 95 % bootstrap interval.

    Turns are drawn again, not passes, so that what slows all passes of one slows all in a draw.

    Args:
        numerator: `(turns,)` or `(turns, passes)`: the teacher's times.
        denominator: `(turns,)` or `(turns, passes)`: the student's, taken right beside those.
        seed: Of the resampling.
    """
    turns = len(numerator)
    chosen = np.random.default_rng(seed).integers(turns, size=(_RESAMPLES, turns))
    drawn = [
        np.percentile(times[chosen].reshape(_RESAMPLES, -1), QUARTILE, axis=1)
        for times in (numerator, denominator)
    ]
    low, high = np.percentile(drawn[0] / drawn[1], [2.5, 97.5])
    whole = np.percentile(numerator, QUARTILE) / np.percentile(denominator, QUARTILE)
    return Ratio(float(whole), float(low), float(high))
