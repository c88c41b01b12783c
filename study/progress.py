"""The view in the terminal: phases with time left, trials as they go, the front so far.

On a terminal a live table is redrawn in place; in a pipe every event is one plain line. Ray, Optuna
and MLflow write to the study's log file meanwhile, never over this view.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.formatting import (
    duration,
    milliseconds,
    score_text,
    significant,
    times,
    with_error,
)
from analysis.front import front_members
from analysis.results import Third, TrialResult, searched, trained_alone, trial_name
from analysis.runs import Estimate, estimates
from analysis.stored_plan import Score, Space
from study.console import make_console, print_line, print_rows
from study.replicates import further

if TYPE_CHECKING:
    from rich.console import RenderableType

# What a view calls the score before it has been told of which space it is.
_SOME_SCORE = Score("score", "", 100.0)
_NAME_WIDTH = 13  # of what a fact is about
_RUNNING_SHOWN = 8
_FRONT_SHOWN = 10


class Phase:
    """A long step before or after the trials; :meth:`update` says how far it is."""

    def __init__(self, progress: "Progress", title: str) -> None:
        self._progress = progress
        self.title = title
        self.begun = time.monotonic()
        self.done = 0
        self.total = 0
        self.note = ""
        self._last_line = self.begun
        self._paced_from = (self.begun, 0)
        self._first: tuple[float, int] | None = None

    def update(self, done: int, total: int, note: str = "") -> None:
        """Report ``done`` of ``total`` steps; a plain view prints a line every few seconds."""
        self.wait()
        self.done, self.total, self.note = done, total, note
        if self._first is None:
            self._first = (time.monotonic(), done)
        if time.monotonic() - self._last_line > 5 or done == total:
            self._last_line = time.monotonic()
            self._progress.phase_line(self)

    def wait(self) -> None:
        """Have done what is due meanwhile; to be called every few seconds while a step goes on."""
        self._progress.meanwhile()

    def begin_steps(self) -> None:
        """Have the time left be told by the steps from here on: other work came before."""
        self._paced_from, self._first = (time.monotonic(), self.done), None

    @property
    def seconds_left(self) -> float | None:
        """Time left at the pace since the first step; None where it cannot be told.

        Steps done before this phase began, as of a teacher that an earlier run left half trained,
        say nothing of the pace.
        """
        if self._first is None or not 0 < self.done < self.total:
            return None
        since, before = self._first
        if self.done == before:
            since, begun_with = self._paced_from
            if not begun_with < before <= begun_with + 1:
                return None
            before = begun_with
        return (time.monotonic() - since) / (self.done - before) * (self.total - self.done)


class Progress:
    """What a study shows while it runs, as plain lines.

    Args:
        stream: Where to write.
        quiet: Show nothing but warnings.

    Attributes:
        meanwhile: What is done now and then while a long step goes on.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self.console = make_console(stream)
        self.meanwhile: Callable[[], None] = lambda: None
        self.quiet = quiet
        self.trials: dict[int, TrialResult] = {}
        self.score, self.compared_by = _SOME_SCORE, ""
        self._third: Third | None = None
        self._front: tuple[TrialResult, ...] | None = None
        self.total = 0
        self.title = "trials"
        self.begun = time.monotonic()
        self.deadline: float | None = None

    def say(self, text: str, *, fold: bool = False) -> None:
        """Show one line; on a terminal folded between words if it is not there to be copied."""
        if not self.quiet:
            whole = not (fold and self.console.is_terminal)
            self.console.print(text, highlight=False, markup=False, soft_wrap=whole)

    def fact(self, name: str, text: str) -> None:
        """Show what something is; on a terminal folded between words, beside its name."""
        if not self.quiet:
            print_rows(self.console, [(name, text)], width=_NAME_WIDTH)

    def warn(self, text: str) -> None:
        """Show one warning, also when quiet."""
        print_line(self.console, f"warning: {text}", style="yellow")

    @contextmanager
    def phase(self, title: str) -> Iterator[Phase]:
        """Show a long step."""
        phase = Phase(self, title)
        self.say(f"{title} …")
        yield phase
        note = f" ({phase.note})" if phase.note else ""
        self.say(f"{title}{note}: {duration(time.monotonic() - phase.begun)}")

    def phase_line(self, phase: Phase) -> None:
        """Show how far a phase is."""
        left = phase.seconds_left
        tail = f", {duration(left)} left" if left is not None else ""
        note = f" ({phase.note})" if phase.note else ""
        done = f"{phase.done}/{phase.total}" if phase.total else "…"
        self.say(f"  {done}{note}{tail}")

    @contextmanager
    def trials_phase(
        self, total: int, deadline: float | None, title: str = "trials"
    ) -> Iterator[None]:
        """Show the trials: ``total`` are planned; ``deadline`` is on the monotonic clock.

        ``title`` says what they are called: the trials of the search, or the replicates after it.
        """
        self.total, self.deadline, self.title = total, deadline, title
        yield

    def expects(self, total: int) -> None:
        """Take how many there are in all, once that is known better."""
        self.total = total

    def known(self, trials: tuple[TrialResult, ...], space: Space) -> None:
        """Take the trials of earlier runs, and what all of them are compared by."""
        self.score, self.compared_by, self._third = space.score, space.compared_by, space.third
        self.trials.update({trial.number: trial for trial in trials})
        self._front = None

    @property
    def front(self) -> tuple[TrialResult, ...]:
        """The front so far; found again only when a trial has ended."""
        if self._front is None:
            self._front = front_members(list(self.trials.values()), self._third)
        return self._front

    def trial_started(self, trial: TrialResult) -> None:
        """A trial got its worker."""
        self.trials[trial.number] = trial

    def trial_reported(self, trial: TrialResult) -> None:
        """A trial was measured, or did an epoch."""
        self.trials[trial.number] = trial

    def trial_lost(self, trial: TrialResult, reason: str, retries: int) -> None:
        """A trial's worker died; it goes on from its last checkpoint."""
        self.trials[trial.number] = trial
        done = f"epoch {trial.epochs_done}" if trial.epochs_done else "the beginning"
        self.warn(
            f"{trial.name}: {reason}; going on from {done} "
            f"(retry {trial.usage.retries} of {retries})"
        )

    def trial_finished(self, trial: TrialResult) -> None:
        """A trial ended."""
        self.trials[trial.number], self._front = trial, None
        ended = sum(1 for other in self._of_this_phase() if other.status != "running")
        what = "" if self.title == "trials" else f"{self.title} "
        self.say(f"[{what}{ended}/{self.total}] {trial_line(trial, self.score)}")

    def _of_this_phase(self) -> list[TrialResult]:
        own = trained_alone(self.trials.values())
        return searched(own) if self.title == "trials" else further(own)

    def exit_added(self, trial: TrialResult) -> None:
        """Another exit of a student that has just been trained."""
        self.trials[trial.number], self._front = trial, None
        self.say(trial_line(trial, self.score), fold=True)

    def close(self) -> None:
        """Stop drawing."""


class LiveProgress(Progress):
    """The same, redrawn in place on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._live: Live | None = None
        self._phase: Phase | None = None
        self._tracking_trials = False
        self._drawn: tuple[RenderableType, int] | None = None

    @contextmanager
    def phase(self, title: str) -> Iterator[Phase]:
        """Show a long step as a bar."""
        self._phase = Phase(self, title)
        with self._drawing():
            yield self._phase
        seconds = time.monotonic() - self._phase.begun
        note = f" ({self._phase.note})" if self._phase.note else ""
        self._phase = None
        self.say(f"✓ {title}{note}: {duration(seconds)}")

    def phase_line(self, phase: Phase) -> None:
        """Do nothing: the bar shows it."""

    @contextmanager
    def trials_phase(
        self, total: int, deadline: float | None, title: str = "trials"
    ) -> Iterator[None]:
        """Show the live table of trials."""
        self.total, self.deadline, self.title = total, deadline, title
        self._tracking_trials = True
        with self._drawing():
            yield
        self._tracking_trials = False

    def trial_finished(self, trial: TrialResult) -> None:
        """A trial ended: one line above the live table."""
        self.trials[trial.number], self._front = trial, None
        self.say(trial_line(trial, self.score), fold=True)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        with Live(
            console=self.console, get_renderable=self._render, refresh_per_second=4, transient=True
        ) as self._live:
            try:
                yield
            finally:
                self._live = self._drawn = None

    def _render(self) -> "RenderableType":
        self._count_folded_lines()
        shown: RenderableType = Text("")
        if self._tracking_trials:
            shown = self._trials_table()
        elif self._phase:
            shown = self._phase_bar()
        self._drawn = shown, self.console.width
        return shown

    def _count_folded_lines(self) -> None:
        """Have all rows cleared of what was drawn before the window became narrower.

        Terminals fold the lines anew that no longer fit, all but xterm, which cuts them off. Rich
        goes up by as many rows as it drew, and would leave the first ones behind.
        """
        live, width = self._live, self.console.width
        if live is None or self._drawn is None or self._drawn[1] <= width:
            return
        if "XTERM_VERSION" in os.environ:
            return
        shown, before = self._drawn
        lines = self.console.render_lines(
            shown, self.console.options.update(width=before), pad=False
        )
        lengths = (sum(segment.cell_length for segment in line) for line in lines)
        live._live_render._shape = width, sum(max(1, -(-length // width)) for length in lengths)

    def _phase_bar(self) -> "RenderableType":
        phase = self._phase
        assert phase is not None
        grid = Table.grid(padding=(0, 1))
        left = phase.seconds_left
        tail = f"{duration(left)} left" if left is not None else ""
        elapsed = duration(time.monotonic() - phase.begun)
        bar = ProgressBar(phase.total or None, phase.done, width=24, pulse=not phase.total)
        grid.add_row(phase.title, bar, phase.note, elapsed, Text(tail, style="dim"))
        return grid

    def _trials_table(self) -> "RenderableType":
        trials = list(self.trials.values())
        running = [t for t in trials if t.status == "running" and t.waits_at is None]
        parts: list[RenderableType] = [Text(self._headline(), style="bold")]
        if running:
            parts.append(_running_table(running[:_RUNNING_SHOWN], self.score))
            if len(running) > _RUNNING_SHOWN:
                parts.append(Text(f"and {len(running) - _RUNNING_SHOWN} more running", "dim"))
        if paused := [trial for trial in trials if trial.waits_at is not None]:
            parts.append(Text(paused_line(paused), "dim", no_wrap=True, overflow="ellipsis"))
        if self.front:
            title = f"front so far, by {self.compared_by}"
            val = estimates(trials) if self.title == "replicates" else {}
            table = front_table(self.front, self.score, title=title, limit=_FRONT_SHOWN, val=val)
            parts.append(table)
        return Group(*parts)

    def _headline(self) -> str:
        count = {status: 0 for status in ("complete", "stopped", "infeasible", "failed")}
        for trial in self._of_this_phase():
            if trial.status in count:
                count[trial.status] += 1
        ended = sum(count.values())
        named = ", ".join(f"{n} {status}" for status, n in count.items() if n)
        how_far = f"{ended} of {self.total} trials"
        if self.title != "trials":
            how_far = f"{self.title} {ended} of {self.total}"
        words = [how_far + (f": {named}" if named else "")]
        words.append(duration(time.monotonic() - self.begun))
        if self.deadline is not None:
            words.append(f"{duration(max(0, self.deadline - time.monotonic()))} of budget left")
        return "  ·  ".join(words)


def make_progress(stream: TextIO, *, quiet: bool) -> Progress:
    """Return the live view on a terminal, plain lines elsewhere."""
    if quiet or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return Progress(stream, quiet=quiet)
    return LiveProgress(stream)


def trial_line(trial: TrialResult, score: Score) -> str:
    """Say in one line how a trial ended; ``score`` names what it reached."""
    name = f"{trial.name} {trial.architecture}"
    if trial.label and trial.label != trial.architecture:
        name += f" ({trial.label})"
    if trial.replicate_of is not None:
        name += f" (run {trial.run} of {trial_name(trial.replicate_of)})"
    elif trial.control_of is not None:
        name += f" (control of {trial_name(trial.control_of)})"
    if trial.status == "complete":
        reached = score_text(trial.val_score, score.unit, 2)
        cost = f"{milliseconds(trial.latency_ms)}, {_took(trial)}"
        end = f"; on no front, {trial.reason}" if trial.reason else ""
        return f"{name}: {score.name} {reached}, {cost}{end}"
    if trial.status == "stopped":
        where = (
            "" if "waited at epoch" in (trial.reason or "") else f" at epoch {trial.epochs_done}"
        )
        return f"{name}: stopped{where}, {trial.reason}"
    return f"{name}: {trial.status}, {trial.reason}"


def paused_line(trials: list[TrialResult]) -> str:
    """Say which trials wait at a rung, those that came furthest first."""
    furthest = sorted(trials, key=lambda trial: (-trial.epochs_done, trial.number))
    named = ", ".join(f"{trial.name} at epoch {trial.waits_at}" for trial in furthest)
    return f"{len(trials)} waiting at a rung: {named}"


def front_table(
    front: tuple[TrialResult, ...],
    score: Score,
    *,
    title: str,
    limit: int | None = None,
    val: Mapping[int, Estimate] = MappingProxyType({}),
    test: Mapping[int, Estimate] = MappingProxyType({}),
) -> Table:
    """Return the front as a table, fastest first; ``limit`` keeps that many, evenly spread.

    The score's name is for the title to say, which has room for it. ``val`` and ``test`` are the
    scores over the runs of a configuration, where it may have several.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial", no_wrap=True)
    table.add_column("student")  # the one that gives way where there is no room
    for heading in (f"val {score.unit}", f"test {score.unit}", "ms", "faster", "M", "MFLOPs"):
        table.add_column(heading, justify="right", no_wrap=True)
    tested = any(trial.confirmed for trial in front)
    shown = front
    if limit is not None and len(front) > limit:
        step = (len(front) - 1) / (limit - 1)
        shown = tuple(front[round(i * step)] for i in range(limit))
    for trial in shown:
        own = (val.get(trial.number), test.get(trial.number))
        table.add_row(trial.name, _cut(trial.architecture), *_figures(trial, *own))
    if not tested:
        table.columns[3].header = ""
    return table


def _figures(trial: TrialResult, val: Estimate | None, test: Estimate | None) -> tuple[str, ...]:
    latency = trial.best_latency
    return (
        f"{trial.val_score:.2f}" if val is None else with_error(val.mean, val.error, 2),
        (f"{trial.confirmed.test_score:.2f}" if trial.confirmed else "")
        if test is None
        else with_error(test.mean, test.error, 2),
        significant(trial.latency_ms),
        times(latency.ratio_batch_1.median) if latency else "",
        significant(trial.model.params_m) if trial.model else "",
        significant(trial.model.flops_m) if trial.model else "",
    )


def _running_table(trials: list[TrialResult], score: Score) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    for trial in trials:
        done = trial.epochs_done
        reached = trial.val_score
        shown = "measuring" if reached is None else score_text(reached, score.unit)
        table.add_row(
            trial.name,
            _cut(trial.architecture),
            ProgressBar(trial.epochs, done, width=12),
            f"epoch {done}/{trial.epochs}",
            shown if trial.latency or done else "starting",
        )
    return table


def _cut(name: str) -> Text:
    """A name that is cut off where it does not fit, rather than folded."""
    return Text(name, no_wrap=True, overflow="ellipsis")


def _took(trial: TrialResult) -> str:
    if trial.trained_with is not None:
        return f"trained with {trial.trained_as}"
    return f"trained {duration(trial.train_seconds)}"
