"""What the search learns from trials that failed."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
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


def search(seed: int = 0) -> LatencyFirst:
    corner = Corner(10.0, 10.2, 100.0)
    return LatencyFirst(
        CODING, corner, first_rung=3, seed=seed, latency_of=latency, shaping=("width",)
    )


def shown(trainings: list[Training]) -> Failures:
    model = Failures(CODING)
    told = sum(bool(each.scores) for each in trainings)
    model.learn(sum(each.failed for each in trainings), told, lambda: trainings)
    return model


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


def test_where_some_failed_it_soon_begins_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_a_corner(params: Params) -> bool:  # where the best ones would be
        return bool(params["width"] > 0.5 and params["rate"] > 0.5)

    found = begun(in_a_corner)
    assert sum(each.failed for each in found[:FIRST]) >= 2
    late = found[FIRST:]
    # The front's other end, which does not fail, is still looked for.
    assert max(each.params["width"] for each in late if not each.failed) > 0.7

    monkeypatch.setattr(Failures, "chances", lambda _, genes: np.ones(len(genes)))
    knowing_nothing = begun(in_a_corner)[FIRST:]
    assert sum(each.failed for each in late) < sum(each.failed for each in knowing_nothing) / 2


def test_who_failed_by_chance_closes_no_part_of_the_space() -> None:
    drawn = iter(np.random.default_rng(0).random(TRIALS) < 0.15)
    found = begun(lambda _: bool(next(drawn)))

    likely = shown(found).chances(np.random.default_rng(1).random((200, 2)))
    assert likely.min() > 0.4


def test_without_a_failure_all_are_as_likely_and_one_is_forgotten_with_its_study() -> None:
    model, genes = Failures(CODING), np.random.default_rng(0).random((20, 2))
    rest = [trained(n, {"width": n / 9, "rate": 0.5}) for n in range(9)]
    assert not model.learn(0, 9, lambda: rest)
    assert np.all(model.chances(genes) == 1.0)
    assert model.state() == {}
    assert model.learn(1, 9, lambda: [*rest, failed(9, {"width": 1.0, "rate": 0.5})])
    assert np.all(model.chances(genes) < 1.0)
    assert model.learn(0, 9, lambda: rest)
    assert np.all(model.chances(genes) == 1.0)


def test_near_a_failure_another_is_likelier_than_near_those_that_were_trained() -> None:
    rest = [trained(n, {"width": n / 20, "rate": 0.5}) for n in range(10)]
    gone = [failed(10 + n, {"width": 1 - n / 20, "rate": 0.5}) for n in range(6)]

    near, far = shown([*rest, *gone]).chances(np.array([[0.95, 0.5], [0.1, 0.5]]))
    assert near < 0.1
    assert far > 0.9


def test_one_failure_among_many_is_no_certainty_even_there() -> None:
    drawn = np.random.default_rng(0).random((149, 2))
    rest = [trained(n, {"width": w, "rate": r}) for n, (w, r) in enumerate(drawn.tolist())]

    likely = shown([*rest, failed(149, {"width": 0.5, "rate": 0.5})]).chances(
        np.array([[0.5, 0.5], [0.1, 0.9]])
    )
    assert likely[0] >= 0.01
    assert likely[1] > 0.9


def test_who_fails_after_some_epochs_is_told_anew() -> None:
    genes = np.random.default_rng(0).random((20, 2))
    before = [
        failed(0, {"width": 0.9, "rate": 0.1}),
        *[trained(n, {"width": n / 9, "rate": 0.5}) for n in range(1, 9)],
    ]
    model = shown(before)
    model.chances(genes)
    now = [*before[:1], replace(before[1], failed=True, feasible=False), *before[2:]]

    assert model.learn(2, 8, lambda: now)
    model.load_state({})
    fresh = shown(now)
    fresh.load_state(model.state())
    assert model.chances(genes) == pytest.approx(fresh.chances(genes), abs=1e-12)


def test_who_tells_nothing_of_the_searched_tells_no_failure() -> None:
    rest = [trained(n, {"width": n / 9, "rate": 0.5}) for n in range(9)]
    one = failed(9, {"width": 1.0, "rate": 0.5}, telling=False)

    assert np.all(shown([*rest, one]).chances(np.random.default_rng(0).random((20, 2))) == 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_that_is_begun_again_after_every_trial_proposes_the_same(seed: int) -> None:
    def proposals(*, again: bool) -> list[Params]:
        asked, trainings = search(seed), []
        for number in range(30):
            if again:
                state = asked.state()
                asked = search(seed)
                asked.load_state(json.loads(json.dumps(state)))
            params = asked.begin(trainings, lambda _: False)
            assert params is not None
            fails = params["width"] > 0.5 and params["rate"] > 0.5
            trainings.append((failed if fails else trained)(number, dict(params)))
        assert any(each.failed for each in trainings[FIRST:])
        return [each.params for each in trainings]

    assert proposals(again=True) == proposals(again=False)


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
