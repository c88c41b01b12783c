"""The first trials of an Optuna study, before anybody knows what it varies."""

import threading
from collections import Counter
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.search.coding import values_of
from study.search.relative import known_params

_TRIES = 20  # before the values that are left are looked at one by one


class FirstDraws:
    """Draws one parameter after another so that trials differ, at random but for that.

    Each takes a value that the fewest have of those trials that are like it so far. Where all have
    the same parameters in the same order, as many trials differ as there are configurations, also
    where several threads ask at once.

    Args:
        sampler: For every draw.
    """

    def __init__(self, sampler: RandomSampler) -> None:
        self._sampler = sampler
        self._lock = threading.Lock()
        self._forget()

    def _forget(self, of: Any = None) -> None:
        self._of = of
        # By trial and parameter: what is drawn is a trial's own only a moment later.
        self._drawn: dict[int, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What another process goes on from."""
        return {"_sampler": self._sampler}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.__init__(state["_sampler"])  # type: ignore[misc]

    def draw(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter of a trial."""
        with self._lock:
            of = (study._storage, study._study_id)
            if self._of != of:
                self._forget(of)
            used = self._used(study, trial, name)
            value = self._least_used(study, trial, name, distribution, used)
            self._drawn.setdefault(trial.number, {})[name] = value
        return value

    def _used(self, study: Study, trial: FrozenTrial, name: str) -> Counter[Any]:
        """How many trials have each value, of those that are like it so far."""
        so_far = {**self._drawn.get(trial.number, {}), **trial.params}.items()
        used: Counter[Any] = Counter()
        for other in study.get_trials(deepcopy=False):
            drawn = self._drawn.get(other.number, {})
            if other.state.is_finished():
                self._drawn.pop(other.number, None)
            if other.number == trial.number:
                continue
            params = {**drawn, **known_params(other)}
            if name in params and so_far <= params.items():
                used[params[name]] += 1
        return used

    def _least_used(
        self,
        study: Study,
        trial: FrozenTrial,
        name: str,
        distribution: BaseDistribution,
        used: Counter[Any],
    ) -> Any:
        values = values_of(distribution)
        least = 0 if values is None else min(used[value] for value in values)
        for _ in range(_TRIES):
            value = self._sampler.sample_independent(study, trial, name, distribution)
            if used[value] <= least:
                return value
        if values is None:
            return value
        left = CategoricalDistribution([value for value in values if used[value] == least])
        return self._sampler.sample_independent(study, trial, name, left)
