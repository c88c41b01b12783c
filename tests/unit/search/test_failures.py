"""What the search learns from trials that failed."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from study.search.coding import Coding, Dimension
from study.search.failures import Failures
from study.search.latency_first import FIRST, LatencyFirst
from study.search.sampler import LatencyFirstSampler
from study.search.scale import Corner
from study.search.training import Params, Training

EPOCHS, TRIALS = 9, 48
CODING = Coding(tuple(Dimension(name, FloatDistribution(0, 1)) for name in ("width", "rate")))


def latency(params: Params) -> float:
    return 0.2 + 10 * float(params["width"]) ** 2


def curve(params: Params) -> tuple[float, ...]:
    end = 10 + 85 * (1 - math.exp(-3 * params["width"])) * (1 - (params["rate"] - 0.6) ** 2)
    shares = (1 - math.log(epoch) / math.log(EPOCHS) for epoch in range(1, EPOCHS + 1))
    return tuple(end - (end - 10) * share / 2 for share in shares)


def search() -> LatencyFirst:
    corner = Corner(10.0, 10.2, 100.0)
    return LatencyFirst(
        CODING, corner, first_rung=3, seed=0, latency_of=latency, shaping=("width",)
    )


def trained(number: int, params: Params) -> Training:
    return Training(number, params, curve(params), EPOCHS, latency(params))


def failed(number: int, params: Params, **facts: Any) -> Training:
    return Training(number, params, (), EPOCHS, None, failed=True, feasible=False, **facts)


def begun(fails: Callable[[Params], bool]) -> list[Training]:
    """What it begins, one after another, where some fail before they are measured."""
    asked, trainings = search(), []
    for number in range(TRIALS):
        params = asked.begin(trainings, lambda _: False)
        assert params is not None
        make = failed if fails(params) else trained
        trainings.append(make(number, dict(params)))
    return trainings


def test_where_some_failed_it_soon_begins_no_more() -> None:
    found = begun(lambda params: params["width"] > 0.5 and params["rate"] > 0.5)

    assert sum(each.failed for each in found[:FIRST]) >= 2
    late = found[FIRST:]
    assert sum(each.failed for each in late) < len(late) / 3
    # The front's other end, which does not fail, is still looked for.
    assert max(each.params["width"] for each in late if not each.failed) > 0.7


def test_who_failed_by_chance_closes_no_part_of_the_space() -> None:
    drawn = iter(np.random.default_rng(0).random(TRIALS) < 0.15)
    found = begun(lambda _: bool(next(drawn)))

    model = Failures(CODING)
    model.learn(found)
    likely = model.trained(np.random.default_rng(1).random((200, 2)))
    assert likely.min() > 0.4


def test_without_a_failure_all_are_as_likely_and_one_is_forgotten_with_its_study() -> None:
    model, genes = Failures(CODING), np.random.default_rng(0).random((20, 2))
    rest = [trained(n, {"width": n / 9, "rate": 0.5}) for n in range(9)]
    model.learn(rest)
    assert np.all(model.trained(genes) == 1.0)
    model.learn([*rest, failed(9, {"width": 1.0, "rate": 0.5})])
    assert np.all(model.trained(genes) < 1.0)
    model.learn(rest)
    assert np.all(model.trained(genes) == 1.0)


def test_near_a_failure_another_is_likelier_than_near_those_that_were_trained() -> None:
    model = Failures(CODING)
    rest = [trained(n, {"width": n / 20, "rate": 0.5}) for n in range(10)]
    model.learn([*rest, *[failed(10 + n, {"width": 1 - n / 20, "rate": 0.5}) for n in range(6)]])

    near, far = model.trained(np.array([[0.95, 0.5], [0.1, 0.5]]))
    assert near < 0.1
    assert far > 0.9


def test_who_tells_nothing_of_the_searched_tells_no_failure() -> None:
    model, genes = Failures(CODING), np.random.default_rng(0).random((20, 2))
    rest = [trained(n, {"width": n / 9, "rate": 0.5}) for n in range(9)]
    model.learn([*rest, failed(9, {"width": 1.0, "rate": 0.5}, telling=False)])

    assert np.all(model.trained(genes) == pytest.approx(1.0))


def test_an_optuna_study_leaves_the_region_where_its_trials_fail() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width, rate = trial.suggest_int("width", 1, 30), trial.suggest_float("rate", 0, 1)
        if width > 23:
            raise RuntimeError("no memory")
        return 1 - (1 - width / 30) ** 2 - 0.3 * (rate - 0.5) ** 2, float(width)

    sampler = LatencyFirstSampler(seed=0, best_score=1.0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=36, catch=(RuntimeError,))

    late = [trial.state for trial in study.trials[FIRST:]]
    assert sum(state == TrialState.FAIL for state in late) < len(late) / 4
