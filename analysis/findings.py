"""What a study found, as numbers, and the two or three sentences that say so."""

import statistics
from collections import Counter
from typing import NamedTuple

from analysis.formatting import (
    NBSP,
    chance,
    counted,
    duration,
    milliseconds,
    number,
    score_text,
    signed,
    span,
    times,
)
from analysis.front import KdPair, front_members, hypervolume
from analysis.record import StudyResults
from analysis.results import STATUSES, Status, TrialResult, trained_alone
from analysis.runs import Estimate
from analysis.table import measured_latency

SURE = 0.9  # a probability of being on the front that leaves little doubt
CLOSE_POINTS = 1.0  # "within one point of the teacher"; of a score in dB, within 1 dB


class Findings(NamedTuple):
    """The numbers behind the first lines of a report.

    Args:
        counts: configurations by the status of their first run.
        front: the front, fastest first.
        hypervolume: 0..1, None before its corners are known.
        best_trade_off: the front member that dominates the largest area by itself.
        close: the fastest complete student within `CLOSE_POINTS` of the teacher's validation
            score, else the one that comes closest to it.
        close_gap: its validation score minus the teacher's, in the score's unit.
        pairs: distilled students and their controls.

    The score of a configuration that has several runs is their mean.
    """

    counts: dict[Status, int]
    front: tuple[TrialResult, ...]
    hypervolume: float | None
    best_trade_off: TrialResult | None
    close: TrialResult | None
    close_gap: float | None
    pairs: tuple[KdPair, ...]


class TimeSpent(NamedTuple):
    """Seconds of training by what came of them, and the wall time of all sessions.

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
        points = {trial.number: point_of(results, trial) for trial in front}
        area = hypervolume(points.values(), results.reference)
        alone = {number: hypervolume([p], results.reference) for number, p in points.items()}
        best = max(front, key=lambda trial: alone[trial.number], default=None)
    close, gap = _close_to_teacher(results, front)
    return Findings(
        counts={status: counts[status] for status in STATUSES},
        front=front,
        hypervolume=area,
        best_trade_off=best,
        close=close,
        close_gap=gap,
        pairs=results.pairs,
    )


def point_of(results: StudyResults, member: TrialResult) -> tuple[float, float]:
    """(mean validation score, latency ms) of a member of the front."""
    score, latency = results.val_score(member), member.latency_ms
    assert score is not None
    assert latency is not None
    return score, latency


def flat_front(results: StudyResults) -> tuple[TrialResult, ...]:
    """The members of the front that are on that of score and latency alone, fastest first."""
    members = {trial.number for trial in results.front}
    if results.plan.space.third is None:
        return results.front
    flat = front_members(results.trials, spread=results.tie_spread)
    return tuple(trial for trial in flat if trial.number in members)


def _close_to_teacher(
    results: StudyResults, front: tuple[TrialResult, ...]
) -> tuple[TrialResult | None, float | None]:
    """The fastest front member close enough to the teacher, else the one of the best score.

    Looking at the front is enough: whatever else comes as close is slower.
    """
    if results.teacher is None or not front:
        return None, None
    goal = results.teacher.val_score
    gaps = [(point_of(results, trial)[0] - goal, trial) for trial in front]
    for gap, trial in gaps:  # fastest first
        if gap >= -CLOSE_POINTS:
            return trial, gap
    gap, trial = max(gaps, key=lambda entry: entry[0])
    return trial, gap


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
    teacher = results.teacher
    own = teacher is not None and teacher.source == "trained"
    return TimeSpent(
        teacher=teacher.train_seconds if teacher is not None and own else 0.0,
        by_status=by_status,
        replicates=replicates,
        wall=sum(session.seconds for session in results.sessions),
    )


def sentences(results: StudyResults, found: Findings) -> list[str]:
    """What was found, as plain text: the front, the student near the teacher, the gain.

    And how sure the front is, once anything was trained under several seeds.
    """
    if not found.front:
        return [_no_front(results, found)]
    lines = [_front_sentence(results, found)]
    if found.close is not None and found.close_gap is not None:
        lines.append(_close_sentence(results, found.close, found.close_gap))
    lines.append(_gain_sentence(results, found))
    if results.replicated:
        lines.append(_doubt_sentence(results, found))
    return lines


def _no_front(results: StudyResults, found: Findings) -> str:
    if not results.trials:
        return "No trial has started yet, so there is nothing to compare."
    states = [f"{count} {status}" for status, count in found.counts.items() if count]
    return (
        f"None of {counted(len(results.configurations), 'trial')} has run to its end "
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
    score = score_text(results.val_score(trial), results.plan.space.score.unit)
    return f"{score} at {milliseconds(trial.latency_ms)}"


def _called(trial: TrialResult) -> str:
    if trial.label:
        return f"{trial.name} ({trial.label})"
    return f"{trial.name} ({trial.architecture})" if trial.architecture else trial.name


def _front_sentence(results: StudyResults, found: Findings) -> str:
    complete = found.counts["complete"]
    trained = counted(complete, "fully trained student")
    # The ends of the front in score and latency, which in a front of three need not be its last.
    ends = flat_front(results)
    first, last = _place(results, ends[0]), _place(results, ends[-1])
    space = results.plan.space
    front = "front" if space.third is None else f"front of {space.compared_by}"
    if complete == 1:
        return f"One student was trained to its last epoch: {_called(found.front[0])}, {first}."
    if len(found.front) == 1:
        size = f"One of {trained} is on the {front}: {_called(found.front[0])}, {first}"
    elif len({point_of(results, trial) for trial in found.front}) == 1:
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
    """What distillation added: over runs of several seeds, where there are any."""
    if not found.pairs:
        return "No distilled student has an undistilled twin to be compared with yet."
    several = [pair for pair in found.pairs if pair.validation.runs > 1]
    pairs = several or found.pairs
    gains = [pair.val_gain for pair in pairs]
    score = results.plan.space.score
    middle = f"{signed(statistics.median(gains))} {score.points}"
    text = f"Distillation changed validation {score.name} by {middle}"
    runs = _runs_each([pair.validation.runs for pair in pairs])
    if len(pairs) == 1:
        text += f"{_interval(pairs[0].validation)}, comparing one student"
        text = f"{text} with its undistilled twin, {runs}."
    else:
        if signed(min(gains)) != signed(max(gains)):
            text += f" in the median ({span((min(gains), max(gains)))})"
        text = f"{text}, comparing {len(pairs)} students with their undistilled twins, {runs}."
    return f"{text}{_sure_gains(results, found, several)}" if several else text


def _runs_each(counts: list[int]) -> str:
    """`one run each`, `3 runs each`, `2 to 3 runs each`."""
    few, many = min(counts), max(counts)
    if many == 1:
        return "one run each"
    return f"{many} runs each" if few == many else f"{few} to {many} runs each"


def _interval(gain: Estimate) -> str:
    """` (95 % interval +0.8 to +2.3)`; nothing of one run."""
    if gain.interval is not None:
        return f" (95{NBSP}% interval {span(gain.interval)})"
    return "" if gain.runs == 1 else f" (the same in {gain.runs} runs, which tells no interval)"


def _sure_gains(results: StudyResults, found: Findings, several: list[KdPair]) -> str:
    """How many of the gains are sure, that of one member, and how many are of one run only."""
    text = ""
    if len(several) > 1:
        bounds = [pair.validation.interval for pair in several]
        above = sum(interval is not None and interval[0] > 0 for interval in bounds)
        which = "all" if above == len(several) else f"{above or 'none'}"
        text += f" The 95{NBSP}% interval lies above zero for {which} of them"
        told = next((p for p in several if p.distilled is found.best_trade_off), None)
        if told is not None:
            points = results.plan.space.score.points
            gain = f"{signed(told.val_gain)} {points}{_interval(told.validation)}"
            text += f"; the best trade-off gained {gain}"
            if told.test is not None:
                text += f", on the test split {signed(told.test_gain)}"
                text += "" if told.test.interval is None else f" ({span(told.test.interval)})"
        text += "."
    alone = len(found.pairs) - len(several)
    if alone:
        text += f" {alone} more {'pair was' if alone == 1 else 'pairs were'} run once."
    return text


def _doubt_sentence(results: StudyResults, found: Findings) -> str:
    """How probable the members of the front are, and who else is."""
    chances = [(results.probabilities.get(t.number, 1.0), t) for t in found.front]
    least, weakest = min(chances, key=lambda entry: (entry[0], entry[1].number))
    sure = sum(probability >= SURE for probability, _ in chances)
    text = "Scores of students trained under several seeds are means. "
    if len(chances) == 1:
        text += f"The probability that {weakest.name} is on the front is {chance(least)}"
    else:
        which = "all" if sure == len(chances) else f"{sure or 'none'} of the {len(chances)}"
        text += f"The probability of being on the front is {100 * SURE:.0f}{NBSP}% or more for "
        text += f"{which}, and least for {weakest.name} ({chance(least)})"
    if not results.near_rivals:
        return f"{text}; no student off the front comes near."
    rival = results.near_rivals[0]
    probability = chance(results.probabilities[rival.number])
    return f"{text}; of the students off the front it is largest for {rival.name} ({probability})."


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
