"""Where a training would end, from every epoch of every training so far: a Gaussian process.

Over a configuration x and the share t of its training (the logarithm of the epoch over that of the
last one), a score is the sum of what the configuration is worth, how that comes about over the
epochs, and what is the training's own:

    z(x, t) = f(x) + g(x, t) + h_i(t) + noise

with the covariances `s_f K(x, x')`, `s_g K(x, x') R(t, t')` and, within one training,
`s_h exp(-|t - t'| / l_h)`; K is Matérn's with 5/2 and a length for each dimension, R squared
exponential. Swersky, Snoek, Adams, "Freeze-Thaw Bayesian Optimization" (2014) has the like with
fixed basis curves. Lengths and variances are fitted by maximum a posteriori.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from study.search.coding import Array

_ROOT_5 = np.sqrt(5.0)
_JITTER = 1e-6
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


class CurveModel:
    """The process, with its hyperparameters (see :attr:`theta`) and what it was conditioned on.

    Args:
        groups: Of each feature, the dimension whose length it shares.
        theta: Hyperparameters found earlier; the prior's mean if left out.
    """

    def __init__(self, groups: Sequence[int], theta: Sequence[float] | None = None) -> None:
        self._groups = np.array(groups, dtype=int)
        self._count = int(self._groups.max()) + 1 if len(self._groups) else 0
        table = np.array([_LENGTH] * self._count + list(_REST))
        self._prior, self._deviation = table[:, 0], table[:, 1]
        self._bounds = [(low, high) for low, high in table[:, 2:]]
        self.theta: Array = self._prior.copy() if theta is None else np.array(theta, dtype=float)
        self._seen: Observations | None = None

    def fit(self, seen: Observations, iterations: int) -> None:
        """Fit the hyperparameters, going on from those there are."""
        found = minimize(
            self._loss,
            self.theta,
            args=(seen,),
            jac=True,
            method="L-BFGS-B",
            bounds=self._bounds,
            options={"maxiter": iterations},
        )
        if np.isfinite(found.fun):
            self.theta = np.asarray(found.x)

    def condition(self, seen: Observations) -> None:
        """Take in what was seen."""
        covariance = self._covariance(seen, seen)
        covariance[np.diag_indices(len(seen.values))] += np.exp(self.theta[-1]) + _JITTER
        self._factor = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._factor, True), seen.values)
        self._seen = seen

    def predict(
        self, features: Array, training: npt.NDArray[np.int64], progress: Array | None = None
    ) -> tuple[Array, Array]:
        """Where trainings end, or stand on the way.

        Args:
            features: `(n, features)`.
            training: `(n,)`: which one it is, or -1 of one that has not begun.
            progress: `(n,)`, that they are to be told at; the end if left out.

        Returns:
            Means and standard deviations, `(n,)` each.
        """
        assert self._seen is not None
        at = np.ones(len(features)) if progress is None else progress
        told = Observations(features, at, training, np.zeros(len(features)))
        between = self._covariance(told, self._seen)
        reduced = solve_triangular(self._factor, between.T, lower=True, check_finite=False)
        whole = float(np.exp(self.theta[self._count : self._count + 3]).sum())
        variances = np.maximum(whole - np.einsum("ij,ij->j", reduced, reduced), 1e-9)
        return between @ self._weights, np.sqrt(variances)

    def _covariance(self, one: Observations, other: Observations) -> Array:
        scale = np.exp(-self.theta[self._groups])
        a, b = one.features * scale, other.features * scale
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * a @ b.T
        np.maximum(squared, 0.0, out=squared)
        distance = np.sqrt(squared)
        worth, course, own = np.exp(self.theta[self._count : self._count + 3])
        length, own_length = np.exp(self.theta[self._count + 3 : self._count + 5])
        apart = np.abs(one.progress[:, None] - other.progress[None])
        shared = (1.0 + _ROOT_5 * distance + 5.0 / 3.0 * squared) * np.exp(-_ROOT_5 * distance)
        shared *= worth + course * np.exp(-0.5 * (apart / length) ** 2)
        same = one.training[:, None] == other.training[None]
        if same.any():
            shared += np.where(same, own * np.exp(-apart / own_length), 0.0)
        return np.asarray(shared)

    def _loss(self, theta: Array, seen: Observations) -> tuple[float, Array]:
        """Minus the log posterior of the hyperparameters, and its gradient."""
        count, n = self._count, len(seen.values)
        difference = (seen.features[:, None, :] - seen.features[None]) ** 2
        parts = np.zeros((count, n, n))
        for feature, group in enumerate(self._groups):
            parts[group] += difference[:, :, feature] * np.exp(-2.0 * theta[group])
        squared = parts.sum(axis=0)
        distance = np.sqrt(squared)
        decay = np.exp(-_ROOT_5 * distance)
        matern = (1.0 + _ROOT_5 * distance + 5.0 / 3.0 * squared) * decay
        worth, course, own = np.exp(theta[count : count + 3])
        length, own_length = np.exp(theta[count + 3 : count + 5])
        noise = float(np.exp(theta[-1]))
        apart = np.abs(seen.progress[:, None] - seen.progress[None])
        near = np.exp(-0.5 * (apart / length) ** 2)
        same = seen.training[:, None] == seen.training[None]
        alone = np.where(same, own * np.exp(-apart / own_length), 0.0)
        covariance = matern * (worth + course * near) + alone
        covariance[np.diag_indices(n)] += noise + _JITTER
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return np.inf, np.zeros_like(theta)
        inverse = cho_solve((factor, True), np.eye(n))
        weights = inverse @ seen.values
        slope = 0.5 * (inverse - np.outer(weights, weights))
        by_length = slope * (5.0 / 3.0) * (1.0 + _ROOT_5 * distance) * decay
        by_length *= worth + course * near
        gradient = [
            *np.einsum("ij,kij->k", by_length, parts),
            np.sum(slope * worth * matern),
            np.sum(slope * course * matern * near),
            np.sum(slope * alone),
            np.sum(slope * course * matern * near * (apart / length) ** 2),
            np.sum(slope * alone * apart / own_length),
            noise * np.trace(slope),
        ]
        away = (theta - self._prior) / self._deviation
        loss = 0.5 * seen.values @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        return float(loss), np.array(gradient) + away / self._deviation
