"""What is believed of trials that have not ended, and of those that were only just begun."""

from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from study.search.belief import Belief
from study.search.coding import Coding, Dimension
from study.search.gain import Steps
from study.search.latency_first import LatencyFirst
from study.search.scale import Corner
from study.search.training import Training

EPOCHS, FIRST_RUNG = 27, 3
CODING = Coding(
    (
        Dimension("width", IntDistribution(1, 64, log=True)),
        Dimension("rate", FloatDistribution(0.0, 1.0)),
    )
)


def training(number: int, width: int, rate: float, done: int) -> Training:
    end = 80.0 + 3.0 * np.log2(width) - 60.0 * (rate - 0.3) ** 2
    scores = tuple(end * (1 - 0.6 * 0.8**epoch) for epoch in range(1, done + 1))
    params = {"width": width, "rate": rate}
    runs = done == 0
    waits = 0 < done < EPOCHS
    return Training(number, params, scores, EPOCHS, float(width), waits=waits, runs=runs)


def begun(count: int) -> list[Training]:
    rng = np.random.default_rng(0)
    drawn = zip(rng.integers(1, 65, count), rng.random(count), strict=True)
    return [
        training(n, int(width), float(rate), FIRST_RUNG) for n, (width, rate) in enumerate(drawn)
    ]


def belief_of(trainings: list[Training]) -> Belief:
    corner = Corner(0.0, 65.0, 100.0, is_told=False)
    belief = Belief(CODING, corner, FIRST_RUNG, 0, None)
    belief.tally.update(trainings)
    assert belief.look_at(trainings)
    return belief


def expected_of(belief: Belief, one: Training) -> tuple[float, float]:
    means, deviations = belief.predict_new(belief.genes_of([one]), belief.ms_of([one]))
    return float(means[0]), float(deviations[0])


def test_who_waits_is_on_the_front_that_is_expected_and_not_on_the_one_there_is() -> None:
    trainings = begun(16)
    whole = training(16, 8, 0.9, EPOCHS)

    belief = belief_of([*trainings, whole])

    assert isinstance(belief.front, Steps)
    assert belief.front.edges.tolist() == [0.0, 8.0, 65.0]
    best = max(belief.ends(trainings))
    assert belief.expected_front.best[-1] == pytest.approx(best)
    assert belief.expected_front.area > 1.5 * belief.front.area

    stopped = [replace(each, waits=False) for each in trainings]
    for gone in (stopped, [replace(each, feasible=False) for each in trainings]):
        alone = belief_of([*gone, whole])
        assert isinstance(alone.expected_front, Steps)
        assert alone.expected_front.edges.tolist() == [0.0, 8.0, 65.0]


def test_who_tells_nothing_of_others_is_a_point_of_the_front_alone() -> None:
    trainings = begun(16)
    unlike = replace(training(16, 8, 0.9, EPOCHS), telling=False, scores=(99.0,) * EPOCHS)
    without, beside = belief_of(trainings), belief_of([*trainings, unlike])

    assert 16 not in {each.number for each in beside.told}
    assert isinstance(beside.front, Steps)
    assert beside.front.edges.tolist() == [0.0, 8.0, 65.0]
    assert isinstance(beside.expected_front, Steps)
    assert beside.expected_front.best[-1] == 99.0
    assert beside.expected_front.edges[-2] == 8.0
    new = training(17, 8, 0.9, 0)
    assert expected_of(beside, new) == pytest.approx(expected_of(without, new))


def test_what_was_just_begun_is_counted_on_to_end_as_expected() -> None:
    trainings = begun(16)
    new = training(16, 64, 0.31, 0)
    without, counted = belief_of(trainings), belief_of([*trainings, new])

    mean, deviation = expected_of(without, new)
    same, less = expected_of(counted, new)

    assert same == pytest.approx(mean)
    assert less < 0.8 * deviation
    end = float(without.scale.to_scores(np.array([mean]))[0])
    assert counted.expected_front.best[-1] >= 0.99 * end


def test_who_waits_is_sure_of_its_end_only_where_new_ones_are_judged() -> None:
    trainings = begun(16)
    belief = belief_of(trainings)

    _, own = belief.predict(trainings)
    _, beside = belief.predict_new(belief.genes_of(trainings), belief.ms_of(trainings))

    assert (beside < 0.5 * own).all()


def of_a_score(number: int, end: float, milliseconds: float, done: int) -> Training:
    scores = tuple(end * (1 - 0.6 * 0.8**epoch) for epoch in range(1, done + 1))
    params = {"width": int(milliseconds), "rate": 0.3}
    waits = done < EPOCHS
    return Training(number, params, scores, EPOCHS, milliseconds, waits=waits)


@pytest.mark.parametrize(("is_told", "goes_on"), [(True, True), (False, False)])
def test_the_fastest_is_worth_going_on_with_though_all_others_score_more(
    is_told: bool, goes_on: bool
) -> None:
    large = [of_a_score(n, 80.0 + n, 20.0 + 3 * n, EPOCHS if n < 6 else 3) for n in range(12)]
    small = [of_a_score(12, 45.0, 1.0, 3), of_a_score(13, 44.0, 2.0, 3)]
    corner = Corner(10.0, 65.0, 100.0, is_told=is_told)
    search = LatencyFirst(
        CODING, corner, first_rung=3, seed=0, latency_of=lambda params: float(params["width"])
    )

    assert (search.most_promising([*large, *small], 1e-3) in (12, 13)) is goes_on
