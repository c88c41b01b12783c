import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.front import (
    dominates,
    front_members,
    hypervolume,
    is_distilled,
    kd_pairs,
    method_parameters,
    non_dominated,
)
from analysis.results import Outcome, ReferencePoint, TrialResult
from analysis.stored_plan import Space

# Few different values, so that ties and repeated points are common.
POINTS = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: 8.0 * n), st.integers(1, 12).map(float)),
    max_size=25,
)
CORNER = ReferencePoint(10.0, 10.0, 100.0)


def test_dominance():
    assert dominates((80.0, 5.0), (79.0, 5.0))
    assert dominates((80.0, 5.0), (80.0, 6.0))
    assert not dominates((80.0, 5.0), (80.0, 5.0))
    assert not dominates((80.0, 6.0), (79.0, 5.0))


def test_front_of_a_handful_of_points():
    points = [(70.0, 5.0), (80.0, 8.0), (75.0, 8.0), (70.0, 6.0), (80.0, 8.0), (60.0, 4.0)]
    assert non_dominated(points) == [True, True, False, False, True, True]


# Of three objectives: as above, and what else is to be small.
POINTS_OF_THREE = st.lists(
    st.tuples(
        st.integers(0, 5).map(float), st.integers(1, 5).map(float), st.integers(0, 4).map(float)
    )
    | st.tuples(st.floats(0, 100), st.floats(0, 1e4), st.floats(0, 1e3)),
    max_size=30,
)


def test_dominance_in_three_objectives():
    assert dominates((80.0, 5.0, 1.0), (80.0, 5.0, 2.0))
    assert dominates((81.0, 4.0, 1.0), (80.0, 5.0, 2.0))
    assert not dominates((81.0, 4.0, 3.0), (80.0, 5.0, 2.0))
    assert not dominates((80.0, 5.0, 1.0), (80.0, 5.0, 1.0))


@given(POINTS_OF_THREE)
def test_a_front_of_three_agrees_with_comparing_every_pair(points):
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points) == expected


@given(POINTS_OF_THREE)
def test_the_front_of_two_objectives_is_part_of_that_of_three(points):
    flat = {(score, latency) for score, latency, _ in points}
    front = {point[:2] for point, kept in zip(points, non_dominated(points), strict=True) if kept}
    best = [point for point, kept in zip(flat, non_dominated(list(flat)), strict=True) if kept]
    assert front.issuperset(best)


def test_a_hypervolume_takes_no_notice_of_a_third_objective():
    flat = hypervolume([(60.0, 5.0), (80.0, 8.0)], CORNER)
    assert hypervolume([(60.0, 5.0, 7.0), (80.0, 8.0, 1.0), (70.0, 9.0, 0.1)], CORNER) == flat


def test_a_hypervolume_reaches_up_to_the_best_score():
    corner = ReferencePoint(10.0, 10.0, 50.0)  # dB
    assert hypervolume([(30.0, 5.0)], corner) == pytest.approx(20 * 5 / 400)
    assert hypervolume([(60.0, 0.0)], corner) == 1.0


def test_a_smaller_student_is_on_a_front_of_three_alone(sample, study):
    large, small = sample.params((2, 2, 2, 2)), sample.params((1, 0, 0, 0))
    results = study(
        [
            sample.trial(large, accuracy=80.0, ratio=4.0),
            sample.trial(small, accuracy=70.0, ratio=3.0),
        ]
    )
    numbers = [trial.number for trial in front_members(results.trials, "params_m")]
    assert numbers == [0, 1]
    assert [trial.number for trial in front_members(results.trials)] == [0]


@given(POINTS)
def test_front_agrees_with_comparing_every_pair(points):
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points) == expected


def test_points_that_are_not_finite_are_never_on_the_front():
    points = [(math.nan, 1.0), (90.0, math.nan), (math.inf, 1.0), (50.0, 5.0)]
    assert non_dominated(points) == [False, False, False, True]
    assert non_dominated([]) == []


def test_hypervolume_by_hand():
    # Corner (10 %, 10 ms). (60, 5) dominates 50 x 5; (80, 8) adds 20 x 2: 290 of 90 x 10.
    assert hypervolume([(60.0, 5.0), (80.0, 8.0)], CORNER) == pytest.approx(290 / 900)
    assert hypervolume([(80.0, 8.0), (60.0, 5.0), (55.0, 6.0)], CORNER) == pytest.approx(290 / 900)


def test_hypervolume_limits():
    assert hypervolume([], CORNER) == 0.0
    assert hypervolume([(100.0, 0.0)], CORNER) == 1.0
    assert hypervolume([(9.0, 5.0), (50.0, 10.0), (99.0, 11.0)], CORNER) == 0.0
    assert hypervolume([(50.0, 5.0)], ReferencePoint(100.0, 10.0, 100.0)) == 0.0


@given(POINTS)
def test_hypervolume_agrees_with_summing_cells(points):
    accuracies = sorted({10.0, 100.0, *(a for a, _ in points if 10 < a <= 100)})
    latencies = sorted({0.0, 10.0, *(t for _, t in points if t < 10)})
    area = sum(
        (high - low) * (late - early)
        for low, high in itertools.pairwise(accuracies)
        for early, late in itertools.pairwise(latencies)
        if any(a >= high and t <= early for a, t in points)
    )
    assert hypervolume(points, CORNER) == pytest.approx(area / 900)


def test_hypervolume_agrees_with_random_darts():
    draw = random.Random(3)
    points = [(draw.uniform(20, 95), draw.uniform(1, 12)) for _ in range(15)]
    darts = [(draw.uniform(10, 100), draw.uniform(0, 10)) for _ in range(20_000)]
    hits = sum(any(a >= y and t <= x for a, t in points) for y, x in darts)
    assert hypervolume(points, CORNER) == pytest.approx(hits / len(darts), abs=0.015)


def test_only_complete_trials_are_on_a_studys_front(sample, study):
    results = study(
        [
            sample.trial(sample.params(), accuracy=70.0, ratio=3.0),
            sample.trial(sample.params(), accuracy=80.0, ratio=2.0),
            sample.trial(sample.params(), accuracy=75.0, ratio=2.0),
            sample.trial(sample.params(), accuracy=99.0, ratio=9.0, status="stopped", done=25),
            sample.trial(sample.params(), accuracy=99.0, ratio=9.0, status="failed", done=2),
            sample.trial(sample.params(), accuracy=99.0, ratio=9.0, status=None, done=29),
            sample.trial(sample.params(), ratio=9.0, status="infeasible"),
        ]
    )
    assert [trial.number for trial in front_members(results.trials)] == [0, 1]


def test_the_confirmed_latency_decides(sample, study):
    slower_when_idle = sample.trial(
        sample.params(), accuracy=75.0, ratio=4.0, confirmed=(99.0, 2.5)
    )
    other = sample.trial(sample.params(), accuracy=75.0, ratio=3.0)
    results = study([slower_when_idle, other])
    assert [trial.number for trial in front_members(results.trials)] == [1]


def test_front_of_the_sample_study(realistic):
    names = [trial.name for trial in front_members(realistic.trials)]
    expected = ["t0033", "t0035", "t0032", "t0004", "t0001", "t0002", "t0034", "t0021", "t0000"]
    assert names == expected


def test_what_teaches_a_student_follows_from_the_control(realistic):
    space = realistic.plan.space
    assert method_parameters(space) == {"terms", "temperature", "alpha"}


def test_undistilled_students_are_recognised(sample, study):
    results = study(
        [
            sample.trial(sample.params(terms="ce"), accuracy=70.0, ratio=3.0),
            sample.trial(sample.params(terms="ce+kl"), accuracy=70.0, ratio=3.0),
            sample.trial(sample.params(terms="weighted", alpha=0.5), accuracy=70.0, ratio=3.0),
        ]
    )
    distilled = [is_distilled(trial, results.plan.space) for trial in results.trials]
    assert distilled == [False, True, True]


@pytest.mark.parametrize("taught", [True, False])
def test_without_controls_whoever_is_taught_is_distilled(sample, study, taught):
    results = study([sample.trial(sample.params(terms="ce"), accuracy=70.0, ratio=3.0)])
    space = replace(results.plan.space, control={}, taught=taught)
    assert is_distilled(results.trials[0], space) is taught


def test_a_distilled_student_is_paired_with_its_control_only(sample, study):
    def trial(accuracy, **options):
        source = options.pop("source", "sampler")
        epochs = options.pop("epochs", 30)
        confirmed = options.pop("confirmed", None)
        return sample.trial(
            sample.params(**options), accuracy=accuracy, ratio=3.0, source=source, epochs=epochs,
            confirmed=confirmed,
        )  # fmt: skip

    results = study(
        [
            trial(78.0, terms="ce+kl", confirmed=(77.0, 3.0)),
            trial(77.5, terms="weighted", alpha=0.3, temperature=6.0),
            trial(70.0, terms="ce", learning_rate=0.1),
            trial(71.0, terms="ce", schedule="cosine"),
            trial(72.0, terms="ce", batch_size=128),
            trial(73.0, terms="ce", share=0.1),
            trial(74.0, terms="ce", blocks=(2, 1, 1, 1)),
            trial(74.5, terms="ce", epochs=10),
            trial(75.0, terms="ce"),
            trial(76.0, terms="ce", source="control", confirmed=(75.5, 3.0)),
            trial(76.5, terms="ce", source="control"),
            trial(79.0, terms="ce+kl", learning_rate=0.2),
        ]
    )
    pairs = kd_pairs(results.trials, results.plan.space)
    assert [(pair.distilled.number, pair.control.number) for pair in pairs] == [(0, 9), (1, 9)]
    assert [pair.val_gain for pair in pairs] == [2.0, 1.5]
    assert [pair.test_gain for pair in pairs] == [1.5, None]


def test_learning_rates_are_compared_to_four_digits(sample, study):
    results = study(
        [
            sample.trial(sample.params(learning_rate=0.0500001), accuracy=78.0, ratio=3.0),
            sample.trial(sample.params(terms="ce", learning_rate=0.05), accuracy=75.0, ratio=3.0),
        ]
    )
    assert len(kd_pairs(results.trials, results.plan.space)) == 1


def test_the_published_pairs_find_each_other(realistic):
    pairs = kd_pairs(realistic.trials, realistic.plan.space)
    labels = {(pair.distilled.label, pair.control.label) for pair in pairs}
    assert ("[1,1,1,1], stride 2", "Ideal, no KD loss") in labels
    assert ("Ideal, reduced train set", "Ideal, reduced, no KD loss") in labels
    assert all(pair.val_gain == pytest.approx(2.1) for pair in pairs if pair.distilled.label)


def test_a_student_whose_outputs_its_method_shapes_finds_its_control():
    from search_spaces.mnist_subclass import SPACE

    space = Space.from_json(SPACE.to_json())

    def trained(number, score, **overrides):
        params = SPACE.complete(overrides)
        return TrialResult(
            number=number,
            source="preset",
            label=None,
            params=params,
            architecture=SPACE.describe(params),
            epochs=12,
            outcome=Outcome("complete", None, 12, score, 1.0 + number, 1.0, "now"),
        )

    subclass = trained(0, 99.0, method="subclass", subclasses=5)
    control, narrow = trained(1, 98.0, method="none"), trained(2, 98.5, method="none", width=392)
    assert subclass.architecture != control.architecture
    (pair,) = kd_pairs([subclass, control, narrow], space)
    assert (pair.distilled, pair.control) == (subclass, control)
