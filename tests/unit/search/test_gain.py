"""What a training would add to a front."""

import math

import numpy as np
import pytest

from analysis.front import hypervolume
from analysis.results import ReferencePoint
from study.search.gain import expected_gains, front_of
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
