"""Residual students of basic blocks, in which a stage may be empty.

torchvision builds at least one block per stage, so its `[2, 2, 0, 0]` is `[2, 2, 1, 1]`. Here an
empty stage is an identity. Module names are torchvision's: with `[2, 2, 2, 2]`, the ImageNet stem
and stem stride 2 the state dict is interchangeable with `torchvision.models.resnet18`.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torchvision.models.resnet import BasicBlock

STEMS = ("imagenet", "cifar")


@dataclass(frozen=True)
class ResidualSpec:
    """A residual network, described by what a search may choose.

    Attributes:
        blocks: Basic blocks in each of the four stages; 0 leaves the stage out.
        stem: `"imagenet"` (7x7 convolution, then 3x3 max pooling of stride 2) or `"cifar"`
            (3x3 convolution, no pooling).
        stem_stride: Stride of the stem's convolution.
        width: Channels of the stem and of the first stage; stage i has `width * 2**i`.

    Raises:
        ValueError: A field has a value of which no network can be built.
    """

    blocks: tuple[int, int, int, int]
    stem: Literal["imagenet", "cifar"]
    stem_stride: int
    width: int = 64

    def __post_init__(self) -> None:
        if min(self.blocks) < 0:
            raise ValueError(f"blocks must be four numbers of at least 0, got {self.blocks}")
        if self.stem not in STEMS:
            raise ValueError(f"stem must be one of {', '.join(STEMS)}, got {self.stem!r}")
        if self.stem_stride < 1:
            raise ValueError(f"stem_stride must be at least 1, got {self.stem_stride}")
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")

    def __str__(self) -> str:
        """The canonical name of the architecture, e.g. `[1,1,0,0] stride 2 imagenet w64`."""
        blocks = ",".join(map(str, self.blocks))
        return f"[{blocks}] stride {self.stem_stride} {self.stem} w{self.width}"


def build(spec: ResidualSpec, num_classes: int, channels: int = 3) -> nn.Module:
    """A freshly initialised network; the caller seeds torch beforehand.

    It maps float images `(batch, channels, height, width)` of any size from 1 pixel on to logits
    `(batch, num_classes)`: every strided layer is padded to round sizes up, so no size reaches 0.
    A non-empty stage other than the first halves the image; an empty one changes nothing, and
    the head takes the width of the last non-empty stage (the stem's when there is none).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    kernel = 7 if spec.stem == "imagenet" else 3
    layers["conv1"] = nn.Conv2d(
        channels, spec.width, kernel, spec.stem_stride, padding=kernel // 2, bias=False
    )
    layers["bn1"] = nn.BatchNorm2d(spec.width)
    layers["relu"] = nn.ReLU(inplace=True)
    if spec.stem == "imagenet":
        layers["maxpool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    width = spec.width
    for index, count in enumerate(spec.blocks):
        layers[f"layer{index + 1}"] = _stage(width, spec.width * 2**index, index, count)
        width = spec.width * 2**index if count else width
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(width, num_classes)
    network = nn.Sequential(layers)
    for module in network.modules():
        # torchvision's initialisation; batch norms already start at weight 1, bias 0.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _stage(width_in: int, width: int, index: int, count: int) -> nn.Module:
    if count == 0:
        return nn.Identity()
    stride = 1 if index == 0 else 2
    shortcut = None
    if stride != 1:  # the first stage has the stem's width, so only a stride needs a projection
        shortcut = nn.Sequential(
            nn.Conv2d(width_in, width, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(width),
        )
    first = BasicBlock(width_in, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(count - 1)))
