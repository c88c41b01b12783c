"""What a study and its students say of themselves in MLflow, in Markdown."""

from pathlib import Path

from analysis.formatting import milliseconds, number, score_text, significant, times, with_error
from analysis.results import TeacherResult, TrialResult
from analysis.runs import Estimate
from analysis.stored_plan import StoredPlan
from study.exporting.source import direction_in_words
from study.tracking.facts import trial_facts
from study.tracking.inputs import data_of
from study.tracking.models import StudentModel, model_name
from study.tracking.run import FRONT_NOTE


def opening_note(plan: StoredPlan) -> str:
    """What a study's run says while it lasts: what is searched, on what, and by what score."""
    space = plan.space
    score = f"`val_score` and `test_score` are {space.score.name} in {space.score.unit}"
    return (
        f"{space.description}\n\nData: {plan.data.source}.\n\n"
        f"The front is chosen by {space.compared_by}; {score}."
    )


def closing_note(folder: Path, plan: StoredPlan) -> str | None:
    """What it says once it has ended: what was found, and the front as a table.

    None where the record cannot be read for it; the run keeps what it said.
    """
    from analysis.export import markdown_table
    from analysis.findings import find
    from analysis.record import read_record
    from analysis.wording import sentences

    try:
        results = read_record(folder)
        found = find(results)
        told = "\n".join(f"- {sentence}" for sentence in sentences(results, found))
        unit = plan.space.score.unit
        rows = [
            [
                trial.name,
                trial.architecture,
                _mean_text(results.validation.get(trial.number), trial.val_score),
                _mean_text(results.tested.get(trial.number), trial.test_score),
                milliseconds(trial.latency_ms),
                times(trial.best_latency.ratio_batch_1.median if trial.best_latency else None),
                significant(trial.model.params_m if trial.model else None),
            ]
            for trial in found.front
        ]
    except Exception:
        return None
    head = [
        "trial",
        "student",
        f"val ({unit})",
        f"test ({unit})",
        "latency",
        "faster",
        "params (M)",
    ]
    front = f"## The front\n\n{markdown_table(head, rows)}\n" if rows else ""
    return (
        f"{told}\n\n{front}"
        "The whole report is among the artifacts: `report/index.html`; its charts one by one are "
        "in `report/figures`.\n\n"
        f"## What was asked\n\n{opening_note(plan)}"
    )


def _mean_text(estimate: Estimate | None, single: float | None) -> str:
    """A score: the mean over runs with its standard error, or what the only run has."""
    if estimate is None:
        return number(single, 2)
    return with_error(estimate.mean, estimate.error, 2)


def student_model(
    plan: StoredPlan,
    trial: TrialResult,
    program: Path,
    takes: str = "uint8",
    direction: str = "x_to_y",
) -> StudentModel:
    """A trial's student as MLflow shows it.

    Args:
        plan: The study's plan.
        trial: The trial.
        program: The student as a pt2 file.
        takes: What images it takes: `uint8` or `float32`.
        direction: Of students of pairs, which translation it is: `x_to_y` or `y_to_x`.
    """
    height, width, channels = plan.data.shape
    facts = trial_facts(trial)
    way, answers = "", "a logit for each class"
    if plan.space.of_pairs:
        way = f", {direction_in_words(direction)}"
        answers = f"an image from 0 to 1{way}"
    return StudentModel(
        name=model_name(f"{plan.name} {trial.name} {trial.architecture}{way}"),
        program=program,
        shape=(height, width, channels),
        takes=takes,
        output=None if plan.space.of_pairs else len(plan.data.classes),
        params=facts.params,
        tags={**facts.tags, "study": plan.name, "trial": trial.name, "plan": plan.hash},
        description=(
            f"Student `{trial.architecture}` of trial {trial.name} of the study {plan.name}, "
            f"trained on {plan.data.name}. Takes {takes} images `(batch, {channels}, {height}, "
            f"{width})` from 0 to {255 if takes == 'uint8' else 1}, normalises them itself, and "
            f"answers {answers}."
        ),
        data=data_of(plan),
        direction=direction if plan.space.of_pairs else None,
    )


def front_note(
    plan: StoredPlan, trial: TrialResult, val: Estimate | None = None, test: Estimate | None = None
) -> str:
    """What the run of a front member says: what its student reached.

    Args:
        plan: The study's plan.
        trial: The member.
        val: The mean of its runs by the validation score; None where there is one run.
        test: The same by the test score.
    """
    speed = times(trial.best_latency.ratio_batch_1.median) if trial.best_latency else None
    figures = [
        *_scores(
            plan,
            trial.val_score if val is None else val.mean,
            trial.test_score if test is None else test.mean,
        ),
        *_costs(trial.latency_ms, trial.model.params_m if trial.model else None),
        *([f"{speed} as fast as the {plan.space.yardstick}"] if speed else []),
    ]
    return f"{FRONT_NOTE}{plan.name}: {plan.space.score.name} {', '.join(figures)}."


def teacher_note(plan: StoredPlan, teacher: TeacherResult) -> str:
    """What the run of a teacher says: what its students are compared with."""
    figures = [
        *_scores(plan, teacher.val_score, teacher.test_score),
        *_costs(teacher.latency.latency_ms, teacher.params_m),
    ]
    of = f"Teacher of students of `{plan.space.name}` on {plan.data.name}"
    return f"{of}: {plan.space.score.name} {', '.join(figures)}."


def _scores(plan: StoredPlan, val_score: float | None, test_score: float | None) -> list[str]:
    """Each score there is, and of which split it is; a front member or a teacher has one."""
    return [
        f"{score_text(reached, plan.space.score.unit, 2)} ({split})"
        for reached, split in ((val_score, "validation"), (test_score, "test"))
        if reached is not None
    ]


def _costs(latency_ms: float | None, params_m: float | None) -> list[str]:
    timed = [milliseconds(latency_ms)] if latency_ms is not None else []
    return timed + ([f"{significant(params_m)} M parameters"] if params_m is not None else [])


def version_line(plan: StoredPlan, trial: TrialResult, direction: str | None = None) -> str:
    """What a version of a registered model is: a line, as the registry's table has room for."""
    scores = _scores(plan, trial.val_score, trial.test_score)[-1:]
    parts = scores + _costs(trial.latency_ms, trial.model.params_m if trial.model else None)
    way = "" if direction is None else f" {direction_in_words(direction)}"
    return f"{plan.name} {trial.name}{way}: {plan.space.score.name} {', '.join(parts)}"
