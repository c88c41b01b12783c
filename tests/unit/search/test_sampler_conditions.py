"""Parameters that only some trials have, and the first trials, of which nothing is known yet."""

import itertools
import json
import math
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler

from study.search.coding import all_of
from study.search.relative import PROPOSED, RelativeSpace
from study.search.sampler import LatencyFirstSampler, report_score

optuna.logging.set_verbosity(optuna.logging.ERROR)
METHODS = ("none", "taught")
CONDITIONS = {"temperature": ("method", ("taught",))}
SPACE: dict[str, BaseDistribution] = {
    "width": IntDistribution(1, 64, log=True),
    "method": CategoricalDistribution(METHODS),
    "temperature": FloatDistribution(1.0, 20.0, log=True),
}


def latency(params: Mapping[str, Any]) -> float:
    return float(params["width"])


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    params: dict[str, Any] = {
        "width": trial.suggest_int("width", 1, 64, log=True),
        "method": trial.suggest_categorical("method", METHODS),
    }
    if params["method"] == "taught":
        params["temperature"] = trial.suggest_float("temperature", 1.0, 20.0, log=True)
    return params


def objective(trial: optuna.Trial) -> tuple[float, float]:
    params = suggest(trial)
    score = 40.0 + 6.0 * math.log2(params["width"])
    if params["method"] == "taught":  # worth it near 3 only
        score += 20.0 - 30.0 * abs(math.log(params["temperature"] / 3.0))
    return score, latency(params)


def make(**settings: Any) -> LatencyFirstSampler:
    return LatencyFirstSampler(latency, **{"shaping": ("width",), "seed": 0, **settings})


def begun(sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def studied(
    sampler: BaseSampler,
    count: int,
    function: Callable[[optuna.Trial], Any] = objective,
    jobs: int = 1,
) -> optuna.Study:
    study = begun(sampler)
    study.optimize(function, n_trials=count, n_jobs=jobs)
    return study


def proposed(trial: optuna.trial.FrozenTrial) -> Any:
    return trial.system_attrs.get(PROPOSED)


def distinct(study: optuna.Study) -> int:
    return len({tuple(sorted(trial.params.items())) for trial in study.trials})


# Conditions


@pytest.mark.parametrize("space", [None, SPACE], ids=["inferred", "given"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_parameter_of_one_branch_is_learnt_and_the_better_branch_taken(
    seed: int, space: Mapping[str, BaseDistribution] | None
) -> None:
    study = studied(make(conditions=CONDITIONS, search_space=space, seed=seed), 40)

    late = [trial.params for trial in study.trials[24:]]
    taught = [params["temperature"] for params in late if params["method"] == "taught"]
    assert len(taught) >= 14
    assert np.mean([abs(math.log(each / 3.0)) for each in taught]) < 0.35


def test_it_is_proposed_where_it_applies_and_nowhere_else() -> None:
    study = studied(make(conditions=CONDITIONS, search_space=SPACE), 24)

    methods = set()
    for trial in study.trials:
        assert json.loads(proposed(trial)).keys() == trial.params.keys()
        methods.add(trial.params["method"])
    assert methods == set(METHODS)


def test_without_a_search_space_it_is_once_a_trial_that_has_it_has_finished() -> None:
    study = studied(make(conditions=CONDITIONS), 20)

    first = next(t.number for t in study.trials if t.params["method"] == "taught")
    later = study.trials[first + 1 :]
    assert len(later) > 10
    assert all(json.loads(proposed(t)).keys() == t.params.keys() for t in later)


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_finite_space_of_branches_is_tried_once_and_then_the_study_stops(jobs: int) -> None:
    # none with 3 widths, taught with 3 widths of 4 temperatures, 2 of which have 2 shapes each
    conditions = {"temperature": ("method", ("taught",)), "shape": ("temperature", (1, 2))}
    space: dict[str, BaseDistribution] = {
        "width": IntDistribution(1, 3),
        "shape": CategoricalDistribution(["flat", "steep"]),
        "method": CategoricalDistribution(METHODS),
        "temperature": CategoricalDistribution([1, 2, 4, 8]),
    }

    def end(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 3)
        if trial.suggest_categorical("method", METHODS) == "taught":
            temperature = trial.suggest_categorical("temperature", [1, 2, 4, 8])
            if temperature in (1, 2):
                trial.suggest_categorical("shape", ["flat", "steep"])
        return 50.0 + width, float(width)

    study = begun(make(conditions=conditions, search_space=space))
    study.optimize(end, n_trials=21, n_jobs=jobs)
    assert distinct(study) == 3 + 3 * (2 + 2 * 2) == 21
    with pytest.warns(UserWarning, match="all 21 configurations of the search space"):
        study.optimize(end, n_trials=5)
    assert len(study.trials) == 22


def test_what_shapes_a_student_may_have_a_condition() -> None:
    def of_both(params: Mapping[str, Any]) -> float:
        return float(params["width"] * (params["more"] if params["deep"] else 1))

    def end(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 16)
        if trial.suggest_categorical("deep", [False, True]):
            trial.suggest_int("more", 2, 4)
        report_score(trial, 1, 50.0 + of_both(trial.params))
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        return 50.0 + width, of_both(trial.params)

    seen: list[Mapping[str, Any]] = []

    def known(params: Mapping[str, Any]) -> float:
        seen.append(params)
        return of_both(params)

    sampler = LatencyFirstSampler(
        known, shaping=("width", "deep", "more"), conditions={"more": ("deep", (True,))}, seed=0
    )
    study = studied(sampler, 24, end)

    assert {params["deep"] for params in seen if "more" not in params} == {False}
    assert all(params["deep"] for params in seen if "more" in params)
    assert {trial.params["deep"] for trial in study.trials[12:]} == {False, True}


def test_a_parent_of_one_value_is_as_if_there_was_no_condition() -> None:
    space = {**SPACE, "method": CategoricalDistribution(["taught"])}
    relative = RelativeSpace(space, CONDITIONS)

    varied = relative.find(begun(RandomSampler()))
    assert set(varied) == {"width", "temperature"}
    assert [each.parent for each in relative.coding_of(varied).dimensions] == [None, None]

    other = RelativeSpace({**space, "method": CategoricalDistribution(METHODS[:1])}, None)
    assert set(other.find(begun(RandomSampler()))) == {"width", "temperature"}


def test_of_one_value_it_is_known_where_it_applies() -> None:
    relative = RelativeSpace({**SPACE, "temperature": IntDistribution(4, 4)}, CONDITIONS)

    assert set(relative.find(begun(RandomSampler()))) == {"width", "method"}
    assert relative.completed({"method": "none"}) == {"method": "none"}
    assert relative.completed({"method": "taught"}) == {"method": "taught", "temperature": 4}


def test_a_parameter_that_a_trial_lacks_where_it_applies_is_drawn_independently() -> None:
    def own(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 64, log=True)
        method = trial.suggest_categorical("method", METHODS)
        if method == "taught" and trial.number > 0:
            trial.suggest_float("temperature", 1.0, 20.0, log=True)
        return 50.0, float(width)

    sampler = make(conditions=CONDITIONS)
    study = begun(sampler)
    study.enqueue_trial({"method": "taught"})
    study.optimize(own, n_trials=8)

    assert set(sampler._relative.find(study)) == {"width", "method"}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("method", METHODS)
def test_where_another_sampler_fixes_the_parent_the_rest_is_still_searched(method: str) -> None:
    base = make(conditions=CONDITIONS, search_space=SPACE)
    study = studied(PartialFixedSampler({"method": method}, base), 30)

    assert {trial.params["method"] for trial in study.trials} == {method}
    assert len(base._finished) == 29  # all that had ended were learnt from
    if method == "taught":
        late = [trial.params["temperature"] for trial in study.trials[20:]]
        assert np.median([abs(math.log(each / 3.0)) for each in late]) < 0.35


def test_a_study_of_branches_goes_on_alike_from_a_sampler_that_was_pickled() -> None:
    study = studied(make(conditions=CONDITIONS), 20)
    copy = pickle.loads(pickle.dumps(study))

    for each in (study, copy):
        each.optimize(objective, n_trials=4)

    assert [t.params for t in copy.trials] == [t.params for t in study.trials]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"temperature": ("metod", ("taught",))}, "'metod', which search_space has not"),
        ({"temprature": ("method", ("taught",))}, "'temprature', which search_space has not"),
        ({"temperature": ("width", (4,))}, "'width', which is no categorical parameter"),
        ({"temperature": ("method", ("tought",))}, r"'tought', which is none of its choices"),
        ({"temperature": ("method", "taught")}, r"such as \('method', \('taught',\)\), and not"),
        ({"temperature": ("method", ())}, "and the values of that under which it applies"),
        ({"temperature": "method"}, "is to be the name of another parameter"),
        ({"method": ("method", ("none",))}, "in a circle: method depends on method"),
        (
            {"method": ("temperature", (1.0,)), "temperature": ("method", ("taught",))},
            "in a circle: method depends on temperature depends on method",
        ),
    ],
)
def test_a_condition_that_cannot_be_is_refused(conditions: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(conditions=conditions, search_space=SPACE)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (("metod", ("taught",)), "depend on 'metod', which no trial has"),
        (("width", (4,)), "'width', which is no categorical parameter"),
        (("method", ("tought",)), "'tought', which is none of its choices"),
    ],
)
def test_without_a_search_space_it_is_as_soon_as_trials_show_it(condition: Any, said: str) -> None:
    study = begun(make(conditions={"temperature": condition}))
    study.enqueue_trial({"method": "taught"})

    with pytest.raises(ValueError, match=said):
        study.optimize(objective, n_trials=2)


def test_many_configurations_are_not_listed() -> None:
    wide = {"method": CategoricalDistribution(METHODS), "temperature": IntDistribution(1, 2000)}
    relative = RelativeSpace(wide, CONDITIONS)
    assert all_of(relative.coding_of(wide)) is None

    wide["temperature"] = IntDistribution(1, 1999)
    assert len(all_of(relative.coding_of(wide)) or ()) == 2000


# The first trials


def small(trial: optuna.Trial) -> tuple[float, float]:
    width = trial.suggest_categorical("width", [1, 2, 4, 8])
    trial.suggest_int("method", 0, 2)
    return 50.0 + width, float(width)


@pytest.mark.parametrize("seed", range(4))
def test_before_any_trial_has_finished_those_asked_for_differ(seed: int) -> None:
    study = begun(make(seed=seed))

    for trial in [study.ask() for _ in range(12)]:
        small(trial)

    assert distinct(study) == 12


@pytest.mark.parametrize("seed", range(4))
def test_so_do_those_that_threads_draw_at_once(seed: int) -> None:
    # Of the first four each has drawn a width before anybody draws a method, or has finished.
    together = threading.Barrier(4)

    def end(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_categorical("width", [1, 2, 4, 8])
        if trial.number < 4:
            together.wait(10.0)
        trial.suggest_int("method", 0, 2)
        if trial.number < 4:
            together.wait(10.0)
        return 50.0 + width, float(width)

    assert distinct(studied(make(seed=seed), 12, end, jobs=4)) == 12


def test_more_of_them_than_there_are_configurations_are_drawn_all_the_same() -> None:
    study = begun(make())

    for trial in [study.ask() for _ in range(30)]:
        small(trial)

    drawn = [tuple(trial.params.values()) for trial in study.trials]
    assert {drawn.count(cell) for cell in itertools.product([1, 2, 4, 8], range(3))} == {2, 3}


def test_what_draws_independently_by_itself_is_left_to() -> None:
    study, plain = (begun(sampler) for sampler in (
        make(independent_sampler=RandomSampler(seed=5)), RandomSampler(seed=5)
    ))  # fmt: skip

    for each in (study, plain):
        for trial in [each.ask() for _ in range(8)]:
            small(trial)

    assert [t.params for t in study.trials] == [t.params for t in plain.trials]
