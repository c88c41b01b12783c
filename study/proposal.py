"""Drawing the next configuration from an Optuna sampler: whole, valid, and never one twice.

The sampler is seeded by (study seed, trial number) for every draw, so what it proposes depends on
the record alone: a study that was interrupted goes on as if it had not been.
"""

import copy
import hashlib
import statistics
import warnings
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from analysis.front import third_value
from analysis.results import ATTR_REPLICATE, Third, TrialResult
from search_spaces.space import Choice, Parameter, SearchSpace, Value, configuration_key
from study.warm_start import latency_factor

if TYPE_CHECKING:
    import optuna

    from study.warm_start import Earlier

_TRIES = 32
_TRIES_AT_RANDOM = 512
_ENOUGH_SCORES = 5


class Exhausted(Exception):
    """No configuration is left to try, as far as can be found; the message says why."""


def distribution(parameter: Parameter) -> "optuna.distributions.BaseDistribution":
    """Return Optuna's distribution for a parameter of a space."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def distributions(
    space: SearchSpace, params: dict[str, Value]
) -> "dict[str, optuna.distributions.BaseDistribution]":
    """Return the distribution of each parameter that ``params`` holds."""
    return {name: distribution(space.parameter(name)) for name in params}


def make_sampler(name: str, seed: int) -> "optuna.samplers.BaseSampler":
    """Return the sampler called ``name``: ``tpe`` or ``random``."""
    import optuna

    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # group: conditional parameters are modelled in the subspaces where they exist together.
        return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)


def draw_seed(seed: int, number: int, attempt: int) -> int:
    """Return the sampler's seed for one attempt at one trial."""
    digest = hashlib.sha256(f"{seed}:{number}:{attempt}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def propose(
    study: "optuna.Study",
    space: SearchSpace,
    *,
    sampler: str,
    seed: int,
    number: int,
    tried: Collection[Any],
    refuse: Callable[[dict[str, Value]], bool] = lambda params: False,
    earlier: "Sequence[optuna.trial.FrozenTrial]" = (),
    waiting: Mapping[int, Sequence[float]] = MappingProxyType({}),
) -> dict[str, Value]:
    """Draw the configuration of trial ``number``.

    Sources, in order: the sampler; random draws, where the sampler repeats itself; the untried
    rest of a finite space, one after another.

    Args:
        study: The record's Optuna study.
        space: The space.
        sampler: Name of the sampler.
        seed: The study's seed.
        number: The trial's number.
        tried: Keys (``configuration_key``) of all configurations tried so far.
        refuse: Says which configurations are known to break a constraint.
        earlier: Another study's trials, which the sampler is shown before the record's.
        waiting: What trials that wait at a rung have reached, by number; see
            :func:`reached_by_waiting`.

    Raises:
        Exhausted: if nothing untried is left.
    """
    sketch, trial = _sketch(study, earlier, waiting)
    for attempt in range(_TRIES + _TRIES_AT_RANDOM):
        name = sampler if attempt < _TRIES else "random"
        drawn = make_sampler(name, draw_seed(seed, number, attempt))
        params = _draw(sketch, space, drawn, trial)
        if configuration_key(params) not in tried and not refuse(params):
            return params
    if space.configurations() is None:
        raise Exhausted(
            f"each of the last {_TRIES + _TRIES_AT_RANDOM} configurations drawn has been tried or "
            "is known to break a constraint"
        )
    for params in space.enumerate():
        if configuration_key(params) not in tried and not refuse(params):
            return params
    raise Exhausted("every configuration of the space has been tried")


def _sketch(
    study: "optuna.Study",
    earlier: "Sequence[optuna.trial.FrozenTrial]",
    waiting: Mapping[int, Sequence[float]],
) -> "tuple[optuna.Study, optuna.trial.FrozenTrial]":
    """Return a study with the same trials and the one to be drawn, which exists there alone.

    Samplers keep notes on the trial they draw for, so it must be stored; a trial that may yet be
    dropped as a repetition must not be stored in the record. The record's own trials are shared,
    not copied: ten thousand with their curves take seconds to copy, and samplers only read them.
    They see each configuration once: its further runs are left out.
    """
    import optuna
    from optuna.storages import InMemoryStorage
    from optuna.trial import FrozenTrial, TrialState

    own = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if ATTR_REPLICATE not in trial.user_attrs
    ]
    known = [*earlier, *(_taught(trial, waiting) for trial in own)]

    class Sketch(InMemoryStorage):
        def get_all_trials(
            self,
            study_id: int,
            deepcopy: bool = True,
            states: Container[TrialState] | None = None,
        ) -> list[FrozenTrial]:
            drawn = super().get_all_trials(study_id, deepcopy, states)
            return [*(t for t in known if states is None or t.state in states), *drawn]

    storage = Sketch()
    sketch = optuna.create_study(
        storage=storage,
        directions=study.directions,
        sampler=optuna.samplers.RandomSampler(),
        study_name="sketch",
    )
    trial = storage.get_trial(storage.create_new_trial(sketch._study_id))
    trial.number = 1 + max((each.number for each in own), default=-1)
    return sketch, trial


def as_trials(
    earlier: "Earlier", own: Sequence[TrialResult], space: SearchSpace, third: Third | None
) -> "list[optuna.trial.FrozenTrial]":
    """Return another study's trials as a sampler is shown them: complete, and older than all.

    Their latencies are brought to those here by the students measured in both. Scores that mean
    something else there (of other data, say) are brought to the median and deviation of those here,
    once there are a few.

    Args:
        earlier: What is handed over.
        own: The record's trials.
        space: The space.
        third: What the study keeps small beside the latency, if anything.
    """
    from optuna.trial import create_trial

    known = {t.architecture: t.latency_ms for t in own if t.latency_ms is not None}
    there = [(t.architecture, t.latency_ms) for t in earlier.trials if t.latency_ms is not None]
    factor = latency_factor(there, known)
    scored = [t.val_score for t in own if t.outcome is not None and t.val_score is not None]
    brought = _as_here([trial.score for trial in earlier.trials], scored)
    scores = [trial.score for trial in earlier.trials] if earlier.alike else brought
    shown = []
    for trial, score in zip(earlier.trials, scores, strict=True):
        small = [] if third is None else [getattr(trial, third)]
        if trial.latency_ms is None or None in small:
            continue
        params = dict(trial.params)
        shown.append(
            create_trial(
                params=params,
                distributions=distributions(space, params),
                values=[score, trial.latency_ms * factor, *small],
            )
        )
    for place, each in enumerate(shown):
        each.number = place - len(shown)
    return shown


def _as_here(there: Sequence[float], here: Sequence[float]) -> Sequence[float]:
    if len(here) < _ENOUGH_SCORES or len(there) < _ENOUGH_SCORES:
        return there
    wide = statistics.stdev(here) / (statistics.stdev(there) or 1.0)
    middle, centre = statistics.median(there), statistics.median(here)
    return [centre + (score - middle) * wide for score in there]


def reached_by_waiting(
    trials: Sequence[TrialResult], third: Third | None
) -> dict[int, tuple[float, ...]]:
    """Return the values that trials which wait at a rung have reached, by number."""
    found = {}
    for trial in trials:
        small = () if third is None else (third_value(trial, third),)
        values = (trial.val_score, trial.search_latency_ms, *small)
        known = tuple(value for value in values if value is not None)
        if trial.waits_at is not None and len(known) == len(values):
            found[trial.number] = known
    return found


def _taught(
    trial: "optuna.trial.FrozenTrial", waiting: Mapping[int, Sequence[float]]
) -> "optuna.trial.FrozenTrial":
    """Return a trial as a sampler can learn from it.

    One that breaks a constraint has no values to compare, so the record has it failed, which
    samplers pass over. Pruned, TPE counts it by how far off it is. One that waits at a rung is
    open, which TPE counts among the bad ones: it is shown with what it has reached, as stopped
    ones are.
    """
    from optuna.trial import TrialState

    if trial.number in waiting:
        seen = copy.copy(trial)
        seen.state, seen.values = TrialState.COMPLETE, list(waiting[trial.number])
        return seen
    if trial.state != TrialState.FAIL or not any(v > 0.0 for v in trial.constraints.values()):
        return trial
    seen = copy.copy(trial)
    seen.state = TrialState.PRUNED
    return seen


def _draw(
    study: "optuna.Study",
    space: SearchSpace,
    sampler: "optuna.samplers.BaseSampler",
    trial: "optuna.trial.FrozenTrial",
) -> dict[str, Value]:
    relative_space = sampler.infer_relative_search_space(study, trial)
    relative = sampler.sample_relative(study, trial, relative_space)
    params: dict[str, Value] = {}
    for parameter in space.parameters:
        if not space.is_active(parameter, params):
            continue
        if not parameter.searched:
            params[parameter.name] = parameter.default
            continue
        wanted = distribution(parameter)
        value = relative.get(parameter.name)
        if value is None or relative_space.get(parameter.name) != wanted:
            value = sampler.sample_independent(study, trial, parameter.name, wanted)
        params[parameter.name] = value
    return params
