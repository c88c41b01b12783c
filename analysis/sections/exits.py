"""Exits: the students that one training yields, side by side.

A trial whose student can be left early is recorded at the exit it is judged by; its other exits are
trials of source `exit`, which name it in `trained_with`.
"""

from collections import defaultdict
from typing import Any, NamedTuple

from analysis.findings import Findings
from analysis.formatting import NONE, counted, milliseconds, score_text
from analysis.markup import Cell, Head, Html, sortable_table, tag
from analysis.record import StudyResults
from analysis.results import EXIT, TrialResult
from analysis.sections.comparisons import section, taught, trial_cell


class Network(NamedTuple):
    """One trained network: the trial that trained it, and its students by exit."""

    trial: TrialResult
    students: dict[Any, TrialResult]


def networks(results: StudyResults) -> tuple[Network, ...]:
    """The networks of a study that have more exits than one, by the number of their trial."""
    others: dict[int, list[TrialResult]] = defaultdict(list)
    for trial in results.configurations:
        if trial.trained_with is not None:
            others[trial.trained_with].append(trial)
    return tuple(
        Network(trial, {each.params.get(EXIT): each for each in (trial, *others[trial.number])})
        for trial in results.configurations
        if others[trial.number]
    )


def exits_of(results: StudyResults) -> tuple[Any, ...]:
    """The exits of the space's students, in its order; none where they have but one."""
    for parameter in results.plan.space.parameters:
        if parameter.name == EXIT and parameter.choices is not None:
            return tuple(parameter.choices)
    return ()


def exits_section(results: StudyResults, findings: Findings) -> Html | None:
    """A row a trained network: the score and the latency of each of its exits."""
    trained, exits = networks(results), exits_of(results)
    if not trained:
        return None
    score = results.plan.space.score
    members = {trial.number for trial in findings.front}
    heads = [
        Head("Trained as", numeric=False),
        *(
            Head(
                f"Exit {name}" if isinstance(name, int) else str(name).capitalize(),
                score.unit,
                help=f"validation {score.name}; under it latency and trial",
            )
            for name in exits
        ),
        Head("How it was taught", numeric=False),
    ]
    rows = [
        [
            trial_cell(network.trial),
            *(_exit_cell(results, network.students.get(name), members) for name in exits),
            Cell(taught(results, network.trial)),
        ]
        for network in trained
    ]
    students = sum(len(network.students) for network in trained)
    note = (
        f"{counted(len(trained), 'trained network')} can be left at "
        f"{counted(students, 'exit')} in all, each a student of its own: what does not lead to it "
        "is stripped before it is measured, kept and confirmed. Exits in bold are on the front. "
        "The ensemble answers by the mean of all exits' logits."
    )
    return section(
        "exits",
        "Exits of each network",
        tag("p", note, class_="note"),
        sortable_table("exits-table", "Exits of each trained network", heads, rows),
    )


def _exit_cell(results: StudyResults, trial: TrialResult | None, members: set[int]) -> Cell:
    if trial is None:
        return Cell(NONE)
    score = results.val_score(trial)
    shown = score_text(score, results.plan.space.score.unit, 2)
    under = f"{milliseconds(trial.latency_ms)}, {trial.name}"
    if trial.status != "complete":
        under += f", {trial.status}"
    best = tag("b", shown) if trial.number in members else shown
    return Cell(tag("span", best, tag("small", under), class_="stack"), score)
