"""What a study came to, read from its record: for the terminal at the end, and as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.formatting import without_password
from analysis.front import KdPair, front_hypervolume
from analysis.record import StudyResults, read_record
from analysis.results import (
    STATUSES,
    TrialResult,
    device_seconds,
    searched,
    trained_alone,
)
from analysis.runs import Estimate
from analysis.sections.time import hours
from analysis.stored_plan import Score
from analysis.timing_notes import unsettled
from study.failures import fine_from, share_to_allow
from study.replicates import further, next_round, trainings

# What counts are called for people, where that is not their own name.
KINDS = {"paused": "waiting at a rung", "waiting": "to come"}


@dataclass(frozen=True)
class StudySummary:
    """A study's counts, front and whereabouts."""

    results: StudyResults
    folder: Path

    @property
    def trials(self) -> Sequence[TrialResult]:
        """All trials."""
        return self.results.trials

    @property
    def score(self) -> Score:
        """Name and unit of the score."""
        return self.results.plan.space.score

    @property
    def front(self) -> tuple[TrialResult, ...]:
        """The front, fastest first."""
        return self.results.front

    @property
    def planned(self) -> int:
        """How many trials were asked for."""
        return int(self.results.plan.plan.get("trials") or len(searched(self.trials)))

    @property
    def begun(self) -> int:
        """How many of them have begun."""
        return len(searched(trained_alone(self.trials)))

    @property
    def counts(self) -> dict[str, int]:
        """Trials by status.

        ``running`` are those that are trained (or were interrupted), ``paused`` those that wait at
        a rung to be gone on with, ``waiting`` those planned that have not begun.

        Exits of other trials' students are not counted, and neither is what was trained beside the
        search: see :attr:`exits` and :attr:`replicates`.
        """
        trained = searched(trained_alone(self.trials))
        counted = Counter(trial.status if trial.waits_at is None else "paused" for trial in trained)
        waiting = max(0, self.planned - len(trained))
        kinds = (*STATUSES, "paused")
        return {**{kind: counted[kind] for kind in kinds}, "waiting": waiting}

    @property
    def exits(self) -> int:
        """Students that cost no training: other exits of those that the search trained."""
        return len(searched(self.trials)) - self.begun

    @property
    def runs_asked(self) -> int:
        """How many runs in all the plan asks for, of every configuration of the front."""
        return int(self.results.plan.plan.get("replicates") or 1)

    @property
    def replicates(self) -> dict[str, int]:
        """What was trained beside the search, by status; ``waiting`` are those yet to begin.

        They are the further runs of the front, its rivals and its controls, and controls that the
        search had not trained.
        """
        own = further(self.trials)
        counted = Counter(trial.status for trial in own)
        return {**{status: counted[status] for status in STATUSES}, "waiting": self._runs_waiting}

    @property
    def is_open(self) -> bool:
        """Whether any training has begun and not ended."""
        return any(trial.status == "running" for trial in trained_alone(self.trials))

    @property
    def failures_to_allow(self) -> float | None:
        """A ``--max-failures`` with which the study goes on, in tenths above the share that failed.

        None where its own will do.
        """
        plan = self.results.plan.plan
        since = fine_from(plan.get("scheduler"), int(plan.get("max_epochs") or 1))
        return share_to_allow(self.trials, float(plan.get("max_failures") or 1.0), since)

    @cached_property
    def _runs_waiting(self) -> int:
        plan, asked = self.results.plan, self.runs_asked
        missing = next_round(self.trials, plan.space, plan.space.third, asked)
        return trainings(missing, asked)

    @property
    def hypervolume(self) -> float | None:
        """Share of the area between the floor at the reference point's latency, and perfection."""
        reference = self.results.reference
        if reference is None:
            return None
        return front_hypervolume(self.trials, reference)

    @property
    def seconds(self) -> float:
        """Wall time over all runs of the driver; of one that goes on, as it was last noted."""
        open_session = self.results.open_session
        noted = 0.0 if open_session is None else open_session.seconds
        return sum(session.seconds for session in self.results.sessions) + noted

    @property
    def device_seconds(self) -> float:
        """Time that trials held GPUs (or, without any, CPUs)."""
        return device_seconds(self.trials)

    @property
    def retries(self) -> int:
        """How many workers died and their trials went on."""
        return sum(trial.usage.retries for trial in self.trials)

    @property
    def report(self) -> Path:
        """Where the report lies."""
        return self.folder / "report" / "index.html"

    def _member(self, trial: TrialResult) -> dict[str, Any]:
        """A configuration with what its runs tell of it; the control's gain, where there is one."""
        results = self.results
        pair = self._pairs.get(trial.number)
        gain = None
        if pair is not None:
            gain = {
                "control": pair.control.number,
                "val": _estimate(pair.validation),
                "test": _estimate(pair.test),
            }
        return {
            **member(trial),
            "val": _estimate(results.validation.get(trial.number)),
            "test": _estimate(results.tested.get(trial.number)),
            "front_probability": results.probabilities.get(trial.number),
            "gain": gain,
        }

    @cached_property
    def _pairs(self) -> dict[int, KdPair]:
        return {pair.distilled.number: pair for pair in self.results.pairs}

    def to_json(self) -> dict[str, Any]:
        """Return one object for scripts."""
        teacher = self.results.teacher
        default, reference = self.results.default_student, self.results.reference
        tests = self.results.tie_tests
        uri = (self.results.mlflow or {}).get("tracking_uri")
        return {
            "study": self.folder.name,
            "score": self.score.to_json(),
            "objectives": [objective.key for objective in self.results.plan.space.objectives],
            "counts": self.counts,
            "exits": self.exits,
            "replicates": {"asked": self.runs_asked, **self.replicates},
            "front": [self._member(trial) for trial in self.front],
            "ties": {
                "spread": None if tests.widest is None else tests.widest.spread,
                "tests": [test.to_json() for test in tests.tests],
                "gave_way": {str(n): by.number for n, by in self.results.tied.items()},
            },
            "unsettled": [trial.number for trial in unsettled(self.results)],
            "rivals": [self._member(trial) for trial in self.results.near_rivals],
            "teacher": None if teacher is None else teacher.to_json(),
            "default_student": None if default is None else default.to_json(),
            "reference_point": None if reference is None else reference.to_json(),
            "hypervolume": self.hypervolume,
            "report": str(self.report.absolute()),
            "record": str(self.folder.absolute()),
            "tracking_uri": None if uri is None else without_password(uri),
            "seconds": round(self.seconds, 1),
            "device_seconds": round(self.device_seconds, 1),
            "retries": self.retries,
            "time": None if (spent := hours(self.results)) is None else spent.to_json(),
        }


def summarise(folder: Path) -> StudySummary:
    """Read the record in ``folder``.

    Raises:
        analysis.record.RecordReadError: if there is no study.
    """
    return StudySummary(read_record(folder), folder)


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    """A mean over runs with its standard error and 95 % interval, both null from one run."""
    if estimate is None:
        return None
    interval = None if estimate.interval is None else list(estimate.interval)
    return {**asdict(estimate), "interval": interval}


def member(trial: TrialResult) -> dict[str, Any]:
    """Return one member of the front with its parameters and the figures of its first run."""
    latency = trial.best_latency
    figures: Mapping[str, Any] = {
        "val_score": trial.val_score,
        "test_score": trial.test_score,
        "latency_ms": trial.latency_ms,
        "latency": None if latency is None else latency.to_json(),
        "params_m": trial.model.params_m if trial.model else None,
        "flops_m": trial.model.flops_m if trial.model else None,
        "train_seconds": trial.train_seconds,
        "epochs": trial.epochs_done,
    }
    return {
        "trial": trial.number,
        "label": trial.label,
        "architecture": trial.architecture,
        "params": dict(trial.params),
        **figures,
    }
