"""The search: what to begin, and which training to go on with, where only the score is uncertain.

Epochs of every trial feed one model (:mod:`study.search.curve_model`), so that trials that were
given up teach as much as those that were not; of more than four hundred trials, those of who may
still go on, of the front and of some others do. A candidate is worth the area that it is expected
to add to the front when trained to its end, at a latency that is known; so is its size, where that
is an objective too. A new one is to add to what all that was begun is expected to come to, or it
would be begun again and again.

Of all epochs, a share is spent on beginnings: a new trial is trained to the first rung, and waits.
The first are drawn at random; the more workers there are, the more begin before anyone goes on.
The others go to whichever waiting trial promises most for each epoch it still needs; it is trained
to its next rung and judged anew. So no trial is compared by rank, nor stopped for good: one that
waits goes on as soon as what others turn out to be makes it the best to go on with.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from study.budget import Left
from study.rungs import rung_epochs
from study.search.architecture import ArchitectureFigure, excess
from study.search.belief import MANY, Belief
from study.search.candidates import apart, drawn, moved
from study.search.coding import Array, Coding
from study.search.earlier import EarlierStudy
from study.search.failures import Failures
from study.search.gain import Costs, front_of
from study.search.left import Hopefuls
from study.search.scale import Corner
from study.search.tally import Tally
from study.search.training import Limits, Params, Training, telling, whole_ones

# Networks begun at random, before there is anything to learn from; fewer if trained to their end.
FIRST, _FIRST_WHOLE = 16, 8
# So many are begun for each worker before anyone goes on, if that comes to more: workers that are
# free at once go on with as many, good or not.
FIRST_OF_A_WORKER = 5
# Of all epochs, spent on trials that are past the first rung.
GOING_ON = 0.7
_CANDIDATES = 400
_REFINED, _OFFSPRING = 10, 15
_RANKED = 200  # of them, kept in order; with many workers all that keep the limits
_CLOSER = (0.2, 0.1, 0.05, 0.03)  # how far the best candidates are moved, round by round
_STEPS = ((0.15, 0.4), (0.05, 0.6))  # how far, and with what chance, a gene is moved
# What was not begun is less certain than the model says, whose lengths are fitted to few trials:
# by how much less, in turn, so that some seek near what is known and some far from it.
_DOUBTS = (1.0, 1.7, 3.0, 5.0)
# How far apart, in one gene at least, new trials are from others, and from those begun at once.
_APART, _APART_AT_ONCE = 0.03, 0.1
# The end of a budget is thought of when a worker has less left than so many whole trainings take.
_FAR = 2.0
# Near it, who adds this share of the front's area for a whole training is worth its time.
WORTH = 0.05


def first_of(trials: int) -> int:
    """Return how many of so many trials are begun at random; most of few are to be learnt for."""
    return min(FIRST, max(4, 2 * trials // 5))


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
        third_of: As ``latency_of``; needed where the corner has a third.
        likelihood: How likely configurations, by their genes, are to be of use at all.
        earlier: What another study learnt; its front is tried among the first random draws.
        genes: Those of trials by number, as far as they are known; it adds to them.
        first: So many are begun at random.
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
        third_of: Callable[[Params], float | None] = lambda params: None,
        earlier: EarlierStudy | None = None,
        likelihood: Callable[[Array], Array] | None = None,
        genes: dict[int, Array] | None = None,
        first: int = FIRST,
    ) -> None:
        self._coding = coding
        self._corner = corner
        self._first = first
        self._first_rung = first_rung
        self._seed = seed
        names = [each.name for each in coding.dimensions]
        shaped = names if shaping is None else shaping
        shapes = coding.with_parents([i for i, name in enumerate(names) if name in shaped])
        self._latency = ArchitectureFigure(coding, shapes, latency_of)
        self._size = ArchitectureFigure(coding, shapes, size_of)
        self._third = None
        if corner.largest is not None:
            self._third = ArchitectureFigure(coding, shapes, third_of)
        self._limits = limits or Limits()
        self._failures = Failures(coding)
        self._likely = [self._failures.chances] + ([likelihood] if likelihood else [])
        self._earlier = earlier
        self._going_on = going_on
        self._belief = Belief(coding, corner, first_rung, seed, earlier, genes)
        self._looks = 0
        self._doubt = _DOUBTS[0]
        self._ranked: Array | None = None
        self._ranked_for = 0
        self._promising: list[int] = []
        self._hoped: Hopefuls | None = None
        self._ending: list[int] | None = None

    def state(self) -> dict[str, Any]:
        """What it has learnt that seeing all trials again would not tell: JSON."""
        figures = {"latency": self._latency.state(), "size": self._size.state()}
        if self._third is not None:
            figures["third"] = self._third.state()
        return {**self._belief.state(), **figures, "failures": self._failures.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        self._belief.load_state(state)
        self._latency.load_state(state.get("latency", {}))
        self._size.load_state(state.get("size", {}))
        self._failures.load_state(state.get("failures", {}))
        if self._third is not None:
            self._third.load_state(state.get("third", {}))

    # Decisions

    def next_to_go_on(self, trainings: Sequence[Training], workers: int = 1) -> int | None:
        """Return the trial to go on with, or None if a new one is to begin.

        Args:
            trainings: All trials so far.
            workers: How many train at once.
        """
        tally = self._tallied(trainings)
        if tally.scored < max(self._first, FIRST_OF_A_WORKER * workers) or not tally.anyone_waits:
            return None
        if tally.beginnings <= (1.0 - self._going_on) * tally.spent:
            return None
        return self.most_promising(trainings)

    def may_begin(self, trainings: Sequence[Training], left: Left) -> bool:
        """Whether there is time for what is begun now to come to its end, after who is worth it.

        Args:
            trainings: All trials so far.
            left: Of the budget.
        """
        known = [each.epoch_seconds for each in trainings if each.scores]
        if not left.is_bounded or not known:
            return True
        whole = float(np.median(known)) * max(each.epochs for each in trainings)
        if left.each < whole:
            return False
        tally = self._tallied(trainings)
        is_far = left.a_worker >= _FAR * whole or tally.scored < self._first
        if is_far or not tally.anyone_waits or not self._look_at(trainings):
            return True
        hopefuls = self._hopefuls(trainings)
        reserved = hopefuls.reserved(WORTH * self._belief.front.area / whole)
        return hopefuls.room(left) - reserved >= whole

    def next_to_end(
        self, trainings: Sequence[Training], left: Left, worth: float = 0.0
    ) -> int | None:
        """Return the waiting trial to go on with where nothing new begins; None if none can end.

        Those are chosen that together add most to the front if all are trained to their end in
        what is left. Of them the one goes on that has furthest to go: those with little to go can
        wait, and what others come to may yet change who is chosen.

        Args:
            trainings: All trials so far.
            left: Of the budget.
            worth: As of :meth:`most_promising`.
        """
        tally = self._tallied(trainings)
        if not any(each.is_whole for each in trainings):
            # Before there is a front, whoever promises most may be just in time.
            return self.most_promising(trainings)
        if not tally.anyone_waits or not self._look_at(trainings):
            return None
        hopefuls = self._hopefuls(trainings)
        # With many workers some share one look, and who was chosen by it, if there is still time.
        # Where nobody could end, nobody can until more is known: time only runs out.
        chosen = self._ending or ()
        left_of_them = [n for n in chosen if tally.waits(n) and hopefuls.can_end(n, left)]
        if self._ending is None or (chosen and not left_of_them):
            if chosen:  # all of them run by now: promised, and no longer to be chosen
                self._hoped = None
                hopefuls = self._hopefuls(trainings)
            left_of_them = hopefuls.to_end(left, worth * self._whole_area)
        self._ending = left_of_them
        return self._ending[0] if self._ending else None

    def _hopefuls(self, trainings: Sequence[Training]) -> Hopefuls:
        if self._hoped is not None:
            return self._hoped
        running = [t for t in trainings if t.runs and t.scores and t.latency_ms is not None]
        pool = [*self._belief.tally.likeliest, *running]
        rungs = rung_epochs(max(each.epochs for each in pool), self._first_rung)
        self._hoped = Hopefuls(pool, self._belief, rungs)
        return self._hoped

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
            self._promising = self._rank(tally.likeliest, trainings, worth)
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
        ends = self._belief.ends(waiting)
        return {each.number: float(end) for each, end in zip(waiting, ends, strict=True)}

    def _promises(self, waiting: Sequence[Training]) -> tuple[Array, Array, Array]:
        """What waiting trials are expected to add, the epochs each still needs, and their ends."""
        needed = np.array([each.epochs - len(each.scores) for each in waiting])
        means, deviations = self._belief.predict(waiting)
        gains = self._belief.gains(means, deviations, self._belief.costs_of(waiting))
        return gains, needed, means

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
        tally = self._tallied(trainings)
        # All exits of a network are but one draw.
        blind = tally.alone < self._first and whole_ones(trainings) < _FIRST_WHOLE
        self._doubt = _DOUBTS[len(trainings) % len(_DOUBTS)]
        self._learn_figures(trainings, tally)
        if everything is not None:
            left = [params for params in everything if not is_refused(params)]
            if not left:
                return None
            genes = self._coding.genes_of(left)
            if blind or not self._look_at(trainings):
                if (promising := self._from_earlier(trainings, is_refused)) is not None:
                    return promising
                beyond = self._excess(genes)
                least = np.flatnonzero(beyond == beyond.min())
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
            since = self._belief.genes_of(telling(trainings[self._ranked_for :]))
            self._ranked = apart(self._ranked, since, _APART_AT_ONCE)
            found = self._first_allowed(self._ranked, is_refused)
        if found is None:
            candidates, worth = self._candidates(rng)
            # Many workers ask before more is known: then each takes what the others have left.
            many = len(self._belief.running) >= MANY
            kept = max(_RANKED, int(np.sum(worth >= 0.0))) if many else _RANKED
            begun = self._belief.genes_of(telling(trainings))
            self._ranked = apart(candidates[:kept], begun, _APART)
            # Of those that were only just begun nothing is known yet.
            just = [t for t in trainings if t.runs and len(t.scores) <= self._first_rung]
            self._ranked = apart(self._ranked, self._belief.genes_of(telling(just)), _APART_AT_ONCE)
            found = self._first_allowed(self._ranked, is_refused)
            found = found or self._first_allowed(candidates, is_refused)
        self._ranked_for = len(trainings)
        return found

    @property
    def _whole_area(self) -> float:
        corner = self._corner
        height = corner.best if math.isfinite(corner.best) else self._belief.front.best[-1]
        return float((height - corner.floor) * math.prod(corner.costs))

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
        told = self._belief.told
        scores = self._belief.ends(told)
        points = self._belief.points_of(told, scores)
        front = front_of(points, -math.inf, [math.inf] * len(self._corner.costs))
        parents = self._belief.genes_of(told)[np.isin(scores, front.best[1:])]
        each = max(1, _CANDIDATES // 2 // len(parents))
        repeated = np.repeat(parents, each, axis=0)
        return np.concatenate([moved(self._coding, rng, repeated, *step) for step in _STEPS])

    def _from_earlier(
        self, trainings: Sequence[Training], is_refused: Callable[[Params], bool]
    ) -> Params | None:
        """The next of the other study's front, every second time: draws tell how good it is."""
        front = () if self._earlier is None or len(trainings) % 2 else self._earlier.front
        allowed = [params for params in front if not is_refused(params)]
        if not allowed:
            return None
        # Whoever is known to be beyond a limit would cost a trial for nothing.
        within = self._excess(self._coding.genes_of(allowed)) <= 0.0
        return next((p for p, fits in zip(allowed, within, strict=True) if fits), None)

    def _first_allowed(self, genes: Array, is_refused: Callable[[Params], bool]) -> Params | None:
        for row in genes:
            params = self._coding.params_of(row)
            if not is_refused(params):
                return params
        return None

    # What is known

    def _tallied(self, trainings: Sequence[Training]) -> Tally:
        self._belief.tally.update(trainings)
        return self._belief.tally

    def _look_at(self, trainings: Sequence[Training]) -> bool:
        """Bring the model to what is known, and tallied; False if that is too little."""
        if not self._belief.look_at(trainings):
            return False
        if self._belief.looks != self._looks:
            self._looks = self._belief.looks
            self._ranked, self._promising = None, []
            self._hoped, self._ending = None, None
        return True

    def _learn_figures(self, trainings: Sequence[Training], tally: Tally) -> None:
        """Show what guesses of latencies and sizes rest on, and who failed."""
        if self._failures.learn(tally.failed, tally.usable, lambda: trainings):
            self._ranked = self._ranked if len(tally.running) >= MANY else None
        earlier = self._earlier
        self._latency.learn(
            tally.measured,
            lambda: [(t.params, t.latency_ms) for t in trainings if t.latency_ms],
            () if earlier is None else earlier.latencies,
        )
        self._size.learn(tally.sized, lambda: [(t.params, t.size) for t in trainings if t.size])
        if self._third is not None:
            self._third.learn(
                tally.weighed,
                lambda: [(t.params, t.third) for t in trainings if t.third],
                () if earlier is None else earlier.thirds,
            )

    def _excess(self, genes: Array, latencies: Array | None = None) -> Array:
        """By what share of a limit candidates are expected to break it; 0 of those that are not."""
        found = excess(
            self._limits,
            lambda: self._latency.of(genes) if latencies is None else latencies,
            lambda: self._size.of(genes),
        )
        return np.broadcast_to(found, len(genes))

    def _worth_of_new(self, genes: Array) -> Array:
        latencies = self._latency.of(genes)
        means, deviations = self._belief.predict_new(genes, latencies)
        # Who waits may still go on: what is no better than it is expected to be adds nothing.
        front = self._belief.expected_front
        costs: Costs = (latencies,)
        if self._third is not None:
            costs = latencies, self._third.of(genes)
        worth = self._belief.gains(means, self._doubt * deviations, costs, front)
        worth = worth * np.prod([likely(genes) for likely in self._likely], axis=0)
        beyond = self._excess(genes, latencies)
        return np.where(beyond > 0.0, -beyond, worth)
