"""Projectors: any two feature maps to one shape, by a linear map of channels alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from study.distillation.projectors import Projector

STUDENT = [(64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]
TEACHER = [(256, 8, 8), (512, 4, 4), (1024, 2, 2), (2048, 1, 1)]


@pytest.mark.parametrize(("one", "other"), list(zip(STUDENT, TEACHER, strict=True)))
def test_stages_are_projected_in_both_directions(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    for source, target in ((one, other), (other, one)):
        projector = Projector(source, target)
        assert projector(torch.randn(3, *source)).shape == (3, *target)
        # A 1x1 convolution without bias, and nothing else.
        assert [p.shape for p in projector.parameters()] == [(target[0], source[0], 1, 1)]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4, 8, 8), (6, 4, 4)),
        ((4, 4, 4), (6, 8, 8)),
        ((4, 7, 7), (6, 2, 2)),
        ((4, 2, 2), (6, 7, 7)),
        ((4, 8, 2), (6, 4, 4)),
        ((4, 1, 1), (4, 8, 8)),
    ],
)
def test_sizes_that_differ_are_brought_together(
    source: tuple[int, int, int], target: tuple[int, int, int]
) -> None:
    assert Projector(source, target)(torch.randn(2, *source)).shape == (2, *target)


def test_equal_shapes_pass_untouched_and_without_parameters() -> None:
    projector, features = Projector((4, 5, 5), (4, 5, 5)), torch.randn(2, 4, 5, 5)
    assert torch.equal(projector(features), features)
    assert not list(projector.parameters())


def test_a_smaller_target_is_averaged_and_a_larger_one_interpolated() -> None:
    features = torch.randn(2, 4, 8, 8)
    shrunk = Projector((4, 8, 8), (4, 4, 4))(features)
    assert torch.allclose(shrunk, functional.avg_pool2d(features, 2))
    grown = Projector((4, 8, 8), (4, 16, 16))(features)
    assert torch.equal(grown, functional.interpolate(features, size=(16, 16), mode="bilinear"))


def test_a_map_that_is_flat_stays_flat_whatever_its_size_becomes() -> None:
    flat = torch.full((1, 3, 4, 4), 2.5)
    for side in (1, 2, 3, 7, 16):
        grown = Projector((3, 4, 4), (3, side, side))(flat)
        assert torch.allclose(grown, torch.tensor(2.5))


def test_channels_and_size_commute_so_the_convolution_may_see_the_smaller_map() -> None:
    projector, features = Projector((4, 3, 3), (6, 9, 9)), torch.randn(2, 4, 3, 3)
    first_grown = functional.interpolate(features, size=(9, 9), mode="bilinear")
    assert torch.allclose(projector(features), projector.channels(first_grown), atol=1e-6)


def test_vectors_are_projected_by_a_linear_map() -> None:
    projector, vectors = Projector((8,), (5,)), torch.randn(3, 8)
    (weight,) = projector.parameters()
    assert isinstance(projector.channels, nn.Linear)
    assert torch.allclose(projector(vectors), vectors @ weight.T)
    assert torch.equal(Projector((8,), (8,))(vectors), vectors)


@pytest.mark.parametrize(
    ("source", "target"), [((8,), (8, 4, 4)), ((8, 4, 4), (8,)), ((8, 4), (8, 4)), ((), ())]
)
def test_a_vector_and_a_map_are_not_comparable(
    source: tuple[int, ...], target: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="cannot be brought"):
        Projector(source, target)


@pytest.mark.parametrize(("source", "target"), [((3, 4, 4), (2, 2, 2)), ((3, 2, 2), (2, 5, 5))])
def test_gradients_of_features_and_weights_are_right(
    source: tuple[int, int, int], target: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    projector = Projector(source, target).double()
    features = torch.randn(2, *source, dtype=torch.float64, requires_grad=True)
    (weight,) = projector.parameters()

    def project(features: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        named = {"channels.weight": weight}
        projected: torch.Tensor = torch.func.functional_call(projector, named, (features,))
        return projected

    assert torch.autograd.gradcheck(project, (features, weight))
