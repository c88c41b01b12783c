"""Showing MLflow what a study's record has and it has not: `python -m study sync`, and a resume.

The record is the truth. A driver that is killed takes what was on its way to MLflow with it, and
MLflow may have been out of reach, or its database deleted; all of that is made good from here.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis import results
from analysis.database import absolute_uri, seen_from_here
from analysis.formatting import without_password
from analysis.results import (
    ReferencePoint,
    Session,
    TeacherResult,
    TrialResult,
)
from analysis.stored import ResultFormatError
from analysis.stored_plan import RecordReadError, StoredPlan, read_plan
from study.distillation.teacher_recipe import DESCRIPTION_FILE
from study.lock import study_lock
from study.names import TEACHERS_FOLDER
from study.plan import PlanError
from study.progress import Phase, Progress
from study.record import StudyRecord, read_plan_file
from study.tracking.delivery import GOES_ON, DeliveryReport, RunKind
from study.tracking.facts import hypervolume_curve
from study.tracking.points import span
from study.tracking.session import (
    close_study,
    front_of,
    open_study,
    report_to_show,
    show_teacher,
)
from study.tracking.tracker import (
    NO_TRACKING,
    Tracker,
    check_tracking_uri,
    default_tracking_uri,
)
from study.watch import watching

PATIENCE_SECONDS = 30.0
_SHOWN_AFTER_SECONDS = 2.0
_KILLED = "killed"  # how a session ends that was never closed


def replay(
    record: StudyRecord,
    tracker: Tracker,
    warn: Callable[[str], None],
    *,
    also_open: bool = False,
) -> None:
    """Have MLflow brought up to what the record says of trials that have ended; returns at once.

    Never raises: MLflow is a view, and lacks something at worst.

    Args:
        record: The study's record.
        tracker: Where the study's run has been opened.
        warn: Receives a line if the record cannot be read for it.
        also_open: Show trials without an end as interrupted; for a study that nobody works on.
    """
    try:
        trials = record.trials()
        reference = record.attribute(results.ATTR_REFERENCE_POINT)
        if reference is not None and trials:
            curve = hypervolume_curve(trials, ReferencePoint.from_json(reference))
            tracker.progress_replayed(curve)
        for trial in trials:
            if also_open or trial.status != "running":
                tracker.trial_replayed(trial)
    except Exception as error:
        warn(f"MLflow may lack trials of earlier runs: {error}")


@dataclass(frozen=True)
class SyncReport:
    """What came of a synchronisation.

    Attributes:
        study: The study's name.
        mlflow: Where it is tracked, as the record has it; None if its run never got there.
        tracking_uri: The URI, without a password.
        ended: How the study's last session ended, in the record's word.
        trials: Trials in the record.
        delivered: Trials that MLflow has as the record tells them.
        problem: What is missing there, and why, in one line; None when nothing is.
    """

    study: str
    mlflow: Mapping[str, Any] | None
    tracking_uri: str
    ended: str
    trials: int
    delivered: int
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        """Return one object for scripts."""
        known = self.mlflow or {}
        return {
            "study": self.study,
            "tracking_uri": self.tracking_uri,
            "experiment_id": known.get("experiment_id"),
            "run_id": known.get("run_id"),
            "ended": self.ended,
            "trials": self.trials,
            "delivered": self.delivered,
            "problem": self.problem,
        }


def synchronise(
    folder: Path,
    tracking_uri: str | None,
    progress: Progress,
    patience: float = PATIENCE_SECONDS,
) -> SyncReport:
    """Bring MLflow to what a study's record says; doing it again changes nothing there.

    Args:
        folder: The study's folder.
        tracking_uri: Where to; None for where the plan has it.
        progress: Shows how far it is, once that takes a while.
        patience: Gives up when MLflow has answered nothing for so long (s).

    Raises:
        PlanError: if the URI is none, or of no use; nothing is written then.
        LockedError: if a driver is at work on the study.
        RecordError: if the record cannot be opened.
        RecordReadError: if the plan or the record is damaged.
    """
    folder = folder.absolute()  # the working directory is left for a space of one's own
    plan = read_plan(folder / results.PLAN_FILE)
    if plan.name != folder.name:
        raise PlanError(
            f"the folder {folder.name} holds the study {plan.name}; give it that name again"
        )
    document = read_plan_file(folder) or {}
    directory = Path(document.get("directory", "."))
    uri = _checked_uri(plan, tracking_uri, folder.parent, directory)
    storage = plan.plan.get("storage")
    lock = study_lock(
        folder, lambda holder: progress.say(f"waiting for a sign of life of {holder}")
    )
    with lock, watching(folder, lock):
        place = storage and seen_from_here(storage, document)
        record = StudyRecord(folder, plan.name, place, plan.space.third)
        try:
            return _Synchronisation(record, plan, uri, progress, patience).run()
        except ResultFormatError as error:
            raise RecordReadError(f"the record of {plan.name} is damaged: {error}") from error


def _checked_uri(plan: StoredPlan, asked: str | None, studies: Path, directory: Path) -> str:
    """Where the study is to be tracked."""
    if asked == NO_TRACKING:
        raise PlanError(
            f"--tracking-uri {NO_TRACKING}: there is nothing to bring up to date; name an MLflow, "
            "or leave it out for the study's own"
        )
    planned = plan.plan.get("tracking_uri")
    if asked is None and planned == NO_TRACKING:
        raise PlanError(
            f"study {plan.name} was told to track nowhere (--tracking-uri {NO_TRACKING}); name an "
            f"MLflow, e.g. --tracking-uri {default_tracking_uri(studies)}"
        )
    uri = planned or default_tracking_uri(studies) if asked is None else asked
    problem = check_tracking_uri(uri)
    if problem is not None:
        raise PlanError(problem)
    return absolute_uri(uri, directory if asked is None else Path())


class _Synchronisation:
    """One go at it, under the study's lock."""

    def __init__(
        self,
        record: StudyRecord,
        plan: StoredPlan,
        uri: str,
        progress: Progress,
        patience: float,
    ) -> None:
        self._record = record
        self._plan = plan
        self._uri = uri
        self._progress = progress
        self._patience = patience
        self._arrived: Counter[RunKind] = Counter()
        self._trials = record.trials()
        body = record.attribute(results.ATTR_TEACHER)
        self._teacher = None if body is None else TeacherResult.from_json(body)

    def run(self) -> SyncReport:
        ended, at = last_ending(sessions_of(self._record), self._trials)
        tracker = open_study(
            self._record,
            self._plan,
            self._uri,
            self._say_that_it_waits,
            is_running=False,
            on_run=lambda kind, number, run_id: self._arrived.update([kind]),
        )
        self._tell_teacher(tracker)
        replay(self._record, tracker, self._progress.warn, also_open=True)
        closed = False
        with self._shown() as watch:
            delivery = tracker.wait(self._patience, watch)
            if delivery.undelivered == delivery.refused:
                self._make_models()
                close_study(self._record, self._plan, tracker, ended, self._report(), at)
                delivery = tracker.wait(self._patience, watch)
                closed = delivery.undelivered == delivery.refused
        tracker.close(0.0)
        return SyncReport(
            study=self._plan.name,
            mlflow=self._record.attribute(results.ATTR_MLFLOW) if self._arrived["study"] else None,
            tracking_uri=without_password(self._uri),
            ended=ended,
            trials=len(self._trials),
            delivered=self._arrived["trial"],
            problem=self._problem(delivery, closed),
        )

    def _say_that_it_waits(self, trouble: str) -> None:
        self._progress.say(f"{trouble.removesuffix(GOES_ON)}; trying for {self._patience:g} s")

    def _tell_teacher(self, tracker: Tracker) -> None:
        if self._teacher is None:
            return
        teacher = self._teacher
        kept, at = _kept_teacher(self._record.folder.parent / TEACHERS_FOLDER / teacher.key)
        recipe = kept.get("recipe", {"epochs": teacher.epochs, "source": teacher.source})
        show_teacher(
            tracker,
            self._plan,
            teacher,
            {**recipe, "key": teacher.key},
            kept.get("curve", []),
            at=at or self._plan.created_at,
        )

    def _report(self) -> Sequence[Path]:
        try:
            return report_to_show(self._record.folder)
        except Exception as error:
            # As at the end of a study: the record is whole, and the report can be made again.
            self._progress.warn(f"no report: {error}")
            return []

    def _make_models(self) -> None:
        """Make the files of the front's students that no driver had the time for."""
        from search_spaces.catalogue import load_space
        from study.exporting.programs import make_programs, write_program
        from study.exporting.source import enter_directory
        from study.plan import StudyPlan

        folder = self._record.folder
        if self._plan.data.mean is None:  # of an earlier version, without what it takes
            return
        try:
            planned = StudyPlan.from_json(self._plan.plan)
            enter_directory(read_plan_file(folder) or {})
            space = load_space(planned.space).with_fixed(planned.fixed)
        except ValueError as error:
            self._progress.warn(f"no MLflow models: {error}")
            return
        make_programs(
            folder,
            front_of(self._record),
            # Here, and so to its end, however long that takes.
            lambda trial, seconds: write_program(folder, space, trial.number),
            self._progress,
            "the same command again goes on",
        )

    def _problem(self, delivery: DeliveryReport, closed: bool) -> str | None:
        if not delivery.undelivered:
            return None
        missing = [] if self._arrived["study"] else ["the study's run"]
        if self._teacher is not None and not self._arrived["teacher"]:
            missing.append("the teacher")
        lacking = len(self._trials) - self._arrived["trial"]
        if lacking:
            missing.append(f"{lacking} of {len(self._trials)} trials")
        if not closed:
            missing.append("the end of the study with its report")
        trouble = f"MLflow at {without_password(self._uri)} {delivery.trouble or 'is slow'}"
        if not missing:
            return f"{trouble}; all else that the record has is there"
        return (
            f"{trouble}; not delivered: {', '.join(missing)}; give the same command again to finish"
        )

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Callable[[], None]]:
        """Show how many trials have arrived, once it takes a while."""
        begun, total = time.monotonic(), len(self._trials)
        phase: Phase | None = None
        with contextlib.ExitStack() as stack:

            def watch() -> None:
                nonlocal phase
                done = self._arrived["trial"]
                if phase is None and time.monotonic() - begun > _SHOWN_AFTER_SECONDS:
                    title = f"trials to MLflow at {without_password(self._uri)}"
                    phase = stack.enter_context(self._progress.phase(title))
                if phase is not None and (phase.done, phase.total) != (done, total):
                    phase.update(done, total)

            yield watch


def sessions_of(record: StudyRecord) -> list[Session]:
    """Return a study's sessions in order, with the last one if its driver was killed."""
    sessions = [Session.from_json(body) for body in record.attribute(results.ATTR_SESSIONS) or ()]
    body = record.attribute(results.ATTR_OPEN_SESSION)
    killed = None if body is None else Session.from_json(body)
    if killed is not None and all(killed.started_at != ended.started_at for ended in sessions):
        sessions.append(killed)
    return sessions


def last_ending(
    sessions: Sequence[Session], trials: Sequence[TrialResult]
) -> tuple[str, str | None]:
    """Say how a study's last session ended, and when (ISO 8601; None if that is not known).

    A driver that is killed goes on for a while after it last noted its time, as its trials tell;
    one that could not even note that it had begun is known by them alone.
    """
    latest = max((span(trial, 0)[1] for trial in trials), default=0) / 1000
    if not sessions:
        return "interrupted", _iso(latest) if latest else None
    last = sessions[-1]
    end = datetime.fromisoformat(last.started_at).timestamp() + last.seconds
    word = last.end if latest <= end or last.end == _KILLED else "interrupted"
    return word, _iso(max(latest, end))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _kept_teacher(folder: Path) -> tuple[Mapping[str, Any], str | None]:
    """What is kept of a teacher's training, and when it was kept; nothing if it is not there.

    Read here as `study.distillation.teacher_store` wrote it, which cannot be asked without loading
    torch.
    """
    path = folder / DESCRIPTION_FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        at = _iso(path.stat().st_mtime)
        described = {"recipe": dict(kept["recipe"]), "curve": [dict(e) for e in kept["curve"]]}
    except (OSError, ValueError, TypeError, KeyError):
        return {}, None
    return described, at
