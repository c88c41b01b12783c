"""The small convolutional network that teaches digits: two convolutions, two dense layers.

conv32 - pool - conv64 - pool - dropout - dense 128 - dropout - dense, 3x3 convolutions, as in the
examples that most MNIST papers start from.
"""

from collections import OrderedDict

from torch import nn


def build(shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """A freshly initialised network; the caller seeds torch beforehand.

    It maps float images `(batch, channels, height, width)` to logits `(batch, outputs)`.

    Args:
        shape: `(height, width, channels)` of an image, 4 pixels or more a side.
        outputs: Logits.

    Raises:
        ValueError: The image is too small to be halved twice.
    """
    height, width, channels = shape
    if min(height, width) < 4:
        raise ValueError(f"images of {height}x{width} px cannot be halved twice")
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 3, padding=1),
            relu1=nn.ReLU(inplace=True),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 3, padding=1),
            relu2=nn.ReLU(inplace=True),
            pool2=nn.MaxPool2d(2),
            dropout1=nn.Dropout(0.25),
            flatten=nn.Flatten(),
            hidden=nn.Linear(64 * (height // 4) * (width // 4), 128),
            relu3=nn.ReLU(inplace=True),
            dropout2=nn.Dropout(0.5),
            fc=nn.Linear(128, outputs),
        )
    )
