"""Handing out what is trained when the search is over: the runs that `--replicates` asks for."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from analysis import results
from analysis.results import TrialResult, searched
from analysis.stored_plan import Space
from search_spaces.space import SearchSpace
from study.budget import UNBOUNDED, Left
from study.handing_out import Queue
from study.plan import StudyPlan
from study.proposal import distributions
from study.record import StudyRecord
from study.replicates import (
    FurtherRun,
    further,
    next_round,
    not_begun,
    runs_a_group,
    trainings,
)
from study.trial_context import TrialTask


class ReplicateQueue(Queue):
    """What is trained again in one round.

    A round is what the record asks for while nothing runs: its runs are handed out in order, and
    only when all have ended is the next one asked for, so that a mean that has but one of its runs
    yet decides nothing. Where an earlier driver left a round open, its trials come first, then what
    is left of it: a study that was interrupted goes on as if it had not been.

    Args:
        record: The study's record.
        space: The space, with ``--fix`` applied.
        plan: The plan.
        stored: The record's view of the space.
        enough: Says whether no further trial is to be started (budget, signal, failures).
        begun: What this driver has begun in earlier rounds, which is not begun again; it adds to
            it.
        expects: Told how many trainings there will be in all, as far as is known.
        fused_by: How many workers share the runs, where those of one configuration are handed out
            together, to be trained as one; None where each is handed out by itself. Whoever is
            handed out with another waits until that has ended: see :mod:`study.fusing`.
        time_left: Says what is left of the budget: what would not come to its end is not begun.
    """

    def __init__(
        self,
        record: StudyRecord,
        space: SearchSpace,
        plan: StudyPlan,
        stored: Space,
        enough: Callable[[], bool],
        begun: set[FurtherRun],
        expects: Callable[[int], None] = lambda total: None,
        fused_by: int | None = None,
        time_left: Callable[[], Left] = lambda: UNBOUNDED,
    ) -> None:
        super().__init__(record, space, enough)
        self._time_left = time_left
        self._fused_by = fused_by
        self._plan = plan
        self._stored = stored
        self._expects = expects
        # What a worker gave back without a result is not tried again and again.
        self._begun = begun
        trials = record.trials()
        self._round = _kept_round(record, plan, trials)
        if not self._interrupted and not self._of_round(trials):
            self._round = next_round(trials, stored, plan.third, plan.replicates)
            if self._round:
                self._keep_round(trials)

    def owns(self, trial: TrialResult) -> bool:
        """Whether a trial is one of those that are handed out here."""
        return not trial.searched

    def next_task(self) -> TrialTask | None:
        """Return the next run, added to the record; None when there is none, or none yet."""
        if self._enough():
            return None
        trials = self._record.trials()
        left = self._of_round(trials)
        if self._interrupted:
            task = self._hand_out_open()
        elif left:
            size = 1
            if self._fused_by is not None:
                size = runs_a_group(trainings(left, self._plan.replicates), self._fused_by)
            if self._takes_too_long(_like(left[0], trials), size):
                self.out_of_time = True
                return None
            task = self._hand_out_new(self._begin(left[0], trials))
            if task is not None and self._fused_by is not None:
                task = self._with_partners(task, size)
        else:
            return None
        self._expects(self.expected)
        return task

    @property
    def expected(self) -> int:
        """How many trainings there are in all, as far as is known: those done and those left."""
        trials = self._record.trials()
        left = trainings(self._of_round(trials), self._plan.replicates)
        return len(further(trials)) + left

    def _takes_too_long(self, like: TrialResult, size: int) -> bool:
        """Whether there is no time for so many trainings as long as that of a trial.

        Those that are out are taken to be at their beginning.
        """
        left = self._time_left()
        each = like.usage.device_seconds / like.usage.runs
        needed = size * each / self._plan.devices_per_trial
        return needed > left.each or needed * (1 + len(self._handed_out)) > left.in_all

    def _of_round(self, trials: Sequence[TrialResult]) -> list[FurtherRun]:
        return _new(self._round, trials, self._stored, self._plan.replicates, self._begun)

    def _with_partners(self, task: TrialTask, size: int) -> TrialTask:
        """Begin the further runs of the same configuration, up to a number in all, for its worker.

        Until it has ended they are out with it, and nobody else's.
        """
        trials = self._record.trials()
        own = trials[task.number]
        first = own.number if own.replicate_of is None else own.replicate_of
        alike = [one for one in self._of_round(trials) if one.run and one.trial == first]
        partners = [(self._begin(one, trials), one.run) for one in alike[: size - 1]]
        if partners:
            self._held[task.number] = [number for number, _ in partners]
        return replace(task, partners=tuple(partners))

    def _begin(self, one: FurtherRun, trials: Sequence[TrialResult]) -> int:
        self._begun.add(one)
        if one.run:
            return self._record.add_replicate(one.trial, one.run)
        params = self._space.control_of(trials[one.trial].params)
        return self._record.add_trial(
            params,
            distributions(self._space, params),
            source="control",
            label=None,
            architecture=self._space.describe(params),
            epochs=self._space.epochs_of(params, self._plan.max_epochs),
            control_of=one.trial,
        )

    def _keep_round(self, trials: Sequence[TrialResult]) -> None:
        kept = {
            "replicates": self._plan.replicates,
            "searched": len(searched(trials)),
            "runs": [[one.trial, one.run] for one in self._round],
        }
        self._record.set_attribute(results.ATTR_REPLICATES, kept)


def _like(one: FurtherRun, trials: Sequence[TrialResult]) -> TrialResult:
    """The trial that has been trained already, and takes about as long as a run would."""
    first = trials[one.trial]
    if first.outcome is None and first.control_of is not None:
        return trials[first.control_of]
    return first


def is_round_open(
    record: StudyRecord,
    plan: StudyPlan,
    space: Space,
    begun: Collection[FurtherRun] = (),
) -> bool:
    """Whether a driver has left some of a round.

    Args:
        record: The study's record.
        plan: The plan.
        space: The record's view of the space.
        begun: What is not to be begun again.
    """
    trials = record.trials()
    if any(not trial.searched and trial.status == "running" for trial in trials):
        return True
    kept = _kept_round(record, plan, trials)
    return bool(_new(kept, trials, space, plan.replicates, begun))


def lacks_runs(
    record: StudyRecord,
    plan: StudyPlan,
    space: Space,
    begun: Collection[FurtherRun] = (),
) -> bool:
    """Whether there is anything left to be trained again; arguments as above."""
    if is_round_open(record, plan, space, begun):
        return True
    trials = record.trials()
    asked = next_round(trials, space, plan.third, plan.replicates)
    return bool(_new(asked, trials, space, plan.replicates, begun))


def _new(
    asked: Sequence[FurtherRun],
    trials: Sequence[TrialResult],
    space: Space,
    replicates: int,
    begun: Collection[FurtherRun],
) -> list[FurtherRun]:
    """What of a round is neither begun in the record nor by this driver."""
    return [one for one in not_begun(asked, trials, space, replicates) if one not in begun]


def _kept_round(
    record: StudyRecord, plan: StudyPlan, trials: Sequence[TrialResult]
) -> list[FurtherRun]:
    """Return an earlier driver's round, unless something else is asked for since."""
    kept = record.attribute(results.ATTR_REPLICATES)
    if kept is None:
        return []
    now = (plan.replicates, len(searched(trials)))
    if (kept["replicates"], kept["searched"]) != now:
        return []
    return [FurtherRun(trial, run) for trial, run in kept["runs"]]
