"""The latency of an architecture that was not measured yet."""

from collections.abc import Sequence

import numpy as np

from study.search.coding import Array, Coding
from study.search.curve_model import CurveModel, Observations

# Architectures that it learns from at most: the ones measured last.
_FITTED = 150


class LatencyModel:
    """Guesses the latency of an architecture from those that were measured."""

    def __init__(
        self,
        coding: Coding,
        shaping: Sequence[int],
        genes: Array,
        latencies: Array,
    ) -> None:
        """Take what was measured; nothing is fitted before a guess is asked for.

        Args:
            coding: The search space.
            shaping: Which of its dimensions shape the student.
            genes: `(n, dimensions)` of the configurations that were measured, one at least.
            latencies: `(n,)`, theirs (ms).
        """
        self._coding = coding
        self._shaping = list(shaping)
        self._known, self._measured = genes, latencies
        self._model: CurveModel | None = None

    def guess(self, genes: Array) -> Array:
        """Latencies (ms) of configurations none of whose architectures was measured."""
        if self._model is None:
            self._fit()
        assert self._model is not None
        means, _ = self._model.predict(self._features(genes), np.full(len(genes), -1))
        return np.asarray(np.exp(means * self._deviation + self._mean))

    def _features(self, genes: Array) -> Array:
        groups = np.array(self._coding.groups)
        return self._coding.features(genes)[:, np.isin(groups, self._shaping)]

    def _fit(self) -> None:
        genes = self._known
        _, first = np.unique(genes[:, self._shaping], axis=0, return_index=True)
        rows = np.sort(first)[-_FITTED:]
        values = np.log(self._measured[rows])
        self._mean, self._deviation = float(values.mean()), max(float(values.std()), 1e-3)
        groups = [g for g in self._coding.groups if g in self._shaping]
        order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        self._model = CurveModel([order[group] for group in groups])
        seen = Observations(
            self._features(genes[rows]),
            np.ones(len(rows)),
            np.arange(len(rows)),
            (values - self._mean) / self._deviation,
        )
        self._model.fit(seen, 20)
        self._model.condition(seen)
