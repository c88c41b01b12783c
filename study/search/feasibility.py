"""How likely configurations keep a study's constraints, learnt from what others came to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from scipy.special import ndtr

from study.search.coding import Array, Coding
from study.search.curve_model import MOST_FIGURES, CurveModel

Params = Mapping[str, Any]

_MOST_VIOLATED = 1e100  # its square is still a number


class Feasibility:
    """How likely configurations keep all constraints, by what others came to."""

    def __init__(self, coding: Coding, seen: Sequence[tuple[FrozenTrial, Params]]) -> None:
        self._coding = coding
        self._known: dict[str, list[tuple[Params, float]]] = {}
        for trial, params in seen:
            for name, violation in trial.constraints.items():
                self._known.setdefault(name, []).append((params, violation))
        self._models: list[CurveModel] | None = None

    def __call__(self, genes: Array) -> Array:
        """Return the probability of each of some configurations, by their genes."""
        if self._models is None:
            self._models = [self._fitted(known) for known in self._known.values()]
        likely = np.ones(len(genes))
        features = self._coding.features(genes)
        for model in self._models:
            means, deviations = model.predict(features, np.full(len(genes), -1))
            likely *= ndtr(-means / deviations)
        return likely

    def _fitted(self, known: Sequence[tuple[Params, float]]) -> CurveModel:
        rows = known[-MOST_FIGURES:]
        values = finite(np.array([violation for _, violation in rows]))
        # Constraints lie at 0, whatever the mean of what was seen.
        deviation = max(float(np.sqrt(np.mean(values**2))), 1e-9)
        genes = self._coding.canonical(self._coding.genes_of([params for params, _ in rows]))
        return CurveModel.of_figures(
            self._coding.groups, self._coding.features(genes), values / deviation
        )


def finite(violations: Array) -> Array:
    """Violations with infinite ones as large as the largest of the others; so what is no number."""
    sizes = np.abs(violations[np.isfinite(violations)])
    most = min(float(sizes.max(initial=0.0)) or 1.0, _MOST_VIOLATED)
    return np.clip(np.nan_to_num(violations, nan=most, posinf=most, neginf=-most), -most, most)
