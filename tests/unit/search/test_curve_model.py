"""Where a training would end."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from study.search.curve_model import CurveModel, Observations


def made_up(seed: int, trainings: int = 12, epochs: int = 6) -> Observations:
    """Curves that rise to an end that the features tell."""
    rng = np.random.default_rng(seed)
    features = rng.random((trainings, 3))
    owner = np.repeat(np.arange(trainings), epochs)
    progress = np.tile(np.linspace(0.0, 1.0, epochs), trainings)
    end = np.sin(3 * features[:, 0]) + features[:, 1] ** 2
    return Observations(features[owner], progress, owner, end[owner] * (0.3 + 0.7 * progress))


def test_the_gradient_is_that_of_the_loss() -> None:
    model, seen = CurveModel([0, 1, 1]), made_up(0, trainings=5, epochs=4)
    theta = model.theta + np.random.default_rng(1).normal(0, 0.3, len(model.theta))

    _, gradient = model._loss(theta, seen)

    numeric = approx_fprime(theta, lambda at: model._loss(at, seen)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_a_fit_lowers_the_loss_and_goes_on_from_what_there_is() -> None:
    model, seen = CurveModel([0, 1, 2]), made_up(0)
    before = model._loss(model.theta, seen)[0]

    model.fit(seen, 10)
    first = model._loss(model.theta, seen)[0]
    model.fit(seen, 30)

    assert model._loss(model.theta, seen)[0] <= first < before


def test_ends_that_were_seen_are_known_and_others_are_told_from_them() -> None:
    seen, unseen = made_up(0, trainings=25), made_up(7, trainings=40)
    model = CurveModel([0, 1, 2])
    model.fit(seen, 40)
    model.condition(seen)

    ends = seen.progress == 1.0
    means, deviations = model.predict(seen.features[ends], seen.training[ends])
    assert means == pytest.approx(seen.values[ends], abs=0.05)
    assert deviations.max() < 0.2

    ends = unseen.progress == 1.0
    means, far = model.predict(unseen.features[ends], np.full(int(ends.sum()), -1))
    error = np.abs(means - unseen.values[ends]).mean()
    assert error < 0.3 * np.abs(unseen.values[ends] - seen.values.mean()).mean()
    assert far.mean() > deviations.mean()


def test_the_first_epochs_of_a_training_tell_of_its_end() -> None:
    seen = made_up(0, trainings=20)
    begun = seen.take(np.flatnonzero((seen.training != 3) | (seen.progress < 0.5)))
    without = seen.take(np.flatnonzero(seen.training != 3))
    end = np.flatnonzero((seen.training == 3) & (seen.progress == 1.0))
    deviations = []
    for known in (without, begun):
        model = CurveModel([0, 1, 2])
        model.fit(known, 40)
        model.condition(known)
        deviations.append(model.predict(seen.features[end], seen.training[end])[1][0])

    assert deviations[1] < 0.8 * deviations[0]


def test_hyperparameters_can_be_taken_over() -> None:
    seen = made_up(0)
    model = CurveModel([0, 1, 2])
    model.fit(seen, 20)
    model.condition(seen)
    same = CurveModel([0, 1, 2], model.theta.tolist())
    same.condition(seen)

    points = np.random.default_rng(3).random((5, 3))
    expected = model.predict(points, np.full(5, -1))
    assert np.array(same.predict(points, np.full(5, -1))) == pytest.approx(np.array(expected))


def test_beyond_all_trials_ends_are_expected_where_they_point() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(0.2, 0.6, (40, 5))
    slopes = np.array([2.0, -1.0, 1.5, 0.0, -0.5])
    whole = np.ones(40)
    model = CurveModel(range(5))
    seen = Observations(features, whole, np.arange(40), (features - 0.4) @ slopes)
    model.fit(seen, 40)
    model.condition(seen)

    corner = np.array([[1.0, 0.0, 1.0, 0.5, 0.0]])
    means, _ = model.predict(corner, np.array([-1]))

    truth = float(((corner - 0.4) @ slopes)[0])
    assert means[0] == pytest.approx(truth, rel=0.15)
    assert truth > 1.5 * seen.values.max()


def test_what_is_supposed_changes_no_mean_and_is_what_comes_out_as_expected() -> None:
    seen, others = made_up(0), made_up(7, trainings=6)
    model = CurveModel([0, 1, 2])
    model.fit(seen, 20)
    model.condition(seen)
    ends, new = np.flatnonzero(others.progress == 1.0), np.full(6, -1)
    begun = others.take(ends[:2])
    begun = Observations(begun.features, begun.progress * 0.4, np.array([50, 51]), begun.values)
    before = model.predict(others.features[ends], new, supposing=True)
    expected, _ = model.predict(begun.features, begun.training, begun.progress)

    model.suppose(begun)
    supposed = model.predict(others.features[ends], new, supposing=True)

    assert supposed[0] == pytest.approx(before[0])
    assert (supposed[1] <= before[1] + 1e-12).all()
    assert supposed[1][0] < 0.8 * before[1][0]
    told = Observations(begun.features, begun.progress, begun.training, expected)
    other = CurveModel([0, 1, 2], model.theta)
    other.condition(seen.beside(told))
    for one, same in zip(supposed, other.predict(others.features[ends], new), strict=True):
        assert one == pytest.approx(same, abs=1e-6)
    for one, same in zip(before, model.predict(others.features[ends], new), strict=True):
        assert one == pytest.approx(same)
