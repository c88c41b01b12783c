"""What the front chart says of a mark that is pointed at, as the few tags Plotly knows."""

from analysis.charts.style import plot_text
from analysis.formatting import (
    NBSP,
    chance,
    counted,
    milliseconds,
    score_text,
    signed,
    significant,
    span,
    with_error,
)
from analysis.formatting import value as shown
from analysis.front import KdPair
from analysis.record import StudyResults
from analysis.results import TeacherResult, TrialResult
from analysis.runs import Estimate
from analysis.wording import relative_speed


def teacher_hover(results: StudyResults, teacher: TeacherResult, latency_ms: float) -> str:
    """The teacher: its scores, its latency on the idle device, its size."""
    label, unit = _score_words(results)
    tested = teacher.test_score
    return _lines(
        f"<b>Teacher</b> {plot_text(teacher.name)}",
        f"{label} {score_text(teacher.val_score, unit)}",
        None if tested is None else f"test {score_text(tested, unit)}",
        milliseconds(latency_ms),
        f"{significant(teacher.params_m)} M parameters, {significant(teacher.flops_m)} M FLOPs",
    )


def hover_text(results: StudyResults, trial: TrialResult, pair: KdPair | None = None) -> str:
    """A configuration, whole; every name escaped.

    Of one that has several runs: what they tell, also beside its control where it has one.
    """
    label, unit = _score_words(results)
    validation, tested = results.validation.get(trial.number), results.tested.get(trial.number)
    test = None if tested is None else f"test {_scored(tested, unit)}"
    size = None
    if trial.model is not None:
        size = f"{significant(trial.model.params_m)} M parameters"
        size += f", {significant(trial.model.flops_m)} M FLOPs"
    title = f" {plot_text(trial.label)}" if trial.label else ""
    stopped = f", stopped after {trial.epochs_done}" if trial.status == "stopped" else ""
    shared = "" if trial.trained_with is None else f", trained with {trial.trained_as}"
    score = score_text(trial.val_score, unit) if validation is None else _scored(validation, unit)
    return _lines(
        f"<b>{trial.name}</b>{title}",
        plot_text(trial.architecture),
        f"{label} {score}",
        test,
        *_certainty(results, trial, validation, pair),
        f"{milliseconds(trial.latency_ms)}, {relative_speed(results, trial)}",
        size,
        f"{counted(trial.epochs, 'epoch')}{stopped}{shared}",
        "",
        *(f"{plot_text(name)}: {plot_text(shown(item))}" for name, item in trial.params.items()),
    )


def _scored(estimate: Estimate, unit: str) -> str:
    """A score, with its standard error where it is a mean over several runs."""
    if estimate.error is None:
        return score_text(estimate.mean, unit)
    text = with_error(estimate.mean, estimate.error, 2)
    return f"{text}{NBSP}{unit}" if unit else text


def _certainty(
    results: StudyResults,
    trial: TrialResult,
    validation: Estimate | None,
    pair: KdPair | None,
) -> list[str]:
    """What is known of how sure a place and a gain are; nothing in a study of single runs."""
    if not results.replicated or validation is None:
        return []
    several = f"{counted(validation.runs, 'run')}: means ± standard error"
    probability = results.probabilities.get(trial.number)
    lines = ["one run" if validation.runs == 1 else several]
    if probability is not None:
        lines.append(f"on the front with a probability of {plot_text(chance(probability))}")
    if pair is not None and (interval := pair.validation.interval) is not None:
        points = plot_text(results.plan.space.score.points)
        lines.append(f"KD gain {signed(pair.val_gain)} {points} (95{NBSP}% {span(interval)})")
    return lines


def _lines(*lines: str | None) -> str:
    return "<br>".join(line for line in lines if line is not None)


def _score_words(results: StudyResults) -> tuple[str, str]:
    """Label and unit of the score for a chart."""
    space = results.plan.space
    return plot_text(space.objectives[0].label), plot_text(space.score.unit)
