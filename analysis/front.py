"""The score-latency front: who is on it, how much it is worth, what distillation added.

A point is (score, latency in ms), or (score, latency, parameters or FLOPs in millions) where a
study keeps those small as well: more of the score and less of all else are better. One point
dominates another when it is at least as good in everything and better in something. Points that
are equal in everything dominate neither each other, so all of them stay on the front.

The score of a configuration that was trained under several seeds is the mean over its runs.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.latency import NOTHING_TIED, TieTests
from analysis.results import ReferencePoint, Split, Third, TrialResult, first_runs
from analysis.runs import Estimate, mean_scores, runs_of
from analysis.stored_plan import Space

Point = tuple[float, ...]

# What a method is called that asks no teacher, though its students have controls.
_BY_ITSELF = "self"
# What teaches a student, where a space does not say how its control differs.
_CONTROL: Mapping[str, Any] = {"terms": "ce"}
_METHOD_PARAMETERS = frozenset({"terms", "temperature", "alpha"})


@dataclass(frozen=True)
class KdPair:
    """A distilled trial and its control: the same student, recipe, data and epochs.

    Gains are distilled minus control, in the score's unit: the mean over their pairs of runs, each
    of one seed, and how far it is to be trusted. `test` is None until both have a run of the same
    seed scored on the test split. `by_run` and `test_by_run` are the gains that `validation` and
    `test` are the means of, by the number of the run.
    """

    distilled: TrialResult
    control: TrialResult
    validation: Estimate
    test: Estimate | None
    by_run: Mapping[int, float]
    test_by_run: Mapping[int, float]

    def told_by(self, split: Split) -> tuple[Estimate, Mapping[int, float]]:
        """The gain on a split, and that of each run; of the test split, where that was scored."""
        if split == "test" and self.test is not None:
            return self.test, self.test_by_run
        return self.validation, self.by_run

    @property
    def val_gain(self) -> float:
        """The mean gain in the validation score."""
        return self.validation.mean

    @property
    def test_gain(self) -> float | None:
        """The mean gain in the test score."""
        return None if self.test is None else self.test.mean


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is at least as good as `other` in every objective and better in one."""
    if one[0] < other[0] or one == other:
        return False
    return all(mine <= theirs for mine, theirs in zip(one[1:], other[1:], strict=True))


class Staircase:
    """The best score reached within each value of an objective to be kept small.

    Swept in the order of one objective, it answers who is dominated in the two others; finding a
    step takes log n (Kung, Luccio and Preparata, 1975). Without a third objective, where all are
    entered at 0, it has a single step.
    """

    def __init__(self) -> None:
        self._small: list[float] = []  # both ascend
        self._scores: list[float] = []

    def best_within(self, small: float) -> float:
        """The best score entered at `small` or less; minus infinity where there is none."""
        steps = bisect_right(self._small, small)
        return self._scores[steps - 1] if steps else -math.inf

    def enter(self, small: float, score: float) -> None:
        """Take in a score reached at `small`."""
        if score <= self.best_within(small):
            return
        first = last = bisect_left(self._small, small)
        while last < len(self._scores) and self._scores[last] <= score:
            last += 1
        self._small[first:last], self._scores[first:last] = [small], [score]


def non_dominated(points: Sequence[Point]) -> list[bool]:
    """For every point of two or three objectives, whether no other one dominates it; n log n.

    A point that is not finite is never on the front and dominates nothing.
    """
    keep = [False] * len(points)
    finite = [
        (latency, rest[0] if rest else 0.0, -score, i)
        for i, (score, latency, *rest) in enumerate(points)
        if all(map(math.isfinite, points[i]))
    ]
    finite.sort()
    ahead = Staircase()
    last: Point | None = None
    for _, third, minus_score, i in finite:
        # Whoever dominates a point comes before it, and its equals stand beside it.
        if points[i] == last or ahead.best_within(third) < -minus_score:
            keep[i] = True
            last = points[i]
            ahead.enter(third, -minus_score)
    return keep


def trial_point(trial: TrialResult, third: Third | None = None) -> Point | None:
    """(validation score, latency ms[, third]) of a trial that ran to its end, else None.

    It is that of this one run: `places` tells where a configuration stands. None too of one that
    breaks a constraint of its study.
    """
    score, latency = trial.val_score, trial.latency_ms
    if trial.status != "complete" or score is None or latency is None:
        return None
    if trial.outcome is not None and trial.outcome.breaks is not None:
        return None
    if third is None:
        return (score, latency)
    small = third_value(trial, third)
    return None if small is None else (score, latency, small)


def _is_comparable(trial: TrialResult) -> bool:
    """Whether a trial ran to its end, with all that others are compared by."""
    known = trial.val_score is not None and trial.latency_ms is not None
    return trial.status == "complete" and known


def third_value(trial: TrialResult, third: Third) -> float | None:
    """The parameters or FLOPs (M) of a trial's student; None until it was built."""
    if trial.model is None:
        return None
    return trial.model.params_m if third == "params_m" else trial.model.flops_m


def places(
    trials: Iterable[TrialResult], third: Third | None = None
) -> list[tuple[TrialResult, Point]]:
    """The configurations that ran to their end, each as its first run, with their points.

    The score is the mean over the runs of a configuration; replicates are no points themselves.
    """
    trials = list(trials)
    means = mean_scores(trials)
    return [
        (trial, (means.get(trial.number, point[0]), *point[1:]))
        for trial in first_runs(trials)
        if (point := trial_point(trial, third)) is not None
    ]


def told_apart(points: Sequence[Point], spreads: Sequence[float]) -> list[int | None]:
    """For every point of a front, which one it gives way to, being tied with it in latency.

    Latencies are tied where the larger one is above the smaller by no more than a share of it, the
    larger one of the two points' `spreads`.
    Being tied does not carry over from one to the next, so it is said step by step, and against
    those that stay alone. The best score is looked at first, of equal ones the smallest. A point
    gives way to the first one that stays, has a better score or less of the third objective and is
    no worse in either, and is not told to be slower. So whoever gives way is tied with one that
    stays (or slower than it), and of those that stay none could give way to another.

    Args:
        points: None of them dominated by another.
        spreads: One for each, from 0 on; where all are 0 all stay.

    Returns:
        For each point the index of the other, None for those that stay.
    """
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], *points[i][:0:-1], i))
    gives_way: list[int | None] = [None] * len(points)
    stay: list[int] = []
    for index in order:
        score, latency, *rest = points[index]
        for other in stay:
            its_score, its_latency, *its_rest = points[other]
            no_worse = its_score >= score and its_rest <= rest
            better = its_score > score or its_rest < rest
            spread = max(spreads[index], spreads[other])
            if no_worse and better and its_latency <= latency * (1 + spread):
                gives_way[index] = other
                break
        else:
            stay.append(index)
    return gives_way


def front_members(
    trials: Iterable[TrialResult], third: Third | None = None, tests: TieTests = NOTHING_TIED
) -> tuple[TrialResult, ...]:
    """The non-dominated configurations among those that ran to their end, fastest first.

    Each is told by its first run; `trials` are to hold its replicates too, which count in its mean.

    Chosen by validation score and latency (the confirmed one where there is one), and by the third
    objective of a study that has one; the test score plays no part. The front of two objectives is
    part of that of three. Of members whose latencies differ by less than what A/A `tests` found
    between equal students, those of the better score stay (`told_apart`).
    """
    members = _exact_front(trials, third)
    gives_way = _who_gives_way(members, tests)
    return tuple(t for (t, _), other in zip(members, gives_way, strict=True) if other is None)


def tied(
    trials: Iterable[TrialResult], third: Third | None, tests: TieTests
) -> dict[int, TrialResult]:
    """Who is off the front for a tie in latency alone, by number: the member it gave way to."""
    members = _exact_front(trials, third)
    gives_way = _who_gives_way(members, tests)
    return {
        trial.number: members[other][0]
        for (trial, _), other in zip(members, gives_way, strict=True)
        if other is not None
    }


def _who_gives_way(
    members: Sequence[tuple[TrialResult, Point]], tests: TieTests
) -> list[int | None]:
    spreads = [tests.spread_of(trial.best_latency) for trial, _ in members]
    return told_apart([point for _, point in members], spreads)


def _exact_front(
    trials: Iterable[TrialResult], third: Third | None
) -> list[tuple[TrialResult, Point]]:
    """The non-dominated configurations with their points, fastest first, whatever is tied."""
    placed = places(trials, third)
    keep = non_dominated([point for _, point in placed])
    members = [entry for entry, kept in zip(placed, keep, strict=True) if kept]
    members.sort(key=lambda entry: (entry[1][1], -entry[1][0], entry[0].number))
    return members


def hypervolume(points: Iterable[Point], reference: ReferencePoint) -> float:
    """Area dominated by `points` inside the reference corner, as a share of the largest possible.

    The corner is (floor score, latency of the teacher or the default student); the largest area
    is (best - floor) times that latency. Points outside the corner add nothing. 0 where the
    corner leaves no area. It is an area also where a study has a third objective, which plays no
    part in it.
    """
    floor, slowest, perfect = reference.val_score, reference.latency_ms, reference.best_score
    whole = (perfect - floor) * slowest
    if not whole > 0.0:
        return 0.0
    inside = sorted(
        (max(latency, 0.0), min(score, perfect))
        for score, latency, *_ in points
        if score > floor and latency < slowest
    )
    area, reached = 0.0, floor
    for latency, score in inside:
        if score > reached:
            area += (score - reached) * (slowest - latency)
            reached = score
    return area / whole


def front_hypervolume(trials: Iterable[TrialResult], reference: ReferencePoint) -> float:
    """The hypervolume (0 to 1) in score and latency of the configurations that ran to their end."""
    return hypervolume((point for _, point in places(trials)), reference)


def method_parameters(space: Space) -> frozenset[str]:
    """Names of the parameters that say how a student is taught.

    These are the ones the space's control overrides, and those that apply only under them.
    """
    if not space.control:
        return _METHOD_PARAMETERS
    names = set(space.control)
    for parameter in space.parameters:
        if parameter.when is not None and parameter.when.parameter in names:
            names.add(parameter.name)
    return frozenset(names)


def taught_by_itself(trial: TrialResult) -> bool:
    """Whether a student's own deeper layers taught it, and no teacher was asked."""
    return trial.params.get("method") == _BY_ITSELF


def is_distilled(trial: TrialResult, space: Space) -> bool:
    """Whether a teacher had a part in a trial: neither a control by origin nor by parameters.

    Where a space declares no controls, whoever is taught at all is distilled.
    """
    if trial.source == "control" or trial.params.get("alpha") == 0:
        return False
    if space.control is not None and not space.control:
        return space.distils
    control = _CONTROL if space.control is None else space.control
    return any(trial.params.get(name) != value for name, value in control.items())


def kd_pairs(trials: Iterable[TrialResult], space: Space) -> tuple[KdPair, ...]:
    """Every distilled configuration that has a control, largest validation gain first.

    Both ran to their end, and are told by their first runs; their further runs are compared seed
    by seed. A control matches when it has the same architecture, the same planned
    epochs and the same value of every parameter that neither shapes the student nor says how it
    is taught (learning rate, schedule, batch size, share of the training set, ...; numbers are
    compared to four digits). Of several controls, one that was run as a control comes first, then
    the oldest.
    """
    runs = runs_of(trials)
    complete = [first for first, *_ in runs.values() if _is_comparable(first)]
    controls: dict[tuple[Any, ...], TrialResult] = {}
    distilled = []
    for trial in sorted(complete, key=lambda t: (t.source != "control", t.number)):
        if is_distilled(trial, space):
            distilled.append(trial)
        else:
            controls.setdefault(_recipe(trial, space), trial)
    pairs = [
        _pair(runs[trial.number], runs[controls[key].number])
        for trial in distilled
        if (key := _recipe(trial, space)) in controls
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.val_gain, pair.distilled.number)))


def _recipe(trial: TrialResult, space: Space) -> tuple[Any, ...]:
    """What a distilled trial and its control have in common.

    Where a method shapes the student (its outputs, in as many subclasses as its teacher's), the
    rest of the architecture must agree; otherwise the whole.
    """
    taught = method_parameters(space)
    shaped = {parameter.name for parameter in space.parameters if parameter.architecture}
    student = _values(trial, shaped - taught) if shaped & taught else trial.architecture
    rest = _values(trial, set(trial.params) - taught - shaped)
    return (student, trial.epochs, rest)


def untaught(trial: TrialResult, space: Space) -> tuple[tuple[str, Any], ...]:
    """The parameters of a trial that do not say how it is taught, numbers to four digits.

    Unlike the architecture they are known before its student is built.
    """
    return _values(trial, set(trial.params) - method_parameters(space))


def _values(trial: TrialResult, names: set[str]) -> tuple[tuple[str, Any], ...]:
    """Some of a trial's parameters; numbers to four digits."""
    return tuple(
        (name, float(f"{value:.4g}") if isinstance(value, float) else value)
        for name, value in sorted(trial.params.items())
        if name in names
    )


def _pair(distilled: Sequence[TrialResult], control: Sequence[TrialResult]) -> KdPair:
    """A pair from the runs of both, the first ones first."""
    twins = {run.run: run for run in control}
    seeds = [(run, twins[run.run]) for run in distilled if run.run in twins]
    validation = {
        one.run: one.val_score - other.val_score
        for one, other in seeds
        if one.val_score is not None and other.val_score is not None
    }
    test = {
        one.run: one.test_score - other.test_score
        for one, other in seeds
        if one.test_score is not None and other.test_score is not None
    }
    return KdPair(
        distilled[0],
        control[0],
        Estimate.of(validation.values()),
        Estimate.of(test.values()) if test else None,
        validation,
        test,
    )
