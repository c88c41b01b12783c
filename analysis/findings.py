"""What a study found, as numbers, and the two or three sentences that say so."""

import statistics
from collections import Counter
from typing import NamedTuple

from analysis.formatting import (
    counted,
    duration,
    milliseconds,
    number,
    score_text,
    signed,
    times,
)
from analysis.front import KdPair, front_members, hypervolume, kd_pairs, trial_point
from analysis.record import StudyResults
from analysis.results import STATUSES, Status, TrialResult
from analysis.table import measured_latency

CLOSE_POINTS = 1.0  # "within one point of the teacher"; of a score in dB, within 1 dB


class Findings(NamedTuple):
    """The numbers behind the first lines of a report.

    Args:
        counts: trials by status.
        front: the front, fastest first.
        hypervolume: 0..1, None before its corners are known.
        best_trade_off: the front member that dominates the largest area by itself.
        close: the fastest complete student within `CLOSE_POINTS` of the teacher's validation
            score, else the one that comes closest to it.
        close_gap: its validation score minus the teacher's, in the score's unit.
        pairs: distilled students and their controls.
    """

    counts: dict[Status, int]
    front: tuple[TrialResult, ...]
    hypervolume: float | None
    best_trade_off: TrialResult | None
    close: TrialResult | None
    close_gap: float | None
    pairs: tuple[KdPair, ...]


class TimeSpent(NamedTuple):
    """Seconds of training by what came of them, and the wall time of all sessions."""

    teacher: float
    by_status: dict[Status, float]
    wall: float

    @property
    def students(self) -> float:
        """Seconds spent training students."""
        return sum(self.by_status.values())


def find(results: StudyResults) -> Findings:
    """Works out what a study found."""
    counts = Counter(trial.status for trial in results.trials)
    front = results.front
    area = None
    best = None
    if results.reference is not None:
        points = {trial.number: trial_point(trial) for trial in front}
        placed = [point for point in points.values() if point is not None]
        area = hypervolume(placed, results.reference)
        alone = {
            trial.number: hypervolume([point], results.reference)
            for trial in front
            if (point := points[trial.number]) is not None
        }
        best = max(front, key=lambda trial: alone[trial.number], default=None)
    close, gap = _close_to_teacher(results, front)
    return Findings(
        counts={status: counts[status] for status in STATUSES},
        front=front,
        hypervolume=area,
        best_trade_off=best,
        close=close,
        close_gap=gap,
        pairs=kd_pairs(results.trials, results.plan.space),
    )


def _close_to_teacher(
    results: StudyResults, front: tuple[TrialResult, ...]
) -> tuple[TrialResult | None, float | None]:
    """The fastest front member close enough to the teacher, else the one of the best score.

    Looking at the front is enough: whatever else comes as close is slower.
    """
    if results.teacher is None or not front:
        return None, None
    goal = results.teacher.val_score
    gaps = [((trial.val_score or 0.0) - goal, trial) for trial in front]
    for gap, trial in gaps:  # fastest first
        if gap >= -CLOSE_POINTS:
            return trial, gap
    gap, trial = max(gaps, key=lambda entry: entry[0])
    return trial, gap


def time_spent(results: StudyResults) -> TimeSpent:
    """Where the training time went; a teacher from the cache or a checkpoint cost none here."""
    by_status: dict[Status, float] = dict.fromkeys(STATUSES, 0.0)
    for trial in results.trials:
        by_status[trial.status] += trial.train_seconds
    teacher = results.teacher
    own = teacher is not None and teacher.source == "trained"
    return TimeSpent(
        teacher=teacher.train_seconds if teacher is not None and own else 0.0,
        by_status=by_status,
        wall=sum(session.seconds for session in results.sessions),
    )


def sentences(results: StudyResults, found: Findings) -> list[str]:
    """What was found, as plain text: the front, the student near the teacher, the gain."""
    if not found.front:
        return [_no_front(results, found)]
    lines = [_front_sentence(results, found)]
    if found.close is not None and found.close_gap is not None:
        lines.append(_close_sentence(results, found.close, found.close_gap))
    lines.append(_gain_sentence(results, found))
    return lines


def _no_front(results: StudyResults, found: Findings) -> str:
    if not results.trials:
        return "No trial has started yet, so there is nothing to compare."
    states = [f"{count} {status}" for status, count in found.counts.items() if count]
    return (
        f"None of {counted(len(results.trials), 'trial')} has run to its end "
        f"({', '.join(states)}), so there is no front yet."
    )


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


def relative_speed(results: StudyResults, trial: TrialResult) -> str:
    """The ratio in words: `2.1x the teacher's speed`."""
    return f"{times(speed_up(results, trial))} the {results.plan.space.yardstick}'s speed"


def _place(results: StudyResults, trial: TrialResult) -> str:
    score = score_text(trial.val_score, results.plan.space.score.unit)
    return f"{score} at {milliseconds(trial.latency_ms)}"


def _called(trial: TrialResult) -> str:
    if trial.label:
        return f"{trial.name} ({trial.label})"
    return f"{trial.name} ({trial.architecture})" if trial.architecture else trial.name


def _front_sentence(results: StudyResults, found: Findings) -> str:
    complete = found.counts["complete"]
    trained = counted(complete, "fully trained student")
    # The ends of the front in score and latency, which in a front of three need not be its last.
    ends = front_members(found.front)
    first, last = _place(results, ends[0]), _place(results, ends[-1])
    space = results.plan.space
    front = "front" if space.third is None else f"front of {space.compared_by}"
    if complete == 1:
        return f"One student was trained to its last epoch: {_called(found.front[0])}, {first}."
    if len(found.front) == 1:
        size = f"One of {trained} is on the {front}: {_called(found.front[0])}, {first}"
    elif len({trial_point(trial) for trial in found.front}) == 1:
        size = f"{len(found.front)} of {trained} share the {front}, all {first}"
    elif first == last:
        size = f"{len(found.front)} of {trained} are on the {front}, the best and fastest {first}"
    else:
        size = f"{len(found.front)} of {trained} are on the {front}, from {first} to {last}"
    best = found.best_trade_off
    if best is None or len(found.front) == 1:
        return size + "."
    return (
        f"{size}. The best trade-off is {_called(best)}: {_place(results, best)}, "
        f"{relative_speed(results, best)}."
    )


def _close_sentence(results: StudyResults, trial: TrialResult, gap: float) -> str:
    teacher = results.teacher
    assert teacher is not None
    ratio = times(speed_up(results, trial))
    size = ""
    if trial.model is not None and teacher.params_m > 0:
        share = 100 * trial.model.params_m / teacher.params_m
        size = f" with {number(share, 0 if share >= 10 else 1)}{chr(160)}% of its parameters"
    score = results.plan.space.score
    goal = f"{teacher.name} ({score_text(teacher.val_score, score.unit)})"
    if gap < -CLOSE_POINTS:
        return (
            f"No student comes within {score.one_point} of {goal}; the closest, {_called(trial)}, "
            f"is {number(-gap, 1)} {score.points} below it at {ratio} its speed{size}."
        )
    if gap >= 0:
        gained = f"{signed(gap)} {score.points}"
        return f"{_called(trial)} matches {goal}: {gained} at {ratio} its speed{size}."
    return (
        f"The fastest student within {score.one_point} of {goal} is {_called(trial)}: "
        f"{number(-gap, 1)} {score.points} below at {ratio} its speed{size}."
    )


def _gain_sentence(results: StudyResults, found: Findings) -> str:
    gains = [pair.val_gain for pair in found.pairs]
    if not gains:
        return "No distilled student has an undistilled twin to be compared with yet."
    twins = "with its undistilled twin" if len(gains) == 1 else "with their undistilled twins"
    middle = signed(statistics.median(gains))
    score = results.plan.space.score
    text = f"Distillation changed validation {score.name} by {middle} {score.points}"
    if len(gains) == 1:
        return f"{text}, comparing one student {twins}."
    low, high = signed(min(gains)), signed(max(gains))
    if low == high:
        return f"{text}, comparing {len(gains)} students {twins}."
    spread = f"{low} to {high}"
    return f"{text} in the median ({spread}), comparing {len(gains)} students {twins}."


def how_it_ended(results: StudyResults) -> str:
    """One phrase on the state of the study."""
    if not results.sessions:
        return "no session has ended yet"
    end = results.sessions[-1].end
    phrases = {
        "complete": "complete",
        "budget": "ended when its time budget was spent",
        "SIGINT": "interrupted",
        "SIGTERM": "terminated",
        "failed": "ended by an error",
        "too many failures": "ended after too many failed trials",
    }
    return phrases.get(end, end)


def wall_clock(spent: TimeSpent) -> str:
    """How much training fitted into the wall time, in a sentence."""
    total = spent.students + spent.teacher
    text = f"{duration(total)} of training"
    if spent.wall <= 0:
        return f"{text}; no session has ended yet, so the wall time is not known."
    return (
        f"{text} in {duration(spent.wall)} of wall time: "
        f"{number(total / spent.wall, 1)} networks in training at a time, on average."
    )
