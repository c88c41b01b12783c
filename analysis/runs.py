"""Runs of one configuration under several seeds: which belong together, their means and errors.

A configuration is trained once by the search. Replicates train it again, everything but the seed
alike; they are trials of their own, which name the first run. A configuration's place is the mean
over its runs that ran to their end, and no run is a point by itself.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from analysis.results import TrialResult

ALIKE = 1e-9  # differences that rounding alone accounts for


def half_width(error: float, freedom: int) -> float:
    """Half of a 95 % interval, from a standard error and its degrees of freedom (Student's t)."""
    # The quantile itself: `scipy.stats` takes a second to import.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975)) * error


@dataclass(frozen=True)
class Spread:
    """How far scores of one configuration lie apart from run to run, by its score.

    The deviation of a share of right answers p is a multiple of sqrt(p (1 - p)), that of drawing
    answers (as in a quasi-binomial model: McCullagh and Nelder, Generalized Linear Models, 1989,
    section 4.5): a front spans students that are nearly always right and others that hardly learnt.
    That of any other score is the same everywhere.

    Args:
        scale: the standard deviation; of a share, that of one half.
        freedom: degrees of freedom it is known with.
        best: the best value of a score that is a share, else None.
    """

    scale: float
    freedom: int
    best: float | None = None

    def deviation(self, score: float) -> float:
        """The standard deviation from run to run of a configuration of such a mean score."""
        return self.scale * unevenness(score, self.best)


def unevenness(score: float, best: float | None) -> float:
    """The deviation at a score over that at one half of the best; 1 of what is no share."""
    if best is None:
        return 1.0
    # Nothing is right so surely that its next run could not be wrong: half a percent stays open.
    least = 0.005
    share = min(max(score / best, least), 1 - least)
    return 2 * math.sqrt(share * (1 - share))


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, and its standard error; None from one run, which tells no spread."""

    mean: float
    error: float | None
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The estimate that some values, one at least, give."""
        values = list(values)
        mean, runs = math.fsum(values) / len(values), len(values)
        error = statistics.stdev(values) / math.sqrt(runs) if runs > 1 else None
        return cls(mean, error, runs)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean, by Student's t; None where the runs tell no spread.

        One run does not, nor do runs that are all alike: scores of a few hundred images take few
        values, and an interval of no width would promise what nobody knows.
        """
        if self.error is None or self.error < ALIKE:
            return None
        half = half_width(self.error, self.runs - 1)
        return (self.mean - half, self.mean + half)


def runs_of(trials: Iterable[TrialResult]) -> Mapping[int, tuple[TrialResult, ...]]:
    """The runs of every configuration, by the number of its first.

    The first run comes first, whatever became of it; then those of its replicates that ran to
    their end, by run.
    """
    firsts: dict[int, TrialResult] = {}
    further: dict[int, dict[int, TrialResult]] = {}
    for trial in trials:
        if trial.replicate_of is None:
            firsts[trial.number] = trial
        elif _ran_to_its_end(trial):
            known = further.setdefault(trial.replicate_of, {})
            if trial.run not in known or trial.number < known[trial.run].number:
                known[trial.run] = trial
    return {
        number: (first, *(run for _, run in sorted(further.get(number, {}).items())))
        for number, first in firsts.items()
    }


def _ran_to_its_end(trial: TrialResult) -> bool:
    return trial.status == "complete" and trial.val_score is not None


def estimates(trials: Iterable[TrialResult]) -> Mapping[int, Estimate]:
    """The validation score of every configuration that ran to its end, by its first run."""
    return _estimates(trials, lambda trial: trial.val_score)


def estimates_of_test(trials: Iterable[TrialResult]) -> Mapping[int, Estimate]:
    """The test score of every configuration that was scored on the test split, by its first run."""
    return _estimates(trials, lambda trial: trial.test_score)


def _estimates(
    trials: Iterable[TrialResult], score: Callable[[TrialResult], float | None]
) -> dict[int, Estimate]:
    found = {}
    for number, runs in runs_of(trials).items():
        scores = [value for run in runs if (value := score(run)) is not None]
        if scores and _ran_to_its_end(runs[0]):
            found[number] = Estimate.of(scores)
    return found


def mean_scores(trials: Iterable[TrialResult]) -> Mapping[int, float]:
    """The mean validation score of the configurations that have several runs; of no others.

    It is asked for whenever a study looks at its front, which mostly has no replicates yet.
    """
    trials = list(trials)
    replicated = {trial.replicate_of for trial in trials if trial.replicate_of is not None}
    if not replicated:
        return {}
    of_them = (t for t in trials if t.number in replicated or t.replicate_of is not None)
    return {number: e.mean for number, e in estimates(of_them).items() if e.runs > 1}
