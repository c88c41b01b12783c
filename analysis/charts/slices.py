"""Slices: the score over each parameter by itself, fully trained students only."""

from typing import NamedTuple

from analysis.charts.groups import TrainedGroup, apart, group_of, trained
from analysis.charts.scales import Scale, varying_parameters
from analysis.formatting import score_text
from analysis.formatting import value as shown
from analysis.record import StudyResults

MOST_SLICES = 16


class SlicePoint(NamedTuple):
    """One student in one slice: its places across and up, from 0 to 1, and what it is."""

    trial: str
    across: float
    up: float
    group: TrainedGroup
    words: str


class Slice(NamedTuple):
    """One parameter's slice; `without` counts the students to whom it does not apply."""

    scale: Scale
    points: tuple[SlicePoint, ...]
    without: int


class SlicesInfo(NamedTuple):
    """All slices, over one axis of scores; `by_importance` where the order says which mattered."""

    slices: tuple[Slice, ...]
    score: Scale
    by_importance: bool = False


def slices_info(results: StudyResults, order: tuple[str, ...] = ()) -> SlicesInfo | None:
    """Works out the slices; None where fewer than two students or no parameter varied.

    Args:
        results: the study.
        order: names of parameters from the most important one on, which come first.
    """
    trials = trained(results)
    varied = varying_parameters(results, trials)
    if len(trials) < 2 or not varied:
        return None
    known = {trial.number: results.val_score(trial) or 0.0 for trial in trials}
    score = Scale.of_numbers(results.plan.space.score.name, list(known.values()))
    unit = results.plan.space.score.unit
    slices = []
    for parameter, scale in varied:
        points = []
        for trial in trials:
            value = trial.params.get(parameter.name)
            across, up = scale.share(value), score.share(known[trial.number])
            if across is None or up is None:
                continue
            if scale.choices is not None:  # side by side, the same in every report
                across += 0.6 * apart(trial.number) / len(scale.choices)
            words = f"{trial.title}: {parameter.name} {shown(value)}, "
            words += score_text(known[trial.number], unit)
            points.append(SlicePoint(trial.name, across, up, group_of(results, trial), words))
        slices.append(Slice(scale, tuple(points), len(trials) - len(points)))
    rank = {name: place for place, name in enumerate(order)}
    slices.sort(key=lambda each: rank.get(each.scale.name, len(rank)))
    return SlicesInfo(tuple(slices[:MOST_SLICES]), score, by_importance=bool(order))
