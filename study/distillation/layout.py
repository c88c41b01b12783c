"""How networks lie in memory while they are trained, and what of oneDNN's is kept from them."""

from types import MethodType
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

# The longest vector of a processor, in float32. oneDNN's kernels take as many channels at once.
_VECTOR = 16

Network = TypeVar("Network", bound=nn.Module)


def to_train(network: Network, device: torch.device) -> Network:
    """Put a network on a device in channels_last layout, as its weights are learnt fastest.

    oneDNN writes past its workspace where it learns the weights of a strided 1×1 convolution of
    fewer input channels than fill a vector, in this layout (uxlfoundation/oneDNN, issue 6035):
    weights are wrong without a word, or the process dies. Such a convolution, on a processor, is
    given every `stride`-th pixel at stride one while gradients are on, which is the same function.

    Args:
        network: Is moved, and returned.
        device: Where it is to be trained.
    """
    if device.type == "cpu":
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and _is_narrow(module):
                # Of the instance, so that its type, and what torch makes of that, stay.
                module._conv_forward = MethodType(_of_every_nth, module)  # type: ignore[method-assign]
    return network.to(device).to(memory_format=torch.channels_last)


def _is_narrow(module: nn.Conv2d) -> bool:
    return (
        type(module)._conv_forward is nn.Conv2d._conv_forward
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.padding in ((0, 0), "valid")
        and module.in_channels // module.groups < _VECTOR
    )


def _of_every_nth(conv: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not torch.is_grad_enabled():
        answers: Tensor = nn.Conv2d._conv_forward(conv, images, weight, bias)
        return answers
    down, right = conv.stride
    return functional.conv2d(images[..., ::down, ::right], weight, bias, groups=conv.groups)
