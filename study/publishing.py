"""What a run of the driver shows of the study at its end: the report, and all of it in MLflow."""

from analysis.stored_plan import StoredPlan
from study.commands import command
from study.progress import Progress
from study.record import StudyRecord
from study.tracking.facts import final_metrics
from study.tracking.session import close_study, report_to_show
from study.tracking.tracker import Tracker

CLOSE_TRACKER_SECONDS = 20.0


def publish(
    record: StudyRecord,
    plan: StoredPlan,
    tracker: Tracker,
    progress: Progress,
    ending: str,
    *,
    tracked: bool,
) -> None:
    """Write the report, and show MLflow what it does not have yet.

    Args:
        record: The study's record.
        plan: Its plan as stored.
        tracker: Where its run is open.
        progress: What is shown.
        ending: How this run of the driver ended, in the record's word.
        tracked: Whether there is an MLflow to show it in.
    """
    from analysis.report import write_report

    try:
        with progress.phase("report"):
            write = report_to_show if tracked else write_report
            report = write(record.folder)
    except Exception as error:
        # The record is whole; the report can be made again from it.
        report = []
        progress.warn(f"no report: {error}; try `{command('report', record.folder)}`")
    for trial in record.trials():
        if trial.outcome is not None and (trial.confirmed or trial.idle_latency):
            tracker.trial_confirmed(
                trial.number,
                final_metrics(trial),
                run_id=trial.mlflow_run_id,
                scored=trial.confirmed is not None,
            )
    close_study(record, plan, tracker, ending, report)
    if not tracked:
        return
    with progress.phase("the last updates to MLflow") as phase:
        delivery = tracker.close(CLOSE_TRACKER_SECONDS, phase.update)
    if delivery.undelivered:
        progress.warn(
            f"{delivery.undelivered} updates did not reach MLflow; once it answers: "
            f"{command('sync', record.folder)}"
        )
