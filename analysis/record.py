"""Reads a study's record, the plan and the Optuna storage, into plain frozen results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.database import open_database, seen_from_here
from analysis.front import KdPair, front_members, kd_pairs, tied
from analysis.illustration import ATTR_ILLUSTRATIONS, Illustration
from analysis.latency import NOTHING_TIED, TieTests
from analysis.replication import front_probabilities, pooled_spread, rivals
from analysis.results import (
    ATTR_ARCHITECTURE,
    ATTR_CONTROL_OF,
    ATTR_DEFAULT_STUDENT,
    ATTR_ENVIRONMENT,
    ATTR_EPOCHS,
    ATTR_LABEL,
    ATTR_LATENCY,
    ATTR_MLFLOW,
    ATTR_MODEL,
    ATTR_OPEN_SESSION,
    ATTR_OUTCOME,
    ATTR_REFERENCE_POINT,
    ATTR_REPLICATE,
    ATTR_SESSIONS,
    ATTR_SOURCE,
    ATTR_STARTED_AT,
    ATTR_TEACHER,
    ATTR_TIE_TESTS,
    ATTR_TRAINED_WITH,
    ATTR_USAGE,
    ATTR_WAITS,
    EPOCH_PREFIX,
    JOURNAL_FILE,
    LATE_CONFIRMED,
    LATE_MLFLOW_RUN_ID,
    PLAN_FILE,
    Confirmation,
    DefaultStudent,
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    ReferencePoint,
    Session,
    TeacherResult,
    TrialResult,
    Usage,
    first_runs,
    idle_attribute,
    late_attribute,
    trial_name,
)
from analysis.runs import Estimate, Spread, estimates, estimates_of_test
from analysis.stored import ResultFormatError, Stored
from analysis.stored_plan import RecordReadError, StoredPlan, lost_journal, read_plan

if TYPE_CHECKING:
    import optuna

__all__ = [
    "RecordReadError",
    "RecordReader",
    "StudyResults",
    "read_record",
    "told_by_study",
    "trial_result",
]

S = TypeVar("S", bound=Stored)


@dataclass(frozen=True)
class StudyResults:
    """Everything a record tells.

    Args:
        plan: what was asked, with the search space and the data.
        teacher: the teacher, None before it is ready, or where there is none.
        default_student: whom latencies are compared with where there is no teacher.
        reference: the corner hypervolumes are measured from, None before the latencies are known
            that others are compared with.
        environment: versions and hardware, by name.
        sessions: the driver's runs over the study that have ended, in order.
        open_session: a run that goes on or was killed, as far as it was last noted.
        mlflow: where the study is tracked, if it is.
        trials: every trial, by number.
        tie_tests: the A/A tests of latencies; empty before any was done, or where none was.
        illustrations: pictures made of the results, whose files lie in the study's folder.
    """

    plan: StoredPlan
    teacher: TeacherResult | None = None
    reference: ReferencePoint | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    open_session: Session | None = None
    mlflow: Mapping[str, Any] | None = None
    trials: tuple[TrialResult, ...] = ()
    illustrations: tuple[Illustration, ...] = ()
    default_student: DefaultStudent | None = None
    tie_tests: TieTests = NOTHING_TIED

    @property
    def compared_with(self) -> TeacherResult | DefaultStudent | None:
        """Whose latency all others are compared with, None before it is timed."""
        return self.teacher or self.default_student

    @property
    def name(self) -> str:
        """The study's name."""
        return self.plan.name

    @cached_property
    def front(self) -> tuple[TrialResult, ...]:
        """The front by all objectives of the study, fastest first."""
        return front_members(self.trials, self.plan.space.third, self.tie_tests)

    @cached_property
    def tied(self) -> Mapping[int, TrialResult]:
        """Who is off the front for a tie in latency alone: the member it gave way to."""
        return tied(self.trials, self.plan.space.third, self.tie_tests)

    @cached_property
    def configurations(self) -> tuple[TrialResult, ...]:
        """What was tried, each told by its first run: every trial but replicates."""
        return tuple(first_runs(self.trials))

    @cached_property
    def validation(self) -> Mapping[int, Estimate]:
        """Validation scores over the runs of every configuration that ran to its end."""
        return estimates(self.trials)

    @cached_property
    def tested(self) -> Mapping[int, Estimate]:
        """Test scores over the runs of every configuration that was scored on the test split."""
        return estimates_of_test(self.trials)

    @cached_property
    def replicated(self) -> bool:
        """Whether any configuration ran to its end under several seeds."""
        return any(estimate.runs > 1 for estimate in self.validation.values())

    @cached_property
    def spread(self) -> Spread | None:
        """Of validation scores from run to run, pooled; None while nothing tells it."""
        return pooled_spread(self.trials, self.plan.space.score)

    @cached_property
    def probabilities(self) -> Mapping[int, float]:
        """Of being on the front, by configuration; none while nothing tells the spread."""
        space = self.plan.space
        return front_probabilities(self.trials, space.third, space.score, self.tie_tests)

    @cached_property
    def near_rivals(self) -> tuple[TrialResult, ...]:
        """Configurations off the front that may well belong there, most probable first."""
        firsts = {trial.number: trial for trial in self.configurations}
        return tuple(firsts[number] for number in rivals(self.front, self.probabilities))

    @cached_property
    def pairs(self) -> tuple[KdPair, ...]:
        """The distilled configurations that have a control, largest gain first."""
        return kd_pairs(self.trials, self.plan.space)

    def val_score(self, trial: TrialResult) -> float | None:
        """Validation score of a configuration, told by its first run: the mean over its runs."""
        estimate = self.validation.get(trial.number)
        return trial.val_score if estimate is None else estimate.mean

    def test_score(self, trial: TrialResult) -> float | None:
        """Test score of a configuration, told by its first run: the mean over its runs."""
        estimate = self.tested.get(trial.number)
        return trial.test_score if estimate is None else estimate.mean


def read_record(study_folder: Path) -> StudyResults:
    """Reads the record in a study's folder, changing nothing there.

    A torn last line of the journal (a crash while it was written) is left out.

    Args:
        study_folder: the folder that holds `plan.json` and, unless the plan names a storage by
            URL, `journal.log`.

    Raises:
        RecordReadError: no study there, or a record that is damaged or cannot be reached.
    """
    return RecordReader(study_folder).read()


class RecordReader:
    """Reads one record again and again while a study writes it: each time, only what is new.

    Args:
        study_folder: as for `read_record`.
    """

    def __init__(self, study_folder: Path) -> None:
        self._folder = study_folder
        self._plan: StoredPlan | None = None
        self._study: optuna.Study | None = None
        # Results of ended trials, beside all that may still change of them.
        self._ended: dict[int, tuple[tuple[Any, ...], TrialResult]] = {}

    def read(self) -> StudyResults:
        """Reads the record as it is now.

        Raises:
            RecordReadError: as `read_record`.
        """
        plan = read_plan(self._folder / PLAN_FILE)
        if plan != self._plan:  # extended, or another study of the same name
            self._plan, self._study, self._ended = plan, None, {}
        with _explained(plan, self._folder):
            if self._study is None:
                self._study = _load_study(plan, self._folder)
            if self._study is None:
                return StudyResults(plan)
            attributes = self._study.user_attrs
            trials = self._study.get_trials(deepcopy=False)
        reference = _stored(ReferencePoint, attributes.get(ATTR_REFERENCE_POINT), plan.name)
        teacher_ms = None if reference is None else reference.latency_ms
        sessions = _all_stored(Session, attributes.get(ATTR_SESSIONS), plan.name)
        return StudyResults(
            plan=plan,
            teacher=_stored(TeacherResult, attributes.get(ATTR_TEACHER), plan.name),
            tie_tests=_stored(TieTests, attributes.get(ATTR_TIE_TESTS), plan.name) or NOTHING_TIED,
            default_student=_stored(
                DefaultStudent, attributes.get(ATTR_DEFAULT_STUDENT), plan.name
            ),
            reference=reference,
            environment=dict(attributes.get(ATTR_ENVIRONMENT) or {}),
            sessions=sessions,
            open_session=_open_session(attributes, sessions, plan.name),
            mlflow=attributes.get(ATTR_MLFLOW),
            trials=tuple(
                self._trial(trial, teacher_ms, attributes)
                for trial in trials
                if trial.state.name != "WAITING"
            ),
            illustrations=_all_stored(Illustration, attributes.get(ATTR_ILLUSTRATIONS), plan.name),
        )

    def _trial(
        self,
        trial: "optuna.trial.FrozenTrial",
        teacher_ms: float | None,
        attributes: Mapping[str, Any],
    ) -> TrialResult:
        number = trial.number
        changing = tuple(attributes.get(name) for name in told_by_study(trial))
        if number in self._ended:
            known, result = self._ended[number]
            if known == changing:
                return result
        result = trial_result(trial, teacher_ms, attributes)
        if result.closed:
            self._ended[number] = (changing, result)
        return result


def _open_session(
    attributes: Mapping[str, Any], sessions: Sequence[Session], owner: str
) -> Session | None:
    session = _stored(Session, attributes.get(ATTR_OPEN_SESSION), owner)
    if session is None or any(session.started_at == ended.started_at for ended in sessions):
        return None
    return session


def _load_study(plan: StoredPlan, study_folder: Path) -> "optuna.Study | None":
    """The Optuna study of a plan; None where the storage holds none yet."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal = study_folder / JOURNAL_FILE
    try:
        url = _database(plan)
        if url is not None:
            opened = open_database(_place(url, plan.name, study_folder), held=False)
            return optuna.load_study(study_name=plan.name, storage=opened)
        if not journal.exists():  # the backend would create it
            lost = lost_journal(study_folder)
            if lost is not None:
                raise RecordReadError(lost)
            return None
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.load_study(study_name=plan.name, storage=storage)
    except KeyError:
        return None


def _database(plan: StoredPlan) -> str | None:
    """The URL of the database that holds the record; None where a journal file does."""
    url = plan.plan.get("storage")
    return url if isinstance(url, str) and "://" in url else None


def _place(url: str, name: str, study_folder: Path) -> str:
    """The URL of a database as seen from here; the file of a SQLite one is there.

    A relative path begins where the study was started, as long as that is there.

    Raises:
        RecordReadError: there is no such file, which the backend would create.
    """
    from sqlalchemy.engine import make_url

    document = json.loads((study_folder / PLAN_FILE).read_text(encoding="utf-8"))
    here = seen_from_here(url, document)
    file = make_url(here).database or ""
    in_file = here.startswith("sqlite:///") and not file.startswith((":memory:", "file:"))
    if in_file and file and not Path(file).is_file():
        raise RecordReadError(
            f"the record of study {name!r} is in {file}, which is not there; bring that file back"
        )
    return here


@contextmanager
def _explained(plan: StoredPlan, study_folder: Path) -> Iterator[None]:
    """Turns what a storage raises into a line for the user, and keeps Optuna quiet meanwhile."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    except RecordReadError:
        raise
    except Exception as error:  # every driver raises its own kind
        if _database(plan) is not None:
            kind = type(error).__name__
            raise RecordReadError(
                f"the storage of study {plan.name!r} cannot be read ({kind}); is it running, and "
                "is its driver installed?"
            ) from error
        raise RecordReadError(_journal_damage(study_folder / JOURNAL_FILE, error)) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _journal_damage(journal: Path, error: Exception) -> str:
    """Says which line of a journal cannot be read."""
    try:
        with journal.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    json.loads(line)
                except ValueError:
                    return f"{journal} is damaged at line {number}; restore it from a copy"
    except OSError as unreadable:
        return f"{journal} cannot be read: {unreadable}"
    return f"{journal} cannot be read: {error}"


def _stored(kind: type[S], value: Any, owner: str) -> S | None:
    if value is None:
        return None
    try:
        return kind.from_json(value)
    except ResultFormatError as error:
        raise RecordReadError(f"the record of {owner} is damaged: {error}") from error


def _all_stored(kind: type[S], values: Any, owner: str) -> tuple[S, ...]:
    found = (_stored(kind, item, owner) for item in values or ())
    return tuple(item for item in found if item is not None)


def told_by_study(trial: "optuna.trial.FrozenTrial") -> tuple[str, ...]:
    """Names of the study's attributes that make up a trial's result, beside the trial's own."""
    return (
        ATTR_REFERENCE_POINT,
        idle_attribute(str(trial.user_attrs.get(ATTR_ARCHITECTURE, ""))),
        late_attribute(LATE_CONFIRMED, trial.number),
        late_attribute(LATE_MLFLOW_RUN_ID, trial.number),
    )


def trial_result(
    trial: "optuna.trial.FrozenTrial",
    teacher_idle_ms: float | None,
    study_attributes: Mapping[str, Any],
) -> TrialResult:
    """One Optuna trial as a result.

    Args:
        trial: as the storage holds it; it is not changed.
        teacher_idle_ms: the teacher's batch-1 latency (ms) on the idle device, once it is known;
            gives trials without an outcome the latency they are searched by.
        study_attributes: the study's, which hold what became known after the trial had ended.

    Raises:
        RecordReadError: an attribute of the trial is damaged.
    """
    attributes = trial.user_attrs
    architecture = str(attributes.get(ATTR_ARCHITECTURE, ""))
    name = trial_name(trial.number)
    latency = _stored(Latency, attributes.get(ATTR_LATENCY), name)
    search_latency = None
    if latency is not None and teacher_idle_ms is not None and latency.ratio_batch_1.median > 0:
        search_latency = latency.search_latency_ms(teacher_idle_ms)
    curve = [
        _stored(EpochResult, value, name)
        for key, value in sorted(attributes.items())
        if key.startswith(EPOCH_PREFIX)
    ]

    replicate_of, run = attributes.get(ATTR_REPLICATE) or (None, 0)

    def late(kind: str) -> Any:
        return study_attributes.get(late_attribute(kind, trial.number))

    return TrialResult(
        number=trial.number,
        source=attributes.get(ATTR_SOURCE, "sampler"),
        label=attributes.get(ATTR_LABEL),
        params=dict(trial.params),
        architecture=architecture,
        epochs=int(attributes.get(ATTR_EPOCHS, 0)),
        model=_stored(ModelSize, attributes.get(ATTR_MODEL), name),
        latency=latency,
        curve=tuple(epoch for epoch in curve if epoch is not None),
        outcome=_stored(Outcome, attributes.get(ATTR_OUTCOME), name),
        usage=_stored(Usage, attributes.get(ATTR_USAGE), name) or Usage(),
        confirmed=_stored(Confirmation, late(LATE_CONFIRMED), name),
        idle_latency=_stored(Latency, study_attributes.get(idle_attribute(architecture)), name),
        started_at=attributes.get(ATTR_STARTED_AT),
        mlflow_run_id=late(LATE_MLFLOW_RUN_ID),
        closed=trial.state.is_finished(),
        search_latency_ms=search_latency,
        stands_at=attributes.get(ATTR_WAITS),
        trained_with=attributes.get(ATTR_TRAINED_WITH),
        replicate_of=replicate_of,
        run=run,
        control_of=attributes.get(ATTR_CONTROL_OF),
    )
