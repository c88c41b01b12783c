"""The section of a report with what else the test split told of students, beside their score."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.formatting import NONE, number
from analysis.markup import Cell, Head, Html, sortable_table, tag
from analysis.record import StudyResults
from analysis.results import Figure, TrialResult
from analysis.runs import Estimate, runs_of
from analysis.sections.comparisons import estimate_cell, section, trial_cell

_MEANS = "Of students that were trained several times: means over their runs."


def further_section(results: StudyResults) -> Html | None:
    """Every figure of the confirmed students that is not their score; None where there is none.

    Students of the front come first. Figures are means over the runs of a student.
    """
    figures = {number: _figures(runs) for number, runs in runs_of(results.trials).items()}
    known = [trial for trial in results.configurations if figures[trial.number]]
    if not known:
        return None
    score = results.plan.space.score
    names = {each.label: each for trial in known for each in figures[trial.number].values()}
    front = {trial.number for trial in results.front}
    heads = [
        Head("Trial", numeric=False),
        Head("Student", numeric=False),
        Head("On the front", numeric=False),
        Head(f"Test {score.name}", score.unit, help=f"test {score.name}, the score itself"),
        *(Head(each.label, each.unit) for each in names.values()),
    ]
    rows = [
        [
            trial_cell(trial),
            Cell(trial.architecture),
            Cell("yes" if trial.number in front else "no"),
            estimate_cell(results.tested.get(trial.number)),
            *(_cell(figures[trial.number].get(label)) for label in names),
        ]
        for trial in sorted(known, key=lambda trial: (trial.number not in front, trial.number))
    ]
    return section(
        "further",
        "Further figures",
        tag(
            "p",
            "Of the test split, on which each run was scored once, after the search. They choose "
            "nothing." + (f" {_MEANS}" if results.replicated else ""),
            class_="note",
        ),
        sortable_table("further-table", "Further figures of confirmed students", heads, rows),
    )


def _figures(runs: Sequence[TrialResult]) -> Mapping[str, Figure]:
    """The figures of a configuration by their label, each the mean over its runs."""
    told: dict[str, list[Figure]] = {}
    for run in runs:
        for each in (run.confirmed.figures if run.confirmed is not None else None) or ():
            told.setdefault(each.label, []).append(each)
    return {label: replace(each[0], value=_mean(each)) for label, each in told.items()}


def _mean(figures: Sequence[Figure]) -> float | None:
    values = [each.value for each in figures if each.value is not None]
    return Estimate.of(values).mean if values else None


def _cell(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell(NONE)
    # A share of 1, as SSIM is, needs more digits than decibels do.
    return Cell(number(figure.value, 2 if figure.unit else 3), figure.value)
