"""The ratio of latencies taken in turn, and its interval."""

import math

import numpy as np
import pytest

from study.distillation.ratio import Ratio, quartile_ratio


def test_the_ratio_is_that_of_the_lower_quartiles_with_a_repeatable_interval() -> None:
    load = np.random.default_rng(1).uniform(1, 10, 200)  # both of a turn meet the same load
    noise = np.random.default_rng(2).normal(1, 0.01, 200)
    ratio = quartile_ratio(3.0 * load * noise, load)
    assert ratio.median == pytest.approx(3.0, abs=0.05)
    assert ratio.low < ratio.median < ratio.high
    assert quartile_ratio(3.0 * load * noise, load) == ratio


def test_a_ratio_is_the_same_when_half_the_passes_of_one_network_are_slowed_down() -> None:
    student, teacher = np.full(100, 1.0), np.full(100, 2.0)
    teacher[::2] *= 3
    ratio = quartile_ratio(teacher, student)
    assert [ratio.low, ratio.median, ratio.high] == pytest.approx([2.0, 2.0, 2.0])


def test_a_ratio_has_settled_once_its_interval_is_under_3_percent_wide() -> None:
    assert Ratio(2.0, 1.98, 2.03).settled
    assert not Ratio(2.0, 1.96, 2.03).settled
    assert not Ratio(0.5, 0.49, 0.51).settled


def test_the_bootstrap_interval_covers_the_quartile_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0)
    truth = math.exp(0.3 * -0.6744897501960817)
    hits = 0
    for seed in range(200):
        ratio = quartile_ratio(draws.lognormal(0.0, 0.3, 120), np.ones(120), seed)
        hits += ratio.low <= truth <= ratio.high
    assert 178 <= hits <= 199


def test_passes_of_one_turn_count_as_one_where_they_are_alike() -> None:
    draws = np.random.default_rng(3)
    student, teacher = draws.lognormal(0.0, 0.3, 60), draws.lognormal(1.0, 0.3, 60)
    one = quartile_ratio(teacher, student)
    five = quartile_ratio(teacher[:, None], np.repeat(student[:, None], 5, axis=1))
    # Not exactly: between two neighbours a quartile of five times as many lies elsewhere.
    assert (five.low, five.high) == pytest.approx((one.low, one.high), rel=0.02)
    assert five.high - five.low > 0.9 * (one.high - one.low)
