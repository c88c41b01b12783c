"""Finding the studies of a folder, and saying how each one is."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.record import RecordReadError
from analysis.results import PLAN_FILE, TrialResult
from search_spaces.space import nearest
from study.commands import command
from study.disk import DiskUse, disk_use
from study.ending import NO_FRONT
from study.failures import TOO_MANY_FAILURES
from study.folders import is_study, studies_in
from study.lock import PATIENCE_SECONDS, Holder, beaten_ago, read_holder
from study.mirror import Part, bring_plans, bring_study, mirror_of, shown
from study.names import StudyName
from study.record import RecordError
from study.summary import StudySummary, summarise

if TYPE_CHECKING:
    from rich.table import Table

RUNNING, SILENT, INTERRUPTED, DAMAGED = "running", "silent", "interrupted", "damaged"
_STATES = {
    "complete": "finished",
    "budget": "finished (budget spent)",
    "SIGINT": INTERRUPTED,
    "SIGTERM": INTERRUPTED,
    "lock lost": INTERRUPTED,
    "killed": INTERRUPTED,
}
# Width of a table of studies, its names left out.
_OTHER_COLUMNS = 67


@dataclass(frozen=True)
class StudyStatus:
    """A study as it stands.

    Attributes:
        summary: What its record tells.
        state: In a word or two: running, silent (its driver, elsewhere, shows no sign of life),
            interrupted, or how the last run ended.
        phase: What a running study is at: ``preparing``, ``trials``, ``replicates`` or
            ``confirming``.
        driver: Who drives it, if anybody does.
        seconds: Wall time over all runs, that of a running driver included.
        disk: What it takes on disk.
    """

    summary: StudySummary
    state: str
    phase: str | None
    driver: Holder | None
    seconds: float
    disk: DiskUse

    @property
    def name(self) -> str:
        """The study's name."""
        return self.summary.folder.name

    @property
    def is_live(self) -> bool:
        """Whether a driver is at work."""
        return self.state == RUNNING

    @property
    def open_trials(self) -> list[TrialResult]:
        """Trials that run, or were interrupted."""
        return [t for t in self.summary.trials if t.status == "running" and t.waits_at is None]

    @property
    def paused_trials(self) -> list[TrialResult]:
        """Trials that wait at a rung."""
        return [trial for trial in self.summary.trials if trial.waits_at is not None]

    @property
    def resume(self) -> str | None:
        """The command that continues the study; None where it runs or has nothing left to do."""
        if self.is_live or self.state.startswith("finished") or self.state == NO_FRONT:
            return None
        allow = self.summary.failures_to_allow
        more = [] if allow is None else ["--max-failures", f"{allow:g}"]
        return command("resume", self.summary.folder, *more)

    def to_json(self) -> dict[str, Any]:
        """Return one object for scripts: the summary, and how the study is now."""
        driver = self.driver
        return {
            **self.summary.to_json(),
            "state": self.state,
            "phase": self.phase,
            "driver": None if driver is None else {"host": driver.host, "pid": driver.pid},
            "resume": self.resume,
            "seconds": round(self.seconds, 1),
            "running": [_open_trial(trial) for trial in self.open_trials],
            "paused": [
                {**_open_trial(trial), "rung": trial.waits_at} for trial in self.paused_trials
            ],
            "disk_bytes": asdict(self.disk),
        }


def _open_trial(trial: TrialResult) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "label": trial.label,
        "architecture": trial.architecture,
        "epoch": trial.epochs_done,
        "epochs": trial.epochs,
        "val_score": trial.val_score,
        "latency_ms": trial.latency_ms,
        "retries": trial.usage.retries,
    }


def find_study(studies: Path, name: str, part: Part = "plan") -> Path:
    """Return the folder of a study; of one in an object store, some of it is brought first.

    Raises:
        StudyNameError: if no study can have that name.
        RecordError: if there is no such study (the message names the nearest one), or it is of
            somebody whose files may not be read.
        StoreError: if the object store does not answer.
    """
    folder = StudyName(name).folder(studies)
    if mirror_of(studies) is not None:
        from rich.text import Text

        from study.console import make_console

        told = Text(f"bringing {name} from {shown(studies)} …")
        with make_console(sys.stderr).status(told):
            bring_study(studies, name, part)
    where = shown(studies)
    try:
        if is_study(folder):
            return folder
    except OSError as error:
        raise RecordError(
            f"study {name!r} in {where} may not be read ({error.strerror})"
        ) from error
    bring_plans(studies)
    known, _ = studies_in(studies)
    if not known:
        raise RecordError(
            f"no study {name!r}: there are no studies in {where}; name their folder with --studies"
        )
    raise RecordError(f"no study {name!r} in {where}{nearest(name, known)}")


def status_of(summary: StudySummary) -> StudyStatus:
    """Return how a study is that has just been read."""
    folder = summary.folder
    state, driver = state_of(summary), read_holder(folder)
    live = driver is not None and state == RUNNING
    return StudyStatus(
        summary=summary,
        state=state,
        phase=_phase(summary, driver) if driver and live else None,
        driver=driver if state in (RUNNING, SILENT) else None,
        seconds=summary.seconds + (_seconds_not_noted(driver, summary) if driver and live else 0.0),
        disk=disk_use(folder),
    )


def state_of(summary: StudySummary) -> str:
    """Return running, silent, interrupted, or how the last run ended."""
    holder = read_holder(summary.folder)
    if holder is not None:
        if holder.is_gone():  # without giving its lock back: it was killed
            return INTERRUPTED
        return RUNNING if _shows_life(holder, summary.folder) else SILENT
    sessions = summary.results.sessions
    counts = summary.counts
    # It does not go on by itself, whoever is open.
    if sessions and sessions[-1].end == TOO_MANY_FAILURES and not summary.results.open_session:
        return TOO_MANY_FAILURES
    if summary.is_open or counts["paused"] or summary.results.open_session or not sessions:
        return INTERRUPTED
    return _STATES.get(sessions[-1].end, sessions[-1].end)


def _shows_life(holder: Holder, folder: Path) -> bool:
    """Whether a holder that is not known to be gone was heard of lately.

    The age of its lock file tells, by the clock of whoever keeps the files. That is good enough to
    be shown; it decides nothing.
    """
    if holder.is_visible():
        return True
    ago = beaten_ago(folder)
    return ago is None or ago < 2 * PATIENCE_SECONDS  # None: given back meanwhile


def _phase(summary: StudySummary, driver: Holder) -> str:
    """What a driver is at: as it has told the record, else as the trials look."""
    noted = summary.results.open_session
    # One that began before this driver is of another, which was killed.
    if noted is not None and noted.stage is not None and noted.started_at >= driver.since:
        return "preparing" if noted.stage == "starting" else noted.stage
    counts = summary.counts
    if not summary.trials:
        return "preparing"
    if counts["running"] or counts["paused"] or counts["waiting"]:
        return "trials"
    further = summary.replicates
    return "replicates" if further["running"] or further["waiting"] else "confirming"


def _seconds_not_noted(driver: Holder, summary: StudySummary) -> float:
    """Wall time (s) of a run that goes on, beyond what the record has of it."""
    noted = summary.results.open_session
    return max(0.0, _seconds_since(driver.since) - (0.0 if noted is None else noted.seconds))


def _seconds_since(stamp: str) -> float:
    try:
        begun = datetime.fromisoformat(stamp)
        return max(0.0, (datetime.now(UTC) - begun).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def study_states(
    studies: Path,
    on_read: Callable[[str], None] = lambda name: None,
    on_closed: Callable[[str, str], None] = lambda name, reason: None,
) -> list[dict[str, Any]]:
    """Return name, state, counts, best validation score and age (s) of each study, latest first.

    A study whose record or lock cannot be read is listed as damaged, with the reason.

    Args:
        studies: The folder of studies.
        on_read: Told the name of each study before it is read.
        on_closed: Told the name of each folder that may not be read, and why.

    Raises:
        RecordError: if the folder of studies may not be read.
    """
    bring_plans(studies)
    states = []
    known, closed = studies_in(studies)
    for name in known:
        on_read(name)
        states.append(_state(studies / name))
    for name, reason in closed.items():
        on_closed(name, reason)
    return sorted(states, key=lambda state: state["age_seconds"])


def _state(folder: Path) -> dict[str, Any]:
    age = time.time() - (folder / PLAN_FILE).stat().st_mtime
    body: dict[str, Any] = {"name": folder.name, "age_seconds": round(age)}
    try:
        summary = summarise(folder)
        state = state_of(summary)
    except (RecordReadError, RecordError) as error:
        empty = {"trials": 0, "planned": None, "front": 0, "best_val_score": None, "score": None}
        return {**body, **empty, "state": DAMAGED, "reason": str(error)}
    means = [summary.results.val_score(trial) for trial in summary.front]
    scores = [score for score in means if score is not None]
    return {
        "name": folder.name,
        "state": state,
        "trials": summary.begun,
        "planned": summary.planned,
        "front": len(summary.front),
        "best_val_score": max(scores, default=None),
        "score": summary.score.to_json(),
        "age_seconds": round(_seconds_since(summary.results.plan.created_at)),
    }


def study_table(states: Sequence[dict[str, Any]], width: int) -> "Table":
    """Return a table of studies for people, a line each.

    Args:
        states: As :func:`study_states` returns them.
        width: Characters a line has; long names are folded.
    """
    from rich.table import Table

    from analysis.formatting import duration, score_text

    table = Table(box=None, pad_edge=False)
    # Left to itself, rich would give a long name the room of the figures.
    longest = max(12, width - _OTHER_COLUMNS)
    table.add_column("study", overflow="fold", max_width=longest)
    table.add_column("state", no_wrap=True)
    for heading in ("trials", "front", "best val", "age"):
        table.add_column(heading, no_wrap=True, justify="right")
    for state in states:
        damaged = state["state"] == DAMAGED
        best, score = state["best_val_score"], state["score"]
        table.add_row(
            state["name"],
            "budget spent" if state["state"] == _STATES["budget"] else state["state"],
            "" if damaged else f"{state['trials']}/{state['planned']}",
            "" if damaged else str(state["front"]),
            "" if best is None else f"{score_text(best, score['unit'], 2)} {score['name']}",
            duration(state["age_seconds"]),
        )
    return table
