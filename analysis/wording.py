"""What a study found, in words: the few sentences that a report begins with."""

from analysis.findings import (
    CLOSE_POINTS,
    Findings,
    TimeSpent,
    flat_front,
    is_ahead,
    is_close,
    point_of,
    speed_up,
)
from analysis.formatting import (
    NBSP,
    chance,
    counted,
    duration,
    milliseconds,
    number,
    score_text,
    signed,
    significant,
    times,
)
from analysis.front import is_distilled, taught_by_itself
from analysis.gains import Headline, gain_headline, gain_sentence, sure_gains
from analysis.record import StudyResults
from analysis.results import TrialResult

SURE = 0.9  # a probability of being on the front that leaves little doubt


def sentences(results: StudyResults, found: Findings) -> list[str]:
    """What was found, as plain text: the front, the student near the teacher, the gain.

    And how sure the front is, once anything was trained under several seeds.
    """
    if not found.front:
        return [_no_front(results, found)]
    lines = [_front_sentence(results, found)]
    if _has_no_trade_off(found):
        lines[0] += f" {_no_trade_off(results)}."
    if found.close is not None and found.close_gap is not None:
        lines.append(_close_sentence(results, found.close, found.close_gap))
    if found.pairs or results.plan.space.taught:
        lines.append(f"{gain_sentence(results, found)}{sure_gains(results, found)}")
    if results.replicated:
        lines.append(doubt_sentence(results, found))
    return lines


def headlines(results: StudyResults, found: Findings) -> list[Headline]:
    """The first findings as a page shows them, each a sentence under its figure.

    The best trade-off, the smallest student near the teacher, the gain by distillation.
    """
    if not found.front:
        return [Headline("So far", "No front yet", "", _no_front(results, found))]
    lines = [_front_headline(results, found)]
    if found.close is not None and found.close_gap is not None:
        lines.append(_close_headline(results, found, found.close, found.close_gap))
    if found.pairs or results.plan.space.taught:
        lines.append(gain_headline(results, found))
    return lines


def _front_headline(results: StudyResults, found: Findings) -> Headline:
    best = found.best_trade_off or found.front[0]
    speed = f"{times(speed_up(results, best))} as fast as the {results.plan.space.yardstick}"
    ends, complete = flat_front(results), found.counts["complete"]
    first, last = _place(results, ends[0]), _place(results, ends[-1])
    space = results.plan.space
    front = "front" if space.third is None else f"front of {space.compared_by}"
    among = f"{front} among {complete:,} fully trained students"
    if complete == 1:
        sentence = f"One student was trained to its last epoch: {_called(best)}"
    elif len(found.front) == 1:
        sentence = f"{_called(best)}, alone on the {among}"
    elif first == last:
        sentence = f"{_called(best)}, one of {len(found.front)} on the {among}"
    else:
        sentence = f"{_called(best)}, one of {len(found.front)} on the {among}, "
        sentence += f"from {first} to {last}"
    if results.plan.space.taught and not is_distilled(best, results.plan.space):
        sentence += "; it was taught by the labels alone"
    # Who is chosen by a score looks better by it than it is.
    test = None if _has_no_trade_off(found) else results.test_score(best)
    val = score_text(results.val_score(best), space.score.unit)
    bound, figure = speed, _place(results, best)
    if test is None:
        sentence += ". Scores are of the validation split"
    else:
        bound = f"on the test split, {speed}"
        figure = _at(score_text(test, space.score.unit), best)
        sentence += f". Students are chosen by validation scores; its own is {val}"
    if _has_no_trade_off(found):
        fastest = sentence if complete == 1 else f"The fastest is {sentence}"
        sentence = f"{_no_trade_off(results)}. {fastest}"
        bound = f"the fastest is {speed}"
        return Headline("Best trade-off", "None", bound, f"{sentence}.")
    return Headline("Best trade-off", figure, bound, f"{sentence}.")


def _has_no_trade_off(found: Findings) -> bool:
    """Whether no member of a front dominates any area, though its corners are known."""
    return bool(found.front) and found.hypervolume is not None and found.best_trade_off is None


def _no_trade_off(results: StudyResults) -> str:
    space = results.plan.space
    return (
        f"No student on the front is both faster than the {space.yardstick} and better than "
        f"{space.score.floor_name}"
    )


def _close_headline(
    results: StudyResults, found: Findings, trial: TrialResult, gap: float
) -> Headline:
    """The smallest student no more than a point below the teacher; else who comes closest."""
    teacher, score = results.teacher, results.plan.space.score
    assert teacher is not None
    goal = f"{teacher.name} ({score_text(teacher.val_score, score.unit)})"
    small = found.smallest
    if small is None or small.model is None:
        figure = shown = f"{signed(gap, _decimals(gap))} {score.points}"
        bound = f"{times(speed_up(results, trial))} as fast"
        closest = f"{_called(trial)} is closest"
        sentence = f"No student comes within {score.one_point} of {goal}; {closest}."
        on_test = _test_gap(results, trial)
        if on_test is not None:
            figure, bound = f"{signed(on_test)} {score.points}", f"on the test split, {bound}"
            sentence = f"On validation no{sentence.removeprefix('No').removesuffix('.')}, {shown}."
        return Headline("Closest to the teacher", figure, bound, sentence)
    apart = (results.val_score(small) or 0.0) - teacher.val_score
    share = significant(
        100 * small.model.params_m / teacher.params_m if teacher.params_m else None, 2
    )
    shown = f"{signed(apart, _decimals(apart))} {score.points}"
    on_test = _test_gap(results, small)
    if on_test is not None:
        shown = f"{signed(on_test)} {score.points} on the test split"
    bound = f"{shown}, {times(speed_up(results, small))} as fast"
    size = f"{share}{NBSP}% of its parameters"
    title = f"Within {score.one_point} of the teacher"
    by = "" if on_test is None else " by validation scores"
    sentence = (
        f"{_called(small)} is the smallest within {score.one_point} of {goal}{by}, with {size}"
    )
    if is_ahead(apart):
        title = "Ahead of the teacher" if _is_still_ahead(on_test) else "Near the teacher"
        sentence = (
            f"{_called(small)} is the smallest that keeps up with {goal}{by}: it is "
            f"{number(apart, _decimals(apart))} {score.points} above it, with {size}"
        )
    if small.latency_ms != trial.latency_ms:
        sentence += f"; the fastest is {_called(trial)}, {times(speed_up(results, trial))}"
    params = small.model.params_m
    count = (
        f"{significant(params)}{NBSP}M" if params >= 0.1 else f"{significant(1000 * params)}{NBSP}k"
    )
    figure = f"{count} parameters"
    if not is_distilled(small, results.plan.space):
        sentence += ". It was taught by the labels alone"
    elif is_ahead(apart) and _is_still_ahead(on_test) and not taught_by_itself(small):
        sentence += ". A stronger teacher may have more to teach"
    return Headline(title, figure, bound, f"{sentence}.")


def _is_still_ahead(on_test: float | None) -> bool:
    """Whether the test split, where it was scored, does not gainsay who is ahead on validation."""
    return on_test is None or is_ahead(on_test)


def _test_gap(results: StudyResults, trial: TrialResult) -> float | None:
    """How far a student is above its teacher on the test split, where it was scored there."""
    test, teacher = results.test_score(trial), results.teacher
    if test is None or teacher is None or teacher.test_score is None:
        return None
    return test - teacher.test_score


def _no_front(results: StudyResults, found: Findings) -> str:
    if not results.trials:
        return "No trial has started yet, so there is nothing to compare."
    states = [f"{count} {status}" for status, count in found.counts.items() if count]
    ended = [
        trial
        for trial in results.configurations
        if trial.epochs_done >= trial.epochs > 0
        and trial.reason
        and trial.status in ("complete", "infeasible")
    ]
    if ended:
        best = max(ended, key=lambda trial: trial.val_score or 0.0)
        return (
            f"There is no front: of {counted(len(ended), 'student')} trained to the last epoch "
            f"none keeps to the limits asked for; {_called(best)} comes closest: {best.reason}."
        )
    return (
        f"{_none_of(len(results.configurations))} run to its end "
        f"({', '.join(states)}), so there is no front yet."
    )


def _none_of(trials: int) -> str:
    return "The only trial has not" if trials == 1 else f"None of {trials:,} trials has"


def relative_speed(results: StudyResults, trial: TrialResult) -> str:
    """The ratio in words: `2.1x the teacher's speed`."""
    return f"{times(speed_up(results, trial))} the {results.plan.space.yardstick}'s speed"


def _place(results: StudyResults, trial: TrialResult) -> str:
    return _at(score_text(results.val_score(trial), results.plan.space.score.unit), trial)


def _at(score: str, trial: TrialResult) -> str:
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
    test = results.test_score(best)
    tested = "" if test is None else f" ({score_text(test, space.score.unit)} on the test split)"
    return (
        f"{size}. The best trade-off is {_called(best)}: {_place(results, best)}{tested}, "
        f"{relative_speed(results, best)}."
    )


def _close_sentence(results: StudyResults, trial: TrialResult, gap: float) -> str:
    teacher = results.teacher
    assert teacher is not None
    ratio = times(speed_up(results, trial))
    size = ""
    if trial.model is not None and teacher.params_m > 0:
        share = 100 * trial.model.params_m / teacher.params_m
        size = f" with {significant(share, 2)}{NBSP}% of its parameters"
    score = results.plan.space.score
    goal = f"{teacher.name} ({score_text(teacher.val_score, score.unit)})"
    apart = number(abs(gap), _decimals(gap))
    if not is_close(gap):
        return (
            f"No student comes within {score.one_point} of {goal}; the closest, {_called(trial)}, "
            f"is {apart} {score.points} below it at {ratio} its speed{size}."
        )
    if gap >= 0:
        gained = f"{signed(gap, _decimals(gap))} {score.points}"
        verb = "exceeds" if is_ahead(gap) else "matches"
        return f"{_called(trial)} {verb} {goal}: {gained} at {ratio} its speed{size}."
    return (
        f"The fastest student within {score.one_point} of {goal} is {_called(trial)}: "
        f"{apart} {score.points} below at {ratio} its speed{size}."
    )


def _decimals(gap: float) -> int:
    """Decimals that a distance to the teacher's score needs so as not to look like the bound."""
    distance = abs(abs(gap) - CLOSE_POINTS)
    if distance < 1e-6:  # it is the bound
        return 1
    return next(digits for digits in range(1, 9) if round(abs(gap), digits) != CLOSE_POINTS)


def doubt_sentence(results: StudyResults, found: Findings) -> str:
    """How probable the members of the front are, and who else is, where that is known."""
    if results.spread is None:
        return "Scores of students trained under several seeds are means."
    chances = [(results.probabilities.get(t.number, 1.0), t) for t in found.front]
    least, weakest = min(chances, key=lambda entry: (entry[0], entry[1].number))
    sure = sum(round(probability, 2) >= SURE for probability, _ in chances)  # as it is shown
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
    if results.open_session is not None:
        return "under way, or cut off"
    if not results.sessions:
        return "no session has ended yet"
    end = results.sessions[-1].end
    phrases = {
        "complete": "complete",
        "budget": "ended when its time budget was spent",
        "SIGINT": "interrupted",
        "SIGTERM": "terminated",
        "failed": "ended by an error",
        "no front": "ended without a front",
        "too many failures": "ended after too many failed trials",
    }
    return phrases.get(end, end)


def wall_clock(spent: TimeSpent) -> str:
    """How much training fitted into the wall time, in a sentence."""
    total = spent.students + spent.teacher
    text = f"{duration(total)} of training"
    if spent.wall <= 0:
        return f"{text}; no session has ended yet, so the wall time is not known."
    text += f" in {duration(spent.wall)} of wall time"
    if total < 0.1 * spent.wall:
        return f"{text}: {number(100 * total / spent.wall, 0)}{NBSP}% of it."
    return f"{text}: {number(total / spent.wall, 1)} networks in training at a time, on average."
