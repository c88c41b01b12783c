"""The end of a budget: nothing is begun, or gone on with, that cannot come to its end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from study.budget import UNBOUNDED, Budget, Left
from study.search.belief import MANY
from study.search.coding import Coding, Dimension
from study.search.latency_first import FIRST, LatencyFirst
from study.search.left import _to_next
from study.search.scale import Corner
from study.search.training import Training

EPOCHS, FIRST_RUNG = 27, 3
CODING = Coding(
    (
        Dimension("width", IntDistribution(1, 64, log=True)),
        Dimension("rate", FloatDistribution(0.0, 1.0)),
    )
)


def make_search() -> LatencyFirst:
    return LatencyFirst(
        CODING,
        Corner(0.0, 65.0, 100.0),
        first_rung=FIRST_RUNG,
        seed=0,
        latency_of=lambda params: float(params["width"]),
        shaping=("width",),
    )


def training(number: int, params: Mapping[str, Any], epochs: int = FIRST_RUNG) -> Training:
    end = 80.0 + 3.0 * np.log2(params["width"]) - 60.0 * (params["rate"] - 0.3) ** 2
    scores = tuple(float(end * (1 - 0.6 * 0.8**epoch)) for epoch in range(1, epochs + 1))
    waits = 0 < epochs < EPOCHS
    return Training(number, params, scores, EPOCHS, float(params["width"]), waits=waits)


def begun(*epochs: int) -> list[Training]:
    """A study of trials that are so far, and one that is whole."""
    rng = np.random.default_rng(0)
    rows = rng.random((len(epochs) + 1, 2))
    return [
        training(number, CODING.params_of(row), done)
        for number, (row, done) in enumerate(zip(rows, (EPOCHS, *epochs), strict=True))
    ]


def alone(epochs: float) -> Left:
    """What one worker has left."""
    return Left(each=epochs)


def test_nothing_begins_that_could_not_end() -> None:
    search, trainings = make_search(), begun(*[3] * 20)

    assert search.may_begin(trainings, UNBOUNDED)
    assert search.may_begin(trainings, alone(100 * EPOCHS))
    assert not search.may_begin(trainings, alone(EPOCHS - 1))
    # Before a single epoch nobody knows how long one takes.
    assert search.may_begin([], alone(1.0))


def test_slow_epochs_leave_time_for_fewer() -> None:
    trainings = [replace(each, epoch_seconds=10.0) for each in begun(*[3] * 20)]

    assert not make_search().may_begin(trainings, alone(9 * EPOCHS))
    assert make_search().may_begin(trainings, alone(100 * EPOCHS))


def test_many_workers_have_less_time_each() -> None:
    trainings = begun(*[3] * 20)
    together = Left(in_all=6 * EPOCHS, workers=8)

    assert make_search().may_begin(trainings, Left(in_all=6 * EPOCHS))
    assert not make_search().may_begin(
        trainings, replace(together, each=together.in_all / together.workers)
    )


def ended(search: LatencyFirst, trainings: list[Training], left: float) -> list[int]:
    """Who goes on with one worker in what is left, from rung to rung."""
    steps = []
    rungs = (3, 9, EPOCHS)
    while (number := search.next_to_end(trainings, alone(left))) is not None:
        done = len(trainings[number].scores)
        assert EPOCHS - done <= left
        to = next(rung for rung in rungs if rung > done)
        left -= to - done
        trainings[number] = training(number, trainings[number].params, to)
        steps.append(number)
    return steps


@pytest.mark.parametrize("left", [17, 18, 23, 24, 40, 60])
def test_only_who_can_come_to_its_end_goes_on_and_somebody_does(left: int) -> None:
    trainings = begun(3, 3, 3, 9, 9, 9, 3, 3, 9, *[3] * 12)

    went_on = ended(make_search(), trainings, left)

    assert bool(went_on) == (left >= 18)
    assert any(trainings[number].is_whole for number in went_on) == (left >= 18)


def test_whoever_adds_more_is_ended_rather_than_whoever_is_quick() -> None:
    # Of the quick one more is to be had for each epoch, but then there is no time for the other.
    trainings = begun(*[EPOCHS] * FIRST)
    best, quick = {"width": 8, "rate": 0.3}, {"width": 60, "rate": 0.3}
    trainings += [training(len(trainings), best), training(len(trainings) + 1, quick, 9)]
    search = make_search()

    assert search.next_to_end(trainings, alone(30)) == len(trainings) - 2
    assert search.next_to_end(trainings, alone(20)) == len(trainings) - 1


def test_of_those_that_can_all_end_whoever_has_furthest_to_go_comes_first() -> None:
    trainings = begun(9, *[3] * FIRST)
    near = {"width": 4, "rate": 0.3}
    trainings += [
        training(len(trainings), near, 9),
        training(len(trainings) + 1, near | {"width": 40}),
    ]

    number = make_search().next_to_end(trainings, alone(1000))

    assert number is not None
    assert len(trainings[number].scores) == 3


def test_nobody_goes_on_who_is_behind_one_that_tells_nothing_of_others() -> None:
    trainings = begun(*[3] * FIRST)
    scores = (99.0,) * EPOCHS
    unlike = Training(len(trainings), {"width": 1, "rate": 0.3}, scores, EPOCHS, 0.5, telling=False)

    assert make_search().next_to_end(trainings, alone(1000), 1e-3) is not None
    assert make_search().next_to_end([*trainings, unlike], alone(1000), 1e-3) is None


def test_trials_of_few_networks_keep_no_other_from_beginning() -> None:
    trainings = begun(*[3] * 20)
    exits = [replace(each, counts=each.number % 5 == 0) for each in trainings]

    assert not make_search().may_begin(trainings, alone(1.1 * EPOCHS))
    assert make_search().may_begin(exits, alone(1.1 * EPOCHS))


def test_who_runs_has_its_time_before_others() -> None:
    trainings = begun(*[3] * FIRST)
    runs = replace(training(len(trainings), {"width": 8, "rate": 0.3}), waits=False, runs=True)
    left = Left(in_all=6 + 23, workers=2)

    # Six epochs are promised to its next rung; then there is no time for another one's 24.
    assert make_search().next_to_end([*trainings, runs], left) is None
    assert make_search().next_to_end(trainings, left) is not None


def test_of_many_workers_no_two_are_given_one_trial() -> None:
    # From so many on, what one asks for may rest on what another was told.
    trainings = begun(*[3] * 40)
    trainings += [
        replace(training(number, {"width": 8, "rate": 0.3}), waits=False, runs=True)
        for number in range(len(trainings), len(trainings) + MANY)
    ]
    search, left = make_search(), Left(in_all=8 * EPOCHS, workers=MANY)
    given = []

    while (number := search.next_to_end(trainings, left)) is not None:
        assert number not in given
        given.append(number)
        trainings[number] = replace(trainings[number], waits=False, runs=True)

    assert given


def test_before_there_is_a_front_somebody_goes_on() -> None:
    waiting: Sequence[Training] = begun(*[3] * 8)[1:]
    waiting = [replace(each, number=number) for number, each in enumerate(waiting)]

    assert make_search().next_to_end(waiting, alone(1.0)) in range(8)


def test_what_is_left_is_what_was_given_less_what_was_taken() -> None:
    budget = Budget(trials=5, seconds=600, device_hours=1.0)

    left = budget.left(100, 1800, workers=4, devices=2.0)

    assert (left.in_all, left.each, left.workers) == (900, 500, 4)
    assert (left.a_worker, left.together) == (225, 900)
    assert left.slowed(2.0) == Left(450, 250, 4)
    assert not Budget(trials=5).left(100, 100, workers=4, devices=1.0).is_bounded
    assert budget.left(9e9, 9e9, workers=1, devices=1.0).together == 0.0


def test_a_short_training_needs_no_more_than_its_own_end() -> None:
    short = Training(0, {}, (1.0,), 2, 1.0, runs=True)
    assert _to_next(short, (1, 3)) == 1
    assert _to_next(replace(short, epochs=5), (1, 3)) == 2
