"""Narrow strided convolutions are the same function, kept from a kernel that breaks memory."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from study.distillation.layout import to_train

CPU = torch.device("cpu")


class Strides(TorchDispatchMode):
    """Notes the stride of every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.seen.append(tuple(args[3]))
        return func(*args, **(kwargs or {}))


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def images(channels: int) -> Tensor:
    return torch.randn(8, channels, 9, 8, generator=torch.Generator().manual_seed(1))


def learnt(conv: nn.Conv2d, given: Tensor) -> tuple[Strides, list[Tensor]]:
    """Strides, answers and gradients of one step."""
    given = given.clone().requires_grad_()
    with Strides() as strides:
        answers = conv(given)
    answers.square().sum().backward()
    found = [answers.detach(), given.grad, *(p.grad for p in conv.parameters())]
    assert all(value is not None for value in found)
    return strides, found  # type: ignore[return-value]


def close(ones: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 4, 7, 8, 15])
@pytest.mark.parametrize("stride", [2, (1, 3)])
def test_a_narrow_strided_convolution_learns_the_same_without_a_stride(
    channels: int, stride: int | tuple[int, int]
) -> None:
    conv = nn.Conv2d(channels, 16, 1, stride=stride)
    plain = copy.deepcopy(conv).double()

    strides, found = learnt(to_train(conv, CPU), images(channels))

    assert strides.seen == [(1, 1)]
    close(found, learnt(plain, images(channels).double())[1])


def test_so_do_a_copy_groups_and_one_whose_weight_is_parametrised() -> None:
    grouped = nn.Conv2d(16, 16, 1, stride=2, groups=4, padding="valid")
    changed = nn.Conv2d(4, 8, 1, stride=2, bias=False)
    parametrize.register_parametrization(changed, "weight", Doubled())
    for conv in (grouped, changed):
        plain = copy.deepcopy(conv).double()
        copied = copy.deepcopy(to_train(conv, CPU))
        with torch.no_grad():  # the copy has weights of its own
            for parameter in conv.parameters():
                parameter.zero_()

        strides, found = learnt(copied, images(conv.in_channels))

        assert strides.seen == [(1, 1)]
        close(found, learnt(plain, images(conv.in_channels).double())[1])


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(4, 8, 3, stride=2),
        nn.Conv2d(4, 8, 1, stride=2, padding=1),
    ],
)
def test_others_stay_as_they_are(conv: nn.Conv2d) -> None:
    strides, _ = learnt(to_train(conv, CPU), images(conv.in_channels))
    assert strides.seen == [(2, 2)]


def test_what_is_measured_and_exported_is_the_convolution_itself() -> None:
    conv = to_train(nn.Conv2d(4, 8, 1, stride=2), CPU)
    assert type(conv) is nn.Conv2d
    with Strides() as strides, torch.no_grad():
        conv(images(4))
    assert strides.seen == [(2, 2)]
