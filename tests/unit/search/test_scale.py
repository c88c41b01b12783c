"""The scale that scores are learnt on."""

import math

import numpy as np
import pytest

from study.search.scale import Corner, ScoreScale, low_of

SCORES = np.linspace(-1.2, -0.2, 30)  # losses, to be maximised


def test_without_a_best_score_one_loss_beyond_all_others_hides_no_difference() -> None:
    corner = Corner(-2.0, 10.0)
    usual = ScoreScale(SCORES, corner).to_model(SCORES)
    for outlier in (-1e3, -1e9):
        scale = ScoreScale(np.array([*SCORES, outlier]), corner)
        found = scale.to_model(SCORES)
        assert np.ptp(found) > 0.3 * np.ptp(usual)
        assert scale.to_model(np.array([outlier])) == pytest.approx([-3.0])
        assert scale.to_scores(found) == pytest.approx(SCORES)


def test_scores_that_are_nearly_all_alike_keep_the_one_that_is_not() -> None:
    scale = ScoreScale(np.array([0.5] * 9 + [0.1]), Corner(0.0, 10.0))

    assert scale.to_model(np.array([0.1]))[0] == -3.0
    assert scale.to_model(np.array([0.5]))[0] == 0.0
    assert math.isfinite(scale.to_scores(np.array([-3.0]))[0])


def test_an_outlier_is_one_though_the_middle_half_is_all_alike() -> None:
    scale = ScoreScale(np.array([0.5] * 8 + [0.6, 0.7, -1000.0]), Corner(0.0, 10.0))

    assert scale.to_model(np.array([0.7]))[0] > 0.3


def test_a_low_score_is_not_that_of_one_training_gone_astray() -> None:
    assert -1.2 <= low_of([*SCORES, -1e3]) < -1.1
    assert low_of([0.4]) == 0.4
    assert low_of([]) == 0.0
