"""A study's tracker, opened, fed from the record and closed alike by a driver and by `study sync`.

What MLflow gives its runs for ids goes into the record on the way.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis import results
from analysis.formatting import without_password
from analysis.front import front_members
from analysis.illustration import ILLUSTRATIONS_FOLDER
from analysis.latency import TieTests
from analysis.results import TeacherResult, TrialResult
from analysis.runs import estimates, estimates_of_test
from analysis.stored_plan import StoredPlan
from study.exporting.programs import program_file
from study.record import StudyRecord
from study.tracking.delivery import OnRun, RunKind
from study.tracking.facts import study_metrics, teacher_metrics
from study.tracking.inputs import data_of
from study.tracking.notes import (
    closing_note,
    front_note,
    opening_note,
    student_model,
    teacher_note,
)
from study.tracking.tracker import Tracker, open_tracker
from study.trial_context import student_file


def open_study(
    record: StudyRecord,
    plan: StoredPlan,
    tracking_uri: str,
    warn: Callable[[str], None],
    *,
    is_running: bool = True,
    on_run: OnRun | None = None,
) -> Tracker:
    """Open the tracker of a study and its run there.

    Args:
        record: The study's record, which this process may write; it lies among the studies.
        plan: The study's plan as stored.
        tracking_uri: Where to track, as `check_tracking_uri` allows it.
        warn: Receives one line, once, when MLflow does not answer or refuses something.
        is_running: Whether a driver is at work on the study.
        on_run: Told of every run once the record has its id.
    """
    studies = record.folder.parent
    stored = record.attribute(results.ATTR_MLFLOW) or {}
    known = stored if stored.get("tracking_uri") == tracking_uri else {}

    def keep_id(kind: RunKind, number: int | None, run_id: str) -> None:
        if kind == "trial" and number is not None:
            if record.trial(number).mlflow_run_id != run_id:
                record.set_run_id(number, run_id)
        elif kind == "study":
            about = {
                "tracking_uri": tracking_uri,
                "experiment_id": tracker.experiment_id,
                "run_id": run_id,
            }
            if record.attribute(results.ATTR_MLFLOW) != about:
                record.set_attribute(results.ATTR_MLFLOW, about)
        if on_run is not None:
            on_run(kind, number, run_id)

    tracker = open_tracker(tracking_uri, studies, warn, keep_id)
    tracker.study_started(
        plan.name,
        plan.space.name,
        # What a study that was shown before found stays until it is told anew at its end.
        "" if known else opening_note(plan),
        {key: without_password(str(v)) for key, v in plan.plan.items() if v is not None},
        {"data": plan.data.name, "score": f"{plan.space.score.name} ({plan.space.score.unit})"},
        study_key=f"{plan.name} {plan.created_at}",
        run_id=known.get("run_id"),
        at=plan.created_at,
        is_running=is_running,
        data=data_of(plan),
    )
    return tracker


def show_teacher(
    tracker: Tracker,
    plan: StoredPlan,
    teacher: TeacherResult,
    recipe: Mapping[str, Any],
    curve: Iterable[Mapping[str, Any]],
    at: str | None = None,
) -> None:
    """Show a study's teacher as a run of its own.

    Args:
        tracker: Where the study's run is open.
        plan: The study's plan as stored.
        teacher: The teacher.
        recipe: How it was trained, flat.
        curve: The results of its epochs; empty for one that was loaded.
        at: When it was ready, ISO 8601; None for just now.
    """
    tracker.teacher_trained(
        teacher.key,
        teacher.name,
        {key: str(value) for key, value in recipe.items()},
        curve,
        teacher_metrics(teacher),
        description=teacher_note(plan, teacher),
        at=at,
    )


def report_to_show(study_folder: Path) -> list[Path]:
    """Write a study's report, and its charts one by one, which MLflow shows where they lie."""
    from analysis.report import write_report
    from analysis.single_charts import write_charts

    report, charts = write_report(study_folder), write_charts(study_folder)
    return report if charts is None else [*report, charts]


def close_study(
    record: StudyRecord,
    plan: StoredPlan,
    tracker: Tracker,
    ending: str,
    report: Iterable[Path],
    at: str | None = None,
) -> None:
    """Close a study's run: with its figures, its report and pictures, the students of its front.

    Those whose program lies in the study's folder are shown as models of their trials' runs. Trials
    that an earlier session left open, and none has gone on with, are shown as interrupted.

    Args:
        record: The study's record.
        plan: Its plan as stored.
        tracker: Where its run is open.
        ending: How the last session ended, in the record's word.
        report: Files and folders of the report.
        at: When that was, ISO 8601; None for just now.
    """
    trials, front = record.trials(), front_of(record)
    students = [student_file(record.folder, trial.number) for trial in front]
    # First of all: its status is not to wait for the models, which are large.
    tracker.study_finished(
        ending,
        study_metrics(trials, front, record.hypervolume()),
        [*report, record.folder / ILLUSTRATIONS_FOLDER],
        [path for path in students if path.exists()],
        description=closing_note(record.folder, plan),
        at=at,
    )
    val, test = estimates(trials), estimates_of_test(trials)
    for trial in front:
        program = program_file(record.folder, trial.number)
        model = student_model(plan, trial, program) if program.exists() else None
        tracker.trial_on_front(
            trial.number,
            True,
            model,
            run_id=trial.mlflow_run_id,
            description=front_note(plan, trial, val.get(trial.number), test.get(trial.number)),
        )
    members = {trial.number for trial in front}
    for trial in trials:
        # Whom a larger study has left behind, confirmed or not: an interrupted one marks them too.
        if trial.status == "complete" and trial.number not in members:
            tracker.trial_on_front(trial.number, False, run_id=trial.mlflow_run_id)
        elif trial.status == "running":
            tracker.trial_replayed(trial)


def front_of(record: StudyRecord) -> list[TrialResult]:
    """Return the front as it is shown: of students whose latencies are tied the better ones."""
    tests = TieTests.from_json(record.attribute(results.ATTR_TIE_TESTS))
    return list(front_members(record.trials(), record.third, tests))
