"""What the search believes: where every training would end, and the front as far as it is known."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from study.search.coding import Array, Coding
from study.search.curve_model import CurveModel, Observations
from study.search.earlier import EarlierStudy, Trust
from study.search.gain import Costs, Front, Point, expected_gains, front_of
from study.search.scale import Corner, ScoreScale
from study.search.tally import Tally
from study.search.training import GROWTH, Training, likeliest, looked_at, progress_of

# Observations that the model is conditioned on, and that its hyperparameters are fitted to.
_CONDITIONED, _FITTED = 400, 150
# Of more trainings than that, those it is told of: the rest of the observations are second epochs,
# without which a training's own luck is not told from noise. And of these, who may come to an end.
_TOLD, _TOLD_OPEN = 260, 160
# Its multiples fall evenly between whole numbers, however many there are.
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
# Of those that have not ended, counted on to end as expected: the best.
_SUPPOSED = 150
# From so many trials at once on, what one worker asks for may rest on what another has.
MANY = 16
# From this share of its training on, a trial that runs is taken to be going to its end.
_SOON = 1 / 3


class Belief:
    """A model of all curves, brought up to date when it is asked; see :mod:`latency_first`.

    Args:
        coding: The search space.
        corner: Between which corners the front's area lies.
        first_rung: Epochs that a new trial is trained for before it waits.
        seed: Of what the model is fitted to.
        earlier: What another study learnt.
        genes: Those of trials by number, as far as they are known; it adds to them.

    Attributes:
        tally: Sums over all trials.
        looks: How often it was brought up to date.
        begun: All trials with a score and a latency.
        members: Of these, the ones that make the front of all whole trainings.
        told: The trials that the model was told of: all, or the most telling.
        scale: Between scores and the model's scale.
        front: Of whole trainings, and of running ones that are soon to be, as expected.
        running: Numbers of the trials that ran when it was last brought up to date.
    """

    def __init__(
        self,
        coding: Coding,
        corner: Corner,
        first_rung: int,
        seed: int,
        earlier: EarlierStudy | None,
        genes: dict[int, Array] | None = None,
    ) -> None:
        self._coding, self._corner, self._seed = coding, corner, seed
        self._earlier, self._trust = earlier, Trust()
        # One length for each dimension, and one for the latency.
        self._model = CurveModel([*coding.groups, len(coding.dimensions)])
        self._fitted_at = 0
        self._seen = -1
        self._genes: dict[int, Array] = {} if genes is None else genes
        self.tally = Tally(first_rung)
        self.looks = 0
        self.running: Collection[int] = set()
        self._to_end: Sequence[Training] = ()
        self.begun: Sequence[Training] = ()
        self.members: Sequence[Training] = ()
        self.told: Sequence[Training] = ()

    def state(self) -> dict[str, Any]:
        """What seeing all trials again would not tell: JSON."""
        return {"fitted_at": self._fitted_at, "theta": [float(x) for x in self._model.theta]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; one of another search space is left aside."""
        if len(state["theta"]) == len(self._model.theta):
            self._fitted_at = int(state["fitted_at"])
            self._model.theta = np.array(state["theta"], dtype=float)

    def look_at(self, trainings: Sequence[Training]) -> bool:
        """Bring it to what is known, and tallied; False if that is too little."""
        if self.tally.usable < 2:
            return False
        seen, running = self.tally.epochs, set(self.tally.running)
        # With many workers there are new epochs whenever one asks: some then share one look.
        late = len(running) if len(running) >= MANY else 0
        is_late = self._seen < 0 or seen - self._seen > late
        if not is_late and (late or running == self.running):
            return True
        begun = [each for each in trainings if each.scores and each.latency_ms is not None]
        telling = [each for each in begun if each.telling]
        if len(telling) < 2:
            return False
        self.begun, self.members = begun, self._members_of(begun)
        open_ones = self._open_ones(are_many=len(telling) > _CONDITIONED)
        if is_late:
            self._learn(telling, open_ones)
            self._seen = seen
        self.running = running
        just = (t for t in self.tally.running.values() if not t.scores)
        self._to_end = [
            *open_ones,
            *sorted((t for t in just if t.latency_ms is not None), key=lambda t: t.number),
        ]
        self._supposes = False
        self.front = self._front_now()
        self._their_ends: Array | None = None
        self._expected_front: Front | None = None
        self.looks += 1
        return True

    # Where trainings end

    def predict(self, trainings: Sequence[Training]) -> tuple[Array, Array]:
        """Where trainings end that have begun, on the model's scale: means and deviations."""
        numbers = np.array([each.number for each in trainings])
        return self._ends(self._features_of(trainings), numbers)

    def predict_new(self, genes: Array, latencies: Array) -> tuple[Array, Array]:
        """Where configurations would end, by their genes and latencies (ms)."""
        self._suppose()
        features = self._features(genes, latencies)
        return self._ends(features, np.full(len(genes), -1), supposing=True)

    def ends(self, trainings: Sequence[Training]) -> Array:
        """The scores that trainings are expected to end at, `(n,)`."""
        return self.scale.to_scores(self.predict(trainings)[0])

    def gains(
        self, means: Array, deviations: Array, costs: Costs, front: Front | None = None
    ) -> Array:
        """What such ends are expected to add to a front; to the one there is, if left out."""
        front = self.front if front is None else front
        return expected_gains(front, means, deviations, costs, self.scale)

    def front_of_points(self, points: Sequence[Point]) -> Front:
        """The front of some points, within the same corner as :attr:`front`."""
        return front_of(points, self._floor, self._corner.costs)

    @property
    def expected_front(self) -> Front:
        """The front there is if all that was begun is trained to its end, as expected."""
        if self._expected_front is None:
            points = self.whole_points(self.members)
            points += self.points_of(self._to_end, self._expected_ends())
            self._expected_front = self.front_of_points(points)
        return self._expected_front

    def genes_of(self, trainings: Sequence[Training]) -> Array:
        """Genes of their configurations, `(n, dimensions)`."""
        for each in trainings:
            if each.number not in self._genes:
                self._genes[each.number] = self._coding.genes_of([each.params])[0]
        found = np.array([self._genes[each.number] for each in trainings])
        return found.reshape(len(trainings), len(self._coding.dimensions))

    def ms_of(self, trainings: Sequence[Training]) -> Array:
        """Latencies (ms) of trainings that have scores, which were measured before."""
        return np.array([each.latency_ms for each in trainings], dtype=float)

    def costs_of(self, trainings: Sequence[Training]) -> Costs:
        """Latencies (ms), and thirds where there is a third objective, in the same way."""
        if self._corner.largest is None:
            return (self.ms_of(trainings),)
        return self.ms_of(trainings), np.array([each.third for each in trainings], dtype=float)

    def points_of(self, trainings: Sequence[Training], ends: Array) -> list[Point]:
        """What a front is made of, where trainings end at such scores."""
        costs = (each.tolist() for each in self.costs_of(trainings))
        return list(zip(ends.tolist(), *costs, strict=True))

    def whole_points(self, trainings: Sequence[Training]) -> list[Point]:
        """The same of those of them that came to their end, and are not refused."""
        whole = [each for each in trainings if each.is_whole and each.feasible]
        return self.points_of(whole, np.array([each.scores[-1] for each in whole], dtype=float))

    def _ends(
        self, features: Array, training: npt.NDArray[np.int64], *, supposing: bool = False
    ) -> tuple[Array, Array]:
        means, deviations = self._model.predict(features, training, supposing=supposing)
        if self._earlier is not None:
            expected = self._earlier.expects(features[:, :-1], np.ones(len(features)))
            means = means + self._trust.of(expected)
        return means, deviations

    def _members_of(self, begun: Sequence[Training]) -> list[Training]:
        """Those that make the front of whole trainings, wherever its corner lies."""
        whole = [each for each in begun if each.is_whole and each.feasible]
        nowhere = [math.inf] * len(self._corner.costs)
        best = front_of(self.whole_points(whole), -math.inf, nowhere).best[1:]
        scores = set(best.tolist())
        return [each for each in whole if each.scores[-1] in scores]

    def _open_ones(self, *, are_many: bool) -> list[Training]:
        """Who may still come to an end; where trainings are many, of those that wait the likeliest.

        Whoever was stopped for good, or is refused, is on no front.
        """
        waiting = self.tally.likeliest if are_many else self.tally.waiting
        found = [
            each
            for each in [*waiting, *self.tally.running.values()]
            if each.scores and each.latency_ms is not None and each.telling
            if each.feasible and not each.is_whole
        ]
        return sorted(found, key=lambda each: each.number)

    def _front_now(self) -> Front:
        self._floor = self._corner.floor
        if not self._corner.is_told:
            usual = float(np.percentile([each.scores[-1] for each in self.begun], 20))
            self._floor = max(self._floor, usual)
        points = self.whole_points(self.members)
        soon = [
            each
            for each in sorted(self.tally.running.values(), key=lambda each: each.number)
            if each.latency_ms is not None
            if _SOON * each.epochs <= len(each.scores) < each.epochs
        ]
        if soon:
            points += self.points_of(soon, self.ends(soon))
        return self.front_of_points(points)

    # Learning

    def _learn(self, begun: Sequence[Training], open_ones: Sequence[Training]) -> None:
        """Condition the model on what is known, and now and then fit it."""
        latencies = self.ms_of(begun)
        self._slowest, self._fastest = np.log(latencies.max()), np.log(latencies.min())
        self.told = self._most_telling(begun, open_ones)
        observations = self._observations(self.told)
        if len(begun) >= GROWTH * self._fitted_at + 1:
            self._fitted_at = len(begun)
            rng = np.random.default_rng((self._seed, len(begun)))
            rows = rng.permutation(len(observations.values))[:_FITTED]
            self._model.fit(observations.take(rows), 40 if len(begun) < 40 else 20)
        self._model.condition(observations)

    def _expected_ends(self) -> Array:
        """The scores that those are expected to end at that have not ended, and may."""
        if self._their_ends is None:
            self._their_ends = self.ends(self._to_end)
        return self._their_ends

    def _suppose(self) -> None:
        """Where new ones are judged, count on what was begun to end as expected.

        What is like one of them then has little to add: that is learnt by going on with it. So
        neither is what many workers begin at once all alike.
        """
        if self._supposes:
            return
        best = np.argsort(-self._expected_ends(), kind="stable")[:_SUPPOSED]
        supposed = [self._to_end[place] for place in best]
        numbers = np.array([t.number for t in supposed], dtype=int)
        ends, unread = np.ones(len(numbers)), np.zeros(len(numbers))
        self._model.suppose(Observations(self._features_of(supposed), ends, numbers, unread))
        self._supposes = True

    def _most_telling(
        self, begun: Sequence[Training], open_ones: Sequence[Training]
    ) -> Sequence[Training]:
        """All, or of many those that decisions are about, and whoever came furthest.

        What is decided next is who of the open ones goes on, and what is like the front: of both
        the model is to know more than the configuration. Of others that came as far, those that are
        told are spread over the study.
        """
        if len(begun) <= _CONDITIONED:
            return begun
        waiting = likeliest([each for each in open_ones if each.waits], _TOLD_OPEN)
        running = _furthest([each for each in open_ones if each.runs])
        members = _furthest([each for each in self.members if each.telling])
        ranked = [*[*waiting, *running][:_TOLD_OPEN], *members, *_furthest(begun, _TOLD)]
        told = list({each.number: each for each in ranked}.values())[:_TOLD]
        return _furthest(told)[::-1]

    def _observations(self, begun: Sequence[Training]) -> Observations:
        """A few epochs of each trial, the last among them; the most telling, if they are many."""
        rows = [
            (index, epoch, each.scores[epoch - 1], epoch == len(each.scores))
            for index, each in enumerate(begun)
            for epoch in looked_at(len(each.scores))
        ]
        self.scale = ScoreScale(np.array([row[2] for row in rows]), self._corner)
        if len(rows) > _CONDITIONED:
            # The ends first, then what is nearest to an end.
            def importance(row: tuple[int, int, float, bool]) -> tuple[bool, float, int]:
                return row[3], row[1] / begun[row[0]].epochs, row[0]

            rows = sorted(rows, key=importance)[-_CONDITIONED:]
        owners = np.array([row[0] for row in rows])
        progress = np.array([progress_of(row[1], begun[row[0]].epochs) for row in rows])
        features = self._features_of(begun)[owners]
        values = self.scale.to_model(np.array([row[2] for row in rows]))
        if self._earlier is not None:
            expected = self._earlier.expects(features[:, :-1], progress)
            self._trust = Trust.fitted(expected, values, owners)
            values = values - self._trust.of(expected)
        numbers = np.array([begun[owner].number for owner in owners])
        return Observations(features, progress, numbers, values)

    def _features_of(self, trainings: Sequence[Training]) -> Array:
        return self._features(self.genes_of(trainings), self.ms_of(trainings))

    def _features(self, genes: Array, latencies: Array) -> Array:
        """Features of configurations; the last is the logarithm of the latency."""
        span = max(self._slowest - self._fastest, 1e-3)
        last = (np.log(latencies) - self._fastest) / span
        return np.column_stack([self._coding.features(genes), last])


def _furthest(trainings: Sequence[Training], most: int | None = None) -> list[Training]:
    """Those that came furthest, in order; of some that came as far in one that means nothing."""
    shares = np.array([len(each.scores) / each.epochs for each in trainings])
    spread = np.array([each.number for each in trainings]) * _GOLDEN % 1.0
    return [trainings[place] for place in np.lexsort((spread, -shares))[:most]]
