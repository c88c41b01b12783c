"""What is printed when a study ends: its front, where things lie, how to go on."""

from analysis.formatting import counted, duration, milliseconds, score_text, significant
from analysis.limits import limits_note
from analysis.timing_notes import noise_note, tie_note
from study.console import make_console, print_line
from study.ending import Ending
from study.mirror import mirror_of, shown
from study.progress import front_table
from study.replicates import further
from study.summary import KINDS, StudySummary
from study.tracking.tracker import where_to_look


def print_summary(summary: StudySummary, ending: Ending) -> None:
    """Print the end of a study for a person."""
    console, score = make_console(), summary.score
    # Nothing runs any more: what the record holds open is left to the next run.
    words = {**KINDS, "running": "interrupted"}
    counts = ", ".join(f"{n} {words.get(s, s)}" for s, n in summary.counts.items() if n)
    runs = sum(trial.status == "complete" for trial in further(summary.trials))
    counts += f", and {counted(runs, 'replicate')}" if runs else ""
    took = duration(summary.seconds)
    console.print(f"\n{summary.folder.name}: {counts or 'no trials'} in {took}", style="bold")
    if ending.note:
        print_line(console, ending.note)
    if summary.front:
        console.print()
        found = summary.results
        title = f"The front by {found.plan.space.compared_by}, fastest first"
        if found.replicated:
            title += " (mean ± error)"
        shown = front_table(
            summary.front, score, title=title, val=found.validation, test=found.tested
        )
        console.print(shown)
    teacher = summary.results.teacher
    if teacher is not None:
        print_line(
            console,
            f"teacher {teacher.name}: {score.name} {score_text(teacher.val_score, score.unit, 2)} "
            f"validation, {score_text(teacher.test_score, score.unit, 2)} test, "
            f"{milliseconds(teacher.latency.latency_ms)}",
        )
    default = summary.results.default_student
    if default is not None:
        print_line(
            console,
            f"default student {default.name}: {milliseconds(default.latency.latency_ms)}, "
            f"{significant(default.params_m)} M parameters",
        )
    told = summary.results
    for text in (tie_note(told), noise_note(told), limits_note(told)):
        if text is not None and summary.front:
            print_line(console, text)
    if summary.hypervolume is not None:
        console.print(f"hypervolume {summary.hypervolume:.3f}", highlight=False)
    console.print()
    for label, text in _whereabouts(summary, ending):
        console.print(f"{label:<9}{text}", highlight=False, soft_wrap=True)


def _whereabouts(summary: StudySummary, ending: Ending) -> list[tuple[str, str]]:
    lines = []
    if summary.report.exists():
        lines.append(("report", str(summary.report)))
    studies = summary.folder.parent
    if mirror_of(studies) is not None:
        lines.append(("store", f"{shown(studies)}/{summary.folder.name}"))
    mlflow = summary.results.mlflow
    if mlflow is not None:
        lines.extend(where_to_look(mlflow))
    lines.append(("go on", f"give the same command again {_again(summary, ending)}"))
    return lines


def _again(summary: StudySummary, ending: Ending) -> str:
    """What to give the command again with, or for."""
    if ending.word in ("failed", "halted"):
        return "once that is mended"
    if ending.exit_code in (130, 143):
        return "to continue"
    if ending.exit_code == 4:
        return "once the other driver has ended"
    allow = summary.failures_to_allow
    if allow is not None:
        return f"with --max-failures {allow:g}"
    if not summary.front and summary.counts["failed"] and not summary.counts["complete"]:
        return "once what failed its trials is mended, with a larger --trials"
    return "with a larger --trials or --budget"
