"""What a search of bounded time leaves to the runs that `--replicates` asks for."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from analysis.front import front_members
from analysis.results import ATTR_GAVE_WAY, TrialResult, searched, trained_alone
from analysis.stored_plan import Space
from study.budget import Budget
from study.plan import StudyPlan
from study.record import StudyRecord
from study.replicates import next_round, trainings

# At least this share of a bound has passed before the search gives way.
SEARCH_SHARE = 0.5
# What timing the front on the idle device takes besides: until a worker has a node to itself, and
# what the A/A test takes, as so many students.
_UNTIL_ALONE_SECONDS, _AA_STUDENTS = 15.0, 4


class Reserve:
    """Holds back what further runs of the front would take, were the search over now.

    Each is taken to be as long as those that were trained to their end are on the mean. Runs are
    kept for every rival that there may be, so some time may be left in the end. A search that has
    given way to further runs goes on once there is more time, and not before.

    Args:
        record: The study's record.
        plan: The plan.
        space: The record's view of the space.
        workers: Trials at once.
    """

    def __init__(self, record: StudyRecord, plan: StudyPlan, space: Space, workers: int) -> None:
        self._record, self._plan, self._space = record, plan, space
        self._workers = workers
        self._whole = -1
        self._budget = plan.budget

    @property
    def budget(self) -> Budget:
        """The plan's, less what is held back."""
        trials = self._record.trials()
        whole = [t for t in searched(trained_alone(trials)) if t.status == "complete"]
        if len(whole) != self._whole:
            self._whole = len(whole)
            if self._gave_way(trials):
                self._budget = self._less(math.inf, math.inf, search_share=0.0)
            elif whole:
                self._budget = self._less(*self._needed(trials, whole))
        return self._budget

    def give_way(self) -> None:
        """Record that the search is over, for all the time that there is now."""
        kept = {
            "searched": len(searched(self._record.trials())),
            "bounds": self._plan.budget.bounds,
        }
        self._record.set_attribute(ATTR_GAVE_WAY, kept)

    def _gave_way(self, trials: Sequence[TrialResult]) -> bool:
        kept = self._record.attribute(ATTR_GAVE_WAY)
        if kept is None or kept["searched"] != len(searched(trials)):
            return False
        bounds = zip(self._plan.budget.bounds, kept["bounds"], strict=True)
        # None is no bound.
        return all((now or math.inf) <= (then or math.inf) for now, then in bounds)

    def _needed(
        self, trials: Sequence[TrialResult], whole: Sequence[TrialResult]
    ) -> tuple[float, float]:
        """Seconds for which devices would be held, and those of timing."""
        asked, third = self._plan.replicates, self._plan.third
        missing = trainings(next_round(trials, self._space, third, asked), asked)
        members = len(front_members(trials, third))
        runs = missing + members * (asked - 1)
        timed = (members + _AA_STUDENTS) * self._plan.timing_seconds + _UNTIL_ALONE_SECONDS
        return runs * fmean(trial.usage.device_seconds for trial in whole), timed

    def _less(self, held: float, timed: float, search_share: float = SEARCH_SHARE) -> Budget:
        budget, at_once = self._plan.budget, self._workers * self._plan.devices_per_trial

        def less(bound: float | None, held: float) -> float | None:
            return None if bound is None else max(search_share * bound, bound - held)

        return replace(
            budget,
            seconds=less(budget.seconds, held / at_once + timed),
            device_hours=less(budget.device_hours, held / 3600),
        )
