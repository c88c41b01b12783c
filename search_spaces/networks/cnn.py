"""Plain convolutional networks: a row of convolutions, then fully connected layers."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

# A convolution is followed by pooling as long as that leaves sides of at least this many pixels,
# and what is left is averaged down to it, so that images of any size cost the dense layers alike.
_SMALLEST_MAP = 4


def build(
    shape: tuple[int, int, int],
    channels: Sequence[int],
    hidden: Sequence[int],
    outputs: int,
    dropout: float = 0.0,
) -> nn.Module:
    """A freshly initialised network; the caller seeds torch beforehand.

    It maps float images `(batch, channels, height, width)` to logits `(batch, outputs)`. Each 3x3
    convolution is followed by batch normalisation and a ReLU, and by 2x2 max pooling where the
    map is large enough to be halved.

    Args:
        shape: `(height, width, channels)` of an image.
        channels: Of each convolution, at least one.
        hidden: Units of each fully connected layer before the last; none leaves the last alone.
        outputs: Logits.
        dropout: Share of units dropped before each fully connected layer while training.

    Raises:
        ValueError: There is no convolution, or a layer has no units.
    """
    if not channels or min(*channels, *hidden, 1) < 1:
        raise ValueError(
            f"layers need at least 1 unit each, and one must be a convolution; "
            f"got convolutions {tuple(channels)}, fully connected {tuple(hidden)}"
        )
    height, width, seen = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, count in enumerate(channels, start=1):
        layers[f"conv{index}"] = nn.Conv2d(seen, count, 3, padding=1, bias=False)
        layers[f"bn{index}"] = nn.BatchNorm2d(count)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        if min(height, width) >= 2 * _SMALLEST_MAP:
            layers[f"pool{index}"] = nn.MaxPool2d(2)
            height, width = height // 2, width // 2
        seen = count
    side = min(_SMALLEST_MAP, height), min(_SMALLEST_MAP, width)
    if side != (height, width):
        layers["average"] = nn.AdaptiveAvgPool2d(side)
    layers["flatten"] = nn.Flatten()
    units = seen * side[0] * side[1]
    for index, count in enumerate(hidden, start=1):
        if dropout > 0:
            layers[f"dropout{index}"] = nn.Dropout(dropout)
        layers[f"dense{index}"] = nn.Linear(units, count)
        layers[f"dense_relu{index}"] = nn.ReLU(inplace=True)
        units = count
    if dropout > 0:
        layers["dropout"] = nn.Dropout(dropout)
    layers["fc"] = nn.Linear(units, outputs)
    return nn.Sequential(layers)
