"""The first trials of an Optuna study, before anybody knows what it varies."""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from study.search.coding import place_of, values_of
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
            used = self._used(study, trial, name, distribution)
            value = self._least_used(study, trial, name, distribution, used)
            self._drawn.setdefault(trial.number, {})[name] = value
        return value

    def _used(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Counter[Any]:
        """How many trials have each value, by its place, of those that are like it so far."""
        kinds = {**trial.distributions, name: distribution}

        def places(params: Mapping[str, Any]) -> dict[str, Any]:
            return {n: place_of(kinds[n], value) for n, value in params.items() if n in kinds}

        so_far = places(trial.params).items()
        used: Counter[Any] = Counter()
        for other in study.get_trials(deepcopy=False):
            drawn = self._drawn.get(other.number, {})
            if other.state.is_finished():
                self._drawn.pop(other.number, None)
            if other.number == trial.number:
                continue
            found = places({**drawn, **known_params(other, kinds)})
            if name in found and so_far <= found.items():
                used[found[name]] += 1
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
        by_place = {place_of(distribution, value): value for value in values or ()}
        least = min((used[place] for place in by_place), default=0)
        for _ in range(_TRIES):
            value = self._sampler.sample_independent(study, trial, name, distribution)
            if used[place_of(distribution, value)] <= least:
                return value
        left = [value for place, value in by_place.items() if used[place] == least]
        if not left:
            return value
        which = CategoricalDistribution(range(len(left)))
        return left[self._sampler.sample_independent(study, trial, name, which)]
