"""What a training would add to the front of score and latency, where its end is uncertain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from study.search.coding import Array

# Gauss-Hermite quadrature: exact for polynomials up to degree 23 in the standardised score.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Front:
    """The steps of a front within its reference corner.

    Attributes:
        edges: Latencies (ms) at which the best score changes, from 0 to the reference, ascending.
        best: The best score up to there, one fewer than edges; the first is the reference's.
    """

    edges: Array
    best: Array

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]], floor: float, slowest: float) -> "Front":
        """Make the front of some points.

        Args:
            points: (score, latency ms) of each.
            floor: Score of the reference corner.
            slowest: Latency (ms) of the reference corner.
        """
        edges, best = [0.0], [floor]
        for latency, score in sorted((latency, -score) for score, latency in points):
            if latency < slowest and -score > best[-1]:
                edges.append(latency)
                best.append(-score)
        return cls(np.array([*edges, slowest]), np.array(best))

    def gains(self, scores: Array, latencies: Array) -> Array:
        """The area that each point alone would add.

        Args:
            scores: `(n, k)`: k scores for each latency.
            latencies: `(n,)`, ms.

        Returns:
            `(n, k)`, in points of the score times ms.
        """
        begin = np.maximum(latencies[:, None], self.edges[None, :-1])
        widths = np.maximum(self.edges[None, 1:] - begin, 0.0)
        above = np.maximum(scores[:, :, None] - self.best, 0.0)
        return np.asarray(np.einsum("nkj,nj->nk", above, widths))


def expected_gains(
    front: Front, means: Array, deviations: Array, latencies: Array, score: Callable[[Array], Array]
) -> Array:
    """The expected area that each point would add.

    Args:
        front: The front there is.
        means: `(n,)`, of normal distributions on the scale of a model.
        deviations: `(n,)`, theirs.
        latencies: `(n,)`, ms, certain.
        score: From that scale to scores.
    """
    scores = score(means[:, None] + deviations[:, None] * _NODES)
    return np.asarray(front.gains(scores, latencies) @ _WEIGHTS)
