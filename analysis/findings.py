"""What a study found, as numbers; `analysis.wording` says it in sentences."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from analysis.front import (
    KdPair,
    front_hypervolume,
    hypervolume,
    non_dominated,
    places,
)
from analysis.record import StudyResults
from analysis.results import STATUSES, Split, Status, TrialResult, trained_alone
from analysis.runs import Estimate
from analysis.table import measured_latency

CLOSE_POINTS = 1.0  # "within one point of the teacher"; of a score in dB, within 1 dB
_HAIR = 1e-9  # by how much a difference of two decimal scores may miss what it stands for


class Findings(NamedTuple):
    """The numbers behind the first lines of a report.

    Args:
        counts: configurations by the status of their first run.
        front: the front, fastest first.
        hypervolume: 0..1 (`front_hypervolume`: who gave way for a tie in latency counts in it),
            None before its corners are known.
        best_trade_off: the front member that dominates the largest area by itself; None where
            none dominates any.
        close: the fastest complete student, on the front or not, within `CLOSE_POINTS` of the
            teacher's validation score, else the one that comes closest to it.
        close_gap: its validation score minus the teacher's, in the score's unit.
        pairs: distilled students and their controls.
        smallest: the complete student of the fewest parameters within `CLOSE_POINTS` of the
            teacher's score, or above it; None where there is none.

    The score of a configuration that has several runs is their mean.
    """

    counts: dict[Status, int]
    front: tuple[TrialResult, ...]
    hypervolume: float | None
    best_trade_off: TrialResult | None
    close: TrialResult | None
    close_gap: float | None
    pairs: tuple[KdPair, ...]
    smallest: TrialResult | None = None


class TimeSpent(NamedTuple):
    """Seconds of training by what came of them, and the wall time of all sessions.

    A session that goes on or was killed counts as far as it was last noted.

    `by_status` are those of first runs, `replicates` those of all others, however they ended.
    """

    teacher: float
    by_status: dict[Status, float]
    replicates: float
    wall: float

    @property
    def students(self) -> float:
        """Seconds spent training students."""
        return sum(self.by_status.values()) + self.replicates


def find(results: StudyResults) -> Findings:
    """Works out what a study found."""
    counts = Counter(trial.status for trial in results.configurations)
    front = results.front
    area = None
    best = None
    if results.reference is not None:
        area = front_hypervolume(results.trials, results.reference)
        alone = {t.number: hypervolume([point_of(results, t)], results.reference) for t in front}
        best = max(front, key=lambda trial: alone[trial.number], default=None)
        if best is not None and not alone[best.number] > 0.0:
            best = None
    close, gap = _close_to_teacher(results)
    return Findings(
        counts={status: counts[status] for status in STATUSES},
        front=front,
        hypervolume=area,
        best_trade_off=best,
        close=close,
        close_gap=gap,
        pairs=results.pairs,
        smallest=_smallest_near_teacher(results),
    )


def point_of(results: StudyResults, member: TrialResult) -> tuple[float, float]:
    """(mean validation score, latency ms) of a member of the front."""
    score, latency = results.val_score(member), member.latency_ms
    assert score is not None
    assert latency is not None
    return score, latency


def flat_front(results: StudyResults) -> tuple[TrialResult, ...]:
    """The members of the front that no other one beats in score and latency, fastest first.

    All of them, of a study of two objectives; never none, where there is a front.
    """
    keep = non_dominated([point_of(results, trial) for trial in results.front])
    return tuple(trial for trial, kept in zip(results.front, keep, strict=True) if kept)


def is_close(gap: float) -> bool:
    """Whether a score that is so much above the teacher's is within `CLOSE_POINTS`, or above it."""
    return gap >= -CLOSE_POINTS - _HAIR


def is_ahead(gap: float) -> bool:
    """Whether a score that is so much above the teacher's is more than `CLOSE_POINTS` above it."""
    return gap > CLOSE_POINTS + _HAIR


def _close_to_teacher(results: StudyResults) -> tuple[TrialResult | None, float | None]:
    """The fastest complete student close enough to the teacher, else the one of the best score.

    The front is not enough: it may lack the fastest one for a tie in latency.
    """
    if results.teacher is None:
        return None, None
    goal = results.teacher.val_score
    placed = [(point[0] - goal, point[1], trial) for trial, point in places(results.trials)]
    if not placed:
        return None, None
    near = [entry for entry in placed if is_close(entry[0])]
    if near:
        gap, _, trial = min(near, key=lambda entry: (entry[1], -entry[0], entry[2].number))
    else:
        gap, _, trial = max(placed, key=lambda entry: (entry[0], -entry[1], -entry[2].number))
    return trial, gap


def _smallest_near_teacher(results: StudyResults) -> TrialResult | None:
    """The complete student of the fewest parameters among those close enough to the teacher.

    Of twins, which are as small and as fast, the one of the better score.
    """
    if results.teacher is None:
        return None
    goal = results.teacher.val_score
    near = [
        (trial.model.params_m, point[1], -point[0], trial.number, trial)
        for trial, point in places(results.trials)
        if trial.model is not None and is_close(point[0] - goal)
    ]
    return min(near, key=lambda entry: entry[:4])[4] if near else None


def time_spent(results: StudyResults) -> TimeSpent:
    """Where the training time went; a teacher from the cache or a checkpoint cost none here.

    Exits that share a training cost nothing beside it.
    """
    by_status: dict[Status, float] = dict.fromkeys(STATUSES, 0.0)
    replicates = 0.0
    for trial in trained_alone(results.trials):
        if trial.replicate_of is None:
            by_status[trial.status] += trial.train_seconds
        else:
            replicates += trial.train_seconds
    teacher, noted = results.teacher, results.open_session
    own = teacher is not None and teacher.source == "trained"
    return TimeSpent(
        teacher=teacher.train_seconds if teacher is not None and own else 0.0,
        by_status=by_status,
        replicates=replicates,
        wall=sum(session.seconds for session in results.sessions)
        + (0.0 if noted is None else noted.seconds),
    )


def independent(pairs: Iterable[KdPair]) -> list[list[KdPair]]:
    """Pairs in groups that have no network in common with each other.

    Gains within a group share the luck of a training: its pairs are exits of one network, or are
    compared with one control, or hang together by such pairs.
    """
    groups: list[tuple[set[int], list[KdPair]]] = []
    for pair in pairs:
        networks, members = {pair.distilled.network, pair.control.network}, [pair]
        apart = []
        for group in groups:
            if networks.isdisjoint(group[0]):
                apart.append(group)
            else:
                networks |= group[0]
                members += group[1]
        groups = [*apart, (networks, members)]
    return [members for _, members in groups]


def overall_gain(pairs: Sequence[KdPair], split: Split = "validation") -> Estimate:
    """The mean gain over groups of pairs that share no network (`independent`), by Student's t.

    Within a group gains are averaged first: pairs that share a training are no two witnesses. Two
    groups tell no error: their interval is 13 times as wide as their distance. Of a single group
    it is the mean over the runs that all its pairs have.

    Args:
        pairs: at least one.
        split: of which scores.

    Returns:
        The gain in the score's unit; its `runs` are the groups, or the runs of a single group.
    """
    groups = independent(pairs)
    if len(groups) == 1:
        by_run = [pair.told_by(split)[1] for pair in pairs]
        shared = set.intersection(*(set(gains) for gains in by_run))
        return Estimate.of(fmean(gains[run] for gains in by_run) for run in sorted(shared))
    told = Estimate.of(fmean(p.told_by(split)[0].mean for p in group) for group in groups)
    return told if len(groups) > 2 else replace(told, error=None)


def speed_up(results: StudyResults, trial: TrialResult) -> float | None:
    """Inference-time ratio at batch 1, as measured in alternation.

    Of the teacher to the student; of the default student, where there is no teacher.
    """
    latency = measured_latency(trial)
    if latency is not None:
        return latency.ratio_batch_1.median
    if results.reference is not None and trial.latency_ms:
        return results.reference.latency_ms / trial.latency_ms
    return None
