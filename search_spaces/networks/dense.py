"""Perceptrons: every pixel to every unit, hidden layers of ReLUs."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


def build(
    shape: tuple[int, int, int], hidden: Sequence[int], outputs: int, dropout: float = 0.0
) -> nn.Module:
    """A freshly initialised perceptron; the caller seeds torch beforehand.

    It maps float images `(batch, channels, height, width)` to logits `(batch, outputs)`. 784-1200-
    1200-10 has 2,395,210 parameters.

    Args:
        shape: `(height, width, channels)` of an image.
        hidden: Units of each hidden layer; none makes it a linear classifier.
        outputs: Logits.
        dropout: Share of hidden units dropped while training.

    Raises:
        ValueError: A layer has no units.
    """
    if min(hidden, default=1) < 1:
        raise ValueError(f"hidden layers need at least 1 unit each, got {tuple(hidden)}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = shape[0] * shape[1] * shape[2]
    for index, units in enumerate(hidden, start=1):
        layers[f"hidden{index}"] = nn.Linear(width, units)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        if dropout > 0:
            layers[f"dropout{index}"] = nn.Dropout(dropout)
        width = units
    layers["fc"] = nn.Linear(width, outputs)
    return nn.Sequential(layers)
