"""What of an Optuna study is varied together: what all trials have, and what those of a branch do.

Optuna's intersection of search spaces drops whatever one finished trial lacks. Here a parameter
may depend on the value of another: then only trials in which it applies have to have it.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from study.search.coding import Coding, Dimension

Params = Mapping[str, Any]
# Of a parameter the one that it depends on, and the values of that under which it applies.
Conditions = Mapping[str, tuple[str, Collection[Any]]]

# An attribute of a trial: what it was proposed, as Optuna's storages have values, of choices their
# number; and what earlier releases wrote, the values themselves.
PROPOSED, _PROPOSED_AS_IT_IS = "latency_first:internal", "latency_first:params"
_TELLING = (TrialState.COMPLETE, TrialState.PRUNED)


def propose(
    study: Study, trial: FrozenTrial, kinds: Mapping[str, BaseDistribution], params: Params
) -> None:
    """Write down what a trial is proposed."""
    internal = {name: kinds[name].to_internal_repr(value) for name, value in params.items()}
    study._storage.set_trial_system_attr(trial._trial_id, PROPOSED, json.dumps(internal))


def was_proposed(trial: FrozenTrial) -> bool:
    """Whether values were proposed for a trial, or for the one that it is a retry of."""
    return PROPOSED in trial.system_attrs or _PROPOSED_AS_IT_IS in trial.system_attrs


def known_params(trial: FrozenTrial, kinds: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What a trial has, and what it was proposed and has not asked for yet, or before it failed.

    Choices are those of the distributions, whatever a storage has made of them; what has a
    distribution that is none of these is left out.
    """
    found = {}
    if trial.state in (TrialState.RUNNING, TrialState.FAIL):
        found = _proposed(trial, kinds)
    for name, value in trial.params.items():
        kind, own = kinds.get(name), trial.distributions[name]
        if isinstance(kind, CategoricalDistribution) and alike(own, kind):
            found[name] = kind.to_external_repr(own.to_internal_repr(value))
        elif not isinstance(kind, CategoricalDistribution):
            found[name] = value
        else:
            found.pop(name, None)
    return found


def _proposed(trial: FrozenTrial, kinds: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    attribute = trial.system_attrs.get(PROPOSED)
    if attribute is None:
        older = json.loads(trial.system_attrs.get(_PROPOSED_AS_IT_IS, "{}"))
        return {n: value for n, value in older.items() if n in kinds and _has(kinds[n], value)}
    return {
        name: kinds[name].to_external_repr(value)
        for name, value in json.loads(attribute).items()
        if name in kinds and kinds[name]._contains(value)
    }


def _has(kind: BaseDistribution, value: Any) -> bool:
    try:
        return bool(kind._contains(kind.to_internal_repr(value)))
    except ValueError:
        return False


def alike(one: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether two distributions are one, though a storage has made lists of tuples."""
    if isinstance(one, CategoricalDistribution) and isinstance(other, CategoricalDistribution):
        return bool(one == other) or _as_lists(one.choices) == _as_lists(other.choices)
    return bool(one == other)


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple | list) else value


def _has_lists(kind: BaseDistribution) -> bool:
    choices = kind.choices if isinstance(kind, CategoricalDistribution) else ()
    return any(isinstance(choice, list) for choice in choices)


class RelativeSpace:
    """The parameters that are varied together, and when each of them applies.

    Args:
        given: What is varied; left out, it is what finished trials have in common.
        conditions: Of parameters that not all trials have.

    Attributes:
        fixed: Parameters of one value, which nothing varies, as they were found last.

    Raises:
        ValueError: if a condition cannot be, or what is given does not fit it.
    """

    def __init__(
        self, given: Mapping[str, BaseDistribution] | None, conditions: Conditions | None
    ) -> None:
        self._given = None if given is None else dict(given)
        self._conditions = {name: _condition(name, c) for name, c in (conditions or {}).items()}
        for name in self._conditions:
            self._refuse_cycle(name)
        if given is not None:
            for name, (parent, _) in self._conditions.items():
                for each in (name, parent):
                    if each not in given:
                        raise ValueError(f"conditions name {each!r}, which search_space has not")
            self._refuse_misfits(given)
        self.fixed: dict[str, Any] = {}
        self._asked: dict[str, BaseDistribution] = {}
        self._forget()

    def _forget(self, of: Any = None) -> None:
        self._of = of
        self._counted: set[int] = set()
        self._names: set[str] = set()
        self._common: dict[str, BaseDistribution] | None = None
        self._branches: dict[str, BaseDistribution | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What another process goes on from; what the study tells as well is left out."""
        kept = ("_given", "_conditions", "_asked", "fixed")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update(state)
        self._forget()

    def is_asked(self, name: str, kind: BaseDistribution) -> None:
        """Take note of a parameter as an objective has it: storages make lists of tuples."""
        self._asked[name] = kind

    def find(self, study: Study) -> dict[str, BaseDistribution]:
        """Return what a study varies together.

        Raises:
            ValueError: if its trials do not fit the conditions.
        """
        found = self._in_common(study) if self._given is None else self._given
        single = [(name, kind) for name, kind in found.items() if kind.single()]
        self.fixed = {name: Dimension(name, kind).value_of(0.0) for name, kind in single}
        varied = (name for name in sorted(found) if name not in self.fixed)
        return {name: found[name] for name in varied if self.applies(name, self.fixed)}

    def applies(self, name: str, params: Params) -> bool:
        """Whether a parameter applies, as far as others are known."""
        if name not in self._conditions:
            return True
        parent, values = self._conditions[name]
        if parent in params and params[parent] not in values:
            return False
        return self.applies(parent, params)

    def completed(self, params: Params) -> dict[str, Any]:
        """Return parameters with those of one value that apply beside them."""
        known = {**self.fixed, **params}
        return {n: v for n, v in known.items() if n in params or self.applies(n, known)}

    def coding_of(self, search_space: Mapping[str, BaseDistribution]) -> Coding:
        """Return the dimensions of a space, those that others depend on first."""
        dimensions = []
        for name in sorted(search_space, key=self._depth):
            condition = self._conditions.get(name)
            while condition is not None and condition[0] in self.fixed:
                condition = self._conditions.get(condition[0])
            kind = search_space[name]
            # Where another sampler has fixed what it depends on, there is nothing to depend on.
            if condition is None or condition[0] not in search_space:
                dimensions.append(Dimension(name, kind))
            else:
                dimensions.append(Dimension(name, kind, *condition))
        return Coding(tuple(dimensions))

    def params_of(
        self, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any] | None:
        """A trial's values of what applies; None if it has them not, or not as they are."""
        params = known_params(trial, search_space)
        found = {}
        for name, kind in search_space.items():
            if not self.applies(name, params):
                continue
            if name not in params or not alike(trial.distributions.get(name, kind), kind):
                return None
            found[name] = params[name]
        return found

    # What trials have in common

    def _in_common(self, study: Study) -> dict[str, BaseDistribution]:
        of = (study._storage, study._study_id)
        if self._of != of:
            self._forget(of)
        for trial in study.get_trials(deepcopy=False):
            if trial.state in _TELLING and trial.number not in self._counted:
                self._counted.add(trial.number)
                self._count(trial)
        for name, (parent, _) in self._conditions.items():
            if name in self._names and parent not in self._names:
                raise ValueError(
                    f"{name!r} is said to depend on {parent!r}, which no trial has; "
                    "give conditions the name that the objective suggests"
                )
        branches = {name: kind for name, kind in self._branches.items() if kind is not None}
        found = self._as_asked({**(self._common or {}), **branches})
        self._refuse_misfits(found)
        for name in sorted(branches, key=self._depth):
            if self._conditions[name][0] not in found:
                found.pop(name, None)
        return found

    def _as_asked(self, found: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
        """Parameters as objectives have them; without those of which that is still to be seen."""
        asked = {n: kind for n, kind in self._asked.items() if n in found and alike(kind, found[n])}
        return {
            name: asked.get(name, kind)
            for name, kind in found.items()
            if name in asked or not _has_lists(kind)
        }

    def _count(self, trial: FrozenTrial) -> None:
        own = trial.distributions
        self._names |= own.keys()
        before = own if self._common is None else self._common
        self._common = {
            name: kind
            for name, kind in before.items()
            if name not in self._conditions and own.get(name) == kind
        }
        for name in self._conditions:
            if name in own:
                if self._branches.setdefault(name, own[name]) != own[name]:
                    self._branches[name] = None
            elif self.applies(name, trial.params):
                self._branches[name] = None

    # Conditions

    def _depth(self, name: str) -> int:
        """How many parameters it depends on."""
        condition = self._conditions.get(name)
        return 0 if condition is None else 1 + self._depth(condition[0])

    def _refuse_cycle(self, name: str) -> None:
        way = [name]
        while way[-1] in self._conditions:
            way.append(self._conditions[way[-1]][0])
            if way[-1] in way[:-1]:
                raise ValueError(f"conditions go in a circle: {' depends on '.join(way)}")

    def _refuse_misfits(self, found: Mapping[str, BaseDistribution]) -> None:
        for name, (parent, values) in self._conditions.items():
            kind = found.get(parent)
            if kind is None:
                continue
            if not isinstance(kind, CategoricalDistribution):
                raise ValueError(
                    f"{name!r} is said to depend on {parent!r}, which is no categorical parameter"
                )
            unknown = [value for value in values if value not in kind.choices]
            if unknown:
                raise ValueError(
                    f"{name!r} is said to apply where {parent!r} is {unknown[0]!r}, "
                    f"which is none of its choices {kind.choices}"
                )


def _condition(name: str, condition: Any) -> tuple[str, tuple[Any, ...]]:
    """A condition that is one, by its form."""
    is_pair = isinstance(condition, tuple | list) and len(condition) == 2
    parent, values = condition if is_pair else (None, ())
    is_several = isinstance(values, Collection) and not isinstance(values, str | bytes)
    if not isinstance(parent, str) or not is_several or not values:
        raise ValueError(
            f"the condition of {name!r} is to be the name of another parameter and the values of "
            f"that under which it applies, such as ('method', ('taught',)), and not {condition!r}"
        )
    return parent, tuple(values)
