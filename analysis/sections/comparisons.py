"""Sections of a report that set things side by side: the front and its rivals, the controls."""

import math
from collections.abc import Sequence
from statistics import fmean

from analysis.findings import Findings, independent
from analysis.formatting import (
    NBSP,
    NONE,
    chance,
    configuration,
    duration,
    number,
    plus_minus,
    score_text,
    signed,
    significant,
    span,
)
from analysis.front import KdPair
from analysis.gains import sure_gains
from analysis.limits import limits_note
from analysis.markup import Cell, Head, Html, join, sortable_table, tag
from analysis.record import StudyResults
from analysis.replication import RIVAL_PROBABILITY
from analysis.results import Ratio, TrialResult, trial_name
from analysis.runs import Estimate, Spread, half_width
from analysis.table import measured_latency
from analysis.timing_notes import noise_note, tie_note
from analysis.wording import doubt_sentence

_FEWEST_RIVALS = 3  # shown, also beside a shorter front
# Deviations of one of two that the difference of both stays below in 95 of 100 cases.
_SURE = 1.96 * math.sqrt(2)


def section(identifier: str, title: str, *content: Html | None) -> Html:
    """A section with its heading."""
    return tag("section", tag("h2", title), *content, id=identifier)


def trial_cell(trial: TrialResult) -> Cell:
    """A trial's name, with the preset's label under it, or whose replicate it is."""
    under = trial.label
    if trial.replicate_of is not None:
        under = f"run {trial.run} of {trial_name(trial.replicate_of)}"
    label = tag("small", under) if under else None
    return Cell(tag("span", tag("b", trial.name), label, class_="stack"))


def training_cell(trial: TrialResult) -> Cell:
    """The time a trial trained; of an exit, with whom it shares it."""
    shown = duration(trial.train_seconds)
    shared = None if trial.trained_with is None else tag("small", f"with {trial.trained_as}")
    return Cell(tag("span", shown, shared, class_="stack"), trial.train_seconds)


def taught(results: StudyResults, trial: TrialResult) -> str:
    """The parameters of a trial that do not shape the student, on one line."""
    shape = {p.name for p in results.plan.space.parameters if p.architecture}
    return configuration({k: v for k, v in trial.params.items() if k not in shape})


def ratio_cell(ratio: Ratio | None, digits: int = 2) -> Cell:
    """A ratio over its 95 % interval."""
    if ratio is None:
        return Cell(NONE)
    interval = f"{number(ratio.low, digits)}–{number(ratio.high, digits)}"
    return Cell(
        tag("span", number(ratio.median, digits), tag("small", interval), class_="stack"),
        ratio.median,
    )


def estimate_cell(estimate: Estimate | None) -> Cell:
    """A score over its standard error, which one run does not have."""
    if estimate is None:
        return Cell(NONE)
    shown = number(estimate.mean, 2)
    if estimate.error is None:
        return Cell(shown, estimate.mean)
    error = tag("small", plus_minus(estimate.error, 2))
    return Cell(tag("span", shown, error, class_="stack"), estimate.mean)


def gain_cell(gain: Estimate | None, *, replicated: bool) -> Cell:
    """A gain over its 95 % interval; where others have one, over the words that it has none.

    It has none of one run, nor of runs that all gained the same.
    """
    if gain is None:
        return Cell(NONE)
    shown, interval = signed(gain.mean), gain.interval
    if not replicated:
        return Cell(shown, gain.mean)
    alike = "one run" if gain.runs == 1 else f"in {gain.runs} of {gain.runs} runs"
    under = tag("small", alike if interval is None else span(interval))
    return Cell(tag("span", shown, under, class_="stack"), gain.mean)


def front_section(results: StudyResults, findings: Findings) -> Html | None:
    """The front's table, fastest student first, and that of its near rivals, likeliest first."""
    if not findings.front:
        return None
    space = results.plan.space
    pairs = {pair.distilled.number: pair for pair in findings.pairs}
    heads = _front_heads(results)
    rows = [_front_row(results, trial, pairs.get(trial.number)) for trial in findings.front]
    near = results.near_rivals[: max(len(rows), _FEWEST_RIVALS)]
    rivals = [_front_row(results, trial, pairs.get(trial.number)) for trial in near]
    note = (
        f"Chosen by validation {space.compared_by} among the students trained to their last "
        "epoch. On the test split each run of the front, of published rows and of controls is "
        "scored once, after the search; that chooses nothing."
    )
    if any(_is_searched(trial) for trial in (*findings.front, *near)):
        note += " * Not yet measured again on the idle device: the latency searched by."
    timing = join([tie_note(results), _interval_note(results), noise_note(results)], " ")
    return section(
        "front",
        "The front",
        tag("p", note, class_="note"),
        tag("p", timing, class_="note") if timing else None,
        tag("p", beyond, class_="note") if (beyond := limits_note(results)) else None,
        tag("p", f"{doubt_sentence(results, findings)} {_what_runs_tell(results)}", class_="note")
        if results.replicated
        else None,
        sortable_table("front-table", "Students on the front", heads, rows),
        *_rivals(results, heads, rivals),
    )


def _interval_note(results: StudyResults) -> str | None:
    """What the intervals of ratios do not hold, where a study knows it."""
    if not results.tie_tests.tests:
        return None
    return (
        "The interval of a ratio holds what varies within one measurement; from one measurement to "
        "the next a latency varies as in the A/A test."
    )


def _rivals(
    results: StudyResults, heads: Sequence[Head], rows: Sequence[Sequence[Cell]]
) -> list[Html]:
    if not rows:
        return []
    more = len(results.near_rivals) - len(rows)
    text = (
        "Off the front, and on it with a probability of "
        f"{100 * RIVAL_PROBABILITY:.0f}{NBSP}% or more; the most probable first."
    )
    if more:
        is_are = "is" if more == 1 else "are"
        text += f" {more} more {is_are} less probable than these."
    return [
        tag("h3", "Near rivals", class_="below"),
        tag("p", text, class_="note"),
        sortable_table("rivals-table", "Near rivals of the front", heads, rows),
    ]


def _what_runs_tell(results: StudyResults) -> str:
    """What means, errors and probabilities of a replicated study mean."""
    text = (
        "Scores are means over the runs of a student, each under another seed, ± their standard "
        "error; gains stand over their 95 % interval, by a paired t test over runs of one seed."
    )
    if results.spread is not None:
        ties = (
            ", nor one that is tied with it in latency takes its place"
            if results.tie_tests.tests
            else ""
        )
        text += (
            f" {_spread_in_words(results, results.spread)}; the probability of being on the front "
            "is the share of bootstrap draws, every mean moved by as much as that allows, in which "
            f"no student dominates it{ties}."
        )
    else:
        text += (
            " All runs of a student came to the same score, which tells no spread: how probable a "
            "place on the front is, is not known."
        )
    return f"{text} The first runs chose who was run again, so they lean to the lucky side."


def _spread_in_words(results: StudyResults, spread: Spread) -> str:
    """How far scores lie apart from run to run, pooled over the study, where the front is."""
    score = results.plan.space.score
    reached = [results.val_score(trial) or 0.0 for trial in results.front]
    low, high = min(reached), max(reached)
    text = f"From run to run a student's validation {score.name} has a standard deviation of "
    text += f"{number(spread.deviation(high), 2)} {score.points}"
    if spread.best is None:
        return f"{text}, pooled over the study"
    text += f" at {score_text(high, score.unit)}"
    if high - low > 1.0:
        text += f" and of {number(spread.deviation(low), 2)} at {score_text(low, score.unit)}"
    return f"{text}, pooled over the study in proportion to that of a share"


def _is_searched(trial: TrialResult) -> bool:
    """Whether its latency is the one searched by still."""
    latency = measured_latency(trial)
    return latency is not None and not latency.idle


def _front_heads(results: StudyResults) -> list[Head]:
    space = results.plan.space
    score, interval = space.score, "with the 95 % interval of this one measurement"
    of_runs = ", mean over runs ± standard error" if results.replicated else ""
    gain = Head(
        "KD gain",
        score.points,
        help=f"validation {score.name} minus that of the undistilled twin",
    )
    # What is least sure of a student stands beside its scores.
    sure = [
        Head("Runs", help="runs to their end, each under another seed"),
        Head("On the front", "probability", help="share of bootstrap draws in which it is"),
        gain,
    ]
    return [
        Head("Trial", numeric=False),
        Head("Student", numeric=False),
        Head(
            "Validation", score.unit, help=f"validation {score.name} after the last epoch{of_runs}"
        ),
        Head("Test", score.unit, help=f"test {score.name}, scored once after the search{of_runs}"),
        *(sure if results.replicated else ()),
        Head("Latency", "ms", help=f"batch 1: that of the idle {space.yardstick} over the ratio"),
        Head("Ratio", "batch 1", help=f"{space.yardstick} time / student time, {interval}"),
        Head("Ratio", "batch 64", help=f"{space.yardstick} time / student time, {interval}"),
        Head("Parameters", "M"),
        Head("FLOPs", "M", help="one example; a multiply-accumulate counts as 2"),
        *(() if results.replicated else (gain,)),
        Head("Training", "time", help="time spent training, validation apart"),
        Head("How it was taught", numeric=False),
    ]


def _front_row(results: StudyResults, trial: TrialResult, pair: KdPair | None) -> list[Cell]:
    latency = measured_latency(trial)
    mark = tag("sup", "*") if _is_searched(trial) else None
    validation = results.validation[trial.number]
    gain = gain_cell(None if pair is None else pair.validation, replicated=results.replicated)
    sure = []
    if results.replicated:
        probability = results.probabilities.get(trial.number)
        shown = NONE if probability is None else chance(probability)
        sure = [Cell(f"{validation.runs}"), Cell(shown, probability), gain]
    return [
        trial_cell(trial),
        Cell(trial.architecture),
        estimate_cell(validation),
        estimate_cell(results.tested.get(trial.number)),
        *sure,
        Cell(join([significant(trial.latency_ms), mark]), trial.latency_ms),
        ratio_cell(None if latency is None else latency.ratio_batch_1),
        ratio_cell(None if latency is None else latency.ratio_batch_64),
        *_sizes(trial),
        *(() if results.replicated else (gain,)),
        training_cell(trial),
        Cell(taught(results, trial)),
    ]


def _sizes(trial: TrialResult) -> tuple[Cell, Cell]:
    model = trial.model
    if model is None:
        return Cell(NONE), Cell(NONE)
    return (
        Cell(significant(model.params_m), model.params_m),
        Cell(significant(model.flops_m), model.flops_m),
    )


def gains_section(results: StudyResults, findings: Findings) -> Html | None:
    """What distillation added: every distilled student beside its control."""
    if not findings.pairs:
        return None
    score = results.plan.space.score
    several = any(pair.validation.runs > 1 for pair in findings.pairs)
    distils = results.plan.space.distils
    name = "Distilled" if distils else "Trial"
    # The largest gains of all are mostly luck where a single run tells them.
    surest = sorted(findings.pairs, key=lambda pair: pair.validation.runs == 1)
    heads = [
        Head(name, numeric=False),
        Head("Control", numeric=False),
        Head("Student", numeric=False),
        Head(name, f"validation {score.name}, {score.unit}"),
        Head("Control", f"validation {score.name}, {score.unit}"),
        *([Head("Runs", "each", help="pairs of runs of the same seed")] if several else ()),
        Head("Gain", f"validation, {score.points}"),
        Head("Gain", f"test, {score.points}"),
    ]
    return section(
        "gains",
        "What distillation added" if distils else "What students gain over their controls",
        tag(
            "p",
            f"{_gains_note(results, findings, several=several)}{_shared_note(findings)}"
            f"{sure_gains(results, findings)}",
            class_="note",
        ),
        sortable_table(
            "gains-table",
            "Distilled students and their controls",
            heads,
            [_gain_row(results, pair, several=several) for pair in surest],
        ),
    )


def _gains_note(results: StudyResults, findings: Findings, *, several: bool) -> str:
    space = results.plan.space
    alone = "without connections" if space.of_pairs else "taught by the labels alone"
    text = "Each distilled student beside its control: the same student, recipe, data order and "
    text += f"seed, {alone}. "
    if not space.distils:
        text = "Each student beside its control, with the same data order and seed. "
    if any(pair.distilled.source == "sampler" for pair in findings.pairs):
        text += (
            "Students of the search have a control because they did well, which was not asked of "
            "the control: their gains lean upwards, and no interval allows for that. "
        )
    once = f"so that {_chance_of_one(results, findings)}"
    if not several:
        return f"{text}One pair is one run of each, {once}"
    return (
        f"{text}Runs of one seed are compared with each other: a gain is the mean of their "
        "differences, over its 95 % interval by Student's t; scores are means ± standard error. "
        f"Where it says one run, one run of each was compared, {once}"
    )


def _chance_of_one(results: StudyResults, findings: Findings) -> str:
    """How large a gain of one run of each may be chance: in 95 of 100 cases it is smaller.

    By the deviation from run to run, where the study knows it; else by that of drawing the
    validation images, as if the two were scored on other images, which leaves out the luck of
    training. Two right and two wrong answers are added to those there are, so that a student who
    is right about all images is not told to be so for sure (Agresti and Coull, "Approximate is
    better than exact", 1998).
    """
    score, images = results.plan.space.score, results.plan.data.validation
    both = [trial for pair in findings.pairs for trial in (pair.distilled, pair.control)]
    mean = fmean(results.validation[trial.number].mean for trial in both)
    if results.spread is not None:
        deviation = math.sqrt(2) * results.spread.deviation(mean)
        least = half_width(deviation, results.spread.freedom)
        return f"a gain of less than {number(least, 1)} {score.points} may be chance."
    if score.name != "accuracy" or not images:
        return "a gain may be chance; several runs of each (--replicates 3) would tell."
    share = (min(max(mean / score.best, 0.0), 1.0) * images + 2) / (images + 4)
    most = _SURE * score.best * math.sqrt(share * (1 - share) / images)
    return (
        f"the draw of {images:,} validation images alone may make a gain of up to about "
        f"{number(most, 1)} {score.points}, and luck in training more; several runs of each "
        "(--replicates 3) would tell."
    )


def _shared_note(findings: Findings) -> str:
    """That some pairs share a training, where they do; begins with a space."""
    if len(independent(findings.pairs)) == len(findings.pairs):
        return ""
    return (
        " Exits of one network, and students beside one control, share the luck of a training: "
        "in the mean over all, and in its interval, they count as one."
    )


def _gain_row(results: StudyResults, pair: KdPair, *, several: bool) -> list[Cell]:
    distilled, control = pair.distilled, pair.control
    return [
        trial_cell(distilled),
        trial_cell(control),
        Cell(distilled.architecture),
        estimate_cell(results.validation[distilled.number]),
        estimate_cell(results.validation[control.number]),
        *([Cell(f"{pair.validation.runs}")] if several else ()),
        gain_cell(pair.validation, replicated=several),
        gain_cell(pair.test, replicated=several),
    ]
