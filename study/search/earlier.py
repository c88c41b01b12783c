"""What another study learnt, as what this one expects before it has seen anything itself.

A model of the other study's curves alone says where each configuration would have come to there,
on that study's own scale. Here a training is expected at `a` times that, plus `b`, and what this
study's model learns is the rest. `a` and `b` are fitted to what is seen here: where the other study
misleads, `a` goes to nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from study.search.coding import Array, Coding
from study.search.curve_model import CurveModel, Observations
from study.search.gain import Costs, front_of
from study.search.scale import Corner, ScoreScale
from study.search.training import progress_of

# Trainings that are learnt from at most, evenly over their scores, and observations.
_TRAININGS, _CONDITIONED, _FITTED = 150, 400, 150
# Deviations of `a` about 1 and of `b` about 0 before anything is seen here, and of a training here
# about what is expected; on the models' scales.
_DEVIATION_A, _DEVIATION_B, _DEVIATION = 0.5, 1.0, 0.5


@dataclass(frozen=True)
class EarlierTraining:
    """What is known of one trial of another study.

    Attributes:
        params: Its configuration in this study's space.
        scores: (epoch, score), ascending; the last one is how far it came.
        epochs: Of the whole training.
        latency_ms: Of its student, there; None where unknown.
        third: What else is to be small, where this study has a third objective; as it was there.
    """

    params: Mapping[str, Any]
    scores: tuple[tuple[int, float], ...]
    epochs: int
    latency_ms: float | None = None
    third: float | None = None


@dataclass(frozen=True)
class Trust:
    """How what is expected here follows from what was expected there, on the models' scales."""

    a: float = 1.0
    b: float = 0.0

    @classmethod
    def fitted(cls, expected: Array, values: Array, trainings: Array) -> "Trust":
        """Fit it to what was seen.

        Args:
            expected: `(n,)`, what the other study's model says of each observation.
            values: `(n,)`, what it was.
            trainings: `(n,)`, which training each is of; all of one together count once.
        """
        _, rows, counts = np.unique(trainings, return_inverse=True, return_counts=True)
        weights = 1.0 / (counts[rows] * _DEVIATION**2)
        design = np.column_stack([expected, np.ones(len(expected))])
        precision = np.diag([_DEVIATION_A**-2, _DEVIATION_B**-2])
        precision += design.T @ (weights[:, None] * design)
        towards = design.T @ (weights * values) + np.array([_DEVIATION_A**-2, 0.0])
        a, b = np.linalg.solve(precision, towards)
        if a <= 0.0:  # what is expected there says nothing here: the level alone is fitted
            return cls(0.0, float(towards[1] / precision[1, 1]))
        return cls(float(a), float(b))

    def of(self, expected: Array) -> Array:
        """What is expected here."""
        return self.a * expected + self.b


class EarlierStudy:
    """The other study, seen once; nothing is fitted before it is asked.

    Args:
        coding: This study's search space.
        trainings: The other study's, one at least, with a score each.
        best: The best score there is, infinite where none bounds it.
        seed: Of the choice of what is fitted to.
        has_third: This study has a third objective.
    """

    def __init__(
        self,
        coding: Coding,
        trainings: Sequence[EarlierTraining],
        best: float,
        seed: int,
        *,
        has_third: bool = False,
    ) -> None:
        self._coding = coding
        self._has_third = has_third
        self._best = best
        self._seed = seed
        self.trainings = tuple(trainings)

    @property
    def latencies(self) -> list[tuple[Mapping[str, Any], float]]:
        """What was measured there: configurations and latencies (ms)."""
        return [(each.params, each.latency_ms) for each in self.trainings if each.latency_ms]

    @property
    def thirds(self) -> list[tuple[Mapping[str, Any], float]]:
        """In the same way what else is to be small."""
        return [(each.params, each.third) for each in self.trainings if each.third]

    @cached_property
    def front(self) -> tuple[Mapping[str, Any], ...]:
        """The front there, of all that was trained to its end: who adds most to it comes first."""
        whole = [t for t in self.trainings if t.latency_ms and t.scores[-1][0] >= t.epochs]
        if self._has_third:
            whole = [t for t in whole if t.third]
        scores = np.array([each.scores[-1][1] for each in whole])
        costs: Costs = (np.array([each.latency_ms for each in whole], dtype=float),)
        if self._has_third:
            costs = (*costs, np.array([each.third for each in whole], dtype=float))
        chosen: list[int] = []
        while len(chosen) < len(whole):
            points = [(float(scores[i]), *(float(cost[i]) for cost in costs)) for i in chosen]
            corner = [float(cost.max()) * 1.01 for cost in costs]
            front = front_of(points, float(scores.min()) - 1e-9, corner)
            gains = front.gains(scores[:, None], costs)[:, 0]
            if gains.max() <= 0.0:
                break
            chosen.append(int(np.argmax(gains)))
        names = {each.name for each in self._coding.dimensions}
        return tuple({k: v for k, v in whole[i].params.items() if k in names} for i in chosen)

    def expects(self, features: Array, progress: Array) -> Array:
        """Scores that configurations would have come to there, on that study's scale.

        Args:
            features: `(n, features)`, as the coding has them.
            progress: `(n,)`, 0 after the first epoch, 1 after the last.
        """
        means, _ = self._model.predict(features, np.full(len(features), -1), progress)
        return np.asarray(means)

    @property
    def spread(self) -> list[EarlierTraining]:
        """The trainings that are learnt from: evenly many, the worst first, the best always."""
        ranked = sorted(self.trainings, key=lambda each: each.scores[-1][1])
        count = min(len(ranked), _TRAININGS)
        return [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]

    @cached_property
    def _model(self) -> CurveModel:
        kept = self.spread
        rows = [
            (owner, epoch, score)
            for owner, each in enumerate(kept)
            for epoch, score in _telling(each.scores)
        ]
        # The ends first, then what is nearest to an end.
        ends = {(owner, each.scores[-1][0]) for owner, each in enumerate(kept)}
        rows.sort(key=lambda row: ((row[0], row[1]) in ends, row[1] / kept[row[0]].epochs, row[0]))
        rows = rows[-_CONDITIONED:]
        owners = np.array([row[0] for row in rows])
        scores = np.array([row[2] for row in rows])
        best = self._best if scores.max() < self._best else math.inf
        scale = ScoreScale(scores, Corner(float(scores.min()), math.inf, best))
        genes = self._coding.genes_of([each.params for each in kept])
        progress = [progress_of(epoch, kept[owner].epochs) for owner, epoch, _ in rows]
        seen = Observations(
            self._coding.features(self._coding.canonical(genes))[owners],
            np.array(progress),
            owners,
            scale.to_model(scores),
        )
        model = CurveModel(self._coding.groups)
        rng = np.random.default_rng(self._seed)
        model.fit(seen.take(rng.permutation(len(rows))[:_FITTED]), 40)
        model.condition(seen)
        return model


def _telling(scores: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """About one epoch for each doubling, and the last."""
    wanted = {2**k for k in range(scores[-1][0].bit_length())}
    return [each for each in scores[:-1] if each[0] in wanted] + [scores[-1]]
