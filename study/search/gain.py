"""What a training would add to the front of score and latency, where its end is uncertain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.search.coding import Array
from study.search.scale import ScoreScale


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

    @property
    def area(self) -> float:
        """That it covers, in points of the score times ms."""
        return float(((self.best - self.best[0]) * np.diff(self.edges)).sum())

    def gains(self, scores: Array, latencies: Array) -> Array:
        """The area that each point alone would add.

        Args:
            scores: `(n, k)`: k scores for each latency.
            latencies: `(n,)`, ms.

        Returns:
            `(n, k)`, in points of the score times ms.
        """
        above = np.maximum(scores[:, :, None] - self.best, 0.0)
        return np.asarray(np.einsum("nkj,nj->nk", above, self.widths(latencies)))

    def widths(self, latencies: Array) -> Array:
        """Of each step, how much (ms) lies at a latency or beyond: `(n, steps)`."""
        begin = np.maximum(latencies[:, None], self.edges[None, :-1])
        return np.asarray(np.maximum(self.edges[None, 1:] - begin, 0.0))


def expected_gains(
    front: Front, means: Array, deviations: Array, latencies: Array, scale: ScoreScale
) -> Array:
    """The expected area that each point would add, in closed form.

    A front has steps, so the area is a sum over them: how far the score is expected to rise above
    the step, times how much of it lies at the point's latency or beyond.

    Args:
        front: The front there is.
        means: `(n,)`, of normal distributions on the model's scale.
        deviations: `(n,)`, theirs.
        latencies: `(n,)`, ms, certain.
        scale: From that scale to scores.
    """
    above = scale.expected_excess(means, deviations, front.best)
    return np.asarray(np.einsum("nj,nj->n", above, front.widths(latencies)))
