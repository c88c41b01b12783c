"""How likely configurations are to be trained at all, learnt from those that failed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from study.search.coding import Array, Coding
from study.search.curve_model import MOST_FIGURES, CurveModel, SeldomFitted
from study.search.training import Training

# Of what the model is told, those that failed are no more than this; the last of each.
_MOST_FAILED = MOST_FIGURES // 2
_FAILED, _TRAINED = 1.0, -1.0
# No failure is for certain: what promises a hundred times as much is tried again.
_LEAST = 0.01


class Failures:
    """A classifier by Gaussian process regression: 1 of who failed, -1 of who has a score.

    Some fail for what they are (a step too large for the image, more memory than there is), and
    others by chance, which the model takes for noise where others nearby did not.
    """

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._trainings: Callable[[], Sequence[Training]] = lambda: ()
        self._failed, self._trained = 0, 0
        self._fitted = SeldomFitted(coding.groups)
        self._model: CurveModel | None = None
        self._middle, self._spread = 0.0, 1.0

    def state(self) -> dict[str, Any]:
        """What seeing all trials again would not tell: JSON; empty while none has failed."""
        return self._fitted.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        self._fitted.load_state(state)

    def learn(self, failed: int, trained: int, trainings: Callable[[], Sequence[Training]]) -> bool:
        """Take what became of all trials; nothing is looked at before it is asked for.

        Args:
            failed: How many failed.
            trained: How many have a score.
            trainings: Gives all trials.

        Returns:
            Whether others failed than before.
        """
        is_new, is_more = failed != self._failed, trained != self._trained
        self._trainings = trainings
        if is_new or is_more:
            self._failed, self._trained, self._model = failed, trained, None
        return is_new

    def chances(self, genes: Array) -> Array:
        """Return the probability of some configurations, by their genes, to be trained."""
        if self._failed and self._model is None:
            self._fit()
        if self._model is None or not self._failed:
            return np.ones(len(genes))
        features = self._coding.features(genes)
        means, deviations = self._model.predict(features, np.full(len(genes), -1))
        likely = ndtr(-(means * self._spread + self._middle) / (deviations * self._spread))
        return np.asarray(np.maximum(likely, _LEAST))

    def _fit(self) -> None:
        told = [each for each in self._trainings() if each.telling]
        failed = [each for each in told if each.failed][-_MOST_FAILED:]
        trained = [each for each in told if each.scores and not each.failed]
        trained = trained[-(MOST_FIGURES - len(failed)) :]
        if not failed:
            return
        values = np.array([_FAILED] * len(failed) + [_TRAINED] * len(trained))
        self._middle, self._spread = float(values.mean()), max(float(values.std()), 0.1)
        genes = self._coding.genes_of([each.params for each in [*failed, *trained]])
        self._model = self._fitted.model_of(
            self._failed + self._trained,
            self._coding.features(self._coding.canonical(genes)),
            (values - self._middle) / self._spread,
        )
