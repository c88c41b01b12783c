"""The scale on which scores are learnt."""

import math
from dataclasses import dataclass

import numpy as np

from study.search.coding import Array

# An error of 0 would lie at infinity on the scale of errors: this share of the span is added.
_MARGIN = 0.02
_LOWEST = -3.0  # standard deviations: how bad a failure is does not matter


@dataclass(frozen=True)
class Corner:
    """The reference point, and the best score there is (infinite where none bounds it)."""

    floor: float
    slowest_ms: float
    best: float = math.inf


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
        self._deviation = max(float(raw.std()), 1e-3)

    def _raw(self, scores: Array) -> Array:
        return -np.log(self._top - scores) if math.isfinite(self._top) else scores

    def to_model(self, scores: Array) -> Array:
        """Scores on the model's scale, the worst ones drawn in."""
        values = (self._raw(scores) - self._mean) / self._deviation
        return np.asarray(np.maximum(values, _LOWEST))

    def to_scores(self, values: Array) -> Array:
        """Back from there."""
        raw = values * self._deviation + self._mean
        return self._top - np.exp(-raw) if math.isfinite(self._top) else raw
