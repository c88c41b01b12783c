"""Which parameters matter for each objective, by conditional PED-ANOVA as Optuna has it.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces" (IJCAI 2023), with its extension to parameters that do not always apply. It
draws no random numbers. How much of a share is chance is told by shuffling the objective: whole
networks, as the exits of one share its luck, and then the exits of each.
"""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.record import StudyResults
from analysis.results import TrialResult
from analysis.stored_plan import Objective, Parameter

if TYPE_CHECKING:
    import optuna

# The best quarter of fewer is fewer than five, too few to tell anything. Exits of one network count
# as one.
FEWEST_STUDENTS = 20
BEST_SHARE = 0.25
_SHUFFLES = 10  # so a share above all of them would be chance in one case of eleven
_SEED = 20_250_304


class Importance(NamedTuple):
    """Of one objective: the share of each parameter, and what chance alone gave it at most.

    Shares add to one. `chance` is the largest of ten shuffles of the objective, in the same unit:
    a share that is no larger says nothing.
    """

    objective: Objective
    shares: Mapping[str, float]
    chance: Mapping[str, float]


class Importances(NamedTuple):
    """The importances for every objective; parameters are in order of their mean.

    Over so many students, which so many networks were trained for.
    """

    students: int
    networks: int
    parameters: tuple[str, ...]
    objectives: tuple[Importance, ...]


def importances(results: StudyResults) -> Importances | None:
    """How much each parameter has to do with reaching the best quarter in an objective.

    Over the configurations that ran to their end, without the controls that were chosen by their
    twins. None of fewer networks than `FEWEST_STUDENTS`, or where no parameter varied.
    """
    trials = [
        trial
        for trial in results.configurations
        if trial.status == "complete" and not _has_a_twin_s_values(trial)
    ]
    trials.sort(key=lambda trial: (trial.network, trial.number))  # exits stand beside each other
    objectives = results.plan.space.objectives
    values = {
        objective.key: [_value(results, trial, objective) for trial in trials]
        for objective in objectives
    }
    whole = [all(values[o.key][i] is not None for o in objectives) for i in range(len(trials))]
    trials = [trial for trial, known in zip(trials, whole, strict=True) if known]
    varied = [p for p in results.plan.space.parameters if _varies(p, trials)]
    networks = len({trial.network for trial in trials})
    if networks < FEWEST_STUDENTS or not varied:
        return None
    found = []
    for objective in objectives:
        numbers = [
            value for value, known in zip(values[objective.key], whole, strict=True)
            if known and value is not None
        ]  # fmt: skip
        found.append(_importance(objective, varied, trials, numbers))
    names = [parameter.name for parameter in varied]
    mean = {name: sum(each.shares.get(name, 0.0) for each in found) for name in names}
    names.sort(key=lambda name: -mean[name])
    return Importances(len(trials), networks, tuple(names), tuple(found))


def _has_a_twin_s_values(trial: TrialResult) -> bool:
    """Whether it is a control by intent: a seed point, or trained for a student of the front."""
    return trial.source == "control" and (trial.label is not None or not trial.searched)


def _value(results: StudyResults, trial: TrialResult, objective: Objective) -> float | None:
    if objective.key == "val_score":
        return results.val_score(trial)
    if objective.key == "latency_ms":
        return trial.latency_ms
    return None if trial.model is None else float(getattr(trial.model, objective.key))


def _varies(parameter: Parameter, trials: Sequence[TrialResult]) -> bool:
    told = {str(t.params[parameter.name]) for t in trials if parameter.name in t.params}
    return len(told) > 1


def _importance(
    objective: Objective,
    varied: Sequence[Parameter],
    trials: Sequence[TrialResult],
    values: Sequence[float],
) -> Importance:
    told = _evaluated(objective, varied, trials, values)
    draw = random.Random(_SEED)
    largest = dict.fromkeys(told, 0.0)
    exits: dict[int, list[float]] = {}
    for trial, value in zip(trials, values, strict=True):
        exits.setdefault(trial.network, []).append(value)
    shuffled = list(exits.values())
    for _ in range(_SHUFFLES):
        draw.shuffle(shuffled)
        for of_network in shuffled:
            draw.shuffle(of_network)
        by_chance = _evaluated(objective, varied, trials, [v for each in shuffled for v in each])
        largest = {name: max(largest[name], by_chance.get(name, 0.0)) for name in largest}
    whole = sum(told.values()) or 1.0
    return Importance(
        objective,
        {name: round(value / whole, 4) for name, value in told.items()},
        {name: round(value / whole, 4) for name, value in largest.items()},
    )


def _evaluated(
    objective: Objective,
    varied: Sequence[Parameter],
    trials: Sequence[TrialResult],
    values: Sequence[float],
) -> dict[str, float]:
    """What PED-ANOVA says of each parameter, on a scale of its own."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction=objective.direction)
        study.add_trials(_frozen(varied, trials, values))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # equal values, of which all shares are equal
            evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
            return evaluator.evaluate(study, params=[parameter.name for parameter in varied])
    finally:
        optuna.logging.set_verbosity(verbosity)


def _frozen(
    varied: Sequence[Parameter], trials: Sequence[TrialResult], values: Sequence[float]
) -> "list[optuna.trial.FrozenTrial]":
    from optuna.trial import create_trial

    ranges = {p.name: _distribution(p, [t.params.get(p.name) for t in trials]) for p in varied}
    made = []
    for trial, value in zip(trials, values, strict=True):
        params = {name: trial.params[name] for name in ranges if name in trial.params}
        made.append(
            create_trial(
                value=value,
                params=params,
                distributions={name: ranges[name] for name in params},
            )
        )
    return made


def _distribution(
    parameter: Parameter, values: Sequence[Any]
) -> "optuna.distributions.BaseDistribution":
    """The parameter's range, widened to what presets tried beyond it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    tried = [value for value in values if value is not None]
    if parameter.choices is not None:
        return CategoricalDistribution(tuple(dict.fromkeys([*parameter.choices, *tried])))
    low = min([*tried, *([] if parameter.low is None else [parameter.low])])
    high = max([*tried, *([] if parameter.high is None else [parameter.high])])
    log = bool(parameter.log) and low > 0
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)
