"""The search: what to begin, and which training to go on with, where only the score is uncertain.

Every epoch of every trial feeds one model (:mod:`study.search.curve_model`), so that trials that
were given up teach as much as those that were not. A candidate is worth the area that it is
expected to add to the front when trained to its end, at a latency that is known.

Of all epochs, a share is spent on beginnings: a new trial is trained to the first rung, and waits.
The others go to whichever waiting trial promises most for each epoch it still needs; it is trained
to its next rung and judged anew. So no trial is compared by rank, nor stopped for good: one that
waits goes on as soon as what others turn out to be makes it the best to go on with.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from study.search.architecture import ArchitectureFigure
from study.search.candidates import apart, drawn, moved
from study.search.coding import Array, Coding
from study.search.curve_model import CurveModel, Observations
from study.search.earlier import EarlierStudy, Trust
from study.search.gain import Front, expected_gains
from study.search.scale import Corner, ScoreScale
from study.search.tally import Tally
from study.search.training import (
    GROWTH,
    Limits,
    Params,
    Training,
    likeliest,
    looked_at,
    progress_of,
)

# Trials begun at random, before there is anything to learn from; fewer if trained to their end.
FIRST, _FIRST_WHOLE = 16, 8
# Of all epochs, spent on trials that are past the first rung.
GOING_ON = 0.7
# Observations that the model is conditioned on, and that its hyperparameters are fitted to.
_CONDITIONED, _FITTED = 400, 150
_CANDIDATES = 400
_REFINED, _OFFSPRING = 10, 15
_RANKED = 200  # of them, kept in order; with many workers all that keep the limits
_CLOSER = (0.2, 0.1, 0.05, 0.03)  # how far the best candidates are moved, round by round
_STEPS = ((0.15, 0.4), (0.05, 0.6))  # how far, and with what chance, a gene is moved
# What was not begun is less certain than the model says, whose lengths are fitted to few trials.
_DOUBT = 1.7
# How far apart, in one gene at least, new trials are from others, and from those begun at once.
_APART, _APART_AT_ONCE = 0.03, 0.1
# From so many trials at once on, what one worker asks for may rest on what another has.
_MANY = 16
# From this share of its training on, a trial that runs is taken to be going to its end.
_SOON = 1 / 3


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
        limits: What is expected to break them is begun last.
        size_of: As ``latency_of``; needed where there is a limit on the size.
        likelihood: How likely configurations, by their genes, are to be of use at all.
        earlier: What another study learnt; its front is tried among the first random draws.
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
        limits: Limits | None = None,
        size_of: Callable[[Params], float | None] = lambda params: None,
        earlier: EarlierStudy | None = None,
        likelihood: Callable[[Array], Array] | None = None,
    ) -> None:
        self._coding = coding
        self._corner = corner
        self._first_rung = first_rung
        self._seed = seed
        names = [each.name for each in coding.dimensions]
        shapes = [i for i, name in enumerate(names) if shaping is None or name in shaping]
        self._latency = ArchitectureFigure(coding, shapes, latency_of)
        self._size = ArchitectureFigure(coding, shapes, size_of)
        self._limits = limits or Limits()
        self._likelihood = likelihood
        self._earlier, self._trust = earlier, Trust()
        self._going_on = going_on
        # One length for each dimension, and one for the latency.
        self._model = CurveModel([*coding.groups, len(names)])
        self._fitted_at = 0
        self._seen = -1
        self._tally = Tally(first_rung)
        self._running: set[int] = set()
        self._told: Sequence[Training] = ()
        self._ranked: Array | None = None
        self._ranked_for = 0
        self._promising: list[int] = []
        self._genes: dict[int, Array] = {}

    def state(self) -> dict[str, Any]:
        """What it has learnt that seeing all trials again would not tell: JSON."""
        return {
            "fitted_at": self._fitted_at,
            "theta": [float(x) for x in self._model.theta],
            "latency": self._latency.state(),
            "size": self._size.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        if len(state["theta"]) == len(self._model.theta):
            self._fitted_at = int(state["fitted_at"])
            self._model.theta = np.array(state["theta"], dtype=float)
        self._latency.load_state(state.get("latency", {}))
        self._size.load_state(state.get("size", {}))

    # Decisions

    def next_to_go_on(self, trainings: Sequence[Training]) -> int | None:
        """Return the trial to go on with, or None if a new one is to begin."""
        tally = self._tallied(trainings)
        if tally.scored < FIRST or not tally.anyone_waits:
            return None
        if tally.beginnings <= (1.0 - self._going_on) * tally.spent:
            return None
        return self.most_promising(trainings)

    def most_promising(self, trainings: Sequence[Training], worth: float = 0.0) -> int | None:
        """Return the waiting trial that promises most for each epoch it needs; None of none.

        Args:
            trainings: All trials so far.
            worth: The least that it is to promise, as a share of the whole area between the
                corners, once there is a front at all.
        """
        tally = self._tallied(trainings)
        if not tally.anyone_waits:
            return None
        if not self._look_at(trainings):
            return tally.waiting[0].number
        self._promising = [number for number in self._promising if tally.waits(number)]
        if not self._promising:
            self._promising = self._rank(likeliest(tally.waiting), trainings, worth)
        return self._promising[0] if self._promising else None

    def _rank(
        self, waiting: Sequence[Training], trainings: Sequence[Training], worth: float
    ) -> list[int]:
        """The trials that are worth going on with, by what they promise for each epoch."""
        gains, needed, _ = self._promises(waiting)
        is_worth_it = np.ones(len(waiting), dtype=bool)
        if any(each.is_whole or each.runs for each in trainings):
            is_worth_it = gains >= worth * self._whole_area
        order = np.argsort(-gains / needed, kind="stable")
        return [waiting[i].number for i in order if is_worth_it[i]]

    def least_promising(self, trainings: Sequence[Training]) -> int | None:
        """Return the waiting trial that promises least for each epoch it needs; None of none."""
        waiting = self._tallied(trainings).waiting
        if not waiting or not self._look_at(trainings):
            return waiting[-1].number if waiting else None
        gains, needed, means = self._promises(waiting)
        # Of those that promise nothing, the one that is expected to end lowest.
        return waiting[int(np.lexsort((means, gains / needed))[0])].number

    def expected_ends(self, trainings: Sequence[Training]) -> Mapping[int, float]:
        """Return what waiting trials are expected to score at their end; none before it is known.

        Args:
            trainings: All trials so far.
        """
        waiting = self._tallied(trainings).waiting
        if not waiting or not self._look_at(trainings):
            return {}
        means, _ = self._predict(waiting)
        ends = self._scale.to_scores(means)
        return {each.number: float(end) for each, end in zip(waiting, ends, strict=True)}

    def _promises(self, waiting: Sequence[Training]) -> tuple[Array, Array, Array]:
        """What waiting trials are expected to add, the epochs each still needs, and their ends."""
        needed = np.array([each.epochs - len(each.scores) for each in waiting])
        means, deviations = self._predict(waiting)
        return self._gains(means, deviations, self._ms_of(waiting)), needed, means

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
        blind = len(trainings) < FIRST and sum(t.is_whole for t in trainings) < _FIRST_WHOLE
        tally = self._tallied(trainings)
        self._latency.learn(
            tally.measured,
            lambda: [(t.params, t.latency_ms) for t in trainings if t.latency_ms],
            () if self._earlier is None else self._earlier.latencies,
        )
        self._size.learn(tally.sized, lambda: [(t.params, t.size) for t in trainings if t.size])
        if everything is not None:
            left = [params for params in everything if not is_refused(params)]
            if not left:
                return None
            genes = self._coding.genes_of(left)
            if blind or not self._look_at(trainings):
                if (promising := self._from_earlier(trainings, is_refused)) is not None:
                    return promising
                excess = self._excess(genes)
                least = np.flatnonzero(excess == excess.min())
                return left[int(rng.choice(least))]
            return left[int(np.argmax(self._worth_of_new(genes)))]
        if blind or not self._look_at(trainings):
            if (promising := self._from_earlier(trainings, is_refused)) is not None:
                return promising
            genes = drawn(self._coding, rng, _CANDIDATES)
            within = np.argsort(self._excess(genes), kind="stable")
            return self._first_allowed(genes[within], is_refused)
        found = None
        if self._ranked is not None:
            # It knows nothing of those begun since, which are to be unlike each other.
            since = self._genes_of(trainings[self._ranked_for :])
            self._ranked = apart(self._ranked, since, _APART_AT_ONCE)
            found = self._first_allowed(self._ranked, is_refused)
        if found is None:
            candidates, worth = self._candidates(rng)
            # Many workers ask before more is known: then each takes what the others have left.
            many = len(self._running) >= _MANY
            kept = max(_RANKED, int(np.sum(worth >= 0.0))) if many else _RANKED
            self._ranked = apart(candidates[:kept], self._genes_of(trainings), _APART)
            # Of those that were only just begun nothing is known yet.
            just = [t for t in trainings if t.runs and len(t.scores) <= self._first_rung]
            self._ranked = apart(self._ranked, self._genes_of(just), _APART_AT_ONCE)
            found = self._first_allowed(self._ranked, is_refused)
            found = found or self._first_allowed(candidates, is_refused)
        self._ranked_for = len(trainings)
        return found

    @property
    def _whole_area(self) -> float:
        height = self._corner.best if math.isfinite(self._corner.best) else self._front.best[-1]
        return float((height - self._corner.floor) * self._corner.slowest_ms)

    # Candidates

    def _candidates(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Genes of configurations that could be begun, the most promising first; their worth."""
        genes = np.concatenate([drawn(self._coding, rng, _CANDIDATES), self._near_the_front(rng)])
        if self._earlier is not None and self._earlier.front:
            genes = np.concatenate([genes, self._coding.genes_of(self._earlier.front)])
        worth = self._worth_of_new(genes)
        for far in _CLOSER:
            best = genes[np.argsort(-worth, kind="stable")[:_REFINED]]
            beside = moved(self._coding, rng, np.repeat(best, _OFFSPRING, axis=0), far, 0.5)
            genes = np.concatenate([genes, beside])
            worth = np.concatenate([worth, self._worth_of_new(beside)])
        order = np.argsort(-worth, kind="stable")
        return genes[order], worth[order]

    def _near_the_front(self, rng: np.random.Generator) -> Array:
        """Variations of the trials that are expected to end on the front."""
        means, _ = self._predict(self._told)
        scores, latencies = self._scale.to_scores(means), self._ms_of(self._told)
        front = Front.of(list(zip(scores, latencies, strict=True)), -math.inf, math.inf)
        parents = self._genes_of(self._told)[np.isin(scores, front.best[1:])]
        each = max(1, _CANDIDATES // 2 // len(parents))
        repeated = np.repeat(parents, each, axis=0)
        return np.concatenate([moved(self._coding, rng, repeated, *step) for step in _STEPS])

    def _from_earlier(
        self, trainings: Sequence[Training], is_refused: Callable[[Params], bool]
    ) -> Params | None:
        """The next of the other study's front, every second time: draws tell how good it is."""
        front = () if self._earlier is None or len(trainings) % 2 else self._earlier.front
        return next((params for params in front if not is_refused(params)), None)

    def _first_allowed(self, genes: Array, is_refused: Callable[[Params], bool]) -> Params | None:
        for row in genes:
            params = self._coding.params_of(row)
            if not is_refused(params):
                return params
        return None

    # The model

    def _tallied(self, trainings: Sequence[Training]) -> Tally:
        self._tally.update(trainings)
        return self._tally

    def _look_at(self, trainings: Sequence[Training]) -> bool:
        """Bring the model to what is known, and tallied; False if that is too little."""
        if self._tally.usable < 2:
            return False
        seen, running = self._tally.epochs, set(self._tally.running)
        # With many workers there are new epochs whenever one asks: some then share one look.
        late = len(running) if len(running) >= _MANY else 0
        is_late = self._seen < 0 or seen - self._seen > late
        if not is_late and (late or running == self._running):
            return True
        begun = [each for each in trainings if each.scores and each.latency_ms is not None]
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
        observations = self._observations(begun)
        if len(begun) >= GROWTH * self._fitted_at + 1:
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
            for epoch in looked_at(len(each.scores))
        ]
        self._scale = ScoreScale(np.array([row[2] for row in rows]), self._corner)
        if len(rows) > _CONDITIONED:
            # The ends first, then what is nearest to an end.
            def importance(row: tuple[int, int, float, bool]) -> tuple[bool, float, int]:
                return row[3], row[1] / begun[row[0]].epochs, row[0]

            rows = sorted(rows, key=importance)[-_CONDITIONED:]
        owners = np.array([row[0] for row in rows])
        progress = np.array([progress_of(row[1], begun[row[0]].epochs) for row in rows])
        features = self._features_of(begun)[owners]
        values = self._scale.to_model(np.array([row[2] for row in rows]))
        if self._earlier is not None:
            expected = self._earlier.expects(features[:, :-1], progress)
            self._trust = Trust.fitted(expected, values, owners)
            values = values - self._trust.of(expected)
        numbers = np.array([begun[owner].number for owner in owners])
        return Observations(features, progress, numbers, values)

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

    def _excess(self, genes: Array, latencies: Array | None = None) -> Array:
        """By what share of a limit candidates are expected to break it; 0 of those that are not."""
        excess = np.zeros(len(genes))
        if math.isfinite(self._limits.slowest_ms):
            latencies = self._latency.of(genes) if latencies is None else latencies
            excess = np.maximum(excess, _beyond(latencies, self._limits.slowest_ms))
        if math.isfinite(self._limits.largest):
            excess = np.maximum(excess, _beyond(self._size.of(genes), self._limits.largest))
        return excess

    def _predict(self, trainings: Sequence[Training]) -> tuple[Array, Array]:
        numbers = np.array([each.number for each in trainings])
        return self._ends(self._features_of(trainings), numbers)

    def _ends(self, features: Array, training: Any) -> tuple[Array, Array]:
        """Where trainings end on the model's scale: means and deviations."""
        means, deviations = self._model.predict(features, training)
        if self._earlier is not None:
            expected = self._earlier.expects(features[:, :-1], np.ones(len(features)))
            means = means + self._trust.of(expected)
        return means, deviations

    def _front_of(self, begun: Sequence[Training]) -> Front:
        """The front of whole trainings, and of running ones that are soon to be, as expected."""
        points = [
            (t.scores[-1], float(t.latency_ms or 0.0)) for t in begun if t.is_whole and t.feasible
        ]
        running = [
            each
            for each in begun
            if each.runs and _SOON * each.epochs <= len(each.scores) < each.epochs
        ]
        if running:
            means, _ = self._predict(running)
            scores = self._scale.to_scores(means)
            points += list(zip(scores.tolist(), self._ms_of(running).tolist(), strict=True))
        # Below what one in five reaches, no more is to be learnt of the front.
        usual = float(np.percentile([each.scores[-1] for each in begun], 20))
        return Front.of(points, max(self._corner.floor, usual), self._corner.slowest_ms)

    def _worth_of_new(self, genes: Array) -> Array:
        latencies = self._latency.of(genes)
        new = np.full(len(genes), -1)
        means, deviations = self._ends(self._features(genes, latencies), new)
        worth = self._gains(means, _DOUBT * deviations, latencies)
        if self._likelihood is not None:
            worth = worth * self._likelihood(genes)
        excess = self._excess(genes, latencies)
        return np.where(excess > 0.0, -excess, worth)

    def _gains(self, means: Array, deviations: Array, latencies: Array) -> Array:
        return expected_gains(self._front, means, deviations, latencies, self._scale)


def _beyond(expected: Array, limit: float) -> Array:
    """The share by which a figure is beyond its limit; what is not known yet is within."""
    return np.nan_to_num(expected / limit - 1.0, nan=0.0)
