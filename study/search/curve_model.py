"""Where a training would end, from every epoch of every training so far: a Gaussian process.

Over a configuration x and the share t of its training (the logarithm of the epoch over that of the
last one), a score is the sum of what the configuration is worth, how that comes about over the
epochs, and what is the training's own:

    z(x, t) = m(t) + f(x) + g(x, t) + h_i(t) + noise

with the covariances `s_f K(x, x')`, `s_g K(x, x') R(t, t')` and, within one training,
`s_h exp(-|t - t'| / l_h)`; K is Matérn's with 5/2 and a length for each dimension, and that of a
straight line in each feature, so that what lies beyond all trials is expected where they point; R
is squared exponential. What all curves have in common, m(t), is smooth with a wide prior that is
not fitted: without it, a configuration unlike any other would be expected to end where most scores
lie, which are those of first epochs. Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization"
(2014) has the like with fixed basis curves. Lengths and variances are fitted by maximum a
posteriori.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from study.search.coding import Array, Mask
from study.search.training import GROWTH

_ROOT_5 = np.sqrt(5.0)
_JITTER = 1e-6
# Of the course that all curves share: variance of its level and of its shape, length of the shape.
_LEVEL, _SHAPE, _SHAPE_LENGTH = 1.0, 4.0, 0.7
# Variance of the straight lines together, at a corner of the space, for each of Matérn's.
_LINES = 4.0
# Of log length (each dimension), log s_f, s_g, s_h, log length of R, of h, log noise: the prior's
# mean and deviation, and the bounds.
_LENGTH = (np.log(0.7), 1.0, np.log(0.03), np.log(30.0))
_REST = (
    (np.log(0.6), 1.0, np.log(1e-3), np.log(20.0)),
    (np.log(0.4), 1.0, np.log(1e-3), np.log(20.0)),
    (np.log(0.1), 1.0, np.log(1e-3), np.log(20.0)),
    (np.log(0.4), 0.5, np.log(0.05), np.log(5.0)),
    (np.log(0.5), 0.5, np.log(0.05), np.log(5.0)),
    (np.log(0.01), 1.5, np.log(1e-5), np.log(1.0)),
)


@dataclass(frozen=True)
class Observations:
    """Scores seen, one a row.

    Attributes:
        features: `(n, features)` of the configuration.
        progress: `(n,)`, 0 at the first epoch, 1 at the last.
        training: `(n,)`, which training it is of.
        values: `(n,)`, standardised.
    """

    features: Array
    progress: Array
    training: npt.NDArray[np.int64]
    values: Array

    def take(self, rows: npt.NDArray[np.int64]) -> "Observations":
        """Those of some rows."""
        return Observations(
            self.features[rows], self.progress[rows], self.training[rows], self.values[rows]
        )

    def beside(self, others: "Observations") -> "Observations":
        """These, and others after them."""
        return Observations(
            np.concatenate([self.features, others.features]),
            np.concatenate([self.progress, others.progress]),
            np.concatenate([self.training, others.training]),
            np.concatenate([self.values, others.values]),
        )


# What :meth:`CurveModel.of_figures` is to be given at most: the figures measured last.
MOST_FIGURES = 150


class CurveModel:
    """The process, with its hyperparameters (see :attr:`theta`) and what it was conditioned on.

    Args:
        groups: Of each feature, the dimension whose length it shares.
        theta: Hyperparameters found earlier; the prior's mean if left out.
    """

    def __init__(self, groups: Sequence[int], theta: Sequence[float] | Array | None = None) -> None:
        self._groups = np.array(groups, dtype=int)
        self._count = int(self._groups.max()) + 1 if len(self._groups) else 0
        table = np.array([_LENGTH] * self._count + list(_REST))
        self._prior, self._deviation = table[:, 0], table[:, 1]
        self._bounds = [(low, high) for low, high in table[:, 2:]]
        self.theta: Array = self._prior.copy() if theta is None else np.array(theta, dtype=float)

    @classmethod
    def of_figures(
        cls,
        groups: Sequence[int],
        features: Array,
        values: Array,
        theta: Sequence[float] | Array | None = None,
    ) -> "CurveModel":
        """Return a model of what configurations have once, and not a curve of: latency, a size.

        Args:
            groups: As of the class.
            features: `(n, features)`; more than :data:`MOST_FIGURES` take long.
            values: `(n,)`, of deviation 1 about 0.
            theta: Hyperparameters found earlier; they are fitted if left out.
        """
        rows = len(values)
        seen = Observations(features, np.ones(rows), np.arange(rows), values)
        model = cls(groups, theta)
        if theta is None:
            model.fit(seen, 20)
        model.condition(seen)
        return model

    def fit(self, seen: Observations, iterations: int) -> None:
        """Fit the hyperparameters, going on from those there are."""
        found = minimize(
            self._loss_of,
            self.theta,
            args=(self._pairs(seen),),
            jac=True,
            method="L-BFGS-B",
            bounds=self._bounds,
            options={"maxiter": iterations},
        )
        if np.isfinite(found.fun):
            self.theta = np.asarray(found.x)

    def condition(self, seen: Observations) -> None:
        """Take in what was seen."""
        factor = np.asarray(np.linalg.cholesky(self._noisy_covariance(seen)), dtype=np.float64)
        self._known = _Known(seen, factor, cho_solve((factor, True), seen.values))
        self._supposed = self._known

    def suppose(self, expected: Observations) -> None:
        """For predictions that ask for it, have what is still to be seen come out as expected.

        No mean changes then, and no value is looked at: only deviations become smaller nearby
        (hallucinated observations: Desautels, Krause, Burdick, 2014). It replaces what was supposed
        before.
        """
        known = self._known
        between = self._covariance(expected, known.seen)
        reduced = solve_triangular(known.factor, between.T, lower=True, check_finite=False)
        rest = self._noisy_covariance(expected) - reduced.T @ reduced
        above = np.zeros((len(known.factor), len(rest)))
        factor = np.block([[known.factor, above], [reduced.T, np.linalg.cholesky(rest)]])
        weights = np.concatenate([known.weights, np.zeros(len(rest))])
        self._supposed = _Known(known.seen.beside(expected), factor, weights)

    def predict(
        self,
        features: Array,
        training: npt.NDArray[np.int64],
        progress: Array | None = None,
        *,
        supposing: bool = False,
    ) -> tuple[Array, Array]:
        """Where trainings end, or stand on the way.

        Args:
            features: `(n, features)`.
            training: `(n,)`: which one it is, or -1 of one that has not begun.
            progress: `(n,)`, that they are to be told at; the end if left out.
            supposing: What was supposed counts as seen.

        Returns:
            Means and standard deviations, `(n,)` each. Of a training that has not begun they are
            its configuration's: what will be the training's own is luck, and no reason to begin it.
        """
        known = self._supposed if supposing else self._known
        at = np.ones(len(features)) if progress is None else progress
        told = Observations(features, at, training, np.zeros(len(features)))
        between = self._covariance(told, known.seen)
        reduced = solve_triangular(known.factor, between.T, lower=True, check_finite=False)
        worth, course, own = np.exp(self.theta[self._count : self._count + 3])
        of_lines = np.square(_lines(features)).sum(axis=1)
        whole = _LEVEL + _SHAPE + np.where(training < 0, 0.0, own)
        whole = whole + (worth + course) * (1.0 + of_lines)
        variances = np.maximum(whole - np.einsum("ij,ij->j", reduced, reduced), 1e-9)
        return between @ known.weights, np.sqrt(variances)

    def _noisy_covariance(self, seen: Observations) -> Array:
        covariance = self._covariance(seen, seen)
        covariance[np.diag_indices(len(covariance))] += np.exp(self.theta[-1]) + _JITTER
        return covariance

    def _covariance(self, one: Observations, other: Observations) -> Array:
        scale = np.exp(-self.theta[self._groups])
        a, b = one.features * scale, other.features * scale
        squared = -2.0 * (a @ b.T)
        squared += (a * a).sum(axis=1)[:, None]
        squared += (b * b).sum(axis=1)
        similar = _matern(np.maximum(squared, 0.0, out=squared))
        similar += _lines(one.features) @ _lines(other.features).T
        # Ends all lie at the same share of their training: one row does for all.
        at = one.progress[:1] if (one.progress == one.progress[:1]).all() else one.progress
        same = one.training[:, None] == other.training
        terms = self._over_time(self.theta, np.abs(at[:, None] - other.progress), same)
        similar *= terms.worth + terms.course
        similar += _in_common(terms.apart)
        if same.any():
            similar += terms.alone
        return np.asarray(similar)

    def _over_time(self, theta: Array, apart: Array, same: Mask) -> "_OverTime":
        worth, course, own = np.exp(theta[self._count : self._count + 3])
        length, own_length = np.exp(theta[self._count + 3 : self._count + 5])
        alone = np.where(same, own * np.exp(-apart / own_length), 0.0)
        return _OverTime(
            apart, float(worth), course * np.exp(-0.5 * (apart / length) ** 2), alone,
            float(length), float(own_length),
        )  # fmt: skip

    def _loss(self, theta: Array, seen: Observations) -> tuple[float, Array]:
        """Minus the log posterior of the hyperparameters, and its gradient."""
        return self._loss_of(theta, self._pairs(seen))

    def _pairs(self, seen: Observations) -> "_Pairs":
        n = len(seen.values)
        squared = np.zeros((self._count, n, n))
        for feature, group in zip(seen.features.T, self._groups, strict=True):
            squared[group] += (feature[:, None] - feature) ** 2
        apart = np.abs(seen.progress[:, None] - seen.progress)
        same = seen.training[:, None] == seen.training
        lines = _lines(seen.features)
        return _Pairs(
            squared.reshape(self._count, n * n), lines @ lines.T, apart, same, seen.values
        )

    def _loss_of(self, theta: Array, pairs: "_Pairs") -> tuple[float, Array]:
        count, n = self._count, len(pairs.values)
        scale = np.exp(-2.0 * theta[:count])
        squared = (scale @ pairs.squared).reshape(n, n)
        similar = _matern(squared) + pairs.lines
        noise = float(np.exp(theta[-1]))
        apart = pairs.apart
        terms = self._over_time(theta, apart, pairs.same)
        covariance = similar * (terms.worth + terms.course)
        covariance += terms.alone + _in_common(apart)
        covariance[np.diag_indices(n)] += noise + _JITTER
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return np.inf, np.zeros_like(theta)
        inverse = cho_solve((factor, True), np.eye(n))
        weights = inverse @ pairs.values
        slope = 0.5 * (inverse - np.outer(weights, weights))
        by_length = slope * _steepness(squared) * (terms.worth + terms.course)
        by_course, by_own = slope * similar * terms.course, slope * terms.alone
        gradient = [
            *(scale * (pairs.squared @ by_length.reshape(n * n))),
            np.sum(slope * similar) * terms.worth,
            np.sum(by_course),
            np.sum(by_own),
            np.sum(by_course * (apart / terms.length) ** 2),
            np.sum(by_own * apart) / terms.own_length,
            noise * np.trace(slope),
        ]
        away = (theta - self._prior) / self._deviation
        loss = 0.5 * pairs.values @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        return float(loss), np.array(gradient) + away / self._deviation


class SeldomFitted:
    """Makes models of figures; their hyperparameters are fitted anew when there are many more.

    Args:
        groups: As of :class:`CurveModel`.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self._groups = groups
        self._fitted_at = 0
        self._theta: Array | None = None

    def state(self) -> dict[str, Any]:
        """What seeing all figures again would not tell: JSON; empty before the first fit."""
        if self._theta is None:
            return {}
        return {"fitted_at": self._fitted_at, "theta": [float(x) for x in self._theta]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        theta = state.get("theta")
        if theta is not None and len(theta) == len(CurveModel(self._groups).theta):
            self._fitted_at = int(state["fitted_at"])
            self._theta = np.array(theta, dtype=float)

    def model_of(self, count: int, features: Array, values: Array) -> CurveModel:
        """Return a model of figures, as :meth:`CurveModel.of_figures`.

        Args:
            count: How many are known in all, of which these are some.
            features: As there.
            values: As there.
        """
        if count >= GROWTH * self._fitted_at + 1:
            self._fitted_at, self._theta = count, None
        model = CurveModel.of_figures(self._groups, features, values, self._theta)
        self._theta = model.theta
        return model


@dataclass(frozen=True)
class _Known:
    """What a model is conditioned on, the factor of its covariance, and the weight of each row."""

    seen: Observations
    factor: Array
    weights: Array


@dataclass(frozen=True)
class _Pairs:
    """What of observations does not depend on the hyperparameters, for each pair of them.

    Attributes:
        squared: `(dimensions, n * n)`, squared distances in each dimension.
        lines: `(n, n)`, the covariance of the straight lines.
        apart: `(n, n)`, between the shares of their trainings.
        same: `(n, n)`, whether they are of one training.
        values: `(n,)`.
    """

    squared: Array
    lines: Array
    apart: Array
    same: Mask
    values: Array


@dataclass(frozen=True)
class _OverTime:
    """What becomes of the covariance between two shares of a training, `apart` from each other.

    Attributes:
        worth: Of what a configuration is worth, at any time.
        course: Of how that comes about.
        alone: Of what is the training's own; 0 between two trainings.
        length, own_length: Over which the last two fade.
    """

    apart: Array
    worth: float
    course: Array
    alone: Array
    length: float
    own_length: float


def _matern(squared: Array) -> Array:
    """Matern's covariance with 5/2 at squared distances; makes as few arrays as it can."""
    distance = np.sqrt(squared)
    distance *= _ROOT_5
    found = squared * (5.0 / 3.0)
    found += distance
    found += 1.0
    np.negative(distance, out=distance)
    found *= np.exp(distance, out=distance)
    return found


def _lines(features: Array) -> Array:
    """What straight lines through the middle of the space come to: `(n, features)`, scaled.

    The covariance of two configurations is the product of theirs.
    """
    return np.asarray((2.0 * features - 1.0) * np.sqrt(_LINES / max(features.shape[1], 1)))


def _steepness(squared: Array) -> Array:
    """Minus twice the slope of Matern's covariance by the squared distance."""
    distance = _ROOT_5 * np.sqrt(squared)
    return np.asarray((5.0 / 3.0) * (1.0 + distance) * np.exp(-distance))


def _in_common(apart: Array) -> Array:
    """The covariance of the course that all curves share."""
    return np.asarray(_LEVEL + _SHAPE * np.exp(-0.5 * (apart / _SHAPE_LENGTH) ** 2))
