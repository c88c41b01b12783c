"""The study on disk: the truth about every trial.

An Optuna storage (a journal file in the study's folder unless a URL is given) holds every trial's
parameters, values, curve and outcome. Only the driver writes to it; reports, ``status`` and MLflow
are views of it. A trial is added in one journal line with all its parameters, so no kill leaves
half of one behind.
"""

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis import results
from analysis.database import open_database
from analysis.results import (
    Confirmation,
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Third,
    TrialResult,
    Usage,
)
from analysis.stored_plan import lost_journal
from search_spaces.space import EXIT
from study.additions import add_once, close_twins
from study.database import unusable
from study.journal import mend_journal, open_journal
from study.parsed_trials import ParsedTrials
from study.trial_attributes import now, of_exit, of_replicate, of_trial

if TYPE_CHECKING:
    import optuna


# Of the score, the latency, and what else is to be small.
_DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")


class RecordError(ValueError):
    """A record that cannot be opened or written; the message names it and the mend."""


def check_storage(url: str | None) -> str | None:
    """Say what is wrong with a storage URL, or nothing; connects to nothing."""
    schemes = ("sqlite", "postgresql", "postgresql+psycopg", "mysql", "mysql+pymysql")
    if url is None or (url.partition("://")[0] in schemes and "://" in url):
        return None
    return (
        f"--storage {url!r} is not a database URL; write it as "
        "postgresql+psycopg://user@host/name, or leave it out for a journal file"
    )


def read_plan_file(folder: Path) -> dict[str, Any] | None:
    """Return the stored plan of the study in ``folder``; None where there is no study.

    Raises:
        RecordError: if the file is there but damaged.
    """
    path = folder / results.PLAN_FILE
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({error}); restore it from a copy") from None
    if not isinstance(document, dict) or document.get("format") != results.PLAN_FORMAT:
        raise RecordError(f"{path} is not a plan of format {results.PLAN_FORMAT}")
    return document


class StudyRecord:
    """The record of one study, opened for writing by its one driver.

    Args:
        folder: The study's folder, which exists.
        name: The study's name, also in the storage.
        storage: An Optuna storage URL, or None for the journal file in the folder.
        third: What the study keeps small beside the latency, if anything: its third objective.

    Raises:
        RecordError: if the storage cannot be opened.
    """

    def __init__(
        self, folder: Path, name: str, storage: str | None, third: Third | None = None
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder = folder
        self.third = third
        # What a driver asks for at every event is kept at hand: no event costs more in a study of
        # ten thousand trials than the look at a list of that length.
        self._parsed = ParsedTrials(lambda: self._storage.get_study_user_attrs(self._study_id))
        self._ids: dict[int, int] = {}
        if storage is None and (lost := lost_journal(folder)) is not None:
            raise RecordError(lost)
        try:
            if storage is None:
                mend_journal(folder / results.JOURNAL_FILE)
            with _quiet():
                self._storage: optuna.storages.BaseStorage = (
                    JournalStorage(open_journal(folder / results.JOURNAL_FILE))
                    if storage is None
                    else open_database(storage)
                )
                self.study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    directions=_DIRECTIONS[: 2 if third is None else 3],
                    load_if_exists=True,
                    sampler=optuna.samplers.RandomSampler(),
                )
                close_twins(self.study)
        except Exception as error:
            # SQLAlchemy's errors: they cannot be named without importing it.
            if storage is None and not isinstance(error, ImportError | OSError | ValueError):
                raise
            raise RecordError(unusable(storage or str(folder), error)) from error
        self._study_id = self._storage.get_study_id_from_name(name)

    # Trials

    def trials(self) -> tuple[TrialResult, ...]:
        """Return every trial as the record tells it, in order."""
        return tuple(self._parsed.of(self.frozen_trials()))

    def trial(self, number: int) -> TrialResult:
        """Return one trial as the record tells it."""
        return self._parsed.ended(number) or next(self._parsed.of([self._frozen(number)]))

    def hypervolume(self, trials: Iterable[TrialResult] | None = None) -> float | None:
        """Return what the front covers of score and latency (0 to 1).

        None before the teacher has been timed.

        Args:
            trials: Some trials that hold the whole front; all trials, if left out.
        """
        from analysis.front import front_hypervolume

        body = self.attribute(results.ATTR_REFERENCE_POINT)
        if body is None:
            return None
        members = self.trials() if trials is None else trials
        return front_hypervolume(members, results.ReferencePoint.from_json(body))

    def frozen_trials(self) -> "list[optuna.trial.FrozenTrial]":
        """Return Optuna's view of every trial; not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def _frozen(self, number: int) -> "optuna.trial.FrozenTrial":
        return self._storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        """The storage's own number of a trial: it counts over all studies of a database."""
        if number not in self._ids:
            found = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            self._ids[number] = found
        return self._ids[number]

    def add_trial(
        self,
        params: Mapping[str, Any],
        distributions: "Mapping[str, optuna.distributions.BaseDistribution]",
        *,
        source: str,
        label: str | None,
        architecture: str,
        epochs: int,
        control_of: int | None = None,
    ) -> int:
        """Add a running trial, whole, and return its number.

        ``control_of`` is the member of the front for whose sake a control is trained after the
        search.
        """
        kept = of_trial(source, label, architecture, epochs, control_of)
        return add_once(self.study, params, distributions, kept)

    def add_replicate(self, first: int, run: int) -> int:
        """Add another run of a trial's configuration as a running trial; return its number.

        Args:
            first: The trial that is to be trained again.
            run: Which run of its configuration this is, from 1.
        """
        frozen, kept = self._frozen(first), of_replicate(self.trial(first), run)
        return add_once(self.study, frozen.params, frozen.distributions, kept)

    def exit_of(self, number: int, leave_at: Any) -> int | None:
        """Return the number of another exit of a trial's student, if it is recorded."""
        for trial in self.trials():
            if trial.trained_with == number and trial.params.get(EXIT) == leave_at:
                return trial.number
        return None

    def add_exit(
        self,
        trained_with: int,
        leave_at: Any,
        *,
        architecture: str,
        model: ModelSize,
        latency: Latency,
        curve: Sequence[EpochResult],
        refusal: str | None = None,
        breaks: str | None = None,
        violations: Mapping[str, float] | None = None,
    ) -> int:
        """Add another exit of a trial's student as a finished trial, whole, and return its number.

        Its outcome is added with it, and told to Optuna then; :meth:`interrupted` makes up for that
        if the driver is killed in between.

        Args:
            trained_with: The trial that trains the student, and has done its last epoch.
            leave_at: The exit.
            architecture: What the student is called, left there.
            model: Its size.
            latency: Its timing; where the architecture has been timed before, that one stands.
            curve: Its score after each epoch of the shared training.
            refusal: The constraint that it breaks, if it does and is refused for it.
            breaks: The one that it breaks and is complete all the same.
            violations: Of each constraint, as :meth:`finish` takes them.
        """
        model, latency = self._students.get(architecture, (model, latency))
        trial, frozen = self.trial(trained_with), self._frozen(trained_with)
        outcome = Outcome(
            status="complete" if refusal is None else "infeasible",
            reason=refusal,
            breaks=breaks if refusal is None else None,
            epochs_done=curve[-1].epoch,
            val_score=curve[-1].val_score,
            latency_ms=self.search_latency_ms(latency),
            train_seconds=sum(epoch.seconds for epoch in curve),
            finished_at=now(),
        )
        first = None
        if trial.replicate_of is not None:
            first = self.exit_of(trial.replicate_of, leave_at)
            assert first is not None, f"trial {trial.replicate_of} has no exit {leave_at}"
        kept = of_exit(
            trial,
            first,
            architecture=architecture,
            model=model,
            latency=latency,
            outcome=outcome,
            curve=curve,
        )
        params = {**frozen.params, EXIT: leave_at}
        with self._learning(architecture, model, latency):
            number = add_once(self.study, params, frozen.distributions, kept, violations)
        self._tell(number, outcome)
        return number

    def search_latency_ms(self, latency: Latency) -> float:
        """Return the latency (ms) that a study searches by, once it knows whom it compares with."""
        return latency.search_latency_ms(self.attribute(results.ATTR_REFERENCE_POINT)["latency_ms"])

    def interrupted(self) -> list[int]:
        """Return the numbers of trials that no outcome closes, oldest first.

        A trial whose outcome was written but not told to Optuna is told now.
        """
        from optuna.trial import TrialState

        open_trials = []
        for frozen in self.frozen_trials():
            if frozen.state != TrialState.RUNNING:
                continue
            body = frozen.user_attrs.get(results.ATTR_OUTCOME)
            if body is None:
                open_trials.append(frozen.number)
            else:
                self._tell(frozen.number, Outcome.from_json(body))
        return open_trials

    def measured(self, number: int, model: ModelSize, latency: Latency) -> None:
        """Record the size and latency of a trial's student.

        The same network is given one latency in a study: where another trial measured it first
        (as one of its exits, at the same time), that one stands.
        """
        architecture = self.trial(number).architecture
        if (known := self.known_student(architecture)) is not None:
            latency = known[1]
        with self._learning(architecture, model, latency):
            self._set(number, results.ATTR_MODEL, model.to_json())
            self._set(number, results.ATTR_LATENCY, latency.to_json())

    def known_student(self, architecture: str) -> tuple[ModelSize, Latency] | None:
        """Return what was first recorded for an architecture, if any trial has measured it."""
        return self._students.get(architecture)

    @cached_property
    def _students(self) -> dict[str, tuple[ModelSize, Latency]]:
        found: dict[str, tuple[ModelSize, Latency]] = {}
        for trial in self.trials():
            if trial.model is not None and trial.latency is not None:
                found.setdefault(trial.architecture, (trial.model, trial.latency))
        return found

    @contextlib.contextmanager
    def _learning(self, architecture: str, model: ModelSize, latency: Latency) -> Iterator[None]:
        """Know a student once it is written; where that fails, see anew what got there."""
        students = self._students
        del self._students
        yield
        students.setdefault(architecture, (model, latency))
        self._students = students

    def epoch(self, number: int, epoch: EpochResult) -> None:
        """Record one epoch of a trial; one that is there already is not written again."""
        name, body = results.epoch_attribute(epoch.epoch), epoch.to_json()
        if self._frozen(number).user_attrs.get(name) != body:
            self._set(number, name, body)

    def waits(self, number: int, epoch: int | None) -> None:
        """Record that a trial waits at a rung, or, with None, that it is trained again."""
        self._set(number, results.ATTR_WAITS, epoch)

    def use(self, number: int, usage: Usage) -> None:
        """Record the retries and the device time of a trial so far; of an ended one, nothing."""
        if not self._frozen(number).state.is_finished():
            self._set(number, results.ATTR_USAGE, usage.to_json())

    def finish(
        self, number: int, outcome: Outcome, violations: Mapping[str, float] | None = None
    ) -> None:
        """Record how a trial ended, and tell Optuna. A trial that has ended stays as it is.

        Args:
            number: Of the trial.
            outcome: How it ended.
            violations: Of each constraint, as Optuna counts them: above 0 it is broken.
        """
        if results.ATTR_OUTCOME in self._frozen(number).user_attrs:
            return
        for name, value in (violations or {}).items():
            key = f"constraints:{name}"  # as `optuna.Trial.set_constraint` has it
            self._storage.set_trial_system_attr(self._id(number), key, value)
        self._set(number, results.ATTR_OUTCOME, outcome.to_json())
        self._tell(number, outcome)

    def confirm(self, number: int, confirmation: Confirmation) -> None:
        """Record a finished student's test score, and its architecture's idle latency."""
        self.timed(self.trial(number).architecture, confirmation.latency)
        confirmed = results.late_attribute(results.LATE_CONFIRMED, number)
        self.set_attribute(confirmed, confirmation.to_json())

    def timed(self, architecture: str, latency: Latency) -> None:
        """Record an architecture's latency on the idle device, unless it is there already."""
        idle = results.idle_attribute(architecture)
        if self.attribute(idle) is None:
            self.set_attribute(idle, latency.to_json())

    def set_run_id(self, number: int, run_id: str) -> None:
        """Record which MLflow run shows a trial."""
        self.set_attribute(results.late_attribute(results.LATE_MLFLOW_RUN_ID, number), run_id)

    # The study

    def set_attribute(self, name: str, value: Any) -> None:
        """Record something about the study as a whole."""
        try:
            with _quiet():
                self.study.set_user_attr(name, value)
        finally:  # a write that fails may have got there all the same
            self._parsed.forget(name)

    def attribute(self, name: str) -> Any:
        """Return what is recorded of the study under ``name``, or None."""
        return self._storage.get_study_user_attrs(self._study_id).get(name)

    def add_session(self, session: results.Session) -> None:
        """Record one run of the driver over this study, which has ended."""
        sessions: Sequence[Any] = self.attribute(results.ATTR_SESSIONS) or []
        self.set_attribute(results.ATTR_SESSIONS, [*sessions, session.to_json()])
        self.set_attribute(results.ATTR_OPEN_SESSION, None)

    def _set(self, number: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._id(number), name, value)

    def _tell(self, number: int, outcome: Outcome) -> None:
        from optuna.trial import TrialState

        values = self._values(outcome, self.trial(number).model)
        if values is not None:
            self.study.tell(number, values, skip_if_finished=True)
        else:
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _values(self, outcome: Outcome, model: ModelSize | None) -> list[float] | None:
        """What Optuna is told that a trial reached; None of one that reached nothing.

        A stopped trial is told its values at the rung, so that the sampler learns from it; its
        outcome keeps it off the front.
        """
        reached = [outcome.val_score, outcome.latency_ms]
        if self.third is not None:
            reached.append(None if model is None else getattr(model, self.third))
        values = [value for value in reached if value is not None]
        trained = outcome.status in ("complete", "stopped")
        return values if trained and len(values) == len(reached) else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        yield
