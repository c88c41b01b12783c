"""How likely configurations are to be trained at all, learnt from those that failed."""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from study.search.coding import Array, Coding
from study.search.curve_model import MOST_FIGURES, CurveModel
from study.search.training import Training

# Of what the model is told, those that failed are no more than this share; the last of each.
_MOST_FAILED = MOST_FIGURES // 2
_FAILED, _TRAINED = 1.0, -1.0


class Failures:
    """A classifier by Gaussian process regression: 1 of who failed, -1 of who has a score.

    Some fail for what they are (a step too large for the image, more memory than there is), and
    others by chance, which the model takes for noise.
    """

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._known: Sequence[int] = ()
        self._model: CurveModel | None = None
        self._middle, self._spread = 0.0, 1.0

    def learn(self, trainings: Sequence[Training]) -> None:
        """Bring it to what is known of all trials."""
        failed = [each for each in trainings if each.failed and each.telling][-_MOST_FAILED:]
        if not failed:
            self._known, self._model = (), None
            return
        trained = [each for each in trainings if each.scores and each.telling and not each.failed]
        told = [*failed, *trained[-(MOST_FIGURES - len(failed)) :]]
        numbers = [each.number for each in told]
        if numbers == self._known:
            return
        self._known = numbers
        values = np.array([_FAILED] * len(failed) + [_TRAINED] * (len(told) - len(failed)))
        self._middle, self._spread = float(values.mean()), max(float(values.std()), 0.1)
        genes = self._coding.canonical(self._coding.genes_of([each.params for each in told]))
        self._model = CurveModel.of_figures(
            self._coding.groups,
            self._coding.features(genes),
            (values - self._middle) / self._spread,
        )

    def trained(self, genes: Array) -> Array:
        """Return the probability of some configurations, by their genes, to be trained."""
        if self._model is None:
            return np.ones(len(genes))
        features = self._coding.features(genes)
        means, deviations = self._model.predict(features, np.full(len(genes), -1))
        likely = ndtr(-(means * self._spread + self._middle) / (deviations * self._spread))
        return np.asarray(likely)
