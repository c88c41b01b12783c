"""The section of a report with what else the test split told of students, beside their score."""

from analysis.comparisons import section, trial_cell
from analysis.formatting import NONE, number
from analysis.markup import Cell, Head, Html, sortable_table, tag
from analysis.record import StudyResults
from analysis.results import Figure, TrialResult


def further_section(results: StudyResults) -> Html | None:
    """Every figure of the confirmed students that is not their score; None where there is none.

    Students of the front come first.
    """
    figures = {t.number: _figures(t) for t in results.trials}
    known = [trial for trial in results.trials if figures[trial.number]]
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
            Cell(number(trial.test_score, 2), trial.test_score),
            *(_cell(figures[trial.number].get(label)) for label in names),
        ]
        for trial in sorted(known, key=lambda trial: (trial.number not in front, trial.number))
    ]
    return section(
        "further",
        "Further figures",
        tag(
            "p",
            "Of the test split, scored once with the finished front. They choose nothing.",
            class_="note",
        ),
        sortable_table("further-table", "Further figures of confirmed students", heads, rows),
    )


def _figures(trial: TrialResult) -> dict[str, Figure]:
    figures = trial.confirmed.figures if trial.confirmed is not None else None
    return {each.label: each for each in figures or ()}


def _cell(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell(NONE)
    # A share of 1, as SSIM is, needs more digits than decibels do.
    return Cell(number(figure.value, 2 if figure.unit else 3), figure.value)
