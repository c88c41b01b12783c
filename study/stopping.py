"""Which search and which early stopping a plan asks for, made from what the record has."""

import math

from analysis.front import third_value
from analysis.results import Third, TrialResult, trained_alone
from analysis.stored_plan import Space
from search_spaces.space import SearchSpace
from study.guide import Guide
from study.plan import StudyPlan
from study.record import StudyRecord
from study.rungs import default_grace
from study.scheduler import (
    ParetoHalving,
    ParetoHalvingScheduler,
    PausingScheduler,
    RungEntry,
)
from study.warm_start import Earlier


def make_guide(
    plan: StudyPlan, record: StudyRecord, space: SearchSpace, earlier: Earlier | None
) -> Guide | None:
    """Return what proposes and has trials go on, where the plan asks for either."""
    asked = plan.sampler == "latency-first" or plan.scheduler == "pause"
    return Guide(record, space, plan, earlier) if asked else None


def make_scheduler(
    plan: StudyPlan, record: StudyRecord, space: Space, guide: Guide | None
) -> ParetoHalvingScheduler | PausingScheduler | None:
    """Return what stops trials early, knowing who has reached which rung; None of none.

    Args:
        plan: The plan.
        record: The study's record.
        space: Its view of the space, which names what trials are compared by.
        guide: Knows the rungs at which trials wait.
    """
    if plan.scheduler == "pause":
        assert guide is not None
        is_rung = guide.is_rung
        return PausingScheduler(lambda n, epoch: is_rung(epoch, record.trial(n).epochs))
    if plan.scheduler == "none":
        return None
    epochs = plan.max_epochs
    halving = ParetoHalving(epochs, default_grace(epochs), compared_by=space.compared_by)
    # A trial is judged by its own exit; the others of its student were in no race.
    for trial in trained_alone(record.trials()):
        for epoch in trial.curve:
            if epoch.epoch < trial.epochs:  # nobody is judged after the last one
                halving.enter(epoch.epoch, _rung_entry(trial, epoch.val_score, plan.third))

    def entry_of(number: int, score: float) -> RungEntry:
        return _rung_entry(record.trial(number), score, plan.third)

    return ParetoHalvingScheduler(halving, entry_of)


def _rung_entry(trial: TrialResult, score: float, third: Third | None) -> RungEntry:
    """What a trial is compared by.

    By the latency searched by, as all of a rung have it: that of the idle device, which some of a
    study that goes on have, is another. One that is not measured enters no rung; nor does one that
    the search did not ask for, a further run or a control trained after it.
    """
    small = 0.0 if third is None else third_value(trial, third)
    latency = trial.search_latency_ms or trial.latency_ms
    figures = (latency, small) if trial.searched else (None, None)
    known = [math.nan if value is None else value for value in figures]
    return RungEntry(trial.number, score, *known)
