"""Studies of more trainings than a model is told of: what decisions are about is not forgotten."""

from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from study.budget import Left
from study.search.belief import Belief
from study.search.coding import Coding, Dimension
from study.search.latency_first import LatencyFirst
from study.search.scale import Corner
from study.search.training import Training

EPOCHS, FIRST_RUNG = 27, 3
RUNGS, SHARES = (3, 9, EPOCHS), (0.7, 0.15, 0.15)
CODING = Coding(tuple(Dimension(name, FloatDistribution(0.0, 1.0)) for name in ("width", "rate")))
CORNER = Corner(0.0, 11.0, 100.0)


def training(number: int, width: float, rate: float, done: int, luck: float = 0.0) -> Training:
    end = 60.0 + 20.0 * width - 40.0 * (rate - 0.5) ** 2 + luck
    scores = tuple(float(end * (1 - 0.7 * 0.85**epoch)) for epoch in range(1, done + 1))
    return Training(number, {"width": width, "rate": rate}, scores, EPOCHS, 1.0 + 9.0 * width)


def begun(count: int, waiting: int) -> list[Training]:
    """A study under way: so many wait at the first rung, as many run, the others were given up."""
    rng = np.random.default_rng(0)
    done = rng.choice(RUNGS, size=count, p=SHARES)
    rows = zip(rng.random((count, 2)).tolist(), done.tolist(), rng.normal(0, 2, count), strict=True)
    found = [training(n, *genes, epochs, luck) for n, (genes, epochs, luck) in enumerate(rows)]
    at_first = [each.number for each in found if len(each.scores) == FIRST_RUNG]
    drawn = rng.choice(at_first, 2 * waiting, replace=False).tolist()
    for number in drawn[:waiting]:
        found[number] = replace(found[number], waits=True)
    for number in drawn[waiting:]:
        found[number] = replace(found[number], runs=True)
    return found


def front_came_early(count: int) -> list[Training]:
    """All are whole, and none that came after the first forty is as good as they are."""
    rng = np.random.default_rng(0)
    early = [training(n, rng.random(), 0.5 + 0.01 * rng.normal(), EPOCHS) for n in range(40)]
    late = [training(n, rng.random(), 0.2 * rng.random(), EPOCHS) for n in range(40, count)]
    return [*early, *late]


def belief_of(trainings: list[Training]) -> Belief:
    belief = Belief(CODING, CORNER, FIRST_RUNG, 0, None)
    belief.tally.update(trainings)
    assert belief.look_at(trainings)
    return belief


@pytest.mark.parametrize("count", [1000, 4000])
def test_a_trial_that_waits_or_runs_is_judged_by_its_own_scores(count: int) -> None:
    trainings = begun(count, waiting=60)
    belief = belief_of(trainings)

    told = {each.number for each in belief.told}
    assert {t.number for t in trainings if t.waits or t.runs} <= told
    first = belief.tally.waiting[0]
    poor = replace(first, scores=tuple(score - 10.0 for score in first.scores))
    [end] = belief.ends([first])
    [less] = belief_of([poor if t is first else t for t in trainings]).ends([poor])
    assert less < end - 2.0


def test_the_front_is_not_forgotten_for_trials_that_came_later() -> None:
    trainings = front_came_early(450)
    belief = belief_of(trainings)

    assert belief.expected_front.area == belief.front.area
    members = {each.number for each in belief.members}
    assert len(members & set(range(40))) > 10
    assert members <= {each.number for each in belief.told}


def test_near_the_end_nobody_goes_on_who_is_behind_a_front_that_came_early() -> None:
    trainings = front_came_early(450)
    trainings += [
        replace(training(450 + n, width, 0.3, FIRST_RUNG), waits=True)
        for n, width in enumerate(np.linspace(0.05, 0.95, 10))
    ]
    # Whoever is faster than all others is behind nobody.
    assert min(each.latency_ms or 0.0 for each in trainings[:40]) < 1.0 + 9.0 * 0.05
    search = LatencyFirst(
        CODING,
        CORNER,
        first_rung=FIRST_RUNG,
        seed=0,
        latency_of=lambda params: 1.0 + 9.0 * float(params["width"]),
    )

    assert search.next_to_end(trainings, Left(in_all=5 * EPOCHS), worth=1e-3) is None


def test_new_ones_are_sought_beside_a_front_that_came_early() -> None:
    trainings = front_came_early(450)
    search = LatencyFirst(
        CODING,
        CORNER,
        first_rung=FIRST_RUNG,
        seed=0,
        latency_of=lambda params: 1.0 + 9.0 * float(params["width"]),
    )

    search.begin(trainings, lambda params: False)
    beside = search._near_the_front(np.random.default_rng(0))

    assert np.mean(np.abs(beside[:, 1] - 0.5) < 0.1) > 0.4


def test_some_are_told_by_more_than_their_last_epoch() -> None:
    belief = belief_of(begun(1000, waiting=60))

    rows = belief._model._known.seen.training.tolist()
    assert len(rows) == 400
    assert len(set(rows)) == len(belief.told)
    assert len(rows) - len(set(rows)) >= 100


def test_of_those_that_came_as_far_some_of_every_part_of_the_study_are_told() -> None:
    belief = belief_of([training(n, n / 2000, 0.3, EPOCHS) for n in range(2000)])

    others = {t.number for t in belief.told} - {t.number for t in belief.members}
    parts, _ = np.histogram(sorted(others), bins=10, range=(0, 2000))
    assert parts.min() >= 0.5 * parts.max()


def test_of_no_more_than_can_be_told_all_are_in_the_order_they_came() -> None:
    trainings = begun(400, waiting=60)

    assert list(belief_of(trainings).told) == trainings
    assert len(belief_of(begun(401, waiting=60)).told) < 400
