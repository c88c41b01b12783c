"""Which checkpoints and students are worth their disk, and the removal of all others.

Kept are the last checkpoint of every trial that runs or was interrupted, and the student of every
complete trial that is on the front, may come to be once it is timed on the idle device, or stands
in a published table until it has been confirmed. A study with replicates keeps more while it lasts:
whoever may turn out better than its first run, and every run until it is scored. When it has ended
it keeps whoever was trained more than once, and rivals: it may be given more replicates.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from analysis.front import (
    Point,
    Staircase,
    dominates,
    front_members,
    places,
    trial_point,
)
from analysis.replication import front_probabilities, rivals
from analysis.results import Third, TrialResult, first_runs
from analysis.stored_plan import Score
from study.mirror import mirror_of
from study.trial_context import STUDENT_FILE

# A student this much slower than one that beats it in score may still be as fast, once timed
# without noise.
CONFIRMED_WITHIN = 1.15
# While trials run, busy neighbours move the latency searched by further than that: doubled, of
# small students, has been seen. Whoever is confirmed later than others has to be there still.
KEPT_WITHIN = 2.0
# Further runs move a mean by about as much as the front is ahead of those right behind it. Of a
# study with replicates whoever so many others are ahead of, at most, is kept: were all of them as
# good, with one run each, it would come out first once in 20 draws; a rival is worth its further
# runs from once in ten on (analysis.replication).
SPARE_AHEAD = 19


def near_front(
    trials: Sequence[TrialResult], slack: float, third: Third | None = None
) -> list[TrialResult]:
    """Return configurations that nothing beats in score while being ``slack`` times faster.

    Scores are means over runs, as on the front, and each is told by its first run.

    With a third objective, whoever beats a trial has to be no larger than it as well: parameters
    and FLOPs are counted, not timed, so they need no slack.

    Args:
        trials: All that may matter, further runs too.
        slack: From 1 on.
        third: What the study keeps small beside the latency, if anything.
    """
    by_speed = sorted(places(trials, third), key=lambda entry: entry[1][1])
    # One architecture has one latency, also once it is confirmed, and one size: its best student
    # stands for it.
    most: dict[str, float] = {}
    for trial, (score, *_) in by_speed:
        most[trial.architecture] = max(score, most.get(trial.architecture, score))
    near = []
    ahead, fastest = Staircase(), 0
    for trial, point in by_speed:
        score, latency = point[:2]
        while (faster := by_speed[fastest][1])[1] * slack < latency:
            ahead.enter(_third(faster), faster[0])
            fastest += 1
        if ahead.best_within(_third(point)) < score == most[trial.architecture]:
            near.append(trial)
    return near


def _third(point: Point) -> float:
    return point[2] if len(point) > 2 else 0.0


def behind_few(trials: Sequence[TrialResult], third: Third | None, most: int) -> list[TrialResult]:
    """Return complete trials that at most so many others dominate, by their first runs."""
    placed = [(p, trial) for trial in trials if (p := trial_point(trial, third)) is not None]
    # Whoever dominates a point comes before it; and of those that too many dominate, whoever they
    # dominate is dominated by as many of the others.
    placed.sort(key=lambda entry: (-entry[0][0], *entry[0][1:]))
    kept: list[tuple[Point, TrialResult]] = []
    for point, trial in placed:
        if sum(dominates(other, point) for other, _ in kept) <= most:
            kept.append((point, trial))
    return [trial for _, trial in kept]


def replicated(trials: Iterable[TrialResult]) -> set[int]:
    """Return the numbers of all runs, the first ones too, of what was trained more than once."""
    further = [trial for trial in trials if trial.replicate_of is not None]
    return {number for t in further for number in (t.number, t.replicate_of) if number is not None}


def spare_ahead(trials: Iterable[TrialResult], replicates: int) -> int:
    """Return how many may be ahead of a student that is kept, in a study of so many replicates.

    Where some were trained again before, more may be asked for later.
    """
    return SPARE_AHEAD if replicates > 1 or replicated(trials) else 0


def students_to_keep(
    trials: Sequence[TrialResult], third: Third | None = None, spare: int = 0
) -> set[int]:
    """Return the numbers of complete trials whose student is still needed while a study lasts.

    Who is near the front stays also once it was timed and confirmed: who seems ahead of it may turn
    out slower, once that is timed as well.

    Args:
        trials: All that may matter.
        third: What the study keeps small beside the latency, if anything.
        spare: How many others may be ahead of a student that is kept besides, as further runs may
            move it to the front; 0 keeps none of those.
    """
    near = {trial.number for trial in near_front(trials, KEPT_WITHIN, third)}
    return near | _needed(trials, third, spare)


def students_at_the_end(
    trials: Sequence[TrialResult],
    third: Third | None = None,
    spare: int = 0,
    score: Score | None = None,
) -> set[int]:
    """Return the numbers of complete trials whose student is needed once the front is confirmed.

    Once all near the front were timed, those that are off it stay so, but for rivals: a study may
    be given more replicates, and their means move then.

    Args:
        trials: All of the study's.
        third: As above.
        spare: As above.
        score: The study's, by which rivals are told.
    """
    near = near_front(trials, CONFIRMED_WITHIN, third)
    settled = all(map(_is_timed, near))
    close = rivals(front_members(trials, third), front_probabilities(trials, third, score))
    return {*_needed(trials, third, spare), *close, *(t.number for t in near if not settled)}


def _needed(trials: Sequence[TrialResult], third: Third | None, spare: int) -> set[int]:
    """Return whoever is on the front, waits for its test score, or may come up with its mean."""
    again = replicated(trials)
    keep = {trial.number for trial in front_members(trials, third)}
    if spare:
        keep |= {trial.number for trial in behind_few(first_runs(trials), third, spare)}
    for trial in trials:
        named = trial.label or trial.source == "control" or trial.number in again
        moves = trial.number in again and trial.replicate_of is None
        if trial.status == "complete" and (moves or (named and trial.confirmed is None)):
            keep.add(trial.number)
    return keep


def _is_timed(trial: TrialResult) -> bool:
    latency = trial.best_latency
    return latency is not None and latency.idle


class Contenders:
    """The complete trials whose student is still needed, kept up to date as trials end.

    Whoever is too far behind another one stays so, and whoever is behind the former is behind the
    latter too. So an end is compared with the few that are left, however many trials there were.
    A mean that falls may bring back who was behind it: in a study of replicates those are spared.

    Attributes:
        numbers: What :func:`students_to_keep` says of all trials.
        trials: Those, and all runs of what was trained more than once, whose mean counts.
    """

    def __init__(
        self, trials: Iterable[TrialResult], third: Third | None = None, spare: int = 0
    ) -> None:
        self._third, self._spare = third, spare
        self.numbers: set[int] = set()
        self.trials = [trial for trial in trials if trial.status == "complete"]
        self._drop()

    def add(self, trial: TrialResult) -> None:
        """Take note of a trial that has just ended."""
        if trial.status == "complete":
            self.trials.append(trial)
            self._drop()

    def _drop(self) -> None:
        self.numbers = students_to_keep(self.trials, self._third, spare=self._spare)
        count = self.numbers | replicated(self.trials)
        self.trials = [trial for trial in self.trials if trial.number in count]


def prune(study_folder: Path, trials: Sequence[TrialResult], keep: set[int]) -> None:
    """Remove what is no longer needed of ended trials.

    Args:
        study_folder: The study's folder.
        trials: All its trials, by number.
        keep: Numbers of complete trials whose student stays.
    """
    checkpoints = study_folder / "checkpoints"

    def stays(name: str) -> Literal["whole", "student", "not"]:
        """What stays of the folder of a trial."""
        number = name[1:]
        known = number.isdecimal() and int(number) < len(trials)
        state = trials[int(number)].status if known else None
        if state == "running":
            return "whole"
        return "student" if state == "complete" and int(number) in keep else "not"

    for folder in checkpoints.iterdir() if checkpoints.is_dir() else ():
        what = stays(folder.name)
        if what == "student":
            for path in folder.iterdir():
                if path.name != STUDENT_FILE:
                    path.unlink(missing_ok=True)
        elif what == "not":
            shutil.rmtree(folder, ignore_errors=True)
    mirror = mirror_of(study_folder.parent)
    if mirror is None:
        return
    gone = []
    for key in mirror.store.digests(f"{mirror.key(checkpoints)}/"):
        *_, name, file = key.split("/")
        what = stays(name)
        if what == "not" or (what == "student" and file != STUDENT_FILE):
            gone.append(key)
    mirror.remove(gone)
