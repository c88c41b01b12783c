"""The search as a study's driver asks it: from the record's trials, in the words of its space."""

import contextlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from analysis import results
from analysis.front import third_value
from analysis.results import (
    ReferencePoint,
    Third,
    TrialResult,
    device_seconds,
    first_runs,
    searched,
    trained_alone,
)
from analysis.runs import mean_scores
from search_spaces.space import Params, SearchSpace, Value
from study.budget import UNBOUNDED, Left
from study.proposal import distribution
from study.record import StudyRecord
from study.rungs import first_wait, rung_epochs
from study.waiting import MOST_WAITING, disk_is_low, why_it_waits

if TYPE_CHECKING:
    from study.plan import StudyPlan
    from study.search.coding import Coding
    from study.search.earlier import EarlierStudy
    from study.search.training import Training
    from study.warm_start import Earlier

# Spaces of no more configurations are looked through whole.
_SMALL = 2_000
_MOST_NAMES = 100_000  # of students, remembered by their parameters
# A study goes on with trials that wait while any promises this share of the front's whole area.
WORTH_GOING_ON = 1e-3


class Guide:
    """Asks :class:`study.search.latency_first.LatencyFirst` on behalf of one study.

    Args:
        record: The study's record, which knows the reference point. Where that lacks the third
            objective, as in records made before the search knew one, it stays with two.
        space: The space, with ``--fix`` applied.
        plan: The plan.
        earlier: What another study learnt, where there is a warm start.

    Attributes:
        most_waiting: So many trials wait at most; who promises least is given up.
    """

    def __init__(
        self,
        record: StudyRecord,
        space: SearchSpace,
        plan: "StudyPlan",
        earlier: "Earlier | None" = None,
    ) -> None:
        from study.search.latency_first import LatencyFirst, first_of
        from study.search.scale import Corner
        from study.search.training import Limits

        self._record, self._space = record, space
        self._shown: dict[int, tuple[tuple[Any, ...], Training]] = {}
        # By the student's name, as in the record.
        self._latencies: dict[str, float] = {}
        self._sizes: dict[str, float] = {}
        self._thirds: dict[str, float] = {}
        self._names: dict[tuple[tuple[str, Value], ...], str] = {}
        point = ReferencePoint.from_json(record.attribute(results.ATTR_REFERENCE_POINT))
        slowest = min(point.latency_ms, plan.max_latency_ms or math.inf)
        largest = point.third
        if largest is not None and plan.third == "params_m":
            largest = min(largest, plan.max_params_m or math.inf)
        self._third = None if largest is None else plan.third
        # Below the least score that is asked for nothing is gained.
        floor = max(point.val_score, plan.min_score or -math.inf)
        self._worst = point.val_score
        first = first_wait(plan.max_epochs)
        self._rungs = rung_epochs(plan.max_epochs, first)
        coding = coding_of(space)
        coded = {each.name for each in coding.dimensions}
        self._held = {p.name: p.default for p in space.parameters if p.name not in coded}
        self._search: LatencyFirst = LatencyFirst(
            coding,
            Corner(floor, slowest, point.best_score, largest),
            first_rung=first,
            seed=plan.seed,
            latency_of=lambda params: self._latencies.get(self._student(params)),
            shaping=[p.name for p in space.parameters if p.architecture],
            limits=Limits(plan.max_latency_ms or math.inf, plan.max_params_m or math.inf),
            size_of=lambda params: self._sizes.get(self._student(params)),
            third_of=lambda params: self._thirds.get(self._student(params)),
            earlier=None
            if earlier is None
            else _earlier(coding, earlier, point.best_score, plan.seed, self._third),
            first=first_of(plan.budget.trials),
        )
        kept = record.attribute(results.ATTR_SEARCH)
        if kept is not None:
            self._search.load_state(kept)
        self._everything = _configurations(space)
        self._devices = plan.devices_per_trial
        # What depends on how fast this machine is decides nothing but where time is bounded.
        self._is_timed = plan.budget.is_timed
        self.most_waiting = MOST_WAITING

    def is_rung(self, epoch: int, epochs: int) -> bool:
        """Whether a training of ``epochs`` waits after ``epoch``."""
        return epoch < epochs and epoch in self._rungs

    def waits(self, trial: TrialResult) -> bool:
        """Whether an open trial that is not being trained stands at a rung, free to go on."""
        return (
            trial.outcome is None
            and trial.label is None
            and trial.searched
            and self.is_rung(trial.epochs_done, trial.epochs)
        )

    def has_time_to_begin(
        self, trials: Sequence[TrialResult], running: Collection[int], left: Left
    ) -> bool:
        """Whether a trial that began now could come to its end.

        Args:
            trials: All of the record's.
            running: Numbers of those that are being trained.
            left: Of the budget.
        """
        if not left.is_bounded:
            return True
        seen = self._seen(trials, running)
        with self._kept():
            return self._search.may_begin(seen, left.slowed(_overhead(trials, self._devices)))

    def next_to_go_on(
        self,
        trials: Sequence[TrialResult],
        running: Collection[int],
        *,
        may_begin: bool,
        left: Left = UNBOUNDED,
        worth: float = WORTH_GOING_ON,
    ) -> int | None:
        """Return the waiting trial to go on with, or None if a new one is to begin, or none is.

        Args:
            trials: All of the record's.
            running: Numbers of those that are being trained.
            may_begin: Whether the study may still begin another one.
            left: Of the budget: who cannot come to its end in it does not go on.
            worth: What going on is to promise where nothing more begins, as a share of the front's
                whole area.
        """
        seen = self._seen(trials, running)
        with self._kept():
            if may_begin:
                return self._search.next_to_go_on(seen, left.workers)
            if left.is_bounded:
                left = left.slowed(_overhead(trials, self._devices))
                return self._search.next_to_end(seen, left, worth)
            return self._search.most_promising(seen, worth)

    def begin(
        self,
        trials: Sequence[TrialResult],
        running: Collection[int],
        is_refused: Callable[[dict[str, Value]], bool],
    ) -> dict[str, Value] | None:
        """Return the configuration to begin; None if nothing untried was found."""
        with self._kept():
            found = self._search.begin(
                self._seen(trials, running),
                lambda params: is_refused(self._space.complete(params)),
                self._everything,
            )
        return None if found is None else self._space.complete(found)

    def surplus(
        self, trials: Sequence[TrialResult], running: Collection[int]
    ) -> tuple[int, str] | None:
        """Return the waiting trial that is to be given up, and why; None while all may wait.

        Args:
            trials: All of the record's.
            running: Numbers of those that are being trained.
        """
        waiting = [t.number for t in trials if self.waits(t) and t.number not in running]
        if len(waiting) > self.most_waiting:
            why = f"more than {self.most_waiting} trials waited"
        elif waiting and disk_is_low(self._record.folder / "checkpoints", waiting):
            why = "the disk ran low"
        else:
            return None
        seen = self._seen(trials, running)
        with self._kept():
            number = self._search.least_promising(seen)
            ends = self._search.expected_ends(seen)
        if number is None:
            return None
        [trial] = (trial for trial in trials if trial.number == number)
        text = why_it_waits(trial, ends.get(number), trials, self._space.score, self._space.third)
        return number, f"given up when {why}: {text}"

    def why_they_wait(
        self, trials: Sequence[TrialResult], running: Collection[int] = ()
    ) -> dict[int, str]:
        """Return, of each trial that waits, at which rung, and who is preferred to it."""
        with self._kept():
            ends = self._search.expected_ends(self._seen(trials, running))
        return {
            trial.number: why_it_waits(
                trial, ends.get(trial.number), trials, self._space.score, self._space.third
            )
            for trial in trials
            if self.waits(trial) and trial.number not in running
        }

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep in the record what the model was fitted to, so that another driver goes on alike."""
        before = self._search.state()
        yield
        if self._search.state() != before:
            self._record.set_attribute(results.ATTR_SEARCH, self._search.state())

    def _seen(self, trials: Sequence[TrialResult], running: Collection[int]) -> "list[Training]":
        from study.search.training import Training

        alone = {trial.number for trial in searched(trained_alone(trials))}
        means = mean_scores(trials)
        seen = []
        for trial in first_runs(trials):
            latency = trial.search_latency_ms or trial.latency_ms
            size = None if trial.model is None else trial.model.params_m
            third = None if self._third is None else third_value(trial, self._third)
            if self._third is not None and third is None:
                latency = None  # both are known at once
            runs = trial.number in running
            waits, counts = self.waits(trial) and not runs, trial.number in alone
            feasible = _is_feasible(trial)
            # What several runs come to is nearer to what another would be than the first, which may
            # have been chosen for its luck.
            mean = means.get(trial.number)
            failed = _has_failed(trial)
            facts = (
                *(len(trial.curve), mean, latency, waits, runs, counts),
                *(size, third, feasible, failed),
            )
            known = self._shown.get(trial.number)
            # What did not change is the same object again.
            if known is None or known[0] != facts:
                training = Training(
                    trial.number,
                    trial.params,
                    _scores(trial, mean, self._worst),
                    trial.epochs,
                    latency,
                    waits=waits,
                    runs=runs,
                    counts=counts,
                    size=size,
                    third=third,
                    feasible=feasible,
                    epoch_seconds=_epoch_seconds(trial) if self._is_timed else 1.0,
                    telling=all(self._held.get(n, v) == v for n, v in trial.params.items()),
                    failed=failed,
                )
                known = self._shown[trial.number] = (facts, training)
                self._learn_figures(trial.architecture, training)
            seen.append(known[1])
        return seen

    def _learn_figures(self, student: str, training: "Training") -> None:
        if training.latency_ms is not None:
            self._latencies.setdefault(student, training.latency_ms)
        if training.size is not None:
            self._sizes.setdefault(student, training.size)
        if training.third is not None:
            self._thirds.setdefault(student, training.third)

    def _student(self, params: Params) -> str:
        """Name the student that parameters build, with defaults where they say nothing."""
        key = tuple(sorted(params.items()))
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            name = self._names[key] = self._space.describe(self._space.complete(params))
        return name


def _scores(trial: TrialResult, mean: float | None, worst: float) -> tuple[float, ...]:
    """The score after each epoch; after the last the mean over several runs, where there is one.

    Whoever diverged has come to the ``worst`` score after that: its neighbours are to be expected
    near there, and not where its epochs before pointed.
    """
    scores = tuple(epoch.val_score for epoch in trial.curve)
    if trial.outcome is not None and trial.outcome.diverged:
        return (*scores, worst)[: trial.epochs]
    whole = len(scores) == trial.epochs
    return scores if mean is None or not whole else (*scores[:-1], mean)


def _is_feasible(trial: TrialResult) -> bool:
    """Whether a trial is on the front if it comes to its end."""
    if trial.status in ("infeasible", "failed"):
        return False
    return trial.outcome is None or trial.outcome.breaks is None


def _has_failed(trial: TrialResult) -> bool:
    """Whether an error ended a trial; one that diverged has a score for it."""
    diverged = trial.outcome is not None and trial.outcome.diverged
    return trial.status == "failed" and not diverged


def _epoch_seconds(trial: TrialResult) -> float:
    """Seconds of training that an epoch of a trial takes."""
    if not trial.curve:
        return 1.0
    return max(1e-6, sum(epoch.seconds for epoch in trial.curve) / len(trial.curve))


def _overhead(trials: Sequence[TrialResult], devices: float) -> float:
    """Return how many times longer workers are held than they train: they start, and validate.

    Of trials that came to their end, if there are any: whoever was only begun has started for few
    epochs.
    """
    alone = [trial for trial in trained_alone(trials) if trial.curve]
    ended = [trial for trial in alone if trial.epochs_done >= trial.epochs] or alone
    trained = sum(epoch.seconds for trial in ended for epoch in trial.curve)
    held = device_seconds(ended) / devices
    return max(1.0, held / trained) if trained > 0 else 1.0


def _earlier(
    coding: "Coding", earlier: "Earlier", best: float, seed: int, third: Third | None
) -> "EarlierStudy":
    from study.search.earlier import EarlierStudy, EarlierTraining

    trainings = [
        EarlierTraining(
            trial.params,
            tuple((each.epoch, each.score) for each in trial.scores),
            trial.epochs,
            trial.latency_ms,
            None if third is None else getattr(trial, third),
        )
        for trial in earlier.trials
    ]
    return EarlierStudy(coding, trainings, best, seed, has_third=third is not None)


def _configurations(space: SearchSpace) -> list[dict[str, Value]] | None:
    """Return all that can be drawn, of a small space; None of others."""
    if not space.is_finite:
        return None
    found = list(itertools.islice(space.enumerate(), _SMALL + 1))
    return found if len(found) <= _SMALL else None


def coding_of(space: SearchSpace) -> "Coding":
    """Return the dimensions of a space that a sampler may vary."""
    from study.search.coding import Coding, Dimension

    searched = {p.name for p in space.parameters if space.can_be_drawn(p.name)}
    dimensions = []
    for parameter in space.parameters:
        if parameter.name not in searched:
            continue
        when = parameter.when
        depends = when is not None and when.parameter in searched
        dimensions.append(
            Dimension(
                parameter.name,
                distribution(parameter),
                when.parameter if when is not None and depends else None,
                tuple(when.values) if when is not None and depends else (),
            )
        )
    return Coding(tuple(dimensions))
