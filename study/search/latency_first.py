"""The search: what to begin, and which training to go on with, where only the score is uncertain.

Every epoch of every trial feeds one model (:mod:`study.search.curve_model`), so that trials that
were given up teach as much as those that were not. A candidate is worth the area that it is
expected to add to the front when trained to its end, at a latency that is known.

Of all epochs, a share is spent on beginnings: a new trial is trained to the first rung, and waits.
The others go to whichever waiting trial promises most for each epoch it still needs; it is trained
to its next rung and judged anew. So no trial is compared by rank, nor stopped for good: one that
waits goes on as soon as what others turn out to be makes it the best to go on with.
"""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.search.coding import Array, Coding
from study.search.curve_model import CurveModel, Observations
from study.search.gain import Front, expected_gains
from study.search.latency_model import LatencyModel
from study.search.scale import Corner, ScoreScale

Params = Mapping[str, Any]

# Trials begun at random, before there is anything to learn from.
FIRST = 16
# Of all epochs, spent on trials that are past the first rung.
GOING_ON = 0.7
# Observations that the model is conditioned on, and that its hyperparameters are fitted to.
_CONDITIONED, _FITTED = 400, 150
# Of trials that wait, looked at closely; in so many groups of similar latency at each rung.
_LOOKED_AT, _SIMILAR = 300, 10
_CANDIDATES = 400
_REFINED, _OFFSPRING = 10, 15
_RANKED = 200  # of them, kept in order
_CLOSER = (0.2, 0.1, 0.05, 0.03)  # how far the best candidates are moved, round by round
_STEPS = ((0.15, 0.4), (0.05, 0.6))  # how far, and with what chance, a gene is moved
# What was not begun is less certain than the model says, whose lengths are fitted to few trials.
_DOUBT = 1.7
# How far apart, in one gene at least, new trials are from others, and from those begun at once.
_APART, _APART_AT_ONCE = 0.03, 0.1
# From so many trials at once on, what one worker asks for may rest on what another has.
_MANY = 16
# The hyperparameters are fitted again when there are so many times more trials.
_GROWTH = 1.15


@dataclass(frozen=True)
class Training:
    """What is known of one trial.

    Attributes:
        number: Of the trial.
        params: Its configuration.
        scores: After each epoch, from the first.
        epochs: Of the whole training.
        latency_ms: None before it is measured.
        waits: It stands at a rung, and may go on.
        runs: It is being trained.
        counts: It was trained by itself; of trials that share a training, one counts.
    """

    number: int
    params: Params
    scores: tuple[float, ...]
    epochs: int
    latency_ms: float | None
    waits: bool = False
    runs: bool = False
    counts: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether it was trained to its end."""
        return len(self.scores) >= self.epochs


class LatencyFirst:
    """Decides for one study; what it decides depends on what it is shown and on its seed.

    Args:
        coding: The search space.
        corner: Between which corners the front's area lies.
        first_rung: Epochs that a new trial is trained for before it waits.
        seed: Of every draw.
        latency_of: The latency (ms) of the student that the shaping parameters build where it is
            known, else None.
        shaping: Names of the parameters that shape the student; None if all may.
        going_on: Share of all epochs for trials past the first rung.
    """

    def __init__(
        self,
        coding: Coding,
        corner: Corner,
        *,
        first_rung: int,
        seed: int,
        latency_of: Callable[[Params], float | None],
        shaping: Collection[str] | None = None,
        going_on: float = GOING_ON,
    ) -> None:
        self._coding = coding
        self._corner = corner
        self._first_rung = first_rung
        self._seed = seed
        self._latency_of = latency_of
        names = [each.name for each in coding.dimensions]
        self._shaping = [i for i, name in enumerate(names) if shaping is None or name in shaping]
        self._going_on = going_on
        # One length for each dimension, and one for the latency.
        self._model = CurveModel([*coding.groups, len(names)])
        self._fitted_at = 0
        self._seen = -1
        self._running: set[int] = set()
        self._told: Sequence[Training] = ()
        self._ranked: Array | None = None
        self._ranked_for = 0
        self._promising: list[int] = []
        self._genes: dict[int, Array] = {}

    def state(self) -> dict[str, Any]:
        """What it has learnt that seeing all trials again would not tell: JSON."""
        return {"fitted_at": self._fitted_at, "theta": [float(x) for x in self._model.theta]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        if len(state["theta"]) == len(self._model.theta):
            self._fitted_at = int(state["fitted_at"])
            self._model.theta = np.array(state["theta"], dtype=float)

    # Decisions

    def next_to_go_on(self, trainings: Sequence[Training]) -> int | None:
        """Return the trial to go on with, or None if a new one is to begin."""
        if len([each for each in trainings if each.scores]) < FIRST:
            return None
        waiting = [each for each in trainings if each.waits]
        done = [len(each.scores) for each in trainings if each.counts]
        spent, begun = sum(done), sum(min(epochs, self._first_rung) for epochs in done)
        if not waiting or begun <= (1.0 - self._going_on) * spent:
            return None
        return self.most_promising(trainings)

    def most_promising(self, trainings: Sequence[Training], worth: float = 0.0) -> int | None:
        """Return the waiting trial that promises most for each epoch it needs; None of none.

        Args:
            trainings: All trials so far.
            worth: The least that it is to promise, as a share of the whole area between the
                corners, once there is a front at all.
        """
        waiting = [each for each in trainings if each.waits]
        if not waiting:
            return None
        if not self._look_at(trainings):
            return waiting[0].number
        numbers = {each.number for each in waiting}
        self._promising = [number for number in self._promising if number in numbers]
        if not self._promising:
            self._promising = self._rank(_likeliest(waiting), trainings, worth)
        return self._promising[0] if self._promising else None

    def _rank(
        self, waiting: Sequence[Training], trainings: Sequence[Training], worth: float
    ) -> list[int]:
        """The trials that are worth going on with, by what they promise for each epoch."""
        needed = np.array([each.epochs - len(each.scores) for each in waiting])
        numbers = np.array([each.number for each in waiting])
        gains = self._worth(self._features_of(waiting), numbers, self._ms_of(waiting), 1.0)
        is_worth_it = np.ones(len(waiting), dtype=bool)
        if any(each.is_whole or each.runs for each in trainings):
            is_worth_it = gains >= worth * self._whole_area
        order = np.argsort(-gains / needed, kind="stable")
        return [waiting[i].number for i in order if is_worth_it[i]]

    def begin(
        self,
        trainings: Sequence[Training],
        is_refused: Callable[[Params], bool],
        everything: Sequence[Params] | None = None,
    ) -> Params | None:
        """Return the configuration to begin.

        Args:
            trainings: All trials so far.
            is_refused: Says what must not be proposed: what was tried, or is known not to work.
            everything: All configurations of a small space, which are then all considered.

        Returns:
            None if nothing that is not refused was found.
        """
        rng = np.random.default_rng((self._seed, len(trainings)))
        if everything is not None:
            left = [params for params in everything if not is_refused(params)]
            if not left:
                return None
            if len(trainings) < FIRST or not self._look_at(trainings):
                return left[int(rng.integers(len(left)))]
            genes = self._coding.genes_of(left)
            return left[int(np.argmax(self._worth_of_new(genes)))]
        if len(trainings) < FIRST or not self._look_at(trainings):
            return self._first_allowed(self._drawn(rng), is_refused)
        if self._ranked is not None:
            # It knows nothing of those begun since, which are to be unlike each other.
            since = trainings[self._ranked_for :]
            self._ranked = self._apart(self._ranked, since, _APART_AT_ONCE)
        if self._ranked is None or not len(self._ranked):
            ranked = self._candidates(rng)[:_RANKED]
            apart = self._apart(ranked, trainings, _APART)
            self._ranked = apart if len(apart) else ranked
        self._ranked_for = len(trainings)
        return self._first_allowed(self._ranked, is_refused)

    @property
    def _whole_area(self) -> float:
        height = self._corner.best if math.isfinite(self._corner.best) else self._front.best[-1]
        return float((height - self._corner.floor) * self._corner.slowest_ms)

    # Candidates

    def _candidates(self, rng: np.random.Generator) -> Array:
        """Genes of configurations that could be begun, the most promising first."""
        genes = np.concatenate([self._drawn(rng), self._near_the_front(rng)])
        worth = self._worth_of_new(genes)
        for far in _CLOSER:
            best = genes[np.argsort(-worth, kind="stable")[:_REFINED]]
            moved = self._moved(rng, np.repeat(best, _OFFSPRING, axis=0), far, 0.5)
            genes = np.concatenate([genes, moved])
            worth = np.concatenate([worth, self._worth_of_new(moved)])
        return np.asarray(genes[np.argsort(-worth, kind="stable")])

    def _drawn(self, rng: np.random.Generator) -> Array:
        """Draws from the whole space; of half of them some genes lie at an end of their range.

        In several dimensions the ends are where uniform draws are fewest, and often where the
        best is.
        """
        drawn = rng.random((_CANDIDATES, len(self._coding.dimensions)))
        at_an_end = rng.random(drawn.shape) < 0.25
        at_an_end[: _CANDIDATES // 2] = False
        return self._coding.canonical(np.where(at_an_end, np.round(drawn), drawn))

    def _apart(self, genes: Array, trainings: Sequence[Training], radius: float) -> Array:
        """The candidates that are not all but the same as a trial that was begun.

        Of such a one, more is learnt by going on with the trial.
        """
        if not trainings:
            return genes
        near = np.zeros(len(genes), dtype=bool)
        for each in self._genes_of(trainings):
            near |= np.abs(genes - each).max(axis=1) < radius
        return genes[~near]

    def _near_the_front(self, rng: np.random.Generator) -> Array:
        """Variations of the trials that are expected to end on the front."""
        means, _ = self._predict(self._told)
        scores, latencies = self._scale.to_scores(means), self._ms_of(self._told)
        front = Front.of(list(zip(scores, latencies, strict=True)), -math.inf, math.inf)
        parents = self._genes_of(self._told)[np.isin(scores, front.best[1:])]
        each = max(1, _CANDIDATES // 2 // len(parents))
        repeated = np.repeat(parents, each, axis=0)
        return np.concatenate([self._moved(rng, repeated, *step) for step in _STEPS])

    def _moved(self, rng: np.random.Generator, genes: Array, far: float, chance: float) -> Array:
        """Genes of which some are moved a little, or, of a choice, drawn anew."""
        moved = rng.random(genes.shape) < chance
        beside = np.clip(genes + rng.normal(0.0, far, genes.shape), 0.0, 1.0)
        anew = rng.random(genes.shape)
        unordered = np.array([not each.is_ordered for each in self._coding.dimensions])
        drawn = np.where(unordered | (rng.random(genes.shape) < 0.1), anew, beside)
        return self._coding.canonical(np.where(moved, drawn, genes))

    def _first_allowed(self, genes: Array, is_refused: Callable[[Params], bool]) -> Params | None:
        for row in genes:
            params = self._coding.params_of(row)
            if not is_refused(params):
                return params
        return None

    # The model

    def _look_at(self, trainings: Sequence[Training]) -> bool:
        """Bring the model to what is known; False if that is too little."""
        begun = [each for each in trainings if each.scores and each.latency_ms is not None]
        if len(begun) < 2:
            return False
        seen = sum(len(each.scores) for each in trainings)
        running = {each.number for each in trainings if each.runs}
        # With many workers there are new epochs whenever one asks: some then share one look.
        late = len(running) if len(running) >= _MANY else 0
        is_late = self._seen < 0 or seen - self._seen > late
        if not is_late and (late or running == self._running):
            return True
        if is_late:
            self._learn(begun)
            self._seen = seen
        self._running = running
        self._front = self._front_of(begun)
        self._ranked, self._promising = None, []
        return True

    def _learn(self, begun: Sequence[Training]) -> None:
        """Condition the model on what is known, and now and then fit it."""
        latencies = self._ms_of(begun)
        self._slowest, self._fastest = np.log(latencies.max()), np.log(latencies.min())
        self._latencies = LatencyModel(
            self._coding, self._shaping, self._genes_of(begun), latencies
        )
        observations = self._observations(begun)
        if len(begun) >= _GROWTH * self._fitted_at + 1:
            self._fitted_at = len(begun)
            rng = np.random.default_rng((self._seed, len(begun)))
            rows = rng.permutation(len(observations.values))[:_FITTED]
            self._model.fit(observations.take(rows), 40 if len(begun) < 40 else 20)
        self._model.condition(observations)

    def _observations(self, begun: Sequence[Training]) -> Observations:
        """A few epochs of each trial, the last among them; the most telling, if they are many."""
        if len(begun) > _CONDITIONED:
            begun = sorted(begun, key=lambda each: (len(each.scores) / each.epochs, each.number))
            begun = begun[-_CONDITIONED:]
        self._told = begun
        rows = [
            (index, epoch, each.scores[epoch - 1], epoch == len(each.scores))
            for index, each in enumerate(begun)
            for epoch in _looked_at(len(each.scores))
        ]
        self._scale = ScoreScale(np.array([row[2] for row in rows]), self._corner)
        if len(rows) > _CONDITIONED:
            # The ends first, then what is nearest to an end.
            def importance(row: tuple[int, int, float, bool]) -> tuple[bool, float, int]:
                return row[3], row[1] / begun[row[0]].epochs, row[0]

            rows = sorted(rows, key=importance)[-_CONDITIONED:]
        owners = np.array([row[0] for row in rows])
        progress = [_progress(row[1], begun[row[0]].epochs) for row in rows]
        return Observations(
            self._features_of(begun)[owners],
            np.array(progress),
            np.array([begun[owner].number for owner in owners]),
            self._scale.to_model(np.array([row[2] for row in rows])),
        )

    def _genes_of(self, trainings: Sequence[Training]) -> Array:
        for each in trainings:
            if each.number not in self._genes:
                self._genes[each.number] = self._coding.genes_of([each.params])[0]
        return np.array([self._genes[each.number] for each in trainings])

    def _features_of(self, trainings: Sequence[Training]) -> Array:
        return self._features(self._genes_of(trainings), self._ms_of(trainings))

    def _features(self, genes: Array, latencies: Array) -> Array:
        """Features of configurations; the last is the logarithm of the latency."""
        span = max(self._slowest - self._fastest, 1e-3)
        last = (np.log(latencies) - self._fastest) / span
        return np.column_stack([self._coding.features(genes), last])

    def _ms_of(self, trainings: Sequence[Training]) -> Array:
        """Latencies (ms) of trainings that have scores, which were measured before."""
        return np.array([each.latency_ms for each in trainings], dtype=float)

    def _known_or_guessed(self, genes: Array) -> Array:
        """Latencies (ms): of each architecture as it was measured, or else as others suggest."""
        _, first, rows = np.unique(
            genes[:, self._shaping], axis=0, return_index=True, return_inverse=True
        )
        known = [
            self._latency_of(self._coding.params_of(genes[row], self._shaping)) for row in first
        ]
        found = np.array([math.nan if ms is None else ms for ms in known])
        unknown = np.isnan(found)
        if unknown.any():
            found[unknown] = self._latencies.guess(genes[first[unknown]])
        return np.asarray(found[rows.reshape(-1)])

    def _predict(self, trainings: Sequence[Training]) -> tuple[Array, Array]:
        numbers = np.array([each.number for each in trainings])
        return self._model.predict(self._features_of(trainings), numbers)

    def _front_of(self, begun: Sequence[Training]) -> Front:
        """The front of whole trainings, and of running ones as they are expected to end."""
        points = [(t.scores[-1], float(t.latency_ms or 0.0)) for t in begun if t.is_whole]
        running = [each for each in begun if each.runs and not each.is_whole]
        if running:
            means, _ = self._predict(running)
            scores = self._scale.to_scores(means)
            points += list(zip(scores.tolist(), self._ms_of(running).tolist(), strict=True))
        # Below what one in five reaches, no more is to be learnt of the front.
        usual = float(np.percentile([each.scores[-1] for each in begun], 20))
        return Front.of(points, max(self._corner.floor, usual), self._corner.slowest_ms)

    def _worth_of_new(self, genes: Array) -> Array:
        latencies = self._known_or_guessed(genes)
        features = self._features(genes, latencies)
        return self._worth(features, np.full(len(genes), -1), latencies, _DOUBT)

    def _worth(
        self, features: Array, training: NDArray[np.int64], latencies: Array, doubt: float
    ) -> Array:
        means, deviations = self._model.predict(features, training)
        return expected_gains(self._front, means, doubt * deviations, latencies, self._scale)


def _progress(epoch: int, epochs: int) -> float:
    return math.log(epoch) / math.log(epochs) if epochs > 1 else 1.0


def _likeliest(waiting: list[Training]) -> list[Training]:
    """Those worth a closer look, where many wait: at each rung and latency those of best score."""
    if len(waiting) <= _LOOKED_AT:
        return waiting
    rungs: dict[int, list[Training]] = {}
    for each in waiting:
        rungs.setdefault(len(each.scores), []).append(each)
    kept = []
    for at_rung in rungs.values():
        at_rung.sort(key=lambda each: each.latency_ms or 0.0)
        share = -(-len(at_rung) // _SIMILAR)
        most = max(1, _LOOKED_AT // (len(rungs) * _SIMILAR))
        for first in range(0, len(at_rung), share):
            similar = at_rung[first : first + share]
            kept += sorted(similar, key=lambda each: (-each.scores[-1], each.number))[:most]
    return sorted(kept, key=lambda each: each.number)


@functools.cache
def _looked_at(done: int) -> tuple[int, ...]:
    """Epochs of a curve that tell it: about two for each doubling, and the last."""
    grid = dict.fromkeys(round(2 ** (k / 2)) for k in range(2 * max(done, 1).bit_length()))
    return (*(epoch for epoch in grid if epoch < done), done)
