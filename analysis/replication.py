"""Replicates: how sure a place on the front is, and which runs would tell more.

Scores of one student differ from seed to seed. What several runs of some configurations tell of
that spread says, of every configuration, how probable it is that it belongs on the front.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.front import (
    Point,
    front_members,
    is_distilled,
    kd_pairs,
    places,
    told_apart,
    untaught,
)
from analysis.latency import NOTHING_TIED, TieTests
from analysis.results import EXIT, Third, TrialResult
from analysis.runs import (
    ALIKE,
    Estimate,
    Spread,
    estimates,
    estimates_of_test,
    runs_of,
    unevenness,
)
from analysis.stored_plan import Score, Space

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "RIVAL_PROBABILITY",
    "Estimate",
    "Spread",
    "estimates",
    "estimates_of_test",
    "front_probabilities",
    "missing_controls",
    "pooled_spread",
    "rivals",
    "runs_of",
    "scored_too_little",
    "wanted_runs",
]

# Whoever is not on the front, but as probable as this, is worth its further runs.
RIVAL_PROBABILITY = 0.1
# So many draws leave a standard error of 0.011 at most.
_DRAWS = 2000
_SEED = 20_250_304
# The 95 % interval of a normal distribution, in standard deviations.
_INTERVAL = 2 * 1.959964
# The strongest few mostly decide: so many are compared first, then twice as many at a time.
_FIRST_BLOCK = 2


def pooled_spread(trials: Iterable[TrialResult], score: Score | None = None) -> Spread | None:
    """How far validation scores of one configuration lie apart, from run to run.

    Pooled over all configurations with two runs or more; None while there is none, and where all
    their runs are alike: scores of a few hundred images take few values, and no deviation at all
    would promise what nobody knows. The exits of one network share its runs, so they add the mean
    of their variances, and its degrees of freedom once. Of a `score` that is a share, the deviation
    depends on it (see `Spread`); of others it is one for all.
    """
    trials = list(trials)
    best = score.best if score is not None and score.is_share else None
    networks = {trial.number: trial.network for trial in trials}
    found: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for number, estimate in estimates(trials).items():
        if estimate.error is not None:
            deviation = estimate.error / unevenness(estimate.mean, best)
            variance = deviation**2 * estimate.runs
            found[networks[number]].append((variance, estimate.runs - 1))
    squares, freedom = 0.0, 0
    for exits in found.values():
        own = max(each for _, each in exits)
        weighed = sum(variance * each for variance, each in exits)
        squares += own * weighed / sum(each for _, each in exits)
        freedom += own
    if not freedom or squares < ALIKE**2:
        return None
    return Spread(math.sqrt(squares / freedom), freedom, best)


def front_probabilities(
    trials: Iterable[TrialResult],
    third: Third | None = None,
    score: Score | None = None,
    tests: TieTests = NOTHING_TIED,
) -> Mapping[int, float]:
    """How probable it is that a configuration is on the front, by the number of its first run.

    The share of draws of a parametric bootstrap in which no other one dominates it, and in which it
    gives way to none for a tie in latency (`told_apart`). A draw moves every mean score by its
    standard error, the deviation from run to run over the root of the count of runs, times a
    variate of Student's t. The deviation is pooled over the study (see `pooled_spread`), so a
    configuration of a single run has it too, and is as uncertain for all at once: the t variates
    of one draw share their divisor. A latency that was confirmed moves, with
    its architecture, by as much as the 95 % interval of its ratio or the A/A test allows; other
    latencies and sizes are certain. Runs are drawn as if independent, though those of one number
    share their seed, and exits of one network its training, which overstates rather than hides the
    doubt. The same trials in any order give the same numbers.

    Args:
        trials: all of the study's.
        third: the third objective, if there is one.
        score: the study's; of one that is a share the deviation depends on it.
        tests: A/A tests, by which latencies are tied as the front has it; without any none are.

    Returns:
        One probability for every configuration that ran to its end; none while no configuration
        has two runs, or all runs of each are alike, which leaves the deviation unknown.
    """
    trials = list(trials)
    spread = pooled_spread(trials, score)
    if spread is None:
        return {}
    # The strongest come first, so that the dominated are found out soon.
    placed = sorted(places(trials, third), key=lambda entry: (-entry[1][0], entry[0].number))
    runs = {number: estimate.runs for number, estimate in estimates(trials).items()}
    scores = _drawn_scores([(t.number, p[0], runs[t.number]) for t, p in placed], spread)
    spreads = [tests.spread_of(trial.best_latency) for trial, _ in placed]
    latencies = _drawn_latencies(placed, spreads)
    smalls = [point[2] if third is not None else 0.0 for _, point in placed]
    kept = _kept(scores, latencies, smalls)
    if any(spreads):
        _leave_out_tied(kept, scores, latencies, smalls, spreads)
    shares = kept.mean(axis=1).tolist()
    return {trial.number: share for (trial, _), share in zip(placed, shares, strict=True)}


def _drawn_scores(means: Sequence[tuple[int, float, int]], spread: Spread) -> "np.ndarray":
    """Mean scores (configurations, draws), from (number, mean score, runs) of each."""
    import numpy as np

    squares = np.random.default_rng(_SEED).chisquare(spread.freedom, _DRAWS)
    divisor = np.sqrt(squares / spread.freedom)
    return np.stack(
        [
            mean
            + spread.deviation(mean)
            / math.sqrt(runs)
            * _normal(number).standard_normal(_DRAWS)
            / divisor
            for number, mean, runs in means
        ]
    )


def _drawn_latencies(
    placed: Sequence[tuple[TrialResult, Point]], spreads: Sequence[float]
) -> "np.ndarray":
    """Latencies in ms (configurations, draws); one architecture is as lucky in all its trials."""
    import numpy as np

    drawn = []
    for (trial, (_, latency_ms, *_)), spread in zip(placed, spreads, strict=True):
        deviation = _log_deviation(trial, spread)
        name = trial.architecture or trial.name
        luck = _normal(zlib.crc32(name.encode()), 1).standard_normal(_DRAWS) if deviation else 0.0
        drawn.append(np.broadcast_to(latency_ms * np.exp(deviation * luck), (_DRAWS,)))
    return np.stack(drawn)


def _normal(*key: int) -> "np.random.Generator":
    """The draws of one configuration or architecture, whatever else there is."""
    import numpy as np

    return np.random.default_rng([_SEED, *key])


def _log_deviation(trial: TrialResult, spread: float) -> float:
    """The standard deviation of the logarithm of a latency taken on the idle device; else 0.

    As the interval of its ratio has it, which holds what varies within a measurement, or where that
    is more as the A/A test has it: 95 of 100 pairs of timings lie less than the spread apart.
    """
    latency = trial.best_latency
    if latency is None or not latency.idle:
        return 0.0
    ratio = latency.ratio_batch_1
    bounded = 0.0 < ratio.low < ratio.high < math.inf
    within = math.log(ratio.high / ratio.low) / _INTERVAL if bounded else 0.0
    return max(within, math.log1p(spread) / (_INTERVAL / 2 * math.sqrt(2)))


def _kept(scores: "np.ndarray", latencies: "np.ndarray", smalls: Sequence[float]) -> "np.ndarray":
    """Whether nobody dominates a configuration in a draw (configurations, draws)."""
    import numpy as np

    third = np.asarray(smalls)
    slowest, fastest = latencies.max(axis=1), latencies.min(axis=1)
    kept = np.zeros(scores.shape, dtype=bool)
    for i in range(len(scores)):
        others = np.flatnonzero((third <= third[i]) & (fastest <= slowest[i]))
        open_draws = np.arange(scores.shape[1])
        size = _FIRST_BLOCK
        while len(others) and open_draws.size:
            block, others, size = others[:size], others[size:], 2 * size
            score, latency = scores[i, open_draws], latencies[i, open_draws]
            their_scores = scores[np.ix_(block, open_draws)]
            their_latencies = latencies[np.ix_(block, open_draws)]
            better = (their_scores > score) | (their_latencies < latency)
            better |= (third[block] < third[i])[:, None]
            beaten = better & (their_scores >= score) & (their_latencies <= latency)
            open_draws = open_draws[~beaten.any(axis=0)]
        kept[i, open_draws] = True
    return kept


def _leave_out_tied(
    kept: "np.ndarray",
    scores: "np.ndarray",
    latencies: "np.ndarray",
    smalls: Sequence[float],
    spreads: Sequence[float],
) -> None:
    """Takes out of the front of each draw, a column of `kept`, who gives way for a tie there."""
    import numpy as np

    third = np.asarray(smalls)
    for draw in range(kept.shape[1]):
        members = np.flatnonzero(kept[:, draw])
        columns = scores[members, draw], latencies[members, draw], third[members]
        points = list(zip(*(column.tolist() for column in columns), strict=True))
        gives_way = told_apart(points, [spreads[member] for member in members.tolist()])
        kept[members, draw] = [other is None for other in gives_way]


def rivals(members: Iterable[TrialResult], probabilities: Mapping[int, float]) -> tuple[int, ...]:
    """Configurations that are not on the front and may well belong there, most probable first.

    Args:
        members: the front's.
        probabilities: of being on it, as `front_probabilities` tells them.

    Returns:
        The numbers of those of `RIVAL_PROBABILITY` or more.
    """
    known = {trial.number for trial in members}
    near = [
        (-chance, number)
        for number, chance in probabilities.items()
        if number not in known and round(chance, 2) >= RIVAL_PROBABILITY  # as it is shown
    ]
    return tuple(number for _, number in sorted(near))


def wanted_runs(
    trials: Iterable[TrialResult], space: Space, third: Third | None, replicates: int
) -> list[tuple[int, int]]:
    """Which runs are to be trained next, as (number of the first run, run), in a good order.

    Every member of the front (by means) and its control, where that is there, are to have their
    runs, each run of a member next to that of its control; then the likeliest rivals, at most as
    many as the front has members. Ties and doubts of latency are left aside: a mean that is known
    better may tell who has to give way. What has ended in whatever way, or is being trained, is not
    asked for. Asked again whenever a run has ended, until nothing is wanted: a rival that enters
    the front is then treated as its members are, and rivals are known once anything has two runs.
    Runs of a student that is another exit of a trained network are those of that network.

    Args:
        trials: all of the study's.
        space: the study's space.
        third: the third objective, if there is one.
        replicates: runs of each configuration in all; below 2 nothing is wanted.
    """
    trials = list(trials)
    if replicates < 2:
        return []
    members = front_members(trials, third)
    controls = {pair.distilled.number: pair.control for pair in kd_pairs(trials, space)}
    with_controls = [
        each
        for member in members
        for each in (member, controls.get(member.number))
        if each is not None
    ]
    by_number = {trial.number: trial for trial in trials}
    likeliest = rivals(members, front_probabilities(trials, third, space.score))[: len(members)]
    begun = {(trial.replicate_of, trial.run) for trial in trials}
    wanted: dict[tuple[int, int], None] = {}
    for group in (with_controls, [by_number[number] for number in likeliest]):
        for run in range(1, replicates):
            for trial in group:
                asked = (trial.network, run)
                if asked not in begun and (trial.number, run) not in begun:
                    wanted.setdefault(asked)
    return list(wanted)


def missing_controls(trials: Iterable[TrialResult], space: Space, third: Third | None) -> list[int]:
    """The distilled members of the front that have no control, nor had one tried, by number.

    One that is being trained, that failed or that turned out another student is not asked for
    again. One of the search that scored too little is: trained for the member's sake it is
    complete. Of several exits of one network a single one is named, the network's own first: the
    others' controls come with its training.
    """
    trials = list(trials)
    served = {pair.distilled.number for pair in kd_pairs(trials, space)}
    served.update(trial.control_of for trial in trials if trial.control_of is not None)
    tried = {
        _student(trial, space)
        for trial in trials
        if trial.source == "control" and trial.status != "complete" and not scored_too_little(trial)
    }
    missing: dict[int, int] = {}
    for member in front_members(trials, third):
        if member.number in served or not is_distilled(member, space):
            continue
        if _student(member, space) not in tried and member.network not in missing.values():
            missing[member.network] = member.number
    return list(missing.values())


def scored_too_little(trial: TrialResult) -> bool:
    """Whether a trial is infeasible for its score, which it reached when trained to its end."""
    whole = trial.val_score is not None and trial.epochs_done >= trial.epochs
    return trial.status == "infeasible" and whole


def _student(trial: TrialResult, space: Space) -> tuple[Any, ...]:
    """What a control has in common with its distilled twin before either is built."""
    exits = [(name, value) for name, value in untaught(trial, space) if name != EXIT]
    return (trial.epochs, tuple(exits))
