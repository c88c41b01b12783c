"""What a training would add to a front."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from analysis.front import hypervolume
from analysis.results import ReferencePoint
from study.search.gain import Point, Terraces, expected_gains, front_of
from study.search.scale import Corner, ScoreScale

FLOOR, SLOWEST, BEST = 10.0, 8.0, 100.0
CORNER = ReferencePoint(FLOOR, SLOWEST, BEST)
WHOLE = (BEST - FLOOR) * SLOWEST


def random_points(seed: int, count: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return list(zip(rng.uniform(0, 100, count), rng.uniform(0.5, 10, count), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_gain_is_the_difference_of_two_hypervolumes(seed: int) -> None:
    points, news = random_points(seed, 12), random_points(seed + 100, 30)
    front = front_of(points, FLOOR, [SLOWEST])

    scores, latencies = np.array(news).T
    gains = front.gains(scores[:, None], (latencies,))[:, 0]

    before = hypervolume(points, CORNER)
    expected = [WHOLE * (hypervolume([*points, new], CORNER) - before) for new in news]
    assert gains == pytest.approx(expected, abs=1e-9)


def test_an_empty_front_is_its_corner() -> None:
    front = front_of([], FLOOR, [SLOWEST])

    assert front.gains(np.array([[60.0]]), (np.array([2.0]),))[0, 0] == pytest.approx(50.0 * 6.0)


@pytest.mark.parametrize("best", [BEST, math.inf], ids=["bounded", "unbounded"])
def test_an_expected_gain_is_the_mean_over_many_draws(best: float) -> None:
    seen = np.array([30.0, 55.0, 62.0, 71.0, 80.0])
    scale = ScoreScale(seen, Corner(FLOOR, SLOWEST, best))
    front = front_of([(40.0, 1.0), (60.0, 2.0), (75.0, 5.0)], FLOOR, [SLOWEST])
    means, deviations = np.array([-0.2, 0.9, 1.5]), np.array([0.5, 0.1, 1e-12])
    latencies = np.array([1.0, 4.0, 0.5])

    found = expected_gains(front, means, deviations, (latencies,), scale)

    draws = np.random.default_rng(1).normal(size=400_000)
    scores = scale.to_scores(means[:, None] + deviations[:, None] * draws)
    assert found == pytest.approx(front.gains(scores, (latencies,)).mean(axis=1), rel=0.01)


def test_nothing_is_gained_beyond_the_slowest_latency_or_behind_the_front() -> None:
    front = front_of([(90.0, 1.0)], FLOOR, [SLOWEST])

    gains = front.gains(np.array([[99.0], [89.0], [90.0]]), (np.array([8.0, 1.0, 2.0]),))

    assert gains[:, 0] == pytest.approx([0.0, 0.0, 0.0])


# Three objectives

LARGEST = 5.0


def random_in_space(seed: int, count: int) -> list[Point]:
    """(score, latency, third), some beyond the corner, some equal in one figure or in all."""
    rng = np.random.default_rng(seed)
    columns = rng.uniform(0, 100, count), rng.uniform(0.5, 10, count), rng.uniform(0.1, 6, count)
    points = [tuple(map(float, row)) for row in np.column_stack(columns)]
    alike = [(score, latency, 1.0) for score, latency, _ in points[: count // 3]]
    return [*points, *alike, *points[: count // 4], (40.0, 3.0, 2.0), (60.0, 3.0, 2.0)]


def mutual(count: int) -> list[Point]:
    """Points none of which dominates another."""
    rows = np.abs(np.random.default_rng(0).normal(size=(count, 3)))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    return [(BEST - 90.0 * a, SLOWEST * b, LARGEST * c) for a, b, c in rows.tolist()]


def volume(points: Sequence[Point]) -> float:
    """By Optuna's hypervolume."""
    inside = [
        (-score, latency, third)
        for score, latency, third in points
        if score > FLOOR and latency < SLOWEST and third < LARGEST
    ]
    corner = np.array([-FLOOR, SLOWEST, LARGEST])
    return float(compute_hypervolume(np.array(inside), corner)) if inside else 0.0


@pytest.mark.parametrize("count", [0, 1, 6, 40])
def test_a_gain_in_three_objectives_is_the_difference_of_two_hypervolumes(count: int) -> None:
    points, news = random_in_space(count, count), random_in_space(count + 100, 20)
    front = front_of(points, FLOOR, [SLOWEST, LARGEST])

    scores, *costs = np.array(news).T
    gains = front.gains(scores[:, None], tuple(costs))[:, 0]

    before = volume(points)
    assert front.area == pytest.approx(before)
    assert gains == pytest.approx([volume([*points, new]) - before for new in news], abs=1e-9)
    assert gains.max() > 1.0


@pytest.mark.parametrize("best", [BEST, math.inf], ids=["bounded", "unbounded"])
def test_an_expected_gain_in_three_objectives_is_the_mean_over_many_draws(best: float) -> None:
    scale = ScoreScale(np.array([30.0, 55.0, 62.0, 71.0, 80.0]), Corner(FLOOR, SLOWEST, best))
    points = [(40.0, 1.0, 2.0), (60.0, 2.0, 1.0), (75.0, 5.0, 1.5), (55.0, 1.5, 0.5)]
    front = front_of(points, FLOOR, [SLOWEST, LARGEST])
    means, deviations = np.array([-0.2, 0.9, 1.5]), np.array([0.5, 0.1, 1e-12])
    costs = np.array([1.0, 4.0, 0.5]), np.array([0.4, 3.0, 4.0])

    found = expected_gains(front, means, deviations, costs, scale)

    draws = scale.to_scores(
        means[:, None] + deviations[:, None] * np.random.default_rng(1).normal(size=1_500)
    )
    before = volume(points)
    sampled = [
        np.mean([volume([*points, (score, latency, third)]) - before for score in row])
        for row, latency, third in zip(draws.tolist(), *costs, strict=True)
    ]
    assert found == pytest.approx(sampled, rel=0.05)
    exact = front.gains(draws, costs).mean(axis=1)
    assert sampled == pytest.approx(exact, rel=1e-9)


def test_a_front_of_three_objectives_has_few_cells() -> None:
    front = front_of(mutual(200), FLOOR, [SLOWEST, LARGEST])

    assert isinstance(front, Terraces)
    assert len(front.best) == 201
    assert len(front.cells) <= 2 * len(front.best)
    assert front.widths((np.zeros(1), np.zeros(1))).sum() == pytest.approx(SLOWEST * LARGEST)


def test_a_third_that_is_the_same_for_all_changes_nothing() -> None:
    points = random_points(3, 12)
    two = front_of(points, FLOOR, [SLOWEST])
    three = front_of([(*point, 4.0) for point in points], FLOOR, [SLOWEST, LARGEST])
    scores, latencies = np.array(random_points(103, 30)).T

    gains = two.gains(scores[:, None], (latencies,))
    assert (gains == three.gains(scores[:, None], (latencies, np.full(30, 4.0)))).all()
    assert three.area == two.area


def test_nothing_is_gained_by_who_is_larger_than_the_corner() -> None:
    front = front_of([(90.0, 1.0, 1.0)], FLOOR, [SLOWEST, LARGEST])

    costs = np.array([1.0, 1.0, 0.5]), np.array([0.9, LARGEST, 1.0])
    gains = front.gains(np.array([[90.0], [99.0], [90.0]]), costs)

    assert gains[:, 0] == pytest.approx([80.0 * 7.0 * 0.1, 0.0, 80.0 * 0.5 * 4.0])
