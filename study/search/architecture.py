"""A figure of architectures, such as latency or size: as it was measured, or else as guessed."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from study.search.coding import Array, Coding
from study.search.curve_model import MOST_FIGURES, CurveModel, SeldomFitted
from study.search.training import Limits, usual_ratio

# Configurations and a figure of each.
Figures = Sequence[tuple[Mapping[str, Any], float]]


class ArchitectureFigure:
    """Knows a figure above 0 of what was measured, and guesses it of what was not.

    Args:
        coding: The search space.
        shaping: Which of its dimensions shape the student.
        known_of: The figure of the student that the shaping parameters build, where it is known.
    """

    def __init__(
        self,
        coding: Coding,
        shaping: Sequence[int],
        known_of: Callable[[Mapping[str, Any]], float | None],
    ) -> None:
        self._coding = coding
        self._shaping = list(shaping)
        self._known_of = known_of
        self._measured: Callable[[], Figures] = lambda: ()
        self._elsewhere: Figures = ()
        self._count = 0
        self._fitted = SeldomFitted(self._groups())
        self._model: CurveModel | None = None

    def state(self) -> dict[str, Any]:
        """What its guesses rest on besides what was measured: JSON."""
        return self._fitted.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        self._fitted.load_state(state)

    def learn(self, count: int, measured: Callable[[], Figures], elsewhere: Figures = ()) -> None:
        """Take what was measured; nothing is looked at before a guess is asked for.

        Args:
            count: How many were measured.
            measured: Gives their configurations and their figures.
            elsewhere: The same as measured by others, perhaps on another machine: it is brought to
                this one's figures by what was measured here as well.
        """
        self._measured, self._elsewhere = measured, elsewhere
        if count != self._count:
            self._count, self._model = count, None

    def of(self, genes: Array) -> Array:
        """The figure of configurations, `(n,)`; not a number where nothing was measured at all."""
        _, first, rows = np.unique(
            genes[:, self._shaping], axis=0, return_index=True, return_inverse=True
        )
        known = [self._known_of(self._coding.params_of(genes[row], self._shaping)) for row in first]
        found = np.array([math.nan if value is None else value for value in known])
        unknown = np.isnan(found)
        if unknown.any():
            found[unknown] = self._guess(genes[first[unknown]])
        return np.asarray(found[rows.reshape(-1)])

    def _known_figures(self) -> list[tuple[Mapping[str, Any], float]]:
        """What was measured elsewhere and not here, in this machine's figures; then the rest."""
        known = [self._known_of(params) for params, _ in self._elsewhere]
        both = list(zip(known, self._elsewhere, strict=True))
        factor = usual_ratio([here / there for here, (_, there) in both if here is not None])
        others = [(params, factor * there) for here, (params, there) in both if here is None]
        return [*others, *self._measured()]

    def _guess(self, genes: Array) -> Array:
        if self._model is None:
            self._model = self._made()
        if self._model is None:
            return np.full(len(genes), math.nan)
        means, _ = self._model.predict(self._features(genes), np.full(len(genes), -1))
        return np.asarray(np.exp(means * self._deviation + self._mean))

    def _groups(self) -> list[int]:
        """Of each feature, which of the shaping dimensions it is of."""
        groups = [group for group in self._coding.groups if group in self._shaping]
        order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        return [order[group] for group in groups]

    def _features(self, genes: Array) -> Array:
        groups = np.array(self._coding.groups)
        return self._coding.features(genes)[:, np.isin(groups, self._shaping)]

    def _made(self) -> CurveModel | None:
        figures = self._known_figures()
        if not figures:
            return None
        genes = self._coding.genes_of([params for params, _ in figures])
        _, first = np.unique(genes[:, self._shaping], axis=0, return_index=True)
        rows = np.sort(first)[-MOST_FIGURES:]
        values = np.log([figures[row][1] for row in rows])
        self._mean, self._deviation = float(values.mean()), max(float(values.std()), 1e-3)
        return self._fitted.model_of(
            self._count, self._features(genes[rows]), (values - self._mean) / self._deviation
        )


def excess(limits: Limits, latencies: Callable[[], Array], sizes: Callable[[], Array]) -> Array:
    """By what share of a limit students are expected to break it, `(n,)`; 0 of those that do not.

    What is not known yet is within. Nothing is guessed where there is no limit.
    """
    found = np.zeros(1)
    for limit, figures in ((limits.slowest_ms, latencies), (limits.largest, sizes)):
        if math.isfinite(limit):
            found = np.maximum(found, np.nan_to_num(figures() / limit - 1.0, nan=0.0))
    return found
