"""Sections of a report that show the evidence: curves, trials, failures, time, provenance."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from analysis.charts.curves import CurveGroup, CurvesInfo
from analysis.findings import Findings, TimeSpent
from analysis.formatting import (
    NONE,
    counted,
    duration,
    moment,
    number,
    score_text,
    signed,
    significant,
    without_password,
)
from analysis.formatting import value as shown
from analysis.markup import Cell, Head, Html, plain_table, sortable_table, tag
from analysis.record import StudyResults
from analysis.results import Status, TrialResult
from analysis.sections.comparisons import section, taught, training_cell, trial_cell
from analysis.sections.overview import key
from analysis.sections.time import hours_tables
from analysis.table import measured_latency
from analysis.timing_notes import spread_told, timed_on
from analysis.wording import wall_clock

_CURVE_NAMES: dict[CurveGroup, str] = {
    "front": "Front",
    "control": "No distillation",
    "dominated": "Dominated",
    "running": "Running",
    "stopped": "Stopped early",
    "failed": "Failed",
}
_LONG = 300  # rows, from where on a browser lays the table out only once it is in view
_NAMED_TRIALS = 8  # names listed beside a reason


def curves_section(info: CurvesInfo) -> Html | None:
    """The learning curves."""
    if not info.curves:
        return None
    groups = {curve.group for curve in info.curves}
    entries = [
        (group, f"line-{group}", name) for group, name in _CURVE_NAMES.items() if group in groups
    ]
    note = _rungs_note(info)
    return section(
        "curves",
        "Learning curves",
        tag("p", note, class_="note") if note else None,
        tag(
            "figure",
            key("curves", entries),
            tag("div", id="chart-curves", class_="chart", role="img",
                aria_label=f"Validation {info.score.name} by epoch"),
        ),
    )  # fmt: skip


def _rungs_note(info: CurvesInfo) -> str:
    """What the lines at rungs tell: who was stopped there, and who waits; empty of no lines."""
    notes = []
    if info.rungs:
        notes.append(
            f"Dashed lines are the rungs that stopped trials, {_after(info.rungs)} in all, each "
            "where its curve ends in a cross."
        )
    if info.waiting:
        where = "Others wait" if info.rungs else "Dashed lines are the rungs where trials wait"
        notes.append(
            f"{where} to be gone on with, {_after(info.waiting)}, each where its curve ends in a "
            "triangle."
        )
    return " ".join(notes)


def _after(rungs: Sequence[tuple[int, int]]) -> str:
    """Rungs and their trials: `after epochs 1 and 3: 10 trials`."""
    *most, last = (str(rung) for rung, _ in rungs)
    epochs = f"epochs {', '.join(most)} and {last}" if most else f"epoch {last}"
    return f"after {epochs}: {counted(sum(count for _, count in rungs), 'trial')}"


def trials_section(results: StudyResults, findings: Findings) -> Html | None:
    """Every trial, sortable, with a field to filter by."""
    if not results.trials:
        return None
    score = results.plan.space.score
    of_run = " of this run" if results.replicated else ""
    heads = [
        Head("Trial", numeric=False),
        Head("Status", numeric=False),
        Head("Source", numeric=False),
        Head("Student", numeric=False),
        Head("Validation", score.unit, help=f"validation {score.name}{of_run}"),
        Head("Test", score.unit, help=f"test {score.name}{of_run}"),
        Head("Latency", "ms"),
        Head("Ratio", "batch 1", help=f"{results.plan.space.yardstick} time / student time"),
        Head("Parameters", "M"),
        Head("KD gain", score.points),
        Head("Epochs", "done / planned"),
        Head("Training", "time"),
        Head("How it was taught", numeric=False),
    ]
    members = {trial.number for trial in findings.front}
    gains = {pair.distilled.number: pair.val_gain for pair in findings.pairs}
    replicates = len(results.trials) - len(results.configurations)
    listed = counted(len(results.configurations), "trial")
    if replicates:
        listed += f" and {counted(replicates, 'replicate')}"
    rows = [
        _trial_row(results, trial, trial.number in members, gains.get(trial.number))
        for trial in results.trials
    ]
    filter_field = tag(
        "label",
        "Filter ",
        Html(
            '<input type="search" data-table="trials-table" placeholder="stopped cosine …"'
            ' autocomplete="off">'
        ),
        tag("output", listed, id="trials-table-count"),
        class_="filter",
    )
    return section(
        "trials",
        "All trials",
        filter_field,
        tag(
            "div",
            sortable_table("trials-table", "All trials", heads, rows),
            class_="high long" if len(rows) > _LONG else "high",
        ),
    )


def _trial_row(
    results: StudyResults, trial: TrialResult, on_front: bool, gain: float | None
) -> list[Cell]:
    latency = measured_latency(trial)
    ratio = None if latency is None else latency.ratio_batch_1.median
    test = trial.test_score
    params = None if trial.model is None else trial.model.params_m
    return [
        trial_cell(trial),
        Cell(_status(trial, on_front)),
        Cell(trial.source),
        Cell(trial.architecture),
        Cell(number(trial.val_score, 2), trial.val_score),
        Cell(number(test, 2), test),
        Cell(significant(trial.latency_ms), trial.latency_ms),
        Cell(number(ratio, 2), ratio),
        Cell(significant(params), params),
        Cell(signed(gain), gain),
        Cell(f"{trial.epochs_done} / {trial.epochs}", trial.epochs_done),
        training_cell(trial),
        Cell(taught(results, trial)),
    ]


def _status(trial: TrialResult, on_front: bool) -> Html:
    """Its status, or that it is on the front; filtered by, it is complete all the same."""
    if on_front:
        return tag("span", "on the front", class_="status front", data_status=trial.status)
    return tag("span", trial.status, class_=f"status {trial.status}")


def failures_section(results: StudyResults) -> Html | None:
    """Trials that are on no front, having been stopped, refused or lost, by reason."""
    reasons: dict[tuple[str, str], list[TrialResult]] = defaultdict(list)
    for trial in results.trials:
        if trial.status in ("failed", "infeasible", "stopped"):
            reasons[trial.status, trial.reason or "no reason given"].append(trial)
        elif trial.status == "complete" and trial.reason:
            # Trained to its end to be compared with: a published row, a control.
            reasons["complete", f"{trial.reason}, so on no front"].append(trial)
    if not reasons:
        return None
    order = {"failed": 0, "infeasible": 1, "complete": 2, "stopped": 3}
    ordered = sorted(
        reasons.items(), key=lambda item: (order[item[0][0]], -len(item[1]), item[0][1])
    )
    rows = [
        [
            Cell(tag("span", status, class_=f"status {status}")),
            Cell(reason, class_="wide"),
            Cell(f"{len(trials):,}"),
            Cell(_names(trials), class_="wide"),
        ]
        for (status, reason), trials in ordered
    ]
    heads = [
        Head("Ending", numeric=False),
        Head("Reason", numeric=False),
        Head("Trials"),
        Head("Which", numeric=False),
    ]
    return section(
        "endings",
        "Trials that cannot be on the front",
        plain_table("endings-table", "Trials that cannot be on the front, by reason", heads, rows),
    )


def _names(trials: list[TrialResult]) -> str:
    names = ", ".join(trial.name for trial in trials[:_NAMED_TRIALS])
    more = len(trials) - _NAMED_TRIALS
    return f"{names} and {more:,} more" if more > 0 else names


def time_section(results: StudyResults, spent: TimeSpent) -> Html | None:
    """Where the training time went, as one bar."""
    parts = [("teacher", "Teacher", spent.teacher)]
    names: dict[Status, str] = {
        "complete": "Complete trials",
        "stopped": "Stopped early",
        "running": "Running or interrupted",
        "failed": "Failed",
        "infeasible": "Infeasible",
    }
    for status, name in names.items():
        parts.append((status, name, spent.by_status[status]))
    parts.append(("replicate", "Replicates", spent.replicates))
    parts = [part for part in parts if part[2] > 0]
    total = sum(seconds for _, _, seconds in parts)
    if total <= 0:
        return None
    bars = [
        tag("i", class_=name, style=f"flex-grow:{seconds / total:.4f}")
        for name, _, seconds in parts
    ]
    entries = [
        tag(
            "li",
            tag("i", class_=name),
            f"{title} ",
            tag("b", duration(seconds)),
            f" {number(100 * seconds / total, 0)}\u00a0%",
        )
        for name, title, seconds in parts
    ]
    note = wall_clock(spent)
    if any(trial.trained_with is not None for trial in results.trials):
        note += " Exits of one network share its training, which is counted once."
    if results.teacher is not None and spent.teacher == 0:
        note += f" The teacher was not trained here (source: {results.teacher.source})."
    return section(
        "time",
        "Where the time went",
        tag("p", note, class_="note"),
        tag("div", *bars, class_="bar", aria_hidden="true"),
        tag("ul", *entries, class_="bar-key"),
        hours_tables(results),
    )


def provenance_section(results: StudyResults) -> Html:
    """Plan, versions, hardware, seeds and hashes: what it takes to do this again."""
    plan = results.plan
    identity: dict[str, Any] = {
        "study": plan.name,
        "created": moment(plan.created_at),
        "plan hash": plan.hash,
        "space": f"{plan.space.name} ({plan.space.hash})",
        "data": f"{plan.data.source} ({plan.data.hash})",
        "seed": plan.plan.get("seed"),
    }
    if results.teacher is not None:
        teacher = results.teacher
        identity["teacher"] = f"{teacher.name} ({teacher.key}), {teacher.source}"
        score, tested = plan.space.score, teacher.test_score
        identity[f"teacher's test {score.name}"] = (
            "not scored" if tested is None else score_text(tested, score.unit, 2)
        )
    if results.default_student is not None:
        identity["default student"] = results.default_student.name
    if results.compared_with is not None:
        identity["timed on"] = timed_on(results.compared_with.latency)
    if (apart := spread_told(results.tie_tests)) is not None:
        identity["equal students' latencies"] = f"within {apart} of each other, in 95 of 100 cases"
    if results.mlflow:
        identity["tracked in"] = ", ".join(f"{k} {v}" for k, v in results.mlflow.items())
    return section(
        "provenance",
        "Provenance",
        tag(
            "div",
            _facts("Study", identity),
            _facts("Environment", dict(results.environment)),
            _facts("Plan", {k: v for k, v in plan.plan.items() if k != "name"}, class_="full"),
            class_="facts",
        ),
        _sessions(results),
        _parameters(results),
    )


def _facts(title: str, facts: dict[str, Any], class_: str | None = None) -> Html | None:
    if not facts:
        return None
    items = []
    for name, item in facts.items():
        written = without_password(shown(item))
        items.append(tag("div", tag("dt", name.replace("_", " ")), tag("dd", written)))
    return tag("div", tag("h3", title), tag("dl", *items), class_=class_)


def _sessions(results: StudyResults) -> Html | None:
    if not results.sessions:
        return None
    heads = [
        Head("Started", numeric=False),
        Head("Wall time"),
        Head("Ended by", numeric=False),
    ]
    rows = [
        [Cell(moment(s.started_at)), Cell(duration(s.seconds), s.seconds), Cell(s.end)]
        for s in results.sessions
    ]
    table = plain_table("sessions-table", "Sessions of the driver", heads, rows)
    return tag("div", tag("h3", "Sessions"), table)


def _parameters(results: StudyResults) -> Html:
    heads = [
        Head("Parameter", numeric=False),
        Head("Values", numeric=False),
        Head("Shapes the student", numeric=False),
        Head("Applies when", numeric=False),
        Head("Meaning", numeric=False),
    ]
    rows = []
    held = results.plan.held
    for parameter in results.plan.space.parameters:
        if parameter.name in held:
            values = f"held at {shown(held[parameter.name])}"
        elif parameter.choices is not None:
            values = shown(parameter.choices)
        else:
            values = f"{shown(parameter.low)} to {shown(parameter.high)}"
            values += " (log)" if parameter.log else ""
        when = parameter.when
        rows.append(
            [
                Cell(parameter.name),
                Cell(values, class_="wide"),
                Cell("yes" if parameter.architecture else "no"),
                Cell(NONE if when is None else f"{when.parameter} is {shown(when.values)}"),
                Cell(parameter.help or NONE, class_="wide"),
            ]
        )
    table = plain_table("space-table", "The search space", heads, rows)
    return tag("div", tag("h3", "Search space"), table)
