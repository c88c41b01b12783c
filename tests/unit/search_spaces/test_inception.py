"""Inception-v3 on small images: enlarged on the way in, with an auxiliary head while training."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception_v3
from torchvision.models.inception import InceptionOutputs

from search_spaces.networks.inception import Inception, build


@pytest.fixture(scope="module")
def network() -> Inception:
    torch.manual_seed(0)
    return Inception(7, 75, auxiliary=True)


def test_its_state_is_that_of_torchvisions_network(network: Inception) -> None:
    with torch.device("meta"):
        theirs = inception_v3(num_classes=7, init_weights=False)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes


def test_it_answers_what_torchvisions_network_says_of_the_enlarged_images(
    network: Inception,
) -> None:
    theirs = inception_v3(num_classes=7, init_weights=False)
    theirs.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 32, 32)
    large = functional.interpolate(images, (75, 75), mode="bilinear", align_corners=False)

    with torch.inference_mode():
        assert torch.equal(network.eval()(images), theirs.eval()(large))
        assert torch.equal(network(large), theirs(large))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_answers_a_named_tuple_while_it_trains_and_logits_otherwise(
    channels: int, network: Inception
) -> None:
    images = torch.randn(2, channels, 32, 32)

    answer = network.train()(images)
    assert isinstance(answer, InceptionOutputs)
    assert answer.logits.shape == answer.aux_logits.shape == (2, 7)
    logits = network.eval()(images)
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 7)


def test_a_grey_image_stands_for_three_equal_channels(network: Inception) -> None:
    grey = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network.eval()(grey), network(grey.expand(-1, 3, -1, -1)))


def test_both_heads_send_gradients_to_the_layers_they_share(network: Inception) -> None:
    answer = network.train()(torch.randn(2, 3, 32, 32))
    shared = network.Mixed_6e.branch1x1.conv.weight
    for logits in answer:
        (gradient,) = torch.autograd.grad(logits.square().sum(), shared, retain_graph=True)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("side", [3, 16, 17, 20])
def test_the_auxiliary_head_is_torchvisions_where_its_own_pooling_fits(
    side: int, network: Inception
) -> None:
    theirs = inception_v3(num_classes=7, init_weights=False).AuxLogits
    head = network.AuxLogits
    assert isinstance(theirs, nn.Module)
    assert isinstance(head, nn.Module)
    theirs.load_state_dict(head.state_dict())
    maps = torch.randn(2, 768, side, side)

    assert head.eval()(maps).shape == (2, 7)
    if side >= 17:
        assert torch.equal(head(maps), theirs.eval()(maps))


def test_without_its_auxiliary_head_it_says_the_same_and_holds_nothing_of_it() -> None:
    network = Inception(7, 75, auxiliary=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = network.eval()(images)
        network.drop_auxiliary_head()
        assert torch.equal(network(images), before)
    assert isinstance(network.train()(images), Tensor)
    assert not [name for name in network.state_dict() if name.startswith("AuxLogits")]
    assert network.state_dict().keys() == Inception(7, 75).state_dict().keys()


def test_images_for_imagenet_weights_are_brought_to_what_those_were_trained_on() -> None:
    torch.manual_seed(0)
    plain = Inception(7, None).eval()
    pretrained = Inception(7, None, imagenet_input=True).eval()
    pretrained.load_state_dict(plain.state_dict())
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    pixels = torch.rand(2, 3, 75, 75)

    with torch.inference_mode():
        from_standardised = pretrained((pixels - mean) / std)
        from_minus_one_to_one = plain(2 * pixels - 1)
    assert torch.allclose(from_standardised, from_minus_one_to_one, atol=1e-4)


def test_a_new_network_answers_within_reason_before_its_running_variances_have_followed() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        assert Inception(7, 75).eval()(torch.randn(4, 3, 32, 32)).abs().max() < 100


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        build((32, 32, 4), 7, 75)
