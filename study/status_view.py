"""A study's status for people: shown once, redrawn while the study runs, or told line by line."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.formatting import counted, duration, score_text, significant, size
from analysis.results import TrialResult, searched, trained_alone
from study.console import make_view, print_line, print_rows
from study.ending import NO_FRONT, why_no_front
from study.listing import SILENT, StudyStatus
from study.progress import front_table, trial_line
from study.summary import KINDS

EVERY_SECONDS = 2.0
_REASONS_SHOWN = 10
_OPEN_SHOWN = 8
_PAUSED_SHOWN = 4
# Lines of a redrawn view that are neither trials nor front, also where it is narrow and they fold.
_OTHER_LINES = 12

Look = Callable[[], StudyStatus]


# Numbers first: what is said


def headline(status: StudyStatus) -> str:
    """Say how the study is, and what would continue it."""
    text = f"{status.name}: {status.state}"
    if status.phase == "preparing":
        text += ", preparing the teacher" + ("" if status.summary.trials else "; no trial yet")
    elif status.phase == "replicates":
        text += f", replicates {_replicates(status)}"
    elif status.phase == "confirming":
        text += ", confirming the front"
    if status.state == SILENT:
        text += f" (no sign of life of {status.driver})"
    if status.resume is not None:
        text += f"; go on with: {status.resume}"
    return text


def counts_line(status: StudyStatus) -> str:
    """Say how many trials there are of each kind."""
    counts = dict(status.summary.counts)
    words = {**KINDS, **({} if status.is_live else {"running": "interrupted"})}
    named = ", ".join(f"{n} {words.get(kind, kind)}" for kind, n in counts.items() if n)
    text = f"{status.summary.begun} of {status.summary.planned} trials: {named or 'none'}"
    if status.summary.exits:
        text += f"; {counted(status.summary.exits, 'exit')} trained with them"
    # What is wanted is known once the search is over.
    if status.summary.runs_asked > 1 and status.phase not in ("preparing", "trials"):
        text += f"; replicates {_replicates(status)}"
    return text


def _replicates(status: StudyStatus) -> str:
    """Say how many further runs have ended, of those that are known to be wanted."""
    counts = status.summary.replicates
    total = sum(counts.values())
    return f"{total - counts['waiting'] - counts['running']} of {total}"


def spent_line(status: StudyStatus) -> str:
    """Say what the study has taken so far."""
    words = [f"{duration(status.seconds)} of wall time"]
    if status.summary.device_seconds:
        words.append(f"{duration(status.summary.device_seconds)} of device time")
    if status.summary.retries:
        words.append(counted(status.summary.retries, "retry", "retries"))
    return ", ".join(words)


def disk_line(status: StudyStatus) -> str:
    """Say what the study takes on disk."""
    disk = status.disk
    own = [("checkpoints", disk.checkpoints), ("models", disk.models), ("record", disk.record)]
    own += [("report", disk.report), ("illustrations", disk.illustrations), ("logs", disk.logs)]
    shared = [("teachers", disk.teachers), ("datasets", disk.datasets)]
    text = f"{size(disk.total)} on disk"
    if parts := _sizes(own):
        text += f": {parts}"
    if parts := _sizes(shared):
        text += f"; shared by all studies: {parts}"
    return text


def _sizes(parts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {size(count)}" for name, count in parts if count)


def reason_lines(status: StudyStatus, limit: int) -> list[str]:
    """Say of the last ``limit`` trials that did not complete why, and how many more there are."""
    ended = [t for t in status.summary.trials if t.status not in ("complete", "running")]
    lines = [trial_line(trial, status.summary.score) for trial in ended[-limit:]]
    if len(ended) > limit:
        lines.insert(0, f"… and {len(ended) - limit:,} earlier ones that did not complete")
    return lines


def changes(before: StudyStatus, now: StudyStatus) -> Iterator[str]:
    """Say in a line each what happened between two looks at a study, but for its end."""
    known = {trial.number: trial for trial in before.summary.trials}
    # Those that ended, counted as they came.
    begun = searched(trained_alone(known.values()))
    ended = sum(1 for trial in begun if trial.status != "running")
    score = now.summary.score
    for trial in now.summary.trials:
        old = known.get(trial.number)
        if old == trial:
            continue
        name = f"{trial.name} {trial.architecture}"
        if old is not None and trial.usage.retries > old.usage.retries:
            yield f"{name}: its worker died; going on from epoch {trial.epochs_done}"
        if old is None and trial.trained_with is not None:
            yield trial_line(trial, score)
        elif trial.status != "running":
            if (old is None or old.status == "running") and not trial.searched:
                yield f"[replicate] {trial_line(trial, score)}"
            elif old is None or old.status == "running":
                ended += 1
                yield f"[{ended}/{now.summary.planned}] {trial_line(trial, score)}"
            elif trial.confirmed is not None and old.confirmed is None:
                tested = score_text(trial.confirmed.test_score, score.unit, 2)
                yield f"{name}: {score.name} {tested} on the test split"
        elif old is None:
            yield f"{name}: begun"
        elif trial.epochs_done > old.epochs_done or trial.waits_at != old.waits_at:
            done = f"epoch {trial.epochs_done}/{trial.epochs}"
            state = ", waits there" if trial.waits_at is not None else ""
            state = ", goes on" if old.waits_at is not None else state
            reached = score_text(trial.val_score, score.unit, 2)
            yield f"{name}: {done}, {score.name} {reached}{state}"
    if now.is_live and headline(now) != headline(before):
        yield headline(now)


# Drawing second


def print_status(status: StudyStatus, console: Console) -> None:
    """Print the whole status once; lines are folded between words, and in a pipe not at all."""
    for text, style in _top(status):
        print_line(console, text, style)
    reasons = reason_lines(status, _REASONS_SHOWN)
    print_rows(console, [("", line) for line in reasons], indent=2, width=0)
    if status.open_trials:
        console.print(_open_table(status, limit=None))
    if status.paused_trials:
        console.print(_paused_table(status, limit=None))
    if status.summary.front:
        console.print(_front_table(status, "front"))


def _top(status: StudyStatus) -> list[tuple[str, str | None]]:
    plain = [counts_line(status), spent_line(status), disk_line(status)]
    if status.state == NO_FRONT:
        summary = status.summary
        least = summary.results.plan.plan.get("min_score")
        plain.insert(0, why_no_front(summary.trials, summary.score, least, None))
    return [(headline(status), "bold"), *((line, None) for line in plain)]


def _open_table(status: StudyStatus, limit: int | None) -> Table:
    """Return the trials that run (or were interrupted), at most ``limit`` of them."""
    title = "running" if status.is_live else "interrupted"
    return _epochs_table(status.open_trials, title, status, limit)


def _paused_table(status: StudyStatus, limit: int | None) -> Table:
    """Return the trials that wait at a rung, those that came furthest last."""
    trials = sorted(status.paused_trials, key=lambda trial: trial.epochs_done)
    return _epochs_table(trials, "waiting at a rung", status, limit)


def _epochs_table(
    trials: Sequence[TrialResult],
    title: str,
    status: StudyStatus,
    limit: int | None,
) -> Table:
    if limit is not None and len(trials) > limit:
        title += f" (the last {limit} of {len(trials)})"
        trials = trials[-limit:]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("student", overflow="ellipsis", no_wrap=True)
    for heading in ("epoch", f"val {status.summary.score.unit}", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in trials:
        score, latency = trial.val_score, trial.latency_ms
        table.add_row(
            trial.name,
            trial.architecture,
            f"{trial.epochs_done}/{trial.epochs}",
            "" if score is None else f"{score:.2f}",
            "" if latency is None else significant(latency),
        )
    return table


def _front_table(status: StudyStatus, title: str, limit: int | None = None) -> Table:
    summary = status.summary
    title = f"{title}, by {summary.results.plan.space.compared_by}"
    found = summary.results
    return front_table(
        summary.front,
        summary.score,
        title=title,
        limit=limit,
        val=found.validation,
        test=found.tested,
    )


def _redrawn(status: StudyStatus, height: int) -> RenderableType:
    """Return a view that fits a terminal of ``height`` lines: redrawing needs it whole."""
    parts: list[RenderableType] = [Text(text, style=style or "") for text, style in _top(status)]
    room = max(4, height - _OTHER_LINES)
    for line in reason_lines(status, max(1, room // 6)):
        parts.append(Text(f"  {line}", no_wrap=True, overflow="ellipsis"))
    if status.open_trials:
        parts.append(_open_table(status, limit=min(_OPEN_SHOWN, max(2, room // 3))))
    if status.paused_trials:
        parts.append(_paused_table(status, limit=min(_PAUSED_SHOWN, max(1, room // 6))))
    if status.summary.front:
        limit = max(2, room // 2)
        parts.append(_front_table(status, "front so far", limit))
    return Group(*parts)


# Watching


def watch(first: StudyStatus, look: Look, *, as_json: bool) -> None:
    """Show a study until no driver is at work on it, then its final state once.

    Args:
        first: The study as it was just now.
        look: Reads the study as it is.
        as_json: Print one JSON object a line for every change instead.
    """
    if as_json:
        _watch_json(first, look)
        return
    console = make_view()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        last = _watch_terminal(first, look, console)
    else:
        last = _watch_lines(first, look, console)
    print_status(last, console)


def _looks(first: StudyStatus, look: Look) -> Iterator[StudyStatus]:
    """Yield the study every few seconds, the last time when it is no longer live."""
    status = first
    yield status
    while status.is_live:
        time.sleep(EVERY_SECONDS)
        status = look()
        yield status


def _watch_terminal(first: StudyStatus, look: Look, console: Console) -> StudyStatus:
    status = first
    # Ctrl-C ends the watching, and leaves what was seen last.
    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for status in _looks(first, look):
            live.update(_redrawn(status, console.height), refresh=True)
    return status


def _watch_lines(first: StudyStatus, look: Look, console: Console) -> StudyStatus:
    status = before = first
    for status in _looks(first, look):
        lines = changes(before, status)
        if status is first and status.is_live:
            lines = iter(text for text, _ in _top(status))
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        sys.stdout.flush()
        before = status
    return status


def _watch_json(first: StudyStatus, look: Look) -> None:
    seen: dict[str, Any] | None = None
    for status in _looks(first, look):
        body = status.to_json()
        # Time passes and logs grow without anything having happened.
        lasting = {k: v for k, v in body.items() if k not in ("seconds", "disk_bytes", "time")}
        if lasting != seen:
            print(json.dumps(body), flush=True)
        seen = lasting
