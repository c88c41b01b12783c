"""A study whose search is over, against a real record; nothing is trained."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.results import (
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    OutcomeStatus,
    Ratio,
    ReferencePoint,
    Timing,
    TrialResult,
    Usage,
)
from analysis.stored_plan import Space
from search_spaces.space import SearchSpace, Value
from study.arguments import parser
from study.plan import StudyPlan
from study.proposal import distributions
from study.record import StudyRecord
from study.replicate_queue import ReplicateQueue
from study.replicates import FurtherRun
from study.resolving import resolve
from study.trial_attributes import now

EPOCHS = 2
Params = dict[str, Value]


def latency(milliseconds: float) -> Latency:
    ratio = Ratio(10 / milliseconds, 10 / milliseconds, 10 / milliseconds)
    timing, teacher = Timing(milliseconds, milliseconds), Timing(10.0, 10.0)
    return Latency("cpu", 1, "float32", False, 9, timing, timing, teacher, teacher, ratio, ratio)


@dataclass
class Study:
    """Does with the record and the queue what a driver does; every run ends at once."""

    folder: Path
    space: SearchSpace
    arguments: tuple[str, ...] = ("--replicates", "3")
    enough: bool = False
    fused_by: int | None = None
    begun: set[FurtherRun] = field(default_factory=set)
    round: ReplicateQueue | None = None
    totals: list[int] = field(default_factory=list)
    unwanted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked = ["--space", self.space.name, "--data", "digits", "--trials", "4"]
        asked += ["--max-epochs", str(EPOCHS), *self.arguments]
        self.plan: StudyPlan = resolve(parser().parse_args(asked))[0]
        self.record = StudyRecord(self.folder, "study", None)
        point = ReferencePoint(10.0, 10.0, 100.0)
        self.record.set_attribute("reference_point", point.to_json())
        self.stored = Space.from_json(self.space.to_json())

    @property
    def queue(self) -> ReplicateQueue:
        """That of the round, which is decided as it is first asked for."""
        if self.round is None:
            self.round = ReplicateQueue(
                self.record,
                self.space,
                self.plan,
                self.stored,
                lambda: self.enough,
                self.begun,
                self.totals.append,
                self.fused_by,
            )
        return self.round

    def again(self, *arguments: str) -> "Study":
        """Another driver over the same record."""
        return Study(self.folder, self.space, arguments or self.arguments)

    def search(
        self,
        score: float,
        milliseconds: float,
        status: OutcomeStatus = "complete",
        *,
        seconds: float = 0.0,
        **overrides: Any,
    ) -> int:
        """A trial of the search that has ended, and held a worker for so long."""
        params = self.space.complete(overrides)
        number = self.record.add_trial(
            params,
            distributions(self.space, params),
            source="control" if self.space.is_control(params) else "sampler",
            label=None,
            architecture=self.space.describe(params),
            epochs=EPOCHS,
        )
        self.record.measured(number, ModelSize(1.0, 1.0, 1), latency(milliseconds))
        self.record.use(number, Usage(0, seconds))
        self.finish(number, score, status)
        return number

    def finish(self, number: int, score: float, status: OutcomeStatus = "complete") -> None:
        trial = self.record.trial(number)
        if trial.model is None:
            first = trial.control_of if trial.replicate_of is None else trial.replicate_of
            assert first is not None
            known = self.record.trial(first)
            assert known.model is not None
            assert known.latency is not None
            self.record.measured(number, known.model, known.latency)
        for epoch in range(1, EPOCHS + 1):
            self.record.epoch(number, EpochResult(epoch, 1.0, 1.0, score, 0.1, 1.0))
        reached = self.record.trial(number)
        outcome = Outcome(status, None, EPOCHS, score, reached.search_latency_ms, 2.0, now())
        self.record.finish(number, outcome)
        if self.round is not None:
            self.unwanted = list(self.round.ended(number))

    def next(self) -> TrialResult | None:
        task = self.queue.next_task()
        if task is None and not self.queue.handed_out:
            self.round = None
            task = self.queue.next_task()
        return None if task is None else self.record.trial(task.number)

    def run(self, shift: float = 0.5) -> list[tuple[int | None, int]]:
        """Run all to its end; what was handed out, in order."""
        done = []
        while (trial := self.next()) is not None:
            done.append((trial.replicate_of, trial.run))
            self.finish(trial.number, self.score(trial) + shift * trial.run)
            assert len(done) < 100
        return done

    def score(self, trial: TrialResult) -> float:
        if trial.replicate_of is None:
            return 50.0
        first = self.record.trial(trial.replicate_of).val_score
        assert first is not None
        return first
