"""What is trained when the search is over: further runs of the front, its rivals, its controls.

Said here in terms of the record alone; :mod:`study.replicate_queue` hands it out.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.front import untaught
from analysis.replication import missing_controls, scored_too_little, wanted_runs
from analysis.results import EXIT, Third, TrialResult, trained_alone
from analysis.stored_plan import Space

# A run that was stopped, by a budget that was spent, is begun anew once there is time again.
_BEGUN_ANEW = "stopped"

Twin = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class FurtherRun:
    """A training beside the search: another run of a trial, or its control, which is run 0.

    Attributes:
        trial: Number of the trial that is trained again, or whose control is trained.
        run: Which run of its configuration it is; 0 asks for the first run of the control.
    """

    trial: int
    run: int


def next_round(
    trials: Sequence[TrialResult], space: Space, third: Third | None, replicates: int
) -> list[FurtherRun]:
    """Return what is to be trained next, for all that is known now; nothing when all is there.

    Controls come first: it takes them longest, having all their runs before them. A student that
    is left at several exits is trained once for all of them.

    Args:
        trials: All of the record's.
        space: The record's view of the space.
        third: What the study keeps small beside the latency, if anything.
        replicates: Runs in all that are asked for.
    """
    if replicates < 2:
        return []
    known = [trial for trial in trials if trial.status != _BEGUN_ANEW]
    members = missing_controls(known, space, third) if space.control else []
    controls: dict[Twin, FurtherRun] = {}
    for number in members:
        controls.setdefault(_twin(trials[number], space), FurtherRun(number, 0))
    wanted = [
        FurtherRun(_trainer(trials[number]), run)
        for number, run in wanted_runs(known, space, third, replicates)
    ]
    asked = [*controls.values(), *dict.fromkeys(wanted)]
    return list(not_begun(asked, trials, space, replicates))


def not_begun(
    asked: Sequence[FurtherRun], trials: Sequence[TrialResult], space: Space, replicates: int
) -> Iterator[FurtherRun]:
    """Yield what of a round has not been begun; the further runs of its controls belong to it."""
    begun = _begun(trials)
    controls = _controls(trials, space)
    for one in asked:
        if one.run:
            if one.run < replicates and one not in begun:
                yield one
            continue
        control = controls.get(_twin(trials[one.trial], space))
        if control is None:
            yield one
        elif control.status in ("complete", "running"):
            runs = (FurtherRun(_trainer(control), run) for run in range(1, replicates))
            yield from (run for run in runs if run not in begun)


def trainings(asked: Sequence[FurtherRun], replicates: int) -> int:
    """Return how many trainings that will be, further runs of controls included."""
    return sum(1 if one.run else replicates for one in asked)


def runs_a_group(runs: int, workers: int) -> int:
    """Return how many of the runs left one worker is to train, so that none stands idle."""
    return max(1, math.ceil(runs / workers))


def further(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials that were trained beside the search, but for those to be begun anew."""
    return [
        trial
        for trial in trained_alone(trials)
        if not trial.searched and trial.status != _BEGUN_ANEW
    ]


def _twin(trial: TrialResult, space: Space) -> Twin:
    """Return what a configuration and its control have in common, at whichever exit."""
    return tuple((name, value) for name, value in untaught(trial, space) if name != EXIT)


def _begun(trials: Sequence[TrialResult]) -> set[FurtherRun]:
    return {
        FurtherRun(trial.replicate_of, trial.run)
        for trial in further(trials)
        if trial.replicate_of is not None
    }


def _controls(trials: Sequence[TrialResult], space: Space) -> dict[Twin, TrialResult]:
    """Return the controls, the first of each configuration; none where the space has none.

    A network that scored too little, at whichever exit, is none: it is on no front, and kept no
    student to be scored. Its configuration is trained once more, and is complete then.
    """
    found: dict[Twin, TrialResult] = {}
    too_poor = {trial.network for trial in trials if scored_too_little(trial)}
    overrides = (space.control or {}).items()
    for trial in trials if overrides else ():
        is_control = all(trial.params.get(name) == value for name, value in overrides)
        is_control = is_control and trial.network not in too_poor
        if is_control and trial.replicate_of is None and trial.status != _BEGUN_ANEW:
            found.setdefault(_twin(trial, space), trial)
    return found


def _trainer(trial: TrialResult) -> int:
    """Return the number of the trial that trained a student."""
    return trial.number if trial.trained_with is None else trial.trained_with
