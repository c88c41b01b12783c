"""What a training would add to the front, where its end is uncertain and its costs are not.

Costs are what is to be small and is known before the first epoch: the latency, and in a study of
three objectives the parameters or FLOPs.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.search.coding import Array
from study.search.scale import ScoreScale

# Latencies (ms) and, where there is a third objective, what else is to be small: `(n,)` each.
Costs = tuple[Array, ...]
# (score, latency ms) or (score, latency ms, third).
Point = tuple[float, ...]
# From (latency, third) to (latency, third), the larger ones not included.
Cell = tuple[float, float, float, float]


class Front(ABC):
    """A front within its reference corner: the best score within each latency (and third).

    Attributes:
        best: The scores that are the best somewhere, ascending; the first is the reference's.
    """

    best: Array

    @property
    @abstractmethod
    def area(self) -> float:
        """That it covers: in points of the score times ms (times the third's unit)."""

    @abstractmethod
    def widths(self, costs: Costs) -> Array:
        """Of each best score, where it holds at these costs or beyond: `(n, scores)`, ms (…)."""

    def gains(self, scores: Array, costs: Costs) -> Array:
        """What each point alone would add to the area.

        Args:
            scores: `(n, k)`: k scores at each of the costs.
            costs: Of n points.

        Returns:
            `(n, k)`, in the unit of the area.
        """
        above = np.maximum(scores[:, :, None] - self.best, 0.0)
        return np.asarray(np.einsum("nkj,nj->nk", above, self.widths(costs)))


@dataclass(frozen=True)
class Steps(Front):
    """The front of score and latency.

    Attributes:
        edges: Latencies (ms) at which the best score changes, from 0 to the reference, ascending.
        best: The best score up to there, one fewer than edges.
    """

    edges: Array
    best: Array

    @classmethod
    def of(cls, points: Sequence[Point], floor: float, slowest: float) -> "Steps":
        """Make it of (score, latency ms)."""
        edges, best = [0.0], [floor]
        for latency, score in sorted((latency, -score) for score, latency in points):
            if latency < slowest and -score > best[-1]:
                edges.append(latency)
                best.append(-score)
        return cls(np.array([*edges, slowest]), np.array(best))

    @property
    def area(self) -> float:
        """In points of the score times ms."""
        return float(((self.best - self.best[0]) * np.diff(self.edges)).sum())

    def widths(self, costs: Costs) -> Array:
        """Of each step, how much (ms) lies at a latency or beyond: `(n, steps)`."""
        begin = np.maximum(costs[0][:, None], self.edges[None, :-1])
        return np.asarray(np.maximum(self.edges[None, 1:] - begin, 0.0))


@dataclass(frozen=True)
class Terraces(Front):
    """The front of score, latency and a third: over the plane of the two, terraces of one score.

    Cut along every latency and third, the plane would fall into as many cells as the square of the
    front's members. A terrace is cut into rectangles only where another one ends, which are at most
    two a member (by the sweep of Beume, Fonseca and others, 2009, here from the best score down).

    Attributes:
        cells: `(cells, 4)`: from and to, in latency (ms) and third; those of one terrace together.
        starts: The first cell of each terrace.
        best: The score of each terrace.
    """

    cells: Array
    starts: npt.NDArray[np.int64]
    best: Array

    @classmethod
    def of(
        cls, points: Sequence[Point], floor: float, slowest: float, largest: float
    ) -> "Terraces":
        """Make it of (score, latency ms, third)."""
        inside = {
            (score, latency, third)
            for score, latency, third in points
            if score > floor and latency < slowest and third < largest
        }
        covered = _Covered(slowest, largest)
        terraces: list[tuple[float, list[Cell]]] = []
        for score, latency, third in sorted(inside, key=lambda p: (-p[0], p[1], p[2])):
            if cells := list(covered.extended_to(latency, third)):
                terraces.append((score, cells))
        # Where nobody is, the reference's score is the best, if there is such a place.
        terraces.append((floor, list(covered.extended_to(0.0, 0.0)) or [(0.0, 0.0, 0.0, 0.0)]))
        terraces.reverse()
        counts = [len(cells) for _, cells in terraces]
        return cls(
            np.array([cell for _, cells in terraces for cell in cells]),
            np.cumsum([0, *counts[:-1]], dtype=np.int64),
            np.array([score for score, _ in terraces]),
        )

    @property
    def area(self) -> float:
        """In points of the score times ms times the third's unit."""
        nothing = np.zeros(1)
        return float(((self.best - self.best[0]) * self.widths((nothing, nothing))[0]).sum())

    def widths(self, costs: Costs) -> Array:
        """Of each terrace, how much lies at a latency and third or beyond: `(n, terraces)`."""
        latencies, thirds = costs
        left, bottom, right, top = self.cells.T
        wide = np.maximum(right - np.maximum(latencies[:, None], left), 0.0)
        wide *= np.maximum(top - np.maximum(thirds[:, None], bottom), 0.0)
        return np.asarray(np.add.reduceat(wide, self.starts, axis=1))


class _Covered:
    """The part of the plane where some point is no slower and no larger: a staircase."""

    def __init__(self, slowest: float, largest: float) -> None:
        self._slowest, self._largest = slowest, largest
        self._latencies: list[float] = []  # ascending
        self._thirds: list[float] = []  # of the same points, descending

    def extended_to(self, latency: float, third: float) -> Iterator[Cell]:
        """Cover what a point covers, and say which part of it was not covered yet."""
        latencies, thirds = self._latencies, self._thirds
        first, place = bisect_left(latencies, latency), bisect_right(latencies, latency)
        top = thirds[place - 1] if place else self._largest
        if top <= third:
            return
        left = latency
        while place < len(thirds) and thirds[place] > third:
            yield left, third, latencies[place], top
            left, top = latencies[place], thirds[place]
            place += 1
        yield left, third, latencies[place] if place < len(thirds) else self._slowest, top
        if place < len(thirds) and thirds[place] == third:
            place += 1
        latencies[first:place], thirds[first:place] = [latency], [third]


def front_of(points: Sequence[Point], floor: float, corner: Sequence[float]) -> Front:
    """Return the front of some points.

    Args:
        points: Of as many costs as the corner.
        floor: Score of the reference corner.
        corner: Its latency (ms), and its third figure where there is one.
    """
    if len(corner) == 1:
        return Steps.of(points, floor, *corner)
    return Terraces.of(points, floor, *corner)


def expected_gains(
    front: Front, means: Array, deviations: Array, costs: Costs, scale: ScoreScale
) -> Array:
    """The area that each point is expected to add, in closed form.

    A front has few best scores, so the area is a sum over them: how far the score is expected to
    rise above each, times how much of where it is the best lies at the point's costs or beyond.

    Args:
        front: The front there is.
        means: `(n,)`, of normal distributions on the model's scale.
        deviations: `(n,)`, theirs.
        costs: Of the points, certain.
        scale: From that scale to scores.
    """
    above = scale.expected_excess(means, deviations, front.best)
    return np.asarray(np.einsum("nj,nj->n", above, front.widths(costs)))
