"""The scale on which scores are learnt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from study.search.coding import Array

# An error of 0 would lie at infinity on the scale of errors: this share of the span is added.
_MARGIN = 0.02
_LEAST = 1e-12  # of an error
_LOWEST = -3.0  # standard deviations: how bad a failure is does not matter
# Of the middle scores' range so many times: what is further below tells of no deviation. Where the
# middle half is all alike, the middle four fifths count.
_FAR, _MIDDLES = 10.0, ((25, 75), (10, 90))


@dataclass(frozen=True)
class Corner:
    """The reference point, and the best score there is (infinite where none bounds it).

    Attributes:
        floor: The least score that counts.
        slowest_ms: The largest latency that counts.
        best: The best score there is.
        largest: Of the third objective, in the unit of `Training.third`; None without one.
        is_told: Whether somebody has said from which score on one counts. Otherwise all that one
            training in five falls short of counts as nothing, fast as it may be.
    """

    floor: float
    slowest_ms: float
    best: float = math.inf
    largest: float | None = None
    is_told: bool = True

    @property
    def costs(self) -> tuple[float, ...]:
        """Of what is to be small: the latency (ms), and the third where there is one."""
        return (self.slowest_ms,) if self.largest is None else (self.slowest_ms, self.largest)


def low_of(scores: Sequence[float]) -> float:
    """A score that few fall short of: the lowest alone may be one of a training gone astray."""
    return float(np.percentile(scores, 5, method="higher")) if scores else 0.0


class ScoreScale:
    """From scores to the model's scale and back: the logarithm of the error, standardised.

    There a point of accuracy is worth more near perfection, as it is harder to come by. Without a
    best score, scores themselves.
    """

    def __init__(self, scores: Array, corner: Corner) -> None:
        bounded = math.isfinite(corner.best) and corner.best > corner.floor
        self._top = corner.best + _MARGIN * (corner.best - corner.floor) if bounded else math.inf
        raw = self._raw(scores)
        self._mean = float(np.median(raw))
        if not bounded:  # a single loss of 1e9 would be all that there is to tell
            ranges = (float(np.ptp(np.percentile(raw, middle))) for middle in _MIDDLES)
            usual = next((each for each in ranges if each > 0.0), math.inf)
            raw = np.maximum(raw, self._mean - _FAR * usual)
        self._deviation = max(float(raw.std()), 1e-3)

    def _raw(self, scores: Array) -> Array:
        if not math.isfinite(self._top):
            return scores
        return -np.log(np.maximum(self._top - scores, _LEAST))

    def to_model(self, scores: Array) -> Array:
        """Scores on the model's scale, the worst ones drawn in."""
        values = (self._raw(scores) - self._mean) / self._deviation
        return np.asarray(np.maximum(values, _LOWEST))

    def to_scores(self, values: Array) -> Array:
        """Back from there."""
        raw = values * self._deviation + self._mean
        return self._top - np.exp(-raw) if math.isfinite(self._top) else raw

    def expected_excess(self, means: Array, deviations: Array, thresholds: Array) -> Array:
        """How far scores are expected to lie above thresholds, counting none that lies below.

        On the scale of errors a score is the top less a lognormal error, so this is the price of a
        put in the formula of Black and Scholes (1973); without a best score it is the expected
        improvement of a normal one (Jones, Schonlau, Welch, 1998).

        Args:
            means: `(n,)`, of normal distributions on the model's scale.
            deviations: `(n,)`, theirs.
            thresholds: `(k,)`, scores.

        Returns:
            `(n, k)`, in the score's unit.
        """
        mean = (means * self._deviation + self._mean)[:, None]
        deviation = np.maximum(deviations * self._deviation, 1e-9)[:, None]
        if not math.isfinite(self._top):
            z = (mean - thresholds) / deviation
            density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
            return np.asarray(deviation * (z * ndtr(z) + density))
        room = np.maximum(self._top - thresholds, _LEAST)
        z = (np.log(room) + mean) / deviation
        # By logarithms: of what is very uncertain the expected error alone is too large a number.
        error = np.exp(0.5 * deviation**2 - mean + log_ndtr(z - deviation))
        return np.asarray(np.maximum(room * ndtr(z) - error, 0.0))
