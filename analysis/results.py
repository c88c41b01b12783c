"""The fields of a result: one definition, written by a study and read by its report.

Every class here is frozen, holds plain values, and goes to JSON and back without loss. Units are
the same everywhere: scores in the unit of the space's score (percent, 0..100, or dB), latencies in
milliseconds, durations in seconds, parameters and FLOPs in millions (one multiply-accumulate counts
as 2 FLOPs).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from analysis.latency import Latency as Latency
from analysis.latency import Ratio as Ratio
from analysis.latency import SoloLatency as SoloLatency
from analysis.latency import TieTest as TieTest
from analysis.latency import Timing as Timing
from analysis.phases import Phases
from analysis.stored import Stored

Status = Literal["complete", "stopped", "infeasible", "failed", "running"]
OutcomeStatus = Literal["complete", "stopped", "infeasible", "failed"]
# An exit is a student that another trial trained: a network left at another of its exits. A
# replicate is another trial's configuration, trained once more under another seed.
Source = Literal["preset", "control", "sampler", "exit", "replicate"]
# The label of the control of the default student, which every study tries unless a row is the same.
DEFAULT_CONTROL_LABEL = "default, no KD loss"
# What a study may keep small beside the latency: a field of `ModelSize`.
Third = Literal["params_m", "flops_m"]
# What students are chosen by, and what is scored once at the end.
Split = Literal["validation", "test"]

STATUSES: tuple[Status, ...] = get_args(Status)

# User attributes of the Optuna study.
ATTR_TEACHER = "teacher"
ATTR_DEFAULT_STUDENT = "default_student"  # in its place where there is no teacher
ATTR_REFERENCE_POINT = "reference_point"
ATTR_SEARCH = "search"
ATTR_ENVIRONMENT = "environment"
ATTR_SESSIONS = "sessions"
ATTR_OPEN_SESSION = "open_session"  # the driver's run now, or the last one if it was killed
ATTR_MLFLOW = "mlflow"
ATTR_REPLICATES = "replicates"  # the further runs that are being trained
ATTR_GAVE_WAY = "search_gave_way"
ATTR_TIE_TESTS = "tie_test"  # how far latencies of equal students lie apart
ATTR_PRECISION = "precision"  # number format of training, once "auto" has been resolved

# What becomes known of a trial after it has ended, when Optuna lets no trial attribute be added:
# user attributes of the study, one a trial, see `late_attribute`.
LATE_CONFIRMED = "confirmed"
LATE_MLFLOW_RUN_ID = "mlflow_run"
# The latency of an architecture on the idle device, once one of its trials has been confirmed: an
# attribute of the study, one an architecture, see `idle_attribute`.
IDLE_LATENCY = "idle_latency"

# User attributes of an Optuna trial.
ATTR_ADDED_AS = "added_as"  # drawn anew for each trial; two that share it are one, added twice
ATTR_SOURCE = "source"
ATTR_LABEL = "label"
ATTR_TRAINED_WITH = "trained_with"
ATTR_REPLICATE = "replicate"  # [the number of the trial it repeats, which run of it this is]
ATTR_CONTROL_OF = "control_of"  # of a control trained after the search, for the front
ATTR_ARCHITECTURE = "architecture"
ATTR_EPOCHS = "epochs"
ATTR_STARTED_AT = "started_at"
ATTR_MODEL = "model"
ATTR_LATENCY = "latency"
ATTR_OUTCOME = "outcome"
ATTR_USAGE = "usage"
ATTR_WAITS = "waits"  # the epoch at which the trial stands at a rung, free to go on; else null
EPOCH_PREFIX = "epoch:"

# The parameter of a space whose students can be left early: where.
EXIT = "exit"

# Names of files inside a study's folder.
PLAN_FILE = "plan.json"
# In it: the processor or GPU that the study's trials run on.
DEVICE_KIND = "device_kind"
JOURNAL_FILE = "journal.log"
REPORT_FOLDER = "report"
PLAN_FORMAT = 2


def epoch_attribute(epoch: int) -> str:
    """Name of the attribute that holds the results of one epoch (1-based): `epoch:0005`."""
    if epoch < 1:
        raise ValueError(f"epochs count from 1, not {epoch}")
    return f"{EPOCH_PREFIX}{epoch:04d}"


def late_attribute(kind: str, number: int) -> str:
    """Name of the study's attribute for something learnt of a trial late: `confirmed:0042`."""
    return f"{kind}:{number:04d}"


def idle_attribute(architecture: str) -> str:
    """Name of the study's attribute for an architecture's latency on the idle device."""
    return f"{IDLE_LATENCY}:{architecture}"


def trial_name(number: int) -> str:
    """Name of a trial, as used for its folder and in every table: `t0042`."""
    return f"t{number:04d}"


@dataclass(frozen=True)
class ModelSize(Stored):
    """Size of a network: parameters (M), FLOPs of one example (M), bytes of its weights file."""

    params_m: float
    flops_m: float
    bytes: int


@dataclass(frozen=True)
class EpochResult(Stored):
    """What one epoch (1-based) came to; `seconds` is the time spent training, validation apart."""

    epoch: int
    train_loss: float
    val_loss: float
    val_score: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Usage(Stored):
    """What a trial has taken so far, over all runs of the driver.

    `retries` counts the workers that died under it; `device_seconds` is the time workers were held
    for it, times the GPUs (or, without any, the CPUs) of each; `phases` is what its workers did,
    None of earlier records. `runs` are those that were trained as one with it, itself included, and
    whose time is all counted here.
    """

    retries: int = 0
    device_seconds: float = 0.0
    phases: Phases | None = None
    runs: int = 1


@dataclass(frozen=True)
class Outcome(Stored):
    """How a trial ended.

    `val_score` is that of the last epoch done, `latency_ms` the latency searched by, `rung` the
    epoch at which a stopped trial was stopped. `breaks` says which constraint a complete trial
    breaks that is there to be compared with; it is on no front. `diverged` is a failed trial whose
    loss became infinite or not a number.
    """

    status: OutcomeStatus
    reason: str | None
    epochs_done: int
    val_score: float | None
    latency_ms: float | None
    train_seconds: float
    finished_at: str
    rung: int | None = None
    breaks: str | None = None
    diverged: bool = False


@dataclass(frozen=True)
class Figure(Stored):
    """A figure that no study optimises, with the words and the unit it is shown with."""

    label: str
    value: float | None
    unit: str


@dataclass(frozen=True)
class Confirmation(Stored):
    """A finished student scored once on the test split and timed again on the idle device.

    `figures` are what else the test split told, such as another score; None of earlier records.
    """

    test_score: float
    latency: Latency
    figures: tuple[Figure, ...] | None = None


@dataclass(frozen=True)
class TeacherResult(Stored):
    """The study's teacher; `source` is `trained`, `cache`, or the path of a checkpoint."""

    key: str
    name: str
    params_m: float
    flops_m: float
    val_score: float
    test_score: float | None
    train_seconds: float
    epochs: int
    latency: SoloLatency
    source: str


@dataclass(frozen=True)
class DefaultStudent(Stored):
    """The student of the space's default configuration, untrained: where there is no teacher."""

    name: str
    params_m: float
    flops_m: float
    latency: SoloLatency


@dataclass(frozen=True)
class ReferencePoint(Stored):
    """The corners a hypervolume is measured between.

    From the score of who learnt nothing at the latency (ms) of the teacher, or else of the default
    student, up to the best score there is at no latency. `third` is the parameters or FLOPs (M) of
    the same network, in a study that keeps those small too: the search looks within it, and the
    hypervolume stays that of score and latency. None in other studies, and in earlier records.
    """

    val_score: float
    latency_ms: float
    best_score: float
    third: float | None = None

    @classmethod
    def of(
        cls,
        compared: TeacherResult | DefaultStudent,
        floor: float,
        best: float,
        third: Third | None = None,
    ) -> "ReferencePoint":
        """That of a study.

        Args:
            compared: The teacher, or else the default student.
            floor: The score of who learnt nothing.
            best: The best score there is.
            third: What the study keeps small beside the latency, if anything.
        """
        small = None if third is None else float(getattr(compared, third))
        return cls(floor, compared.latency.latency_ms, best, small)


@dataclass(frozen=True)
class Session(Stored):
    """One run of the driver over a study: when it began, how long it took (s), what ended it.

    `stages` are its seconds by what it was at: `starting`, `preparing` (the teacher and what it
    answers), `trials`, `replicates`, `confirming`. `workers` are the trials that could run at
    once, and `driver` the processor time of the driver itself (s). `stage` is the stage it was last
    heard to be at. None of earlier records.
    """

    started_at: str
    seconds: float
    end: str
    stages: Mapping[str, float] | None = None
    workers: int | None = None
    driver: float | None = None
    stage: str | None = None


@dataclass(frozen=True)
class TrialResult:
    """One trial as the record tells it.

    Args:
        number: Optuna's trial number, from 0.
        source: who proposed it: a preset, a control, or the sampler; or `exit`.
        label: the preset's label, or None.
        params: parameters by name; a conditional parameter that does not apply is absent.
        architecture: canonical description of the student network.
        epochs: planned epochs.
        model: size of the student, None until it was built.
        latency: timing taken before the first epoch, None until it was taken.
        curve: epochs done, in order.
        outcome: how it ended; None while it runs, or where it was interrupted.
        usage: workers that died under it, and the device time it took.
        confirmed: test score and idle latency, for front members, presets and controls.
        idle_latency: timing of its architecture on the idle device, once any trial has it.
        closed: the storage holds the trial as finished, whether or not an outcome was written.
        search_latency_ms: latency (ms) searched by, for trials without an outcome.
        stands_at: the rung (an epoch) at which it gave its worker back to wait.
        trained_with: of an exit, the number of the trial whose training it shares.
        replicate_of: of a replicate, the number of the trial whose configuration it repeats.
        run: which run of its configuration this is: 0 of every trial but replicates. Runs of the
            same number draw the same initialisation and orders, whatever their configuration.
        control_of: of a control that was trained after the search, the number of the member of the
            front for whose sake.
    """

    number: int
    source: Source
    label: str | None
    params: Mapping[str, Any]
    architecture: str
    epochs: int
    model: ModelSize | None = None
    latency: Latency | None = None
    curve: tuple[EpochResult, ...] = ()
    outcome: Outcome | None = None
    usage: Usage = field(default_factory=Usage)
    confirmed: Confirmation | None = None
    idle_latency: Latency | None = None
    started_at: str | None = None
    mlflow_run_id: str | None = None
    closed: bool = field(default=False, repr=False)
    search_latency_ms: float | None = field(default=None, repr=False)
    stands_at: int | None = None
    trained_with: int | None = None
    replicate_of: int | None = None
    run: int = 0
    control_of: int | None = None

    @property
    def name(self) -> str:
        """The trial's name, e.g. `t0042`."""
        return trial_name(self.number)

    @property
    def network(self) -> int:
        """Number of the trial that trained its student: its own, unless it is another's exit.

        What is drawn in training, its seed's luck, is that of the whole network.
        """
        return self.number if self.trained_with is None else self.trained_with

    @property
    def trained_as(self) -> str:
        """Name of the trial that trained its student: its own, unless it is another's exit."""
        return trial_name(self.network)

    @property
    def searched(self) -> bool:
        """Whether the search asked for it: neither a replicate nor a control trained after it."""
        return self.replicate_of is None and self.control_of is None

    @property
    def title(self) -> str:
        """The preset's label where there is one, else the trial's name."""
        return self.label or self.name

    @property
    def status(self) -> Status:
        """`complete`, `stopped`, `infeasible`, `failed`, or `running` (also when interrupted)."""
        if self.outcome is not None:
            return self.outcome.status
        return "failed" if self.closed else "running"

    @property
    def waits_at(self) -> int | None:
        """The rung (an epoch) at which an open trial waits to be gone on with; None of others."""
        return self.stands_at if self.status == "running" else None

    @property
    def reason(self) -> str | None:
        """Why it did not complete, or is on no front though it did, in the record's words."""
        if self.outcome is not None:
            return self.outcome.reason or self.outcome.breaks
        return "closed without an outcome in the record" if self.closed else None

    @property
    def latency_ms(self) -> float | None:
        """Batch-1 latency (ms): on the idle device where that is known, else as searched by."""
        if (idle := self._idle_latency) is not None:
            return idle.latency_ms
        if self.outcome is not None and self.outcome.latency_ms is not None:
            return self.outcome.latency_ms
        return self.search_latency_ms

    @property
    def best_latency(self) -> Latency | None:
        """Timing on the idle device where it is known, else the one before the first epoch."""
        return self._idle_latency or self.latency

    @property
    def _idle_latency(self) -> Latency | None:
        # One architecture has one latency, whichever of its trials was confirmed.
        return self.confirmed.latency if self.confirmed is not None else self.idle_latency

    @property
    def test_score(self) -> float | None:
        """Score on the test split, of students that were confirmed; None of others."""
        return None if self.confirmed is None else self.confirmed.test_score

    @property
    def val_score(self) -> float | None:
        """Validation score after the last epoch done, None before the first."""
        if self.outcome is not None and self.outcome.val_score is not None:
            return self.outcome.val_score
        return self.curve[-1].val_score if self.curve else None

    @property
    def epochs_done(self) -> int:
        """Epochs finished so far."""
        if self.outcome is not None:
            return self.outcome.epochs_done
        return self.curve[-1].epoch if self.curve else 0

    @property
    def train_seconds(self) -> float:
        """Seconds spent training (validation and set-up apart)."""
        if self.outcome is not None:
            return self.outcome.train_seconds
        return sum(epoch.seconds for epoch in self.curve)


def trained_alone(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """The trials that were trained for themselves: all but the exits of others."""
    return [trial for trial in trials if trial.trained_with is None]


def first_runs(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """The trials that stand for a configuration each: all but replicates."""
    return [trial for trial in trials if trial.replicate_of is None]


def device_seconds(trials: Iterable[TrialResult]) -> float:
    """The seconds for which trials held devices, over all runs of the driver."""
    return sum(trial.usage.device_seconds for trial in trials)


def searched(trials: Iterable[TrialResult]) -> list[TrialResult]:
    """The trials of the search itself: neither replicates nor controls trained after it."""
    return [trial for trial in trials if trial.searched]
