"""Parallel coordinates: every fully trained student as one line across its parameters."""

from typing import NamedTuple

from analysis.charts.groups import TrainedGroup, apart, group_of, trained
from analysis.charts.scales import Scale, varying_parameters
from analysis.formatting import milliseconds, score_text
from analysis.record import StudyResults
from analysis.results import TrialResult

MOST_PARAMETERS = 14


class Line(NamedTuple):
    """One student: its places on the axes from 0 to 1; None where a parameter does not apply."""

    trial: str
    group: TrainedGroup
    places: tuple[float | None, ...]
    words: str


class ParallelInfo(NamedTuple):
    """The axes from left to right, the last two the score and the latency, and the lines."""

    axes: tuple[Scale, ...]
    lines: tuple[Line, ...]
    left_out: int


def parallel_info(results: StudyResults) -> ParallelInfo | None:
    """Works out the lines; None where fewer than two students or no parameter varied."""
    trials = trained(results)
    varied = varying_parameters(results, trials)
    if len(trials) < 2 or not varied:
        return None
    shown = varied[:MOST_PARAMETERS]
    space = results.plan.space
    scores = {trial.number: results.val_score(trial) or 0.0 for trial in trials}
    latencies = {trial.number: trial.latency_ms or 0.0 for trial in trials}
    score = Scale.of_numbers(f"{space.score.name}, {space.score.unit}", list(scores.values()))
    latency = Scale.of_numbers("latency, ms", list(latencies.values()), log=True)
    lines = []
    for trial in trials:
        places = [_place(scale, trial, each.name) for each, scale in shown]
        places += [score.share(scores[trial.number]), latency.share(latencies[trial.number])]
        words = f"{trial.title}: {score_text(scores[trial.number], space.score.unit)}"
        words += f" at {milliseconds(trial.latency_ms)}"
        lines.append(Line(trial.name, group_of(results, trial), tuple(places), words))
    axes = (*(scale for _, scale in shown), score, latency)
    return ParallelInfo(axes, tuple(lines), len(varied) - len(shown))


def _place(scale: Scale, trial: TrialResult, parameter: str) -> float | None:
    """A trial's place on an axis; those of one choice lie side by side."""
    place = scale.share(trial.params.get(parameter))
    if place is None or scale.choices is None:
        return place
    return place + 0.3 * apart(trial.number) / len(scale.choices)
