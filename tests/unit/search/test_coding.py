"""Configurations as genes and features."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.search.coding import Coding, Dimension, place_of, values_of

METHOD = Dimension("method", CategoricalDistribution(["none", "response", "hybrid"]))
ALPHA = Dimension("alpha", FloatDistribution(0.1, 0.9), "method", ("response", "hybrid"))
WIDTH = Dimension("width", CategoricalDistribution([64, 16, 32]))
BLOCKS = Dimension("blocks", IntDistribution(0, 3))
UNITS = Dimension("units", IntDistribution(16, 1024, log=True))
RATE = Dimension("rate", FloatDistribution(1e-4, 1e-1, log=True))
CODING = Coding((METHOD, ALPHA, WIDTH, BLOCKS, UNITS, RATE))

FULL = {"method": "hybrid", "alpha": 0.3, "width": 32, "blocks": 2, "units": 100, "rate": 1e-3}
PLAIN = {"method": "none", "width": 64, "blocks": 0, "units": 16, "rate": 1e-1}


@pytest.mark.parametrize("params", [FULL, PLAIN])
def test_a_configuration_comes_back_from_its_genes(params: dict[str, object]) -> None:
    (genes,) = CODING.genes_of([params])

    assert CODING.params_of(genes) == pytest.approx(params)


def test_canonical_genes_stand_for_the_same_configuration_and_stay_as_they_are() -> None:
    genes = np.random.default_rng(0).random((200, 6))

    canonical = CODING.canonical(genes)

    for row, same in zip(genes, canonical, strict=True):
        assert CODING.params_of(same) == pytest.approx(CODING.params_of(row))
    assert CODING.canonical(canonical) == pytest.approx(canonical)
    exact = CODING.genes_of([CODING.params_of(row) for row in genes])
    assert canonical == pytest.approx(exact)


def test_what_does_not_apply_makes_no_difference() -> None:
    genes = np.tile(CODING.genes_of([PLAIN]), (2, 1))
    genes[1, 1] = 0.9

    one, other = CODING.features(CODING.canonical(genes))

    assert one == pytest.approx(other)


def test_no_configurations_have_no_features() -> None:
    assert CODING.features(CODING.genes_of([])).shape == (0, len(CODING.groups))


def test_unordered_values_are_equally_far_apart_and_numbers_lie_in_their_order() -> None:
    methods = Coding((METHOD,))
    a, b, c = methods.features(methods.genes_of([{"method": m} for m in METHOD.choices or ()]))
    assert [np.linalg.norm(a - b), np.linalg.norm(b - c), np.linalg.norm(a - c)] == pytest.approx(
        [1.0, 1.0, 1.0]
    )

    widths = Coding((WIDTH,))
    found = widths.features(widths.genes_of([{"width": 16}, {"width": 32}, {"width": 64}]))
    assert found[:, 0] == pytest.approx([0.0, 0.5, 1.0])


def test_a_logarithmic_range_is_scaled_so() -> None:
    rates = Coding((RATE,))

    found = rates.features(rates.genes_of([{"rate": 1e-4}, {"rate": 10**-2.5}, {"rate": 1e-1}]))

    assert found[:, 0] == pytest.approx([0.0, 0.5, 1.0])


def test_features_of_one_dimension_share_its_number() -> None:
    assert CODING.groups == (0, 0, 0, 1, 2, 3, 4, 5)
    assert CODING.features(CODING.genes_of([FULL])).shape == (1, 8)


def test_a_range_of_one_value_lies_in_the_middle() -> None:
    only = Coding((Dimension("depth", IntDistribution(3, 3)),))

    assert only.canonical(np.array([[0.1], [0.9]])) == pytest.approx(np.array([[0.5], [0.5]]))
    assert only.params_of(np.array([0.2])) == {"depth": 3}


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0.0, 0.3, 0.1), (0.1, 0.7, 0.2), (-0.3, 0.3, 0.1), (0.0, 1.2, 0.4)]
)
def test_values_of_steps_lie_in_the_range_and_are_those_of_genes_and_of_random_draws(
    low: float, high: float, step: float
) -> None:
    kind = FloatDistribution(low, high, step=step)
    values = values_of(kind) or ()
    each = Dimension("loss", kind)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    assert all(kind._contains(value) for value in values)
    assert {each.value_of(gene) for gene in np.linspace(0.0, 1.0, 99)} == set(values)
    drawn = {study.ask({"loss": kind}).params["loss"] for _ in range(60)}
    assert drawn == set(values)


def test_a_value_is_told_by_its_choice_or_step() -> None:
    steps, choices = FloatDistribution(0.0, 1.0, step=0.1), CategoricalDistribution(["b", "a"])
    coding = Coding((Dimension("loss", steps), Dimension("method", choices)))

    assert place_of(steps, 0.3) == place_of(steps, 0.1 + 0.2) == 3
    assert place_of(steps, 0.4) == 4
    assert place_of(FloatDistribution(0.0, 1.0), 0.3) == 0.3
    assert coding.key_of({"method": "a", "loss": 0.1 + 0.2}) == (("loss", 3), ("method", 1))
    assert coding.key_of({"method": "a", "loss": 0.3}, ["method"]) == (("method", 1),)
