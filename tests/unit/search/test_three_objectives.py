"""A search by three objectives, in made-up studies whose ends are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna._hypervolume import compute_hypervolume
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.budget import Left
from study.rungs import rung_epochs
from study.search.coding import Coding, Dimension
from study.search.latency_first import LatencyFirst
from study.search.scale import Corner
from study.search.training import Training, likeliest

EPOCHS, FIRST_RUNG = 27, 3
CODING = Coding(
    (
        Dimension("width", IntDistribution(1, 64, log=True)),
        Dimension("stride", IntDistribution(1, 8)),
        Dimension("rate", FloatDistribution(0.0, 1.0)),
        Dimension("method", CategoricalDistribution(["none", "taught"])),
    )
)
FLOOR, SLOWEST, LARGEST = 0.0, 64.0, 64.0
CORNER = Corner(FLOOR, SLOWEST, 100.0, LARGEST)


def latency(params: Mapping[str, Any]) -> float:
    return float(params["width"]) / float(params["stride"])


def weights(params: Mapping[str, Any]) -> float:
    return float(params["width"])


def end(params: Mapping[str, Any]) -> float:
    """Wider is better, so is what looks closer; a rate of 0.3 is best, and teaching helps."""
    best = 76.0 + 3.0 * np.log2(params["width"]) - 1.5 * (params["stride"] - 1)
    best -= 0.0 if params["method"] == "taught" else 4.0
    return float(best - 60.0 * (params["rate"] - 0.3) ** 2)


def training(number: int, params: Mapping[str, Any], epochs: int, three: bool = True) -> Training:
    scores = tuple(end(params) * (1 - 0.6 * 0.8**epoch) for epoch in range(1, epochs + 1))
    third = weights(params) if three else None
    waits = 0 < epochs < EPOCHS
    return Training(number, params, scores, EPOCHS, latency(params), waits=waits, third=third)


def make_search(corner: Corner = CORNER, **settings: Any) -> LatencyFirst:
    shown = {
        "first_rung": FIRST_RUNG,
        "seed": 0,
        "latency_of": latency,
        "third_of": weights,
        "shaping": ("width", "stride"),
    }
    return LatencyFirst(CODING, corner, **{**shown, **settings})


def run_study(search: LatencyFirst, epochs: int, three: bool = True) -> list[Training]:
    """Spend some epochs as a driver of one worker would, who knows when they end."""
    trainings: list[Training] = []
    rungs = (*rung_epochs(EPOCHS, FIRST_RUNG), EPOCHS)
    while epochs > 0:
        left = Left(each=epochs)
        may_begin = search.may_begin(trainings, left)
        number = (
            search.next_to_go_on(trainings) if may_begin else search.next_to_end(trainings, left)
        )
        if number is None:
            if not may_begin:
                break
            params = search.begin(trainings, lambda params: False)
            assert params is not None
            number = len(trainings)
            trainings.append(training(number, params, 0, three))
        done = len(trainings[number].scores)
        to = next(rung for rung in rungs if rung > done)
        epochs -= to - done
        trainings[number] = training(number, trainings[number].params, to, three)
    return trainings


def volume(trainings: Sequence[Training]) -> float:
    """What whole trainings cover, as a share of all there is, by Optuna's hypervolume."""
    points = [
        (-t.scores[-1], latency(t.params), weights(t.params)) for t in trainings if t.is_whole
    ]
    covered = compute_hypervolume(np.array(points), np.array([-FLOOR, SLOWEST, LARGEST]))
    return float(covered / ((100.0 - FLOOR) * SLOWEST * LARGEST))


def at_random(seed: int, count: int) -> list[Training]:
    rows = np.random.default_rng(seed).random((count, 4))
    return [training(n, CODING.params_of(row), EPOCHS) for n, row in enumerate(rows)]


def test_it_covers_more_than_at_random_and_than_knowing_two() -> None:
    trainings, seeds = 12, range(3)
    three = [volume(run_study(make_search(seed=seed), trainings * EPOCHS)) for seed in seeds]
    knowing_two = replace(CORNER, largest=None)
    two = [
        volume(run_study(make_search(knowing_two, seed=seed), trainings * EPOCHS, three=False))
        for seed in seeds
    ]
    draws = [volume(at_random(seed, trainings)) for seed in range(20)]
    everything = [
        training(0, {"width": width, "stride": stride, "rate": 0.3, "method": "taught"}, EPOCHS)
        for width in range(1, 65)
        for stride in range(1, 9)
    ]

    assert np.mean(three) > np.mean(two) > np.mean(draws)
    best = volume(everything)
    assert best - np.mean(three) < 0.5 * (best - np.mean(draws))


def test_a_third_that_is_the_same_for_all_changes_no_decision() -> None:
    two = run_study(make_search(replace(CORNER, largest=None)), 6 * EPOCHS, three=False)
    same = make_search(replace(CORNER, largest=2.0), third_of=lambda params: 1.0)
    trainings = [replace(each, third=1.0) for each in two]

    other = make_search(replace(CORNER, largest=None))
    assert same.most_promising(trainings) == other.most_promising(two)
    assert same.begin(trainings, lambda params: False) == other.begin(two, lambda params: False)


def test_what_is_guessed_of_sizes_is_kept_and_only_where_they_are_an_objective() -> None:
    measured: dict[int, float] = {}

    def known(params: Mapping[str, Any]) -> float | None:
        return measured.get(params["width"])

    first = make_search(third_of=known)
    trainings: list[Training] = []
    for number in range(24):
        params = first.begin(trainings, lambda params: False)
        assert params is not None
        trainings.append(training(number, params, FIRST_RUNG))
        measured[params["width"]] = weights(params)
    second = make_search(third_of=known)
    second.load_state(first.state())

    assert first.state()["third"]["fitted_at"] > 0
    assert second.begin(trainings, lambda params: False) == first.begin(
        trainings, lambda params: False
    )
    assert "third" not in make_search(replace(CORNER, largest=None)).state()


def test_who_is_smaller_goes_on_though_who_is_larger_is_better_and_as_fast() -> None:
    good = {"rate": 0.3, "method": "taught"}
    whole = [
        *at_random(0, 20),
        training(20, {**good, "width": 32, "stride": 4}, EPOCHS),
    ]
    # As fast as trial 20, which is expected to end higher, and a quarter of its size.
    small = training(21, {**good, "width": 8, "stride": 1}, FIRST_RUNG)
    behind = training(22, {**good, "width": 32, "stride": 4, "rate": 0.9}, FIRST_RUNG)
    worth = 1e-3

    three = make_search()
    assert three.most_promising([*whole, behind, small], worth) == 21
    two = make_search(replace(CORNER, largest=None))
    shown = [replace(each, third=None) for each in (*whole, behind, small)]
    assert three.most_promising([*whole, behind], worth) is None
    assert two.most_promising(shown, worth) is None


def test_of_many_that_wait_small_ones_are_looked_at_beside_better_ones() -> None:
    shown = {"rate": 0.3, "method": "taught"}
    # All of one latency: of two objectives, only the wide ones have anything to add.
    waiting = [
        replace(training(n, {**shown, "width": width, "stride": 1}, FIRST_RUNG), latency_ms=1.0)
        for n, width in enumerate([1, 2, 8] * 200)
    ]

    kept = likeliest(waiting)
    by_latency = likeliest([replace(each, third=None) for each in waiting])

    assert len(kept) <= 300 >= len(by_latency)
    assert {t.params["width"] for t in kept} == {1, 2, 8}
    assert {t.params["width"] for t in by_latency} == {2, 8}
