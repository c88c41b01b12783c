"""The search in the words of a study: spaces, trials, rungs."""

import pytest
from optuna.distributions import CategoricalDistribution

from search_spaces import cifar_hybrid, cifar_modern, mnist_subclass
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import SearchSpace
from study.guide import coding_of

SPACES = (SPACE, cifar_hybrid.SPACE, cifar_modern.SPACE, mnist_subclass.SPACE)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_every_configuration_of_a_space_has_genes_and_comes_back(space: SearchSpace) -> None:
    coding = coding_of(space)

    for params in space.samples():
        (genes,) = coding.genes_of([params])
        assert space.complete(coding.params_of(genes)) == pytest.approx(params)


def test_what_is_held_is_no_dimension_and_what_depends_on_it_is_free() -> None:
    held = cifar_hybrid.SPACE.with_fixed({"method": "hybrid"})

    dimensions = {each.name: each for each in coding_of(held).dimensions}

    assert "method" not in dimensions
    assert dimensions["temperature"].parent is None
    assert dimensions["temperature_decay"].parent == "temperature_schedule"


def test_what_cannot_exist_is_no_dimension() -> None:
    without = cifar_hybrid.SPACE.with_fixed({"method": "none"})

    names = {each.name for each in coding_of(without).dimensions}

    assert names.isdisjoint({"temperature", "alpha_schedule", "taps"})


def test_a_choice_keeps_its_values() -> None:
    (method,) = (d for d in coding_of(cifar_modern.SPACE).dimensions if d.name == "method")

    assert isinstance(method.distribution, CategoricalDistribution)
    assert set(method.choices or ()) == set(cifar_modern.SPACE.drawn_values("method"))
