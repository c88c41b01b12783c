"""What another study learnt: trusted as far as it holds here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.search.architecture import ArchitectureFigure
from study.search.coding import Coding, Dimension
from study.search.earlier import EarlierStudy, EarlierTraining, Trust
from study.search.latency_first import LatencyFirst
from study.search.scale import Corner
from study.search.training import Limits, Training

EPOCHS = 27
UNLIMITED = Limits()
CODING = Coding(
    (
        Dimension("width", IntDistribution(1, 64, log=True)),
        Dimension("rate", FloatDistribution(0.0, 1.0)),
        Dimension("method", CategoricalDistribution(["none", "taught"])),
    )
)
Params = Mapping[str, Any]


def end(params: Params, best_rate: float = 0.3) -> float:
    best = 80.0 + 3.0 * np.log2(params["width"]) - (0.0 if params["method"] == "taught" else 4.0)
    return float(best - 60.0 * (params["rate"] - best_rate) ** 2)


def there(
    score: Callable[[Params], float] = end, count: int = 60, slower: float = 1.0
) -> list[EarlierTraining]:
    """Trials of a study of the same space, a third of them trained to their end."""
    genes = np.random.default_rng(5).random((count, 3))
    found = []
    for number, row in enumerate(genes):
        params = CODING.params_of(row)
        epochs = EPOCHS if number % 3 == 0 else 3
        scores = [(e, score(params) * (1 - 0.6 * 0.8**e)) for e in range(1, epochs + 1)]
        latency = params["width"] * slower
        found.append(EarlierTraining(params, tuple(scores), EPOCHS, float(latency)))
    return found


def test_where_what_is_expected_says_nothing_the_level_is_that_of_what_was_seen() -> None:
    expected = np.linspace(-2.0, 2.0, 40)
    values = 0.08 - 0.4 * expected
    trust = Trust.fitted(expected + 3.0, values, np.arange(40))
    assert trust.a == 0.0
    assert trust.b == pytest.approx(0.08, abs=0.01)


def test_of_many_trainings_the_worst_and_the_best_are_learnt_from() -> None:
    trainings = [
        EarlierTraining({"width": 1 + n % 64, "rate": 0.5, "method": "none"}, ((27, float(n)),), 27)
        for n in range(300)
    ]
    values = EarlierStudy(CODING, trainings, 1000.0, 0).spread
    assert (values[0].scores[-1][1], values[-1].scores[-1][1]) == (0.0, 299.0)
    assert len(values) == 150


def search(earlier: Sequence[EarlierTraining] | None, limits: Limits = UNLIMITED) -> LatencyFirst:
    handed = None if earlier is None else EarlierStudy(CODING, earlier, 100.0, 0)
    return LatencyFirst(
        CODING,
        Corner(0.0, 65.0, 100.0),
        first_rung=3,
        seed=0,
        latency_of=lambda params: float(params["width"]),
        shaping=("width",),
        earlier=handed,
        limits=limits,
    )


def begun(found: LatencyFirst, count: int) -> list[Training]:
    """So many trials, each begun knowing the ones before, and trained to its end."""
    trainings: list[Training] = []
    for number in range(count):
        params = found.begin(trainings, lambda params: params in [t.params for t in trainings])
        assert params is not None
        scores = tuple(end(params) * (1 - 0.6 * 0.8**e) for e in range(1, EPOCHS + 1))
        trainings.append(Training(number, params, scores, EPOCHS, float(params["width"])))
    return trainings


def area(trainings: Sequence[Training]) -> float:
    reached, covered = 0.0, 0.0
    for each in sorted(trainings, key=lambda t: (t.latency_ms, -t.scores[-1])):
        covered += max(0.0, each.scores[-1] - reached) * (65.0 - float(each.latency_ms or 0.0))
        reached = max(reached, each.scores[-1])
    return covered


def test_what_was_learnt_there_saves_trainings_here() -> None:
    cold, warm = begun(search(None), 16), begun(search(there()), 8)

    assert area(cold) - area(warm) < 0.6 * (area(cold) - area(cold[:8]))


def test_the_front_there_is_tried_before_anything_is_known_here() -> None:
    handed = there()
    whole = [t for t in handed if len(t.scores) == EPOCHS]
    front = EarlierStudy(CODING, handed, 100.0, 0).front
    points = {(t.latency_ms, t.scores[-1][1]) for t in whole}

    assert front
    for params in front:
        mine = next(t for t in whole if t.params == params)
        better = [p for p in points if p[0] <= mine.latency_ms and p[1] > mine.scores[-1][1]]
        assert not better
    first = search(handed).begin([], lambda params: False)
    assert first == front[0]
    assert search(handed).begin([], lambda params: params == front[0]) == front[1]


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.6, -1.0), (1.0, 2.0)])
def test_trust_is_fitted_to_what_is_seen(slope: float, offset: float) -> None:
    expected = np.random.default_rng(0).normal(size=60)

    trust = Trust.fitted(expected, slope * expected + offset, np.arange(60))

    assert trust.a == pytest.approx(slope, abs=0.05)
    assert trust.b == pytest.approx(offset, abs=0.05)


def test_what_misleads_is_not_trusted_for_long() -> None:
    rng = np.random.default_rng(0)
    unrelated = Trust.fitted(rng.normal(size=80), rng.normal(size=80), np.arange(80))
    opposite = Trust.fitted(np.linspace(-1, 1, 40), np.linspace(1, -1, 40), np.arange(40))

    assert unrelated.a < 0.25
    assert opposite.a == 0.0


def test_the_epochs_of_one_training_count_once() -> None:
    expected = np.array([1.0, *[-1.0] * 50])
    values = np.array([1.0, *[3.0] * 50])
    together = Trust.fitted(expected, values, np.array([0, *[1] * 50]))
    twice = Trust.fitted(expected[:2], values[:2], np.array([0, 1]))

    assert (together.a, together.b) == pytest.approx((twice.a, twice.b))


def test_a_study_that_was_the_other_way_round_costs_little() -> None:
    misleading = there(lambda params: 150.0 - end(params))

    cold, misled = begun(search(None), 16), begun(search(misleading), 16)

    assert area(misled) >= 0.97 * area(cold)


def test_decisions_are_those_of_the_record_and_what_was_handed_over_alone() -> None:
    first = search(there())
    trainings = begun(first, 8)
    second = search(there())
    second.load_state(first.state())

    assert second.begin(trainings, lambda params: False) == first.begin(
        trainings, lambda params: False
    )


def test_last_scores_alone_can_be_handed_over() -> None:
    ends = [EarlierTraining(t.params, t.scores[-1:], t.epochs, t.latency_ms) for t in there()]

    assert area(begun(search(ends), 8)) > area(begun(search(None), 8))


def test_latencies_of_another_machine_are_brought_to_this_ones() -> None:
    known = {2: 2.0, 8: 8.0}
    elsewhere = [({"width": w, "rate": 0.5, "method": "none"}, 3.0 * w) for w in (2, 4, 8, 16, 32)]
    figure = ArchitectureFigure(CODING, [0], lambda params: known.get(params["width"]))
    here = [(params, known[params["width"]]) for params, _ in elsewhere[:3:2]]
    figure.learn(len(here), lambda: here, elsewhere)

    guessed = figure.of(CODING.genes_of([{**elsewhere[0][0], "width": w} for w in (4, 16, 32)]))

    assert guessed == pytest.approx([4.0, 16.0, 32.0], rel=0.15)


def test_a_single_trial_is_enough_to_begin_with() -> None:
    only = EarlierTraining({"width": 8, "rate": 0.3, "method": "taught"}, ((2, 50.0),), EPOCHS)

    trainings = begun(search([only]), 10)

    assert len(trainings) == 10


def test_the_front_of_another_study_may_be_of_three_objectives() -> None:
    trainings = [
        EarlierTraining(
            {"width": 8, "rate": rate, "method": "taught"},
            ((EPOCHS, score),),
            EPOCHS,
            latency,
            third,
        )
        for rate, score, latency, third in [
            (0.1, 90.0, 4.0, 4.0),
            (0.2, 80.0, 4.0, 1.0),  # smaller than the first
            (0.3, 70.0, 5.0, 2.0),  # behind the second
            (0.4, 60.0, 6.0, None),
            (0.5, 50.0, 5.0, 3.0),
        ]
    ]

    def rates(*, has_third: bool) -> list[float]:
        study = EarlierStudy(CODING, trainings, 100.0, 0, has_third=has_third)
        return [params["rate"] for params in study.front]

    assert sorted(rates(has_third=True)) == [0.1, 0.2]
    assert rates(has_third=False) == [0.1]
    study = EarlierStudy(CODING, trainings, 100.0, 0, has_third=True)
    assert [third for _, third in study.thirds] == [4.0, 1.0, 2.0, 3.0]


def test_of_the_front_there_nobody_is_begun_who_is_known_to_be_beyond_a_limit() -> None:
    handed = there()
    front = EarlierStudy(CODING, handed, 100.0, 0).front
    widths = sorted({float(params["width"]) for params in front})
    limit = widths[len(widths) // 2]

    first = search(handed, Limits(slowest_ms=limit)).begin([], lambda params: False)

    assert first == next(params for params in front if float(params["width"]) <= limit)
    assert any(float(params["width"]) > limit for params in front)
