"""Ray's view of the search: each suggestion comes from the record, the seed points or Optuna."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from analysis.results import TrialResult, first_runs, searched, trained_alone
from search_spaces.space import SearchSpace, Value, configuration_key
from study.budget import UNBOUNDED, Left
from study.constraints import Constraints
from study.death import OUT_OF_MEMORY
from study.guide import WORTH_GOING_ON
from study.handing_out import Queue
from study.plan import StudyPlan
from study.proposal import Exhausted, as_trials, distributions, propose, reached_by_waiting
from study.record import StudyRecord
from study.seed_points import SeedPoint
from study.stateless import StatelessForRay
from study.trial_context import TrialTask

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from study.guide import Guide
    from study.warm_start import Earlier


class TrialQueue(Queue):
    """What is tried next.

    Sources, in this order: trials that an earlier run left open, whose worker died, or whose
    student another worker was timing; seed points not yet tried (the preset's rows, the control);
    the sampler. A configuration is never tried twice, and one known to break a constraint, or to
    need more memory than there is, is not proposed again.

    Args:
        record: The study's record.
        space: The space, with ``--fix`` applied.
        plan: The plan.
        seeds: The configurations tried first.
        enough: Says whether no further trial is to be started (budget, signal, failures).
        guide: Asked what to begin, and who of those that wait goes on, as far as the plan has it;
            None where it has nothing of the sort.
        earlier: What another study learnt, for Optuna's samplers; the guide has its own.
        left: Says what is left of the budget.
    """

    def __init__(
        self,
        record: StudyRecord,
        space: SearchSpace,
        plan: StudyPlan,
        seeds: Sequence[SeedPoint],
        enough: Callable[[], bool],
        guide: "Guide | None" = None,
        earlier: "Earlier | None" = None,
        left: Callable[[], Left] = lambda: UNBOUNDED,
    ) -> None:
        super().__init__(record, space, enough)
        self._left = left
        self._guide = guide
        self._earlier = earlier
        # Asked for what the plan has it decide.
        self._pausing = guide if plan.scheduler == "pause" else None
        self._proposing = guide if plan.sampler == "latency-first" else None
        self._plan = plan
        self._seeds = seeds
        if self._pausing is not None:
            waits = self._pausing.waits
            self._interrupted = [n for n in self._interrupted if not waits(record.trial(n))]
        self._tried: set[tuple[tuple[str, Value], ...]] = set()
        self._looked_at = 0
        # How many trials there were, and how many had ended, when nothing was left to propose.
        self._exhausted_at: tuple[int, int] | None = None

    def owns(self, trial: TrialResult) -> bool:
        """Whether a trial is one of the search, which further runs and their controls are not."""
        return trial.searched

    def next_task(self) -> TrialTask | None:
        """Return the next trial to run, added to the record; None when there is none, or none yet.

        Trials whose student is being timed wait for that, and nothing else is begun meanwhile: it
        takes no longer than to time it once more.
        """
        if self._enough():
            return None
        trials = self._record.trials()
        if self._interrupted:
            return self._hand_out_open()
        may_begin = len(searched(trained_alone(trials))) < self._plan.budget.trials
        tried = self._configurations(trials)
        for seed in self._seeds if may_begin else ():
            if configuration_key(seed.params) not in tried:
                return self._add(dict(seed.params), seed.source, seed.label)
        left, worth = self._left(), WORTH_GOING_ON
        self.out_of_time = may_begin and not self._has_time_to_begin(trials, left)
        if self.out_of_time:
            # The time that is left is paid for, however little those who wait promise.
            may_begin, worth = False, 0.0
        goes_on = self._next_to_go_on(trials, may_begin, left, worth)
        if goes_on is None and may_begin:
            params = self._propose(trials, tried)
            if params is not None:
                source = "control" if self._space.is_control(params) else "sampler"
                return self._add(params, source, None)
            goes_on = self._next_to_go_on(trials, False, left, worth)
        if goes_on is None and not may_begin and not self.out_of_time and left.is_bounded:
            # Whoever still waits would go on if there were time for it.
            ever = self._next_to_go_on(trials, False, UNBOUNDED, worth)
            self.out_of_time = ever is not None
        return None if goes_on is None else self._hand_out(trials[goes_on])

    def _has_time_to_begin(self, trials: Sequence[TrialResult], left: Left) -> bool:
        return self._guide is None or self._guide.has_time_to_begin(trials, self._handed_out, left)

    def _next_to_go_on(
        self, trials: Sequence[TrialResult], may_begin: bool, left: Left, worth: float
    ) -> int | None:
        """Return the waiting trial to go on with, if one is to."""
        if self._pausing is None:
            return None
        return self._pausing.next_to_go_on(
            trials, self._handed_out, may_begin=may_begin, left=left, worth=worth
        )

    def _propose(
        self, trials: Sequence[TrialResult], tried: set[tuple[tuple[str, Value], ...]]
    ) -> dict[str, Value] | None:
        """Return an untried configuration; None if there is none left.

        It is searched for once: what is tried or refused changes when a trial is added or ends.
        """
        known = len(trials), sum(trial.status != "running" for trial in trials)
        if known == self._exhausted_at:
            return None
        self._exhausted_at, self.exhausted = None, ""
        refused = Refused(self._space, trials, Constraints.of(self._plan, self._space))
        if self._proposing is not None:

            def is_refused(params: dict[str, Value]) -> bool:
                return configuration_key(params) in tried or refused(params)

            params = self._proposing.begin(trials, self._handed_out, is_refused)
            if params is not None:
                return params
        # Where the guide finds nothing untried nearby, blind draws may.
        sampler = "random" if self._plan.sampler == "latency-first" else self._plan.sampler
        try:
            return propose(
                self._record.study,
                self._space,
                sampler=sampler,
                seed=self._plan.seed,
                number=len(first_runs(trials)),
                tried=tried,
                refuse=refused,
                earlier=self._handed_over(trials) if sampler == "tpe" else (),
                waiting=reached_by_waiting(trials, self._plan.third) if sampler == "tpe" else {},
            )
        except Exhausted as error:
            self._exhausted_at, self.exhausted = known, str(error)
            return None

    def _handed_over(self, trials: Sequence[TrialResult]) -> "list[FrozenTrial]":
        if self._earlier is None:
            return []
        return as_trials(self._earlier, trials, self._space, self._plan.third)

    def _add(self, params: dict[str, Value], source: str, label: str | None) -> TrialTask | None:
        number = self._record.add_trial(
            params,
            distributions(self._space, params),
            source=source,
            label=label,
            architecture=self._space.describe(params),
            epochs=self._space.epochs_of(params, self._plan.max_epochs),
        )
        return self._hand_out_new(number)

    def _configurations(self, trials: Sequence[TrialResult]) -> set[tuple[tuple[str, Value], ...]]:
        """Keys of all configurations tried so far; those of a trial never change.

        Of a trial that runs, those that its training will yield besides count as well.
        """
        self._tried.update(configuration_key(trial.params) for trial in trials[self._looked_at :])
        self._looked_at = len(trials)
        running = [trial for trial in trials if trial.status == "running"]
        expected = {
            configuration_key(params)
            for trial in running
            for params in self._space.siblings(trial.params)
        }
        return self._tried | expected if expected else self._tried


class Refused:
    """Says which configurations need not be tried: what infeasible trials tell of others."""

    def __init__(
        self, space: SearchSpace, trials: Sequence[TrialResult], constraints: Constraints
    ) -> None:
        self._space = space
        self._architectures: set[str] = set()
        # The smallest batch that was too much for the memory, by architecture.
        self._batches: dict[str, float] = {}
        for trial in trials:
            if trial.status != "infeasible":
                continue
            if (trial.reason or "").startswith(OUT_OF_MEMORY):
                batch = trial.params.get("batch_size", 0)
                least = self._batches.get(trial.architecture, batch)
                self._batches[trial.architecture] = min(least, batch)
            elif constraints.refuse_architecture(trial):
                self._architectures.add(trial.architecture)

    def __call__(self, params: dict[str, Value]) -> bool:
        """Whether a configuration is known to be infeasible."""
        architecture = self._space.describe(params)
        if architecture in self._architectures:
            return True
        batch = params.get("batch_size", 0)
        return architecture in self._batches and batch >= self._batches[architecture]  # type: ignore[operator]


class StudySearcher(StatelessForRay, Searcher):
    """Hands a queue of trials to Ray Tune. Results reach the record by another way."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._queue = queue

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's configuration, that there is none now, or never again."""
        task = self._queue.next_task()
        if task is not None:
            return task.to_config()
        # None has Ray ask again later.
        return None if self._queue.may_grow else str(Searcher.FINISHED)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the recorder has written the outcome."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the record is the state."""
