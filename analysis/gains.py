"""What a study's students gained over their controls, in words."""

from collections.abc import Sequence
from typing import NamedTuple

from analysis.findings import Findings, independent, overall_gain
from analysis.formatting import NBSP, signed, span
from analysis.front import KdPair
from analysis.record import StudyResults
from analysis.results import Split
from analysis.runs import Estimate
from analysis.stored_plan import Space


class Words(NamedTuple):
    """What gains come of, and what a student is compared with, one and many."""

    cause: str
    twin: str
    twins: str


def words(space: Space) -> Words:
    """Return the words for a space: of those in which nobody teaches, gains are over controls."""
    if space.distils:
        return Words("Distillation", "its undistilled twin", "their undistilled twins")
    return Words("What controls lack", "its control", "their controls")


class Headline(NamedTuple):
    """One finding: what it is about, its figure, what bounds that, and the sentence."""

    title: str
    figure: str
    bound: str
    sentence: str


def gain_sentence(results: StudyResults, found: Findings) -> str:
    """What distillation added: over runs of several seeds, where there are any."""
    if not found.pairs:
        return "No distilled student has an undistilled twin to be compared with yet."
    pairs, split, told = _gains_of(found)
    gains = [each.mean for each in told]
    score, gain = results.plan.space.score, overall_gain(pairs, split)
    cause, twin, twins = words(results.plan.space)
    text = f"{cause} changed {split} {score.name} by {signed(gain.mean)} {score.points}"
    runs = _runs_each([each.runs for each in told])
    if len(pairs) == 1:
        text += f"{_interval(told[0])}, comparing one student"
        text = f"{text} with {twin}, {runs}."
    else:
        if signed(min(gains)) != signed(max(gains)):
            interval = (
                "" if gain.interval is None else f"95{NBSP}% interval {span(gain.interval)}, "
            )
            text += f" on average ({interval}single students {span((min(gains), max(gains)))})"
        text = f"{text}, comparing {_students(pairs)} with {twins}, {runs}."
    return text + _as_validated(pairs, split)


def gain_headline(results: StudyResults, found: Findings) -> Headline:
    """The gain as a page shows it first: its figure, its interval, and the sentence."""
    space = results.plan.space
    cause, twin, _ = words(space)
    title = "Gain by distillation" if space.distils else "Gain over controls"
    if not found.pairs:
        return Headline(title, "Not known yet", "", gain_sentence(results, found))
    score = results.plan.space.score
    pairs, split, told = _gains_of(found)
    gain, gains = overall_gain(pairs, split), [each.mean for each in told]
    bound = _no_interval(pairs, gain)
    if gain.interval is not None:
        bound = f"95{NBSP}% interval {span(gain.interval)}"
    runs = _runs_each([each.runs for each in told])
    figure = f"{signed(gain.mean)} {score.points}"
    sentence = f"{cause} changed {split} {score.name} by {figure}"
    if len(pairs) == 1:
        sentence += f", comparing one student with {twin}, {runs}"
    else:
        sentence += f" on average over {_students(pairs)}, each beside {twin}, {runs}"
        if signed(min(gains)) != signed(max(gains)):
            sentence += f"; single gains from {span((min(gains), max(gains)))}"
    return Headline(title, figure, bound, f"{sentence}.{_as_validated(pairs, split)}")


def sure_gains(results: StudyResults, found: Findings) -> str:
    """How many of the gains are sure, that of one member, and how many are of one run only.

    Begins with a space; empty where no pair was run several times.
    """
    several = [pair for pair in found.pairs if pair.validation.runs > 1]
    if not several:
        return ""
    text = ""
    if len(several) > 1:
        split = _split_of(several)
        bounds = [pair.told_by(split)[0].interval for pair in several]
        # By what is shown: an end that is told as 0.0 is not above it.
        above = sum(interval is not None and round(interval[0], 1) > 0 for interval in bounds)
        which = "all" if above == len(several) else f"{above or 'none'}"
        text += (
            f" The 95{NBSP}% interval lies above zero for {which} of the {len(several)} that were "
            "run several times"
        )
        told = next((p for p in several if p.distilled is found.best_trade_off), None)
        if told is not None:
            points = results.plan.space.score.points
            own = told.told_by(split)[0]
            gain = f"{signed(own.mean)} {points}{_interval(own)}"
            text += f"; the best trade-off gained {gain}"
            if told.test is not None and split == "validation":
                text += f" on validation, on the test split {signed(told.test_gain)}"
                text += "" if told.test.interval is None else f" ({span(told.test.interval)})"
        text += "."
    alone = len(found.pairs) - len(several)
    if alone:
        text += f" {alone} more {'pair was' if alone == 1 else 'pairs were'} run once."
    return text


def _witnesses(pairs: Sequence[KdPair]) -> tuple[int, str]:
    """How many of some pairs tell of the gain independently, and what each of those is.

    A student; a network, of pairs that are exits of fewer networks; or else a group of students
    that are compared with one control.
    """
    count = len(independent(pairs))
    if count == len(pairs):
        return count, "student"
    networks = len({pair.distilled.network for pair in pairs})
    return count, "network" if count == networks else "group"


def _students(pairs: Sequence[KdPair]) -> str:
    """`10 students`, and how many networks or groups those are, where they are fewer."""
    count, kind = _witnesses(pairs)
    students = f"{len(pairs)} students"
    if kind == "student":
        return students
    if kind == "network":
        return f"{students} of {'one network' if count == 1 else f'{count} networks'}"
    if count == 1:
        return f"{students} that share a control"
    return f"{students} in {count} groups that share no control"


def _no_interval(pairs: Sequence[KdPair], gain: Estimate) -> str:
    """Why an overall gain has no interval: too little tells it, or all of it is the same."""
    count, kind = _witnesses(pairs)
    if count > 2:
        return f"the same in all {count} {kind}s"
    if count == 2:
        return f"no interval from two {kind}s"
    if gain.runs > 1:
        return "the same in both runs" if gain.runs == 2 else f"the same in all {gain.runs} runs"
    return f"no interval from one {'run' if kind == 'student' else kind}"


def _told_by(found: Findings) -> list[KdPair]:
    """The pairs that tell of the gain: those of several runs where there are any, else all."""
    return [pair for pair in found.pairs if pair.validation.runs > 1] or list(found.pairs)


def _gains_of(found: Findings) -> tuple[list[KdPair], Split, list[Estimate]]:
    """The pairs that tell of the gain, the split they tell it by, and what each gained there."""
    pairs = _told_by(found)
    split = _split_of(pairs)
    return pairs, split, [pair.told_by(split)[0] for pair in pairs]


def _split_of(pairs: Sequence[KdPair]) -> Split:
    """The split to tell gains by: students are chosen by validation scores, which flatters them.

    The test split, once all runs have been scored there.
    """
    scored = all(p.test is not None and p.test.runs == p.validation.runs for p in pairs)
    return "test" if scored else "validation"


def _as_validated(pairs: Sequence[KdPair], split: Split) -> str:
    """What the gain was on the split that students are chosen by, where another one tells it."""
    return "" if split == "validation" else f" On validation: {signed(overall_gain(pairs).mean)}."


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
