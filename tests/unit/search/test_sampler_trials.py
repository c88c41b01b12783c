"""What the sampler makes of trials that are not as usual, and of what it was not told."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.search.candidates import apart
from study.search.coding import Array
from study.search.feasibility import finite
from study.search.sampler import LatencyFirstSampler, report_score
from study.search.training import Limits, Training

EPOCHS = 3
RANGE = range(1, 30, 3)  # widths that are seen
SPACE: dict[str, BaseDistribution] = {
    "width": IntDistribution(1, 64),
    "rate": FloatDistribution(0.0, 1.0),
}
optuna.logging.set_verbosity(optuna.logging.ERROR)


def latency(params: Mapping[str, Any]) -> float:
    return float(params["width"])


def make(**settings: Any) -> LatencyFirstSampler:
    shown = {"latency_of": latency, "shaping": ("width",), "search_space": SPACE, "seed": 0}
    return LatencyFirstSampler(**{**shown, **settings})


def begun(sampler: LatencyFirstSampler, costs: int = 1) -> optuna.Study:
    directions = ["maximize", *["minimize"] * costs]
    return optuna.create_study(directions=directions, sampler=sampler)


def ended(
    width: int, *values: float, constraints: Mapping[str, float] | None = None, **known: float
) -> FrozenTrial:
    return create_trial(
        params={"width": width, "rate": 0.5},
        distributions=SPACE,
        values=values,
        constraints=None if constraints is None else dict(constraints),
        user_attrs=known,
    )


def widths(study: optuna.Study, count: int = 8) -> list[int]:
    """Widths that are asked for, each told before the next."""
    found = []
    for _ in range(count):
        trial = study.ask(SPACE)
        found.append(trial.params["width"])
        costs = [latency(trial.params)] * (len(study.directions) - 1)
        study.tell(trial, [score(trial.params["width"]), *costs])
    return found


def score(width: int) -> float:
    return 50.0 + width / 2


def shown(sampler: LatencyFirstSampler, trial: FrozenTrial) -> Training:
    return sampler._training(trial, trial.params, has_third=False)


# Figures that are no numbers


@pytest.mark.parametrize("best", [100.0, math.inf])
@pytest.mark.parametrize(
    "odd",
    [(math.inf, 5.0), (-math.inf, 5.0), (60.0, math.inf), (60.0, 0.0), (60.0, -1.0)],
    ids=str,
)
def test_one_trial_of_an_impossible_figure_stops_nothing(
    odd: tuple[float, float], best: float
) -> None:
    study = begun(make(best_score=best, slowest=65.0))
    study.add_trials([ended(width, score(width), latency({"width": width})) for width in RANGE])
    study.add_trial(ended(7, *odd))

    assert max(widths(study, 4)) > max(RANGE)


@pytest.mark.parametrize("third", [math.inf, 0.0])
def test_nor_does_an_impossible_third(third: float) -> None:
    study = begun(make(third_of=latency, slowest=65.0), costs=2)
    study.add_trials([ended(width, score(width), width, width) for width in RANGE])
    study.add_trial(ended(7, 60.0, 7.0, third))

    assert len(set(widths(study, 3))) == 3


def test_a_latency_that_is_computed_to_be_impossible_is_guessed() -> None:
    def of_some(params: Mapping[str, Any]) -> float:
        return 0.0 if params["width"] % 2 else latency(params)

    study = begun(make(latency_of=of_some, slowest=65.0))
    study.add_trials([ended(width, score(width), width) for width in RANGE])

    assert max(widths(study, 4)) > max(RANGE)


@pytest.mark.parametrize("violation", [math.inf, -math.inf, 1e200])
def test_an_infinite_violation_is_a_violation_like_the_largest(violation: float) -> None:
    study = begun(make(slowest=65.0))
    for width in RANGE:
        study.add_trial(ended(width, score(width), width, constraints={"c": width - 40.0}))
    study.add_trial(ended(60, 80.0, 60.0, constraints={"c": violation}))

    assert len(set(widths(study, 3))) == 3
    assert shown(make(), study.trials[len(RANGE)]).feasible == (violation == -math.inf)


def test_a_violation_that_is_no_number_counts_as_the_largest() -> None:
    found = finite(np.array([-2.0, 0.5, math.nan, -math.inf]))

    assert found.tolist() == [-2.0, 0.5, 2.0, -2.0]
    assert finite(np.array([math.inf])).tolist() == [1.0]


# Parameters that a figure takes and that are not varied


def of_depth(params: Mapping[str, Any]) -> float:
    return float(params["width"] * params["depth"])


@pytest.mark.parametrize("shaping", [None, ("width", "depth")])
def test_a_parameter_of_one_value_is_shown_to_what_computes_latencies(
    shaping: Sequence[str] | None,
) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        trial.suggest_int("depth", 3, 3)
        width = trial.suggest_int("width", 1, 64)
        report_score(trial, 1, score(width))
        if trial.number % 3 == 1:
            raise optuna.TrialPruned
        return score(width), of_depth(trial.params)

    limits = Limits(slowest_ms=48.0)
    sampler = make(latency_of=of_depth, shaping=shaping, search_space=None, limits=limits)
    study = begun(sampler)
    study.optimize(objective, n_trials=14)

    assert all(trial.params["width"] <= 16 for trial in study.trials[1:])
    assert shown(sampler, study.trials[1]).latency_ms == of_depth(study.trials[1].params)


@pytest.mark.parametrize("shaping", [None, ("width", "depth")])
def test_a_latency_that_takes_what_is_not_drawn_yet_is_learnt(
    shaping: Sequence[str] | None,
) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 64)
        depth = trial.suggest_int("depth", 1, 4) if trial.number % 2 else 2
        value = float(width * depth)
        return score(width), value

    sampler = make(latency_of=of_depth, shaping=shaping, search_space=None)
    study = begun(sampler)
    older = {"width": IntDistribution(1, 64)}
    study.add_trial(create_trial(params={"width": 5}, distributions=older, values=[52.0, 10.0]))
    pruned = create_trial(params={"width": 5}, distributions=older, state=TrialState.PRUNED)
    study.add_trial(pruned)
    study.optimize(objective, n_trials=12)

    assert len({trial.params["width"] for trial in study.trials}) > 6
    assert shown(sampler, study.trials[0]).latency_ms == 10.0
    assert shown(sampler, study.trials[1]).latency_ms is None


def test_what_is_looked_up_beside_the_shaping_parameters_is_a_mistake_that_shows() -> None:
    study = begun(make(latency_of=of_depth))
    study.add_trials([ended(width, score(width), width) for width in RANGE])

    with pytest.raises(KeyError, match="depth"):
        study.ask(SPACE)


# A corner that was not given


@pytest.mark.parametrize("latency_of", [latency, None], ids=["computed", "learnt"])
def test_without_a_slowest_slower_ones_than_any_so_far_are_tried(latency_of: Any) -> None:
    study = begun(make(latency_of=latency_of))
    study.add_trials([ended(width, score(width), width) for width in RANGE])

    assert sum(width > max(RANGE) for width in widths(study)) >= 4


def test_without_a_largest_larger_ones_than_any_so_far_are_tried() -> None:
    study = begun(make(third_of=latency, slowest=65.0), costs=2)
    study.add_trials([ended(width, score(width), width, width) for width in RANGE])

    assert sum(width > max(RANGE) for width in widths(study)) >= 4


# Trials that are shown again and again


def test_trials_without_what_is_varied_keep_nothing_away_from_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept_away_from: list[float] = []

    def spied(genes: Array, others: Array, radius: float) -> Array:
        kept_away_from.extend(others[:, 0].tolist())
        return apart(genes, others, radius)

    monkeypatch.setattr("study.search.latency_first.apart", spied)
    rate: dict[str, BaseDistribution] = {"rate": FloatDistribution(0.0, 1.0)}
    other: dict[str, BaseDistribution] = {"width": IntDistribution(1, 64)}
    study = begun(LatencyFirstSampler(search_space=rate, floor=0.0, best_score=100.0, seed=0))
    study.add_trial(create_trial(params={"width": 5}, distributions=other, values=[50.0, 5.0]))
    places = np.linspace(0.0, 1.0, 20).tolist()
    for place in places:
        values = [90.0 - 100.0 * (place - 0.4) ** 2, 5.0]
        study.add_trial(create_trial(params={"rate": place}, distributions=rate, values=values))

    study.ask(rate)

    assert set(kept_away_from) == set(places)


def test_what_has_ended_is_read_once_and_once_more_of_another_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampler = make(slowest=65.0)
    read: list[int] = []
    training = sampler._training

    def counted(trial: FrozenTrial, *args: Any, **settings: Any) -> Training:
        read.append(trial.number)
        return training(trial, *args, **settings)

    monkeypatch.setattr(sampler, "_training", counted)
    for study in (begun(sampler), begun(sampler)):
        read.clear()
        study.add_trials([ended(width, score(width), width) for width in RANGE])
        widths(study, 3)
        assert sorted(read) == list(range(len(RANGE) + 2))


def test_a_latency_of_what_was_pruned_may_become_known_later() -> None:
    known: dict[int, float] = {}
    sampler = make(latency_of=lambda params: known.get(params["width"]), slowest=65.0)
    study = begun(sampler)
    study.add_trials([ended(width, score(width), width) for width in RANGE])
    study.add_trial(with_curve(60.0, state=TrialState.PRUNED, values=None))

    study.ask(SPACE)
    assert len(RANGE) not in sampler._finished
    known[5] = 7.0
    study.ask(SPACE)

    assert sampler._finished[len(RANGE)].latency_ms == 7.0


# Scores


def with_curve(*scores: float, state: TrialState, values: Sequence[float] | None) -> FrozenTrial:
    return create_trial(
        state=state,
        params={"width": 5, "rate": 0.5},
        distributions=SPACE,
        values=values,
        user_attrs={f"score:{epoch:04d}": value for epoch, value in enumerate(scores, start=1)},
    )


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ((10.0, 30.0, 20.0), (10.0, 30.0, 30.0)),
        ((10.0,), (10.0, 30.0, 30.0)),
        ((), (30.0, 30.0, 30.0)),
    ],
)
def test_a_complete_trial_ends_at_what_it_returned(
    told: Sequence[float], expected: Sequence[float]
) -> None:
    trial = with_curve(*told, state=TrialState.COMPLETE, values=[30.0, 5.0])

    seen = shown(make(epochs=EPOCHS), trial)

    assert seen.scores == expected
    assert seen.feasible


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_what_was_pruned_or_failed_is_on_no_front_and_still_teaches(state: TrialState) -> None:
    trial = with_curve(10.0, 30.0, 20.0, state=state, values=None)

    seen = shown(make(epochs=EPOCHS), trial)

    assert seen.scores == (10.0, 30.0, 20.0)
    assert not seen.feasible


def test_an_epoch_beyond_the_last_is_refused_with_the_mend() -> None:
    study = begun(make(epochs=EPOCHS))
    trial = study.ask(SPACE)
    for epoch in range(1, EPOCHS + 1):
        report_score(trial, epoch, 50.0)

    with pytest.raises(ValueError, match=r"trial 0 reports epoch 4, .* given epochs=3; give it"):
        report_score(trial, EPOCHS + 1, 50.0)

    study.tell(trial, state=TrialState.FAIL)
    study.ask(SPACE)  # nothing of it was kept
    study.add_trial(with_curve(*[50.0] * 4, state=TrialState.COMPLETE, values=[50.0, 5.0]))
    with pytest.raises(ValueError, match="trial 2 reports epoch 4"):
        study.ask(SPACE)


@pytest.mark.parametrize("epoch", [0, -1])
def test_an_epoch_before_the_first_is_refused_by_name(epoch: int) -> None:
    trial = begun(make(epochs=EPOCHS)).ask(SPACE)

    for each in (trial, optuna.trial.FixedTrial({"width": 5})):
        with pytest.raises(ValueError, match=f"trial 0 reports epoch {epoch}; epochs are counted"):
            report_score(each, epoch, 50.0)  # type: ignore[arg-type]

    assert trial.user_attrs == {}


def test_one_that_was_kept_by_earlier_releases_is_no_epoch() -> None:
    trial = create_trial(
        state=TrialState.PRUNED,
        params={"width": 5, "rate": 0.5},
        distributions=SPACE,
        user_attrs={"score:0000": 9.0, "score:0001": 10.0},
    )

    assert shown(make(epochs=EPOCHS), trial).scores == (10.0,)


def test_an_objective_that_reports_can_be_tried_with_fixed_values() -> None:
    trial = optuna.trial.FixedTrial({"width": 5})

    report_score(trial, 7, 50.0)  # type: ignore[arg-type]

    assert trial.user_attrs == {"score:0007": 50.0}
