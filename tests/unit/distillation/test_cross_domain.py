"""The loss of two autoencoders that teach each other, against values worked out by hand."""

import pytest
import torch
from torch import Tensor, nn

from study.distillation.methods.base import MethodError
from study.distillation.methods.cross_domain import (
    CrossDomain,
    absolute_error,
    from_params,
    make_adapter,
    squared_distance,
)


def filled(value: float) -> Tensor:
    return torch.full((2, 3, 4, 4), value)


OUTPUTS = (filled(0.5), filled(-1.0))
TARGETS = (filled(0.0), filled(1.0))
FEATURES = [(filled(3.0), filled(1.0)), (filled(0.0), filled(3.0))]


def test_images_are_compared_by_their_mean_absolute_difference_in_each_direction() -> None:
    assert absolute_error(OUTPUTS, TARGETS).item() == pytest.approx(0.5 + 2.0)


def test_features_are_compared_by_their_mean_square_added_over_the_connections() -> None:
    assert squared_distance(FEATURES).item() == pytest.approx(4.0 + 9.0)
    assert squared_distance(FEATURES[:1]).item() == pytest.approx(4.0)


def test_alpha_divides_the_loss_between_images_and_features() -> None:
    method = CrossDomain(connections=((1, 4), (2, 3)), alpha=0.2)

    terms = method.loss(OUTPUTS, TARGETS, FEATURES)

    assert terms["loss"].item() == pytest.approx(0.8 * 2.5 + 0.2 * 13.0)
    assert terms["images"].item() == pytest.approx(2.5)
    assert terms["features"].item() == pytest.approx(13.0)


def test_at_alpha_0_and_without_connections_only_the_images_are_looked_at() -> None:
    for method in (CrossDomain(((1, 4),), alpha=0.0), CrossDomain((), alpha=0.7)):
        terms = method.loss(OUTPUTS, TARGETS, [])
        assert terms["loss"].item() == pytest.approx(2.5)
        assert "features" not in terms


def test_both_sides_of_a_connection_are_moved() -> None:
    encoded, decoded = filled(1.0).requires_grad_(), filled(0.0).requires_grad_()
    loss = CrossDomain(((1, 4),), alpha=0.5).loss(OUTPUTS, TARGETS, [(encoded, decoded)])["loss"]
    torch.autograd.backward(loss)

    assert encoded.grad is not None
    assert decoded.grad is not None
    # 0.5 times the derivative of the mean of (a - b)^2 over 96 numbers.
    assert encoded.grad[0, 0, 0, 0].item() == pytest.approx(0.5 * 2 / 96)
    assert torch.equal(encoded.grad, -decoded.grad)


def test_features_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features are \(2, 3, 4, 4\) and \(2, 3, 5, 5\)"):
        squared_distance([(filled(0), torch.zeros(2, 3, 5, 5))])


def test_the_max_pool_keeps_the_largest_of_each_window() -> None:
    maps = torch.arange(9.0).reshape(1, 1, 3, 3)

    assert make_adapter("maxpool", 1)(maps).tolist() == [[[[4.0, 5.0], [7.0, 8.0]]]]


def test_the_convolution_has_the_kernel_of_the_document() -> None:
    adapter = make_adapter("conv", 6)

    assert isinstance(adapter, nn.Conv2d)
    assert (adapter.kernel_size, adapter.stride, adapter.padding) == ((2, 2), (1, 1), (0, 0))
    assert adapter(torch.zeros(1, 6, 9, 9)).shape == (1, 6, 8, 8)


def test_parameters_name_the_connections_the_direction_and_the_adapter() -> None:
    params = {"connections": "1-4+2-3", "alpha": 0.3, "mirrored": True, "adapter": "conv"}

    assert from_params(params) == CrossDomain(((1, 4), (2, 3)), 0.3, True, "conv")
    assert from_params({"connections": "none", "alpha": 0.3}) == CrossDomain()
    assert from_params({}).weight == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"connections": "1-4"}, "needs a value for alpha"),
        ({"connections": "1-4", "alpha": 1.0}, "alpha must be from 0 to less than 1, got 1"),
        ({"connections": "1-3", "alpha": 0.1}, "encoder 1 goes with decoder 4"),
        ({"connections": "14", "alpha": 0.1}, "connection '14' is not ENCODER-DECODER"),
        ({"connections": "1-4", "alpha": 0.1, "adapter": "crop"}, "no adapter 'crop'; choose max"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        from_params(params)
