"""MobileNetV2 (Sandler et al., 2018), as torchvision builds it."""

from typing import cast

from torch import nn
from torchvision.models import MobileNetV2


def build(outputs: int, *, channels: int = 3, width: float = 1.0) -> nn.Module:
    """A freshly initialised network; the caller seeds torch beforehand.

    It maps float images `(batch, channels, height, width)` of any size to logits
    `(batch, outputs)`; 32 pixels a side are the least that its five halvings leave one of.

    Args:
        outputs: Logits.
        channels: Of an image.
        width: Multiplier of the channels of every layer, rounded to multiples of 8; the last
            convolution has 1280 or more.
    """
    network: nn.Module = MobileNetV2(num_classes=outputs, width_mult=width)
    if channels != 3:
        stem = cast("nn.Sequential", network.get_submodule("features.0"))
        kept = cast("nn.Conv2d", stem[0]).out_channels
        stem[0] = conv = nn.Conv2d(channels, kept, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return network
