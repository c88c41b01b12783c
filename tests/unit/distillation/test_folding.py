from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import inception_v3, mobilenet_v2, resnet50

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation.folding import batch_norms, fold_batch_norms

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def with_statistics(network: nn.Module) -> nn.Module:
    """As if it had been trained: an untrained batch norm changes nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            with torch.no_grad():
                module.running_mean.uniform_(-0.3, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
                module.weight.uniform_(0.7, 1.3, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
    return network


def resnet() -> nn.Module:
    return build(ResidualSpec((1, 2, 0, 1), "imagenet", 2, 16), 10)


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
        nn.BatchNorm2d(3),
    )


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.BatchNorm1d(8), nn.ReLU())


@pytest.mark.parametrize(
    ("network", "norms"),
    [(resnet, 11), (resnet50, 53), (mobilenet_v2, 52), (autoencoder, 2), (dense, 1)],
)
def test_a_folded_network_has_no_batch_norm_left_and_gives_the_same_outputs(
    network: Callable[[], nn.Module], norms: int
) -> None:
    torch.manual_seed(0)
    trained = with_statistics(network()).train()
    assert batch_norms(trained) == norms
    folded = fold_batch_norms(trained, IMAGE)
    assert batch_norms(folded) == 0
    assert not folded.training
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected, found = trained.eval()(images), folded(images)
    assert expected.abs().max() > 1e-3
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("network", [resnet, resnet50, mobilenet_v2])
def test_batch_norms_are_folded_on_a_gpu_too(network: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    trained = with_statistics(network()).cuda()
    assert batch_norms(fold_batch_norms(trained, IMAGE.cuda())) == 0


class Listening(nn.Module):
    """Notes with how many digits convolutions may compute."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[bool] = []

    def __deepcopy__(self, memo: object) -> "Listening":
        return self

    def forward(self, images: Tensor) -> Tensor:
        self.heard.append(torch.backends.cudnn.allow_tf32)
        return images


def test_both_are_compared_by_all_digits_whatever_a_gpu_trains_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    listening = Listening()
    fold_batch_norms(nn.Sequential(listening, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), IMAGE)
    assert listening.heard == [True, False, False]  # looked at, then compared
    assert torch.backends.cudnn.allow_tf32


def test_folding_leaves_the_network_itself_alone() -> None:
    torch.manual_seed(0)
    network = with_statistics(resnet()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_before = torch.get_rng_state()
    fold_batch_norms(network, IMAGE)
    assert network.training
    assert batch_norms(network) == 11
    assert torch.equal(torch.get_rng_state(), random_before)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_network_without_batch_norms_is_returned_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert fold_batch_norms(network, IMAGE) is network


class Between(nn.Module):
    """Uses what lies between its convolution and its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        between = self.convolution(images)
        answer: Tensor = self.norm(between) + between
        return answer


class Twice(nn.Module):
    """Calls one convolution with two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.other(self.convolution(self.one(self.convolution(images))))
        return answer


class Parametrised(nn.Module):
    """Has a convolution whose weights are computed, and takes its batch norm by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.other, self.one, self.two = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.two(input=self.other(self.one(self.convolution(images))))
        return answer


@pytest.mark.parametrize("network", [Between, Twice, Parametrised])
def test_what_cannot_be_folded_stays_and_answers_the_same(
    network: Callable[[], nn.Module],
) -> None:
    """Untrained batch norms would hide the mistake: the sum is the same either way."""
    torch.manual_seed(0)
    untrained = network()
    folded = fold_batch_norms(untrained, IMAGE)
    assert batch_norms(folded) == batch_norms(untrained)
    trained = with_statistics(untrained).eval()
    folded = fold_batch_norms(trained, IMAGE)
    with torch.no_grad():
        assert torch.allclose(folded(IMAGE), trained(IMAGE))


class Rows(nn.Module):
    """Normalises the rows of what a linear layer puts out, not its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(16, 32), nn.BatchNorm1d(4)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.linear(images[:, 0, :8].reshape(-1, 16, 16)[:, :4]))
        return answer


class Reading(nn.Module):
    """Reads the statistics of its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        mean = self.norm.running_mean
        assert mean is not None
        answer: Tensor = self.norm(self.convolution(images)) + mean[:, None, None]
        return answer


def grouped(groups: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 8, 3, groups=groups), nn.BatchNorm2d(8)
    )


@pytest.mark.parametrize("network", [lambda: grouped(2), lambda: grouped(4), Rows, Reading])
def test_a_network_that_fails_once_it_is_folded_is_left(network: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    trained = with_statistics(network()).eval()
    folded = fold_batch_norms(trained, IMAGE)
    assert batch_norms(folded) == 1
    with torch.no_grad():
        assert torch.equal(folded(IMAGE), trained(IMAGE))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_a_network_that_cannot_be_copied_is_returned_as_it_is() -> None:
    normed = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))  # type: ignore[no-untyped-call]
    network = nn.Sequential(normed, nn.BatchNorm2d(4))
    assert fold_batch_norms(network, IMAGE) is network
    assert network.training


class Exhausted(Reading):
    """Takes more memory than there is once it is copied, or folded."""

    def __init__(self, *, copied: bool) -> None:
        super().__init__()
        self.copied = copied

    def __deepcopy__(self, memo: dict[int, object]) -> "Exhausted":
        if self.copied:
            raise torch.OutOfMemoryError
        copied = Exhausted(copied=False)
        copied.load_state_dict(self.state_dict())
        return copied.train(self.training)

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.norm, nn.Identity):
            raise MemoryError
        return super().forward(images)


@pytest.mark.parametrize("copied", [True, False])
def test_want_of_memory_is_not_taken_for_a_network_that_does_not_fit(copied: bool) -> None:
    with pytest.raises((MemoryError, torch.OutOfMemoryError)):
        fold_batch_norms(Exhausted(copied=copied), IMAGE)


def test_a_batch_norm_before_its_convolution_is_left() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert batch_norms(fold_batch_norms(network, IMAGE)) == 1


def test_a_network_of_several_outputs_is_folded_too() -> None:
    torch.manual_seed(0)
    network = with_statistics(inception_v3(init_weights=False, aux_logits=False)).eval()
    images = torch.randn(1, 3, 80, 80)
    folded = fold_batch_norms(network, images)
    assert batch_norms(folded) == 0
    with torch.no_grad():
        expected, found = network(images), folded(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
