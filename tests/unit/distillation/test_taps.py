"""Taps: what modules put out, and a network that is left as it was."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation.taps import TapError, Taps

STAGES = ("layer1", "layer2", "layer3", "layer4")
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def student() -> nn.Module:
    torch.manual_seed(0)
    return build(ResidualSpec((1, 1, 1, 1), "cifar", 1, width=8), 10).eval()


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_features_are_the_outputs_of_the_modules_in_the_order_asked_for() -> None:
    network = student()
    with Taps(network, ("layer4", "layer2")) as taps:
        network(IMAGES)
        last, second = taps.features()

    expected = network[:5](IMAGES)  # type: ignore[index]
    assert torch.equal(second, expected)
    assert last.shape == (2, 64, 4, 4)


def test_a_network_says_the_same_with_taps_and_without() -> None:
    network = student()
    expected = network(IMAGES)
    with Taps(network, STAGES):
        assert torch.equal(network(IMAGES), expected)


def test_modules_within_modules_are_tapped_by_their_full_names() -> None:
    network = resnet18(num_classes=10).eval()
    with Taps(network, ("layer3.1.conv2", "fc")) as taps:
        logits = network(IMAGES)
        inner, last = taps.features()
    assert inner.shape == (2, 256, 2, 2)
    assert torch.equal(last, logits)


def test_what_a_module_put_out_is_kept_where_the_next_one_changes_it_in_place() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    inputs = torch.tensor([[-1.0, 0.0, 1.0]])
    with torch.no_grad(), Taps(network, ("0",)) as taps:
        network(inputs)
        (found,) = taps.features()
        assert torch.equal(found, network[0](inputs))
    assert (found < 0).any()


def test_gradients_flow_through_features() -> None:
    network = student()
    with Taps(network, ("layer2",)) as taps:
        network(IMAGES)
        taps.features()[0].square().sum().backward()
    weight = dict(network.named_parameters())["layer1.0.conv1.weight"]
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_features_are_forgotten_once_asked_for() -> None:
    network = student()
    with Taps(network, ("layer2",)) as taps:
        network(IMAGES)
        taps.features()
        with pytest.raises(TapError, match="layer2 of the network put out no feature map"):
            taps.features()


def test_features_are_those_of_the_last_pass() -> None:
    network = student()
    with Taps(network, ("layer2",)) as taps:
        network(IMAGES)
        network(IMAGES[:1])
        (found,) = taps.features()
    assert len(found) == 1


def test_a_module_called_twice_gives_its_last_output() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            once: Tensor = self.shared(self.shared(inputs))
            return once

    network, inputs = Twice(), torch.randn(2, 4)
    with Taps(network, ("shared",)) as taps:
        outputs = network(inputs)
        assert torch.equal(taps.features()[0], outputs)


def test_a_name_given_twice_gives_its_features_twice() -> None:
    network = student()
    with Taps(network, ("layer2", "layer2")) as taps:
        assert hooks(network) == 1
        network(IMAGES)
        one, other = taps.features()
    assert torch.equal(one, other)


def test_outside_its_context_no_hook_and_no_feature_map_is_left() -> None:
    network = student()
    taps = Taps(network, STAGES)
    assert hooks(network) == 4
    with taps:
        network(IMAGES)
        kept = weakref.ref(taps._outputs["layer1"])
    gc.collect()
    assert hooks(network) == 0
    assert kept() is None
    network(IMAGES)
    with pytest.raises(TapError):
        taps.features()


def test_close_takes_the_hooks_off_also_after_an_error_and_may_be_repeated() -> None:
    network = student()
    taps = Taps(network, STAGES)
    with pytest.raises(RuntimeError), taps:
        network(IMAGES[:, :2])
    assert hooks(network) == 0
    taps.close()


def test_no_names_are_no_taps() -> None:
    with Taps(student(), ()) as taps:
        assert taps.features() == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("layer5", r"the student has no module 'layer5' to tap; did you mean layer\d or layer\d"),
        ("layer4.0.conv9", "did you mean layer4.0.conv2"),
        ("head", "choose from conv1, bn1, relu, layer1, layer2, layer3, layer4, avgpool, flatten"),
        ("", "no module ''"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_nearest_or_all(name: str, words: str) -> None:
    network = student()
    with pytest.raises(TapError, match=words) as caught:
        Taps(network, ("layer1", name), whose="the student")
    assert "\n" not in str(caught.value)
    assert hooks(network) == 0


def test_a_module_that_takes_no_part_or_puts_out_no_tensor_is_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.pair = nn.Identity(), Pair()

        def forward(self, inputs: Tensor) -> Tensor:
            first: Tensor = self.pair(inputs)[0]
            return first

    class Pair(nn.Module):
        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            return inputs, inputs

    network = Odd()
    for name in ("unused", "pair"):
        with Taps(network, (name,), whose="the teacher") as taps:
            network(torch.zeros(1))
            with pytest.raises(TapError, match=f"{name} of the teacher put out no feature map"):
                taps.features()
