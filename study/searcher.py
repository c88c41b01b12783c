"""Ray's view of the search: each suggestion comes from the record, the seed points or Optuna."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from analysis.results import TrialResult
from search_spaces.space import SearchSpace, Value, configuration_key
from study.plan import SeedPoint, StudyPlan
from study.proposal import Exhausted, distributions, propose
from study.record import StudyRecord
from study.stateless import StatelessForRay
from study.trial import TrialTask


class TrialQueue:
    """What is tried next.

    Sources, in this order: trials that an earlier run left open; seed points not yet tried (the
    preset's rows, the control); the sampler. A configuration is never tried twice, and an
    architecture known to break a constraint is not proposed again.

    Args:
        record: The study's record.
        space: The space, with ``--fix`` applied.
        plan: The plan.
        seeds: The configurations tried first.
        enough: Says whether no further trial is to be started (budget, signal, failures).
    """

    def __init__(
        self,
        record: StudyRecord,
        space: SearchSpace,
        plan: StudyPlan,
        seeds: Sequence[SeedPoint],
        enough: Callable[[], bool],
    ) -> None:
        self._record = record
        self._space = space
        self._plan = plan
        self._seeds = seeds
        self._enough = enough
        self._interrupted = record.interrupted()
        self.exhausted = False

    def next_task(self) -> TrialTask | None:
        """Return the next trial to run, added to the record; None when there is none."""
        if self._enough():
            return None
        trials = self._record.trials()
        if self._interrupted:
            return self._task(trials[self._interrupted.pop(0)], trials)
        if len(trials) >= self._plan.trials:
            return None
        tried = {configuration_key(trial.params) for trial in trials}
        for seed in self._seeds:
            if configuration_key(seed.params) not in tried:
                return self._add(dict(seed.params), seed.source, seed.label)
        refused = {trial.architecture for trial in trials if trial.status == "infeasible"}
        try:
            params = propose(
                self._record.study,
                self._space,
                sampler=self._plan.sampler,
                seed=self._plan.seed,
                number=len(trials),
                tried=tried,
                refuse=lambda params: self._space.describe(params) in refused,
            )
        except Exhausted:
            self.exhausted = True
            return None
        source = "control" if self._space.is_control(params) else "sampler"
        return self._add(params, source, None)

    def _add(self, params: dict[str, Value], source: str, label: str | None) -> TrialTask:
        number = self._record.add_trial(
            params,
            distributions(self._space, params),
            source=source,
            label=label,
            architecture=self._space.describe(params),
            epochs=self._plan.max_epochs,
        )
        trials = self._record.trials()
        return self._task(trials[number], trials)

    def _task(self, trial: TrialResult, trials: Sequence[TrialResult]) -> TrialTask:
        # One latency an architecture: whoever measured it first measured it for all.
        known = [
            other
            for other in trials
            if other.architecture == trial.architecture and other.latency is not None
        ]
        model = known[0].model if known else None
        latency = known[0].latency if known else None
        return TrialTask(
            number=trial.number,
            params=dict(trial.params),
            protected=trial.label is not None,
            model=None if model is None else model.to_json(),
            latency=None if latency is None else latency.to_json(),
        )


class StudySearcher(StatelessForRay, Searcher):
    """Hands :class:`TrialQueue` to Ray Tune. Results reach the record by another way."""

    def __init__(self, queue: TrialQueue) -> None:
        super().__init__()
        self._queue = queue

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's configuration, or that the study is finished."""
        task = self._queue.next_task()
        return str(Searcher.FINISHED) if task is None else task.to_config()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the recorder has written the outcome."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the record is the state."""
